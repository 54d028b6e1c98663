"""Components and morphology: the twin gives the law's bits on every drawn mask, all parameters varied."""

import numpy as np
import pytest
from volumes import draw_codes, draw_grey, draw_mask

SIZES = [0, 1, 2, 5, 40, 10**30]
NONE = [(0, 0, 0), (1, 1, 1)]


def draw_radius(seed):
    return tuple(int(r) for r in np.random.default_rng([55, seed]).integers(0, 5, 3))


def draw_sparse(seed):
    """Return a mask of few voxels: long stretches of nothing, runs that end at a multiple of 64 or at the row."""
    rng = np.random.default_rng([56, seed])
    mask = rng.random((3, 4, 200)) < 0.02
    mask[0, 1, 60:64] = mask[1, 1, 64:128] = mask[2, seed % 4, 190:] = mask[2, 0, :3] = True
    return mask


def draw_even(seed):
    """Return a dense mask whose rows are whole words of the twin."""
    rng = np.random.default_rng([60, seed])
    return rng.random((3, 4, 64 * (1 + seed % 3))) < (0.5, 0.97)[seed % 2]


def draw_seam(seed):
    """Return a mask of a few voxels to both sides of where a word of the twin ends: many touch at a corner alone."""
    mask = np.zeros((4, 6, 130), np.bool_)
    mask[:, :, 61:67] = np.random.default_rng([61, seed]).random((4, 6, 6)) < (0.1, 0.2, 0.35)[seed % 3]
    return mask


def test_label(agree, seeds):
    for seed in seeds:
        for connectivity in (6, 26):
            for mask in (draw_mask(seed), draw_sparse(seed), draw_grey(seed) >= 128, draw_even(seed), draw_seam(seed)):
                agree("label", mask, connectivity=connectivity)
                at = np.random.default_rng([59, seed]).integers(0, mask.size, 200)
                agree("label", mask, connectivity=connectivity, at=at)
                agree("label", mask, connectivity=connectivity, at=np.arange(mask.size)[:: seed % 2 * 2 - 1])
                agree("label", mask, connectivity=connectivity, at=at[:0])


@pytest.mark.parametrize("connectivity", [6, 26])
def test_label_of_a_spiral_and_a_comb(agree, connectivity):
    """One long component whose ends meet late: chains of hooks, and roots that turn out to be none."""
    comb = np.zeros((1, 40, 81), np.bool_)
    comb[:, :, ::2] = True
    comb[:, -1, :] = True
    spiral = np.zeros((5, 41, 41), np.bool_)
    for ring in range(0, 20, 2):
        spiral[:, ring, ring : 41 - ring] = spiral[:, 40 - ring, ring : 41 - ring] = True
        spiral[:, ring : 41 - ring, ring] = spiral[:, ring + 2 : 41 - ring, 40 - ring] = True
    for mask, count in ((comb, 1), (spiral, None)):
        for view in (mask, mask[:, ::-1], mask[:, :, ::-1], mask.transpose(1, 2, 0), mask.transpose(2, 0, 1)):
            got = agree("label", np.ascontiguousarray(view), connectivity=connectivity)[1]
            assert count in (None, got)


@pytest.mark.parametrize("width", [65_535, 65_536, 70_001])
def test_rows_beyond_16_bits(agree, width):
    mask = np.random.default_rng(width).random((1, 2, width)) < 0.5
    mask[:, :, -1] = True
    for connectivity in (6, 26):
        agree("label", mask, connectivity=connectivity)
        agree("mask_moments", mask, connectivity=connectivity)
        agree("remove_small", mask, min_size=3, connectivity=connectivity)
    agree("hysteresis", (mask * np.arange(width) % 65_536).astype(np.uint16), weak=30_000, strong=60_000)


def test_hysteresis(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([57, seed])
        weak, strong = sorted(int(c) for c in rng.integers(0, 65536, 2))
        for p in (draw_codes(seed, np.uint16), (rng.random((6, 7, 150)) ** 9 * 65535).astype(np.uint16)):
            at = int(p.reshape(-1)[seed % p.size])  # a code that occurs: >= and > differ there
            for low, high in ((weak, strong), (weak, weak), (at, at), (0, at), (at, 65535), (65535, 65535)):
                agree("hysteresis", p, weak=low, strong=high)


def test_remove_small(agree, seeds):
    for seed in seeds:
        for mask in (draw_mask(seed), draw_sparse(seed)):
            for size in (SIZES[seed % 6], SIZES[seed // 6 % 6]):
                for connectivity in (6, 26):
                    agree("remove_small", mask, min_size=size, connectivity=connectivity)


def test_component_moments(agree, seeds):
    from cpu_fallback import law

    for seed in seeds:
        for mask in (draw_mask(seed), draw_sparse(seed)):
            labels, count = law.label(mask, connectivity=26)
            agree("component_moments", labels, count=count + seed % 3)
            # labels that touch one another, and labels in several pieces
            mixed = np.random.default_rng([58, seed]).integers(0, 4, mask.shape).astype(np.int32)
            agree("component_moments", mixed, count=3)


def test_mask_moments(agree, seeds):
    for seed in seeds:
        for mask in (draw_mask(seed), draw_sparse(seed), draw_grey(seed) >= 128):
            for connectivity in (6, 26):
                agree("mask_moments", mask, connectivity=connectivity)
    assert agree("mask_moments", np.zeros((2, 3, 4), np.bool_), connectivity=26).shape == (0, 11)
    assert agree("mask_moments", np.ones((1, 2, 5000), np.bool_), connectivity=6)[0, 10] == 4 * 5000 + 2 * 5000 + 4


def test_component_moments_of_nothing(agree):
    assert agree("component_moments", np.zeros((2, 3, 4), np.int32), count=0).shape == (0, 11)
    assert not agree("component_moments", np.zeros((2, 3, 4), np.int32), count=2).any()


@pytest.mark.parametrize("length", [1, 255, 5000])
def test_component_moments_of_a_long_run(agree, length):
    """Sums over a run are closed forms in the twin."""
    sums = agree("component_moments", np.ones((1, 2, length), np.int32), count=1)[0]
    assert sums[6] == 2 * sum(x * x for x in range(length))


def hold(agree, kernel, seeds):
    for seed in seeds:
        for mask in (draw_mask(seed), draw_sparse(seed), draw_even(seed)):
            for radius in (draw_radius(seed), NONE[seed % 2], (0, 50, 2), (7, 0, 0), (0, 0, 70), (1, 0, 64)):
                for shape in ("box", "cross"):
                    agree(kernel, mask, radius=radius, shape=shape)


def test_erosion(agree, seeds):
    hold(agree, "erosion", seeds)


def test_dilation(agree, seeds):
    hold(agree, "dilation", seeds)


def test_opening(agree, seeds):
    hold(agree, "opening", seeds)


def test_closing(agree, seeds):
    hold(agree, "closing", seeds)


@pytest.mark.parametrize("kernel", ["erosion", "dilation", "opening", "closing"])
def test_morphology_of_slices_wider_than_a_block(agree, kernel):
    """More than 1024 columns: the twin's blocks meet inside the slice."""
    mask = np.random.default_rng(59).random((5, 30, 77)) < (0.95 if kernel in ("erosion", "opening") else 0.05)
    for shape in ("box", "cross"):
        agree(kernel, mask, radius=(2, 1, 3), shape=shape)


MASK, P, LABELS = np.zeros((2, 3, 4), np.bool_), np.zeros((2, 3, 4), np.uint16), np.zeros((2, 3, 4), np.int32)
THREES = np.arange(24, dtype=np.int32).reshape(2, 3, 4) % 3
ONE = {"radius": (1, 1, 1), "shape": "box"}
REFUSED = [
    (TypeError, "label: expected a NumPy array, got list", "label", [[1]], {"connectivity": 6}),
    (TypeError, "label: expected dtype bool, got uint16", "label", [P], {"connectivity": 6}),
    (ValueError, r"label: .*got shape \(3, 4\)", "label", [MASK[0]], {"connectivity": 6}),
    (ValueError, "label: .*C-contiguous", "label", [MASK[:, :, ::-1]], {"connectivity": 6}),
    (ValueError, "expected at of dtype int64", "label", [MASK], {"connectivity": 6, "at": np.zeros(1, np.int32)}),
    (ValueError, "label: .*0..23, got 0..24", "label", [MASK], {"connectivity": 6, "at": np.array([0, 24])}),
    (ValueError, r"connectivity in \(6, 26\), got 18", "label", [MASK], {"connectivity": 18}),
    (TypeError, "hysteresis: expected dtype uint16", "hysteresis", [MASK], {"weak": 1, "strong": 2}),
    (TypeError, "weak as an integer, got 0.5", "hysteresis", [P], {"weak": 0.5, "strong": 2}),
    (TypeError, "strong as an integer, got True", "hysteresis", [P], {"weak": 0, "strong": True}),
    (ValueError, "weak in 0..65535, got -1", "hysteresis", [P], {"weak": -1, "strong": 2}),
    (ValueError, "strong in 0..65535, got 65536", "hysteresis", [P], {"weak": 1, "strong": 65536}),
    (ValueError, "strong >= weak, got weak 3 and strong 2", "hysteresis", [P], {"weak": 3, "strong": 2}),
    (TypeError, "remove_small: expected dtype bool", "remove_small", [P], {"min_size": 1, "connectivity": 6}),
    (TypeError, "min_size as an integer", "remove_small", [MASK], {"min_size": 1.5, "connectivity": 6}),
    (ValueError, "min_size >= 0, got -1", "remove_small", [MASK], {"min_size": -1, "connectivity": 6}),
    (ValueError, "remove_small: .*connectivity", "remove_small", [MASK], {"min_size": 1, "connectivity": 8}),
    (TypeError, "expected dtype int32, got bool", "component_moments", [MASK], {"count": 1}),
    (TypeError, "count as an integer", "component_moments", [LABELS], {"count": None}),
    (ValueError, "count in 0..2147483647, got -1", "component_moments", [LABELS], {"count": -1}),
    (ValueError, "labels in 0..1, got 0..2", "component_moments", [THREES], {"count": 1}),
    (TypeError, "mask_moments: expected dtype bool, got int32", "mask_moments", [LABELS], {"connectivity": 6}),
    (ValueError, "mask_moments: .*connectivity", "mask_moments", [MASK], {"connectivity": 18}),
    (ValueError, "labels in 0..1, got -1..-1", "component_moments", [LABELS - np.int32(1)], {"count": 1}),
]
for _kernel in ("erosion", "dilation", "opening", "closing"):
    REFUSED += [
        (TypeError, f"{_kernel}: expected dtype bool, got uint16", _kernel, [P], ONE),
        (ValueError, f"{_kernel}: .*non-empty", _kernel, [MASK[:0]], ONE),
        (ValueError, r"radius as a tuple \(z, y, x\), got 1", _kernel, [MASK], ONE | {"radius": 1}),
        (ValueError, r"radius as a tuple \(z, y, x\)", _kernel, [MASK], ONE | {"radius": (1, 1)}),
        (TypeError, "radius along y as an integer, got 1.0", _kernel, [MASK], ONE | {"radius": (1, 1.0, 1)}),
        (ValueError, "radius along x >= 0, got -1", _kernel, [MASK], ONE | {"radius": (1, 1, -1)}),
        (ValueError, "shape in .*got 'ball'", _kernel, [MASK], ONE | {"shape": "ball"}),
    ]


@pytest.mark.parametrize(
    ("error", "words", "kernel", "arrays", "parameters"),
    REFUSED,
    ids=[f"{row[2]}-{i}" for i, row in enumerate(REFUSED)],
)
def test_refused(refuse, error, words, kernel, arrays, parameters):
    refuse(error, words, kernel, *arrays, **parameters)


@pytest.mark.parametrize(
    ("kernel", "dtype", "parameters"),
    [
        ("label", np.bool_, {"connectivity": 6}),
        ("hysteresis", np.uint16, {"weak": 1, "strong": 1}),
        ("remove_small", np.bool_, {"min_size": 1, "connectivity": 6}),
        ("mask_moments", np.bool_, {"connectivity": 6}),
    ],
)
def test_refused_are_volumes_of_more_voxels_than_labels(refuse, kernel, dtype, parameters):
    """The pages of 2^31 zeros are never touched, so they take no memory."""
    try:
        huge = np.zeros((2**11, 2**10, 2**10), dtype)
    except MemoryError:
        pytest.skip("this machine does not promise memory that it may not have")
    refuse(ValueError, r"less than 2\^31 voxels, got 2147483648", kernel, huge, **parameters)


def test_refused_are_axes_whose_squares_overflow(refuse):
    try:
        long = np.zeros((1, 1, 2**21), np.int32)
    except MemoryError:
        pytest.skip("this machine does not promise memory that it may not have")
    refuse(ValueError, r"\(longest axis\)\^2 < 2\^63", "component_moments", long, count=0)
    refuse(ValueError, r"\(longest axis\)\^2 < 2\^63", "mask_moments", long == 1, connectivity=6)
