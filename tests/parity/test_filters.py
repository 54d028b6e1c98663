"""Filters, differences, runs of slices and tables: the twin gives the law's bits on every drawn volume."""

import numpy as np
import pytest
from volumes import draw_codes, draw_grey, draw_mask

from gpu_nx47.tables import gaussian_taps

SIGMAS = [0.5, 0.7, 1.0, 1.6, 2.0, 3.0, 5.0]  # radius 20 at 5: longer than most drawn axes
WINDOWS = [3, 5, 7, 17, 31, 63]
STATISTICS = ["max", "mean", "deviation", "coherence"]


def draw_axis(seed, shape, origin):
    """Return an axis inside the array, far from it, or exactly on its voxels."""
    rng = np.random.default_rng([50, seed])
    depth, height, width = shape
    corner = 8 * np.array(origin)
    if seed % 3 == 0:
        points = corner + rng.integers(0, 8 * np.array([height, width]), (depth, 2))
    elif seed % 3 == 1:
        points = rng.integers(-(2**23), 2**23, (depth, 2))
    else:
        points = corner + 8 * rng.integers(0, [height, width], (depth, 2))
    return points.astype(np.int32)


def draw_window(seed, shape):
    """Return a part of the array, edges and single voxels among them; every fourth time all of it."""
    rng = np.random.default_rng([55, seed])
    if seed % 4 == 0:
        return None
    start = [int(rng.integers(0, n)) for n in shape]
    stop = [n if seed % 4 == 1 else int(rng.integers(a + 1, n + 1)) for a, n in zip(start, shape, strict=True)]
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def test_gaussian(agree, seeds):
    for seed in seeds:
        grey = draw_grey(seed)
        for sigma in (SIGMAS[seed % 7], SIGMAS[(seed // 7 + 3) % 7]):
            agree("gaussian", grey, taps=gaussian_taps(sigma).copy())


def test_gaussian_of_one_tap_is_the_volume(agree):
    grey = draw_grey(8)
    assert np.array_equal(agree("gaussian", grey, taps=np.ones(1, np.float32)), grey.astype(np.uint16) * 256)


def test_gaussian_saturates_at_the_brightest_code(agree):
    taps = np.array([0.50008, 0.25], np.float32)  # adds up to 1.00008: within the tolerance, above 255 on a full volume
    assert (agree("gaussian", np.full((3, 4, 19), 255, np.uint8), taps=taps) == 65280).all()


def test_gaussians(agree, seeds):
    flat = np.full(36, 1 / 71, np.float32)  # reaches farther than a block of the port holds
    for seed in seeds:
        grey = draw_grey(seed)
        taps = [gaussian_taps(SIGMAS[(seed + 2 * k) % 7]).copy() for k in range(1 + seed % 3)]
        agree("gaussians", grey, taps=(*taps, flat)[: 1 + seed % 4], window=draw_window(seed, grey.shape))


def test_gaussians_are_those_of_one_kernel_each(agree):
    grey, place = draw_grey(21), (slice(3, 11), slice(0, 24), slice(60, 65))
    taps = tuple(gaussian_taps(sigma).copy() for sigma in (1.0, 3.0, 0.5))
    for found, half in zip(agree("gaussians", grey, taps=taps, window=place), taps, strict=True):
        assert np.array_equal(found, agree("gaussian", grey, taps=half)[place])


def test_band_pass(agree, seeds):
    for seed in seeds:
        narrow = draw_codes(seed, np.uint16)
        wide = np.random.default_rng([51, seed]).permuted(narrow, axis=seed % 3)
        agree("band_pass", narrow, wide)
        agree("band_pass", wide, np.full_like(wide, 65535 * (seed % 2)))


def test_gradient_magnitude(agree, seeds):
    for seed in seeds:
        agree("gradient_magnitude", draw_codes(seed, np.uint16))


def test_laplacian(agree, seeds):
    for seed in seeds:
        for dtype in (np.uint16, np.int16):
            for shift in (0, 1, seed % 17):
                agree("laplacian", draw_codes(seed, dtype), shift=shift)


def test_gradient_along(agree, seeds):
    for seed in seeds:
        smooth = draw_codes(seed, np.uint16)
        origin = [(0, 0), (-7, 12), (100_000, 5)][seed // 3 % 3]
        agree("gradient_along", smooth, axis=draw_axis(seed, smooth.shape, origin), origin=origin)


def test_gradient_along_is_zero_on_the_axis(agree):
    smooth = np.random.default_rng(54).integers(0, 65536, (1, 9, 9), dtype=np.uint16)
    code = agree("gradient_along", smooth, axis=np.array([[8 * 3, 8 * 2]], np.int32), origin=(0, 0))
    assert code[0, 3, 2] == 0


def test_gradient_along_rounds_each_product(agree):
    """Far from the axis no product fits 24 bits: a fused sum rounds one of them less, and some code shows it."""
    smooth = np.random.default_rng(56).integers(0, 65536, (3, 61, 67), dtype=np.uint16)
    axis = np.array([[12_345_677, -9_876_543], [5_432_101, 13_579_111], [-11_111_113, 7_777_777]], np.int32)
    agree("gradient_along", smooth, axis=axis, origin=(-5, 9))


STENCILS = ("gradient_magnitude", "laplacian", "band_pass", "gradient_along")


def test_stencils(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([57, seed])
        narrow = draw_codes(seed, np.uint16)
        wide, origin = rng.permuted(narrow, axis=seed % 3), (int(rng.integers(-9, 9)), 7)
        results = tuple(str(name) for name in rng.permutation(STENCILS)[: 1 + seed % 4])
        way = {"axis": draw_axis(seed, narrow.shape, origin), "origin": origin}
        window = draw_window(seed, narrow.shape)
        agree("stencils", narrow, wide, results=results, shift=seed % 17, **way, window=window)


def test_stencils_need_only_what_their_results_need(agree):
    narrow = draw_codes(21, np.uint16)
    place = (slice(4, 5), slice(0, 24), slice(1, 64))
    (length,) = agree("stencils", narrow, results=("gradient_magnitude",), window=place)
    assert np.array_equal(length, agree("gradient_magnitude", narrow)[place])
    sharp, again = agree("stencils", narrow, results=("laplacian", "gradient_magnitude"), shift=4)
    assert np.array_equal(sharp, agree("laplacian", narrow, shift=4))
    assert np.array_equal(again[place], length)


def test_z_projection(agree, seeds):
    for seed in seeds:
        grey = draw_grey(seed)
        for statistic in STATISTICS:
            for window in (WINDOWS[seed % 6], WINDOWS[(seed // 6) % 6]):
                agree("z_projection", grey, window=window, statistic=statistic)


def test_histogram(agree, seeds):
    for seed in seeds:
        agree("histogram", draw_grey(seed))
        for dtype in (np.uint16, np.int16):
            counts = agree("histogram", draw_codes(seed, dtype))
            assert counts.dtype == np.int64


def test_row_sums(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([65, seed])
        for codes in (draw_grey(seed), draw_codes(seed, np.uint16), draw_codes(seed, np.int16)):
            found = agree("row_sums", codes, weights=rng.integers(0, 2**64, codes.shape[2], dtype=np.uint64))
            assert found.shape == codes.shape[:2]


def test_count(agree, seeds):
    for seed in seeds:
        agree("count", draw_mask(seed))


def test_lookup(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([52, seed])
        for codes in (draw_grey(seed), draw_codes(seed, np.uint16), draw_codes(seed, np.int16)):
            dtype = [np.uint16, np.int16][seed % 2]
            info = np.iinfo(dtype)
            length = 256 if codes.dtype == np.uint8 else 65536
            agree("lookup", codes, table=rng.integers(info.min, info.max, length, dtype=dtype, endpoint=True))


def test_gather(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([53, seed])
        for array in (draw_grey(seed), draw_codes(seed, np.int16), draw_mask(seed)):
            agree("gather", array, index=rng.integers(0, array.size, seed * 3))
            agree("gather", array, index=np.array([0, array.size - 1], np.int64))


GREY, SMOOTH = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint16)
TAPS = np.array([0.5, 0.25], np.float32)
AXIS = np.zeros((2, 2), np.int32)
REFUSED = [
    (TypeError, "expected a NumPy array, got list", "gaussian", [[1]], {"taps": TAPS}),
    (TypeError, "expected dtype uint8, got uint16", "gaussian", [SMOOTH], {"taps": TAPS}),
    (ValueError, r"got shape \(3, 4\)", "gaussian", [GREY[0]], {"taps": TAPS}),
    (ValueError, "non-empty", "gaussian", [GREY[:0]], {"taps": TAPS}),
    (ValueError, "C-contiguous", "gaussian", [GREY[:, :, ::2]], {"taps": TAPS}),
    (ValueError, "taps of dtype float32.*float64", "gaussian", [GREY], {"taps": TAPS.astype(float)}),
    (ValueError, "taps of dtype float32.*list", "gaussian", [GREY], {"taps": [0.5, 0.25]}),
    (ValueError, r"shape \(r \+ 1,\), got", "gaussian", [GREY], {"taps": TAPS[:0]}),
    (ValueError, "total of 2.0", "gaussian", [GREY], {"taps": 2 * TAPS}),
    (ValueError, "total of nan", "gaussian", [GREY], {"taps": TAPS * np.float32("nan")}),
    (ValueError, "least tap of -0.25", "gaussian", [GREY], {"taps": np.array([1.5, -0.25], np.float32)}),
    (ValueError, "at least 2", "gaussian", [GREY], {"taps": np.array([1.0, 2.0**-43], np.float32)}),
    (TypeError, "expected dtype uint16", "band_pass", [GREY, SMOOTH], {}),
    (TypeError, "expected dtype uint16", "band_pass", [SMOOTH, GREY], {}),
    (ValueError, "equal shapes", "band_pass", [SMOOTH, SMOOTH[:1].copy()], {}),
    (TypeError, "expected dtype uint16", "gradient_magnitude", [GREY], {}),
    (TypeError, "uint16 or int16, got uint8", "laplacian", [GREY], {"shift": 0}),
    (ValueError, "shift in .*got 17", "laplacian", [SMOOTH], {"shift": 17}),
    (ValueError, "shift in .*got -1", "laplacian", [SMOOTH], {"shift": -1}),
    (TypeError, "integer", "laplacian", [SMOOTH], {"shift": 1.0}),
    (TypeError, "expected dtype uint16", "gradient_along", [GREY], {"axis": AXIS, "origin": (0, 0)}),
    (ValueError, r"shape \(2, 2\), got", "gradient_along", [SMOOTH], {"axis": AXIS[:1], "origin": (0, 0)}),
    (ValueError, "dtype int32", "gradient_along", [SMOOTH], {"axis": AXIS.astype(np.int64), "origin": (0, 0)}),
    (ValueError, "dtype int32.*list", "gradient_along", [SMOOTH], {"axis": [[0, 0]], "origin": (0, 0)}),
    (ValueError, "origin", "gradient_along", [SMOOTH], {"axis": AXIS, "origin": (0, 0, 0)}),
    (TypeError, "integer", "gradient_along", [SMOOTH], {"axis": AXIS, "origin": (0.0, 0)}),
    (ValueError, "within 16777216 voxels", "gradient_along", [SMOOTH], {"axis": AXIS, "origin": (0, 2**70)}),
    (ValueError, "eighths", "gradient_along", [SMOOTH], {"axis": AXIS, "origin": (0, 2**21)}),
    (ValueError, "eighths", "gradient_along", [SMOOTH], {"axis": AXIS - 2**30, "origin": (0, 0)}),
    (TypeError, "expected dtype uint8, got uint16", "gaussians", [SMOOTH], {"taps": (TAPS,)}),
    (ValueError, "a tuple of at least one array of taps", "gaussians", [GREY], {"taps": ()}),
    (ValueError, "a tuple of at least one array of taps", "gaussians", [GREY], {"taps": [TAPS]}),
    (ValueError, "total of 2.0", "gaussians", [GREY], {"taps": (TAPS, 2 * TAPS)}),
    *(
        (ValueError, "window as three slices within", "gaussians", [GREY], {"taps": (TAPS,), "window": window})
        for window in (
            (slice(0, 2), slice(0, 3)),
            (slice(0, 2), slice(0, 3), slice(0, 5)),
            (slice(0, 2), slice(2, 2), slice(0, 4)),
            (slice(-1, 2), slice(0, 3), slice(0, 4)),
            (slice(0, 2, 1), slice(0, 3), slice(0, 4)),
            (slice(None), slice(0, 3), slice(0, 4)),
            (0, slice(0, 3), slice(0, 4)),
        )
    ),
    (TypeError, "expected dtype uint16", "stencils", [GREY], {"results": ("laplacian",)}),
    (ValueError, "a tuple of names, none twice", "stencils", [SMOOTH], {"results": ()}),
    (ValueError, "a tuple of names, none twice", "stencils", [SMOOTH], {"results": ["laplacian"]}),
    (ValueError, "a tuple of names, none twice", "stencils", [SMOOTH], {"results": ("laplacian", "laplacian")}),
    (ValueError, "results in .*got 'gaussian'", "stencils", [SMOOTH], {"results": ("gaussian",)}),
    (ValueError, "shift in .*got 17", "stencils", [SMOOTH], {"results": ("laplacian",), "shift": 17}),
    (TypeError, "got NoneType", "stencils", [SMOOTH], {"results": ("band_pass",)}),
    (ValueError, "equal shapes", "stencils", [SMOOTH, SMOOTH[:1].copy()], {"results": ("band_pass",)}),
    (ValueError, "expected axis and origin", "stencils", [SMOOTH], {"results": ("gradient_along",), "axis": AXIS}),
    (
        ValueError,
        r"shape \(2, 2\), got",
        "stencils",
        [SMOOTH],
        {"results": ("gradient_along",), "axis": AXIS[:1], "origin": (0, 0)},
    ),
    (
        ValueError,
        "window as three slices within",
        "stencils",
        [SMOOTH],
        {"results": ("laplacian",), "window": (slice(0, 3), slice(0, 3), slice(0, 4))},
    ),
    (TypeError, "expected dtype uint8", "z_projection", [SMOOTH], {"window": 3, "statistic": "max"}),
    (ValueError, "odd window in 3..63, got 4", "z_projection", [GREY], {"window": 4, "statistic": "max"}),
    (ValueError, "odd window in 3..63, got 65", "z_projection", [GREY], {"window": 65, "statistic": "max"}),
    (ValueError, "statistic in", "z_projection", [GREY], {"window": 3, "statistic": "median"}),
    (TypeError, "uint8 or uint16 or int16, got bool", "histogram", [GREY > 0], {}),
    (TypeError, "expected dtype bool", "count", [GREY], {}),
    (TypeError, "uint8 or uint16 or int16", "lookup", [GREY > 0], {"table": np.zeros(256, np.uint16)}),
    (ValueError, "uint16 or int16, got int32", "lookup", [GREY], {"table": np.zeros(256, np.int32)}),
    (ValueError, "uint16 or int16, got list", "lookup", [GREY], {"table": [0] * 256}),
    (ValueError, r"shape \(256,\)", "lookup", [GREY], {"table": np.zeros(65536, np.uint16)}),
    (ValueError, r"shape \(65536,\)", "lookup", [SMOOTH], {"table": np.zeros(256, np.uint16)}),
    (TypeError, "expected a NumPy array", "gather", [[1]], {"index": np.zeros(1, np.int64)}),
    (ValueError, "index of dtype int64", "gather", [GREY], {"index": np.zeros(1, np.int32)}),
    (ValueError, "index of dtype int64.*list", "gather", [GREY], {"index": [0]}),
    (ValueError, "0..23, got 0..24", "gather", [GREY], {"index": np.array([0, 24])}),
    (ValueError, "0..23, got -1..0", "gather", [GREY], {"index": np.array([0, -1])}),
]


@pytest.mark.parametrize(
    ("error", "words", "kernel", "arrays", "parameters"),
    REFUSED,
    ids=[f"{row[2]}-{i}" for i, row in enumerate(REFUSED)],
)
def test_refused(refuse, error, words, kernel, arrays, parameters):
    refuse(error, words, kernel, *arrays, **parameters)
