"""Loops filled, bridges cut: what each step undoes, what it never does, and how it is told."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpu_nx47 import backend, bits, components, corners, loops, segmentation
from gpu_nx47.betti import betti_numbers
from gpu_nx47.betti_tally import Tally
from gpu_nx47.settings import SegmentSettings

CPU = backend.select("cpu")[0]
"""The twin; without Numba the law."""
CUBE = np.ones((3, 3, 3), bool)


@st.composite
def masks(draw):
    """Return rough masks, and sheets with holes and bridges, in which there is something to do."""
    shape = draw(st.tuples(*[st.integers(3, 14)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random(shape) < draw(st.sampled_from((0.05, 0.15, 0.25, 0.4, 0.6, 0.9)))
    if draw(st.booleans()):
        mask = ndimage.uniform_filter(mask.astype(float), draw(st.integers(2, 3))) > 0.5
    if draw(st.booleans()):
        sheets = np.broadcast_to(np.arange(shape[0])[:, None, None] % 5 < 2, shape)
        mask = sheets ^ (mask & (rng.random(shape) < 0.5))
    return np.ascontiguousarray(mask)


@settings(deadline=None, max_examples=300)
@given(masks(), st.integers(1, 40))
def test_fillings_undo_tunnels_and_the_cavities_they_fill(mask, most):
    filled, told = loops.fill_loops(CPU, mask, most)
    assert not (mask & ~filled).any()
    before, after = betti_numbers(mask, CPU.label), betti_numbers(filled, CPU.label)
    assert after[0] == before[0]
    filled_too = before[2] - after[2]
    assert filled_too >= 0
    assert after[1] <= before[1] - told["fillings"] - filled_too
    parts, _ = ndimage.label(mask, CUBE)
    for part in range(1, after[0] + 1):  # each has the voxels of one component
        assert len(np.unique(parts[mask & (ndimage.label(filled, CUBE)[0] == part)])) == 1
    added, count = ndimage.label(filled & ~mask, CUBE)
    assert (told["voxels"], told["fillings"]) == (np.count_nonzero(added), count)
    assert np.bincount(added.reshape(-1))[1:].max(initial=0) <= most


def test_a_cavity_goes_with_the_loops_that_a_filling_closes():
    picture = (
        "######## ######.# #.####.# #####.#. .###.### #####..#",
        "######## #.#.##.# ####...# #####.## ######.# ###.###.",
        "..#.#..# .#...... #...#... ..#..... ......#. #....##.",
        "#...##.. ....#... ........ .#....#. .#.....# #...##..",
    )
    mask = np.array([[[v == "#" for v in row] for row in layer.split()] for layer in picture])
    filled, told = loops.fill_loops(CPU, mask, 17)
    before, after = betti_numbers(mask, CPU.label), betti_numbers(filled, CPU.label)
    assert (before[0] - after[0], before[2] - after[2]) == (0, 1)
    assert before[1] - after[1] > told["fillings"]


@settings(deadline=None, max_examples=300)
@given(masks(), st.integers(1, 40))
def test_cuts_undo_tunnels_or_part_pieces(mask, most):
    cut, told = loops.cut_bridges(CPU, mask, most)
    assert not (cut & ~mask).any()
    before, after = betti_numbers(mask, CPU.label), betti_numbers(cut, CPU.label)
    euler = (after[0] - after[1] + after[2]) - (before[0] - before[1] + before[2])
    assert euler >= told["bridges"]
    taken, count = ndimage.label(mask & ~cut, CUBE)
    assert (told["voxels"], told["bridges"]) == (-np.count_nonzero(taken), count)
    assert np.bincount(taken.reshape(-1))[1:].max(initial=0) <= most


@settings(deadline=None)
@given(masks(), masks())
def test_the_euler_number_changes_at_the_corners_of_changed_voxels(mask, other):
    after = mask.copy()
    part = tuple(slice(0, min(a, b)) for a, b in zip(mask.shape, other.shape, strict=True))
    after[part] = other[part]
    changed = np.flatnonzero(mask != after)
    eighths = corners.euler_changes(mask, mask != after, changed)
    euler = [bits.euler_number(bits.packed(m), 26) for m in (mask, after)]
    assert eighths.sum() == 8 * (euler[1] - euler[0])
    assert len(eighths) == len(changed)


@settings(deadline=None)
@given(masks(), st.integers(0, 2))
def test_what_a_cleaning_tells_is_what_it_changed(mask, frame):
    asked = SegmentSettings(dust=0, pinholes=8, loops=20, bridges=20, frame=frame)
    told = []
    made = segmentation.clean(CPU, mask, asked, told)
    assert [step["step"] for step in told] == ["bridges", "pinholes", "loops", "cavities", *["frame"] * bool(frame)]
    names = ("components", "tunnels", "cavities")
    counts = [betti_numbers(m, CPU.label) for m in (mask, made)]
    assert tuple(told[0][name][0] for name in names) == counts[0]
    assert tuple(told[-1][name][1] for name in names) == counts[1]
    for one, next_one in itertools.pairwise(told):
        assert all(one[name][1] == next_one[name][0] for name in names)
    assert sum(step["voxels"] for step in told) == int(made.sum()) - int(mask.sum())
    assert np.array_equal(segmentation.clean(CPU, mask, asked), made)  # telling changes nothing


@pytest.fixture
def sheet():
    made = np.zeros((20, 20, 20), bool)
    made[9:12, 2:18, 2:18] = True
    return made


def test_a_loop_along_an_oblique_sheet_is_filled():
    z, y, x = np.indices((24, 24, 24))
    whole = (abs(z + y - 24) <= 2) & (x > 1) & (x < 22) & (z > 3) & (z < 21)
    pierced = whole & ~((x == 12) & (abs(z - y) <= 2))
    assert betti_numbers(pierced, CPU.label) == (1, 1, 0)
    filled, told = loops.fill_loops(CPU, pierced, 64)
    assert betti_numbers(filled, CPU.label) == (1, 0, 0)
    assert (told["fillings"], told["refused"]) == (1, 0)
    assert not (filled & ~whole).any()


def test_a_loop_larger_than_asked_for_stays(sheet):
    pierced = sheet.copy()
    pierced[:, 8:10, 8] = False
    filled, told = loops.fill_loops(CPU, pierced, 2)
    assert betti_numbers(filled, CPU.label) == (1, 0, 0)
    assert told == {"step": "loops", "voxels": 2, "fillings": 1, "refused": 0}
    assert np.array_equal(loops.fill_loops(CPU, pierced, 1)[0], pierced)


def test_what_would_enclose_a_cavity_is_refused():
    hollow = np.zeros((20, 20, 20), bool)
    hollow[2:18, 2:18, 2:18] = True
    hollow[8:12, 8:12, 8:12] = False
    hollow[2:8, 9, 9] = hollow[12:18, 10, 10] = False  # two ways into it, and a loop through both
    assert betti_numbers(hollow, CPU.label) == (1, 1, 0)
    filled, told = loops.fill_loops(CPU, hollow, 64)
    assert np.array_equal(filled, hollow)
    assert told == {"step": "loops", "voxels": 0, "fillings": 0, "refused": 2}


def test_what_would_join_pieces_is_refused():
    crumbs = np.random.default_rng(21).random((7, 7, 7)) < 0.14  # a group joins pieces here, with more loops less
    filled, told = loops.fill_loops(CPU, crumbs, 64)
    assert told["refused"] > 0
    assert betti_numbers(filled, CPU.label)[0] == betti_numbers(crumbs, CPU.label)[0]


def test_a_thread_between_sheets_is_cut(sheet):
    two = sheet | np.roll(sheet, -7, axis=0)
    tied = two.copy()
    tied[5:9, 8, 8] = True
    cut, told = loops.cut_bridges(CPU, tied, 2)
    assert betti_numbers(cut, CPU.label) == (2, 0, 0)
    assert told == {"step": "bridges", "voxels": -2, "bridges": 1}  # what touches a sheet stays
    assert np.array_equal(loops.cut_bridges(CPU, tied, 1)[0], tied)


def test_a_mask_that_a_step_left_alone_is_not_counted_again(sheet):
    begun = []

    def begin(work):
        begun.append(work())
        return lambda: begun[-1]

    tally = Tally(components.host_label(CPU), ["frame", "bridges"], begin, beside=False)
    tally.look(sheet)
    for _ in range(2):
        tally.look(sheet, same=True)
    same = {"components": [1, 1], "tunnels": [0, 0], "cavities": [0, 0]}
    assert tally.result([{"step": "frame"}, {"step": "bridges"}]) == [{"step": s, **same} for s in ("frame", "bridges")]
    assert len(begun) == 1
