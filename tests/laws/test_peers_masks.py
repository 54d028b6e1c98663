"""The laws of components and morphology equal SciPy's or a plain loop, and obey what must hold of any such thing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from cpu_fallback import costs, law

SHAPES = [(1, 1, 1), (1, 1, 8), (1, 6, 1), (9, 1, 1), (1, 5, 7), (2, 3, 4), (3, 11, 2), (7, 8, 9), (12, 15, 21)]
DENSITIES = [0.0, 0.05, 0.2, 0.35, 0.6, 0.9, 1.0]
CASES = list(itertools.product(SHAPES, DENSITIES))
RADII = [(0, 0, 0), (1, 1, 1), (0, 2, 1), (3, 0, 0), (2, 1, 4), (30, 1, 0)]
STRUCTURE = {6: ndimage.generate_binary_structure(3, 1), 26: np.ones((3, 3, 3), np.bool_)}
MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))
RADIUS = st.tuples(*[st.integers(0, 3)] * 3)
SHAPE = st.sampled_from(["box", "cross"])

cases = pytest.mark.parametrize(("shape", "density"), CASES, ids=str)
connectivities = pytest.mark.parametrize("connectivity", [6, 26])


def draw(shape, density):
    return np.random.default_rng([81, *shape, int(100 * density)]).random(shape) < density


def element(radius, shape):
    """Return the structuring element as an array."""
    offsets = np.indices([2 * r + 1 for r in radius]) - np.array(radius).reshape(3, 1, 1, 1)
    return np.ones(offsets.shape[1:], np.bool_) if shape == "box" else (offsets != 0).sum(axis=0) <= 1


@connectivities
@cases
def test_label_is_scipys(shape, density, connectivity):
    mask = draw(shape, density)
    labels, count = law.label(mask, connectivity=connectivity)
    expected, number = ndimage.label(mask, STRUCTURE[connectivity])
    assert (count, labels.dtype) == (number, np.int32)
    assert np.array_equal(labels, expected)


@connectivities
def test_label_is_scipys_on_a_large_maze(connectivity):
    """Near the density at which components percolate: long, winding, many hooks."""
    for density in (0.1, 0.31):
        mask = np.random.default_rng(82).random((50, 60, 70)) < density
        labels, count = law.label(mask, connectivity=connectivity)
        expected, number = ndimage.label(mask, STRUCTURE[connectivity])
        assert count == number
        assert np.array_equal(labels, expected)


def test_label_joins_nothing_across_the_end_of_a_row_or_a_slice():
    mask = np.zeros((3, 4, 5), np.bool_)
    mask[0, 0, 4] = mask[0, 1, 0] = mask[0, 3, 2] = mask[1, 0, 2] = mask[2, 3, 4] = mask[2, 0, 0] = True
    assert law.label(mask, connectivity=26)[1] == 6


@settings(max_examples=60, deadline=None)
@given(mask=MASKS, connectivity=st.sampled_from([6, 26]), axis=st.integers(0, 2))
def test_labels_are_the_same_up_to_their_numbers_after_a_flip(mask, connectivity, axis):
    labels, count = law.label(mask, connectivity=connectivity)
    flipped, number = law.label(np.ascontiguousarray(np.flip(mask, axis)), connectivity=connectivity)
    assert count == number
    pairs = set(zip(labels.reshape(-1).tolist(), np.flip(flipped, axis).reshape(-1).tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert np.array_equal(labels > 0, mask)
    firsts = [int(np.flatnonzero(labels == k + 1)[0]) for k in range(count)]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_hysteresis_is_scipys_components_that_hold_a_strong_voxel(shape):
    rng = np.random.default_rng([83, *shape])
    p = rng.integers(0, 65536, shape, dtype=np.uint16)
    occurring = int(p.reshape(-1)[0])
    pairs = [(50000, 60000), (60000, 65000), (occurring, occurring), (0, occurring), (occurring, 65535), (0, 0)]
    for low, high in pairs:
        weak, strong = sorted((low, high))
        labels, _ = ndimage.label(p >= weak, STRUCTURE[26])
        anchored = np.setdiff1d(labels[p >= strong], [0])
        assert np.array_equal(law.hysteresis(p, weak=weak, strong=strong), np.isin(labels, anchored))


@settings(max_examples=60, deadline=None)
@given(
    p=hnp.arrays(np.uint16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 9)),
    codes=st.lists(st.integers(0, 10), min_size=3, max_size=3).map(sorted),
)
def test_hysteresis_grows_as_a_threshold_falls(p, codes):
    low, middle, high = codes
    kept = law.hysteresis(p, weak=middle, strong=high)
    assert (kept <= law.hysteresis(p, weak=low, strong=high)).all()
    assert (kept <= law.hysteresis(p, weak=middle, strong=middle)).all()
    assert (kept >= (p >= high)).all()
    assert (kept <= (p >= middle)).all()
    assert np.array_equal(law.hysteresis(p, weak=middle, strong=middle), p >= middle)


@connectivities
@cases
def test_remove_small_is_a_count_of_scipys_labels(shape, density, connectivity):
    mask = draw(shape, density)
    labels, _ = ndimage.label(mask, STRUCTURE[connectivity])
    sizes = np.bincount(labels.reshape(-1))
    for size in (0, 1, 2, 3, 7, 50, int(sizes.max()), 10**30):
        kept = law.remove_small(mask, min_size=size, connectivity=connectivity)
        assert kept.dtype == np.bool_
        assert np.array_equal(kept, mask & (sizes[labels] >= size))


def moments(labels, count):
    """Return the sums of `component_moments`, one voxel after the other."""
    rows = [[0] * 11 for _ in range(count)]
    for z, y, x in np.ndindex(*labels.shape):
        label = int(labels[z, y, x])
        if not label:
            continue
        faces = 0
        for dz, dy, dx in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            at = (z + dz, y + dy, x + dx)
            inside = all(0 <= i < n for i, n in zip(at, labels.shape, strict=True))
            faces += not inside or int(labels[at]) != label
        terms = (1, z, y, x, z * z, y * y, x * x, z * y, z * x, y * x, faces)
        rows[label - 1] = [a + b for a, b in zip(rows[label - 1], terms, strict=True)]
    return np.array(rows, np.int64).reshape(count, 11)


@cases
def test_component_moments_are_a_plain_loops(shape, density):
    labels, count = law.label(draw(shape, density), connectivity=26)
    got = law.component_moments(labels, count=count)
    assert got.dtype == np.int64
    assert np.array_equal(got, moments(labels, count))
    touching = np.random.default_rng([84, *shape]).integers(0, 4, shape).astype(np.int32)
    assert np.array_equal(law.component_moments(touching, count=5), moments(touching, 5))


@connectivities
@cases
def test_mask_moments_are_those_of_the_labels(shape, density, connectivity):
    mask = draw(shape, density)
    labels, count = law.label(mask, connectivity=connectivity)
    assert np.array_equal(law.mask_moments(mask, connectivity=connectivity), moments(labels, count))
    together = costs.operations("label", connectivity=26) + costs.operations("component_moments", count=1)
    assert costs.operations("mask_moments", connectivity=26) == together


def test_component_moments_of_a_cuboid():
    labels = np.zeros((6, 7, 8), np.int32)
    labels[1:3, 2:5, 3:7] = 1
    n, *_, faces = law.component_moments(labels, count=1)[0].tolist()
    assert n == 2 * 3 * 4
    assert faces == 2 * (2 * 3 + 3 * 4 + 2 * 4)


@pytest.mark.parametrize("form", ["box", "cross"])
@cases
def test_morphology_is_scipys(shape, density, form):
    mask = draw(shape, density)
    for radius in RADII:
        structure = element(radius, form)
        grown = ndimage.binary_dilation(mask, structure, border_value=0)
        shrunk = ndimage.binary_erosion(mask, structure, border_value=1)
        expected = {
            "dilation": grown,
            "erosion": shrunk,
            "opening": ndimage.binary_dilation(shrunk, structure, border_value=0),
            "closing": ndimage.binary_erosion(grown, structure, border_value=1),
        }
        for kernel, values in expected.items():
            got = getattr(law, kernel)(mask, radius=radius, shape=form)
            assert got.dtype == np.bool_
            assert np.array_equal(got, values), (kernel, radius)


def test_a_stack_of_three_slices_survives_a_closing_of_seven():
    """V122 closed such a stack with outside as background: nothing was left of any mask."""
    mask = draw((3, 20, 20), 0.2)
    for shape in ("box", "cross"):
        assert (law.closing(mask, radius=(3, 3, 3), shape=shape) >= mask).all()


@settings(max_examples=100, deadline=None)
@given(mask=MASKS, radius=RADIUS, shape=SHAPE)
def test_morphology_obeys_its_algebra(mask, radius, shape):
    def of(kernel, values):
        return getattr(law, kernel)(values, radius=radius, shape=shape)

    assert (of("erosion", mask) <= of("opening", mask)).all()
    assert (of("opening", mask) <= mask).all()
    assert (mask <= of("closing", mask)).all()
    assert (of("closing", mask) <= of("dilation", mask)).all()
    for kernel in ("opening", "closing"):
        once = of(kernel, mask)
        assert np.array_equal(of(kernel, once), once)
    assert np.array_equal(of("erosion", ~mask), ~of("dilation", mask))
    assert np.array_equal(of("opening", ~mask), ~of("closing", mask))


@settings(max_examples=60, deadline=None)
@given(mask=MASKS, radius=RADIUS, shape=SHAPE, voxel=st.integers(0, 342))
def test_morphology_grows_with_the_mask(mask, radius, shape, voxel):
    larger = mask.copy()
    larger.reshape(-1)[voxel % mask.size] = True
    for kernel in ("erosion", "dilation", "opening", "closing"):
        less, more = (getattr(law, kernel)(values, radius=radius, shape=shape) for values in (mask, larger))
        assert (less <= more).all()
