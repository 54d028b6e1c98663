"""Pinholes, cavities, frame: what each step adds, what it never does, and how it tells it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cpu_fallback import law
from gpu_nx47 import backend, segmentation, topology
from gpu_nx47.settings import SegmentSettings

CPU = backend.select("cpu")[0]
"""The twin; without Numba the law."""
CUBE = np.ones((3, 3, 3), bool)


@st.composite
def masks(draw):
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    share = draw(st.sampled_from((0.05, 0.2, 0.5, 0.8, 0.95)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random(shape) < share
    return ndimage.binary_dilation(mask) if draw(st.booleans()) else mask


@settings(deadline=None)
@given(masks())
def test_filled_cavities_equal_scipy(mask):
    filled, told = topology.fill_cavities(CPU, mask)
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))
    assert told["voxels"] == filled.sum() - mask.sum()
    assert topology.fill_cavities(CPU, filled)[1]["cavities"] == [0, 0]


@settings(deadline=None)
@given(masks(), st.integers(1, 20))
def test_plugs_join_no_components(mask, most):
    plugged, told = topology.plug_pinholes(CPU, mask, most)
    assert not (mask & ~plugged).any()
    before, count = ndimage.label(mask, CUBE)
    after, count_after = ndimage.label(plugged, CUBE)
    assert told["components"] == [count, count_after]
    for part in range(1, count_after + 1):  # each has the voxels of one component
        assert len(np.unique(before[mask & (after == part)])) == 1
    added = plugged & ~mask
    assert told["voxels"] == added.sum()
    sizes = ndimage.sum_labels(added, *ndimage.label(added, CUBE)[:1], range(1, ndimage.label(added, CUBE)[1] + 1))
    assert np.all(sizes <= most)
    assert len(sizes) == told["plugs"]


@settings(deadline=None)
@given(masks(), st.integers(0, 20), st.integers(0, 30), st.integers(0, 30), st.booleans(), st.integers(0, 3))
def test_law_and_twin_clean_alike(mask, pinholes, loops, bridges, cavities, frame):
    pytest.importorskip("numba", reason="Numba is missing: there is no twin")
    from cpu_fallback import twin

    asked = SegmentSettings(dust=5, pinholes=pinholes, loops=loops, bridges=bridges, cavities=cavities, frame=frame)
    told = {code: [] for code in (law, twin)}
    a, b = (np.asarray(segmentation.clean(code, mask.copy(), asked, told[code])) for code in told)
    assert np.array_equal(a, b)
    assert told[law] == told[twin]


@settings(deadline=None)
@given(masks())
def test_steps_that_are_off_change_nothing(mask):
    off = SegmentSettings(dust=0, pinholes=0, loops=0, cavities=False)
    told = []
    assert np.array_equal(segmentation.clean(CPU, mask, off, told), mask)
    assert told == []


@settings(deadline=None)
@given(masks(), st.integers(0, 30), st.sampled_from((6, 26)))
def test_dust_is_what_hangs_together(mask, least, neighbours):
    asked = SegmentSettings(dust=least, dust_connectivity=neighbours, pinholes=0, loops=0, cavities=False)
    labels, _ = ndimage.label(mask, CUBE if neighbours == 26 else None)
    sizes = np.bincount(labels.reshape(-1))
    assert np.array_equal(segmentation.clean(CPU, mask, asked), mask & (sizes[labels] >= least))


@pytest.fixture
def sheet():
    made = np.zeros((20, 20, 20), bool)
    made[9:12, 2:18, 2:18] = True
    return made


def test_a_pinhole_is_plugged(sheet):
    pierced = sheet.copy()
    pierced[:, 8, 8] = False
    plugged, told = topology.plug_pinholes(CPU, pierced, 3)
    assert np.array_equal(plugged, sheet)
    assert told == {"step": "pinholes", "voxels": 3, "plugs": 1, "refused": 0, "components": [1, 1]}


def test_a_hole_larger_than_asked_for_stays(sheet):
    pierced = sheet.copy()
    pierced[:, 8, 8] = False
    assert np.array_equal(topology.plug_pinholes(CPU, pierced, 2)[0], pierced)


def test_sheets_that_a_closing_joins_stay_apart(sheet):
    two = sheet.copy()
    two[10] = False  # a gap of one voxel between two sheets
    assert np.array_equal(topology.plug_pinholes(CPU, two, 2**40)[0], two)
    assert topology.plug_pinholes(CPU, two, 2**40)[1]["refused"] == 1


def test_the_frame_is_cleared(sheet):
    cleared, told = topology.clear_frame(sheet, 4)
    assert np.array_equal(np.argwhere(cleared).min(axis=0), (9, 4, 4))
    assert np.array_equal(np.argwhere(cleared).max(axis=0), (11, 15, 15))
    assert told == {"step": "frame", "voxels": int(cleared.sum()) - int(sheet.sum())}
    assert not topology.clear_frame(sheet, 11)[0].any()


@settings(deadline=None)
@given(masks(), st.booleans())
def test_opening_and_closing_by_a_cross_are_scipys(mask, first):
    mask = np.pad(mask, 3)  # at the border SciPy erodes, and we do not
    off = {"dust": 0, "pinholes": 0, "loops": 0, "cavities": False}
    asked = SegmentSettings(**off, closing=(1, 1, 1), opening=(1, 1, 1), element="cross", opening_first=first)
    opened_first = ndimage.binary_closing(ndimage.binary_opening(mask))
    closed_first = ndimage.binary_opening(ndimage.binary_closing(mask))
    assert np.array_equal(segmentation.clean(CPU, mask, asked), opened_first if first else closed_first)
