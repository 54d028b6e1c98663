"""Directions, and sums and peaks along them: the twin gives the law's bits on every drawn volume."""

import numpy as np
import pytest
from volumes import draw_codes, draw_grey

from cpu_fallback.law import DIRECTION_NONE, DIRECTION_OPPOSITE
from gpu_nx47.tables import disk_offsets, line_offsets

DTYPES = (np.uint8, np.uint16, np.int16)
DISKS = [(2.0, 4.0, 6.0), (1.5,), (3.0, 16.0), (0.7, 2.3, 3.1, 9.9, 5.0, 1.0, 12.5)]
LINES = [(-1.0, 0.0, 1.0), (-2.0, -1.0, 0.0, 1.0, 2.0), (-16.0, -7.5, 3.25, 16.0), tuple(np.arange(-8.0, 8.0, 0.5))]


def draw_field(seed, shape):
    """Return a phase and directions that fit it: noise, one direction, or none at all."""
    rng = np.random.default_rng([58, seed])
    phase = tuple(int(p) for p in rng.integers(0, 2, 3))
    cells = tuple((n + p + 1) // 2 for n, p in zip(shape, phase, strict=True))
    if seed % 4 == 3:
        code = [DIRECTION_NONE, int(rng.integers(0, DIRECTION_NONE))][seed // 4 % 2]
        return phase, np.full(cells, code, np.uint16)
    return phase, rng.integers(0, DIRECTION_NONE + 1, cells, dtype=np.uint16)


def draw_window(rng, shape):
    """Return three slices within a shape, none empty."""
    first = [int(rng.integers(0, n)) for n in shape]
    return tuple(slice(a, int(rng.integers(a + 1, n + 1))) for a, n in zip(first, shape, strict=True))


def test_directions(agree, seeds):
    for seed in seeds:
        codes = draw_codes(seed, np.uint16)
        agree("directions", codes, radius=1 + seed % 8)
        agree("directions", (codes >> 12) + np.uint16(draw_grey(seed).max()))
        window = draw_window(np.random.default_rng([63, seed]), [-(-n // 4) for n in codes.shape])
        window = tuple(slice(4 * w.start, min(4 * w.stop, n)) for w, n in zip(window, codes.shape, strict=True))
        agree("directions", codes, radius=1 + seed % 8, window=window)


def test_directions_of_what_is_even(agree):
    direction, planarity = agree("directions", np.full((5, 6, 7), 4711, np.uint16))
    assert (direction == DIRECTION_NONE).all()
    assert not planarity.any()


def test_directions_of_the_steepest_edges(agree):
    """Gradients of 16 bits in every cell: the largest sums there are, of the largest window."""
    steep = np.zeros((24, 24, 24), np.uint16)
    steep[:, :, 1::4] = steep[:, :, 2::4] = 65535
    direction, planarity = agree("directions", steep, radius=8)
    assert (direction // 576 == 2).all()
    assert (planarity == 255).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_directions_along_an_axis_are_the_middle_of_its_face(agree, axis):
    slope = np.zeros((8, 9, 10), np.uint16) + np.indices((8, 9, 10))[axis].astype(np.uint16) * np.uint16(300)
    direction, _ = agree("directions", slope, radius=1)
    assert (direction == axis * 576 + 12 * 24 + 12).all()
    assert (direction < DIRECTION_OPPOSITE).all()


def test_directions_where_no_axis_leads(agree):
    """Two or three axes alike: the first of equals, whatever the room."""
    for shape in ((12, 13, 14), (16, 16, 16)):
        z, y, x = np.indices(shape)
        for sum_of in (z + y, y + x, z + x, z + y + x):
            agree("directions", (sum_of * 100).astype(np.uint16), radius=2)
            agree("directions", ((sum_of % 2) * 60_000).astype(np.uint16), radius=2)
    apart = np.zeros((3, 32, 33), np.uint16)
    apart[1, 4, 4:20] = apart[1, 8:24, 28] = 60_000
    agree("directions", apart, radius=8)


def test_directional_sum(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([59, seed])
        codes = draw_codes(seed, DTYPES[seed % 3]) if seed % 3 else draw_grey(seed)
        phase, direction = draw_field(seed, codes.shape)
        offsets = disk_offsets(DISKS[seed % 4]) if seed % 5 else line_offsets(LINES[seed % 4])
        number = offsets.shape[1]
        limit = min(2**20, (2**31 - 2**15 - 1) // (65535 * number))
        weights = rng.integers(-limit, limit + 1, number).astype(np.int32)
        for signed in (False, True):
            shift = int(rng.integers(0, 17))
            given = {"phase": phase, "offsets": offsets.copy(), "weights": weights, "shift": shift, "signed": signed}
            agree("directional_sum", codes, direction, **given)
            agree("directional_sum", codes, direction, **given, window=draw_window(rng, codes.shape))


def test_directional_sum_of_one_place_is_the_volume(agree):
    codes = draw_codes(21, np.int16)
    phase, direction = draw_field(21, codes.shape)
    here, one = line_offsets((0.0,)).copy(), np.ones(1, np.int32)
    given = {"phase": phase, "offsets": here, "weights": one, "shift": 0}
    assert np.array_equal(agree("directional_sum", codes, direction, **given, signed=True), codes)
    cut = agree("directional_sum", codes, direction, **given, signed=False)
    assert np.array_equal(cut, np.maximum(codes, 0))


def test_directional_sum_rounds_half_up(agree):
    codes = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    given = {"phase": (0, 0, 0), "offsets": line_offsets((0.0,)).copy(), "shift": 1}
    direction = np.full((1, 1, 1), DIRECTION_NONE, np.uint16)
    for weight, expected in ((1, [0, 1, 1, 2, 2, 3, 3, 4]), (-1, [0, 0, -1, -1, -2, -2, -3, -3])):
        weights = np.array([weight], np.int32)
        found = agree("directional_sum", codes, direction, **given, weights=weights, signed=True)
        assert found.reshape(-1).tolist() == expected


@pytest.mark.parametrize("signed", [False, True])
def test_directional_sum_saturates(agree, signed):
    codes = np.full((3, 4, 5), 255, np.uint8)
    phase, direction = draw_field(2, codes.shape)
    offsets = disk_offsets((2.0,)).copy()
    for sign in (-1, 1):
        weights = np.full(9, sign * (2**31 // (9 * 255) - 1), np.int32)
        given = {"phase": phase, "offsets": offsets, "weights": weights, "shift": 0, "signed": signed}
        found = agree("directional_sum", codes, direction, **given)
        assert (found == {1: np.iinfo(found.dtype).max, -1: np.iinfo(found.dtype).min}[sign]).all()


def test_directional_profile(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([60, seed])
        codes = draw_codes(seed, np.uint16)
        phase, direction = draw_field(seed, codes.shape)
        given = {"phase": phase, "offsets": line_offsets(LINES[seed % 4][seed % 3 :]).copy()}
        agree("directional_profile", codes, direction, **given)
        agree("directional_profile", codes, direction, **given, window=draw_window(rng, codes.shape))


def test_a_window_of_what_lies_along_is_that_of_the_whole():
    """Of the law, which computes no more than its window; at odd and even places, deep inside and at the edges."""
    from cpu_fallback import law

    rng = np.random.default_rng(64)
    for _ in range(12):
        codes = rng.integers(-32_768, 32_768, tuple(rng.integers(1, 24, 3))).astype(np.int16)
        phase, direction = draw_field(int(rng.integers(0, 99)), codes.shape)
        along = {"phase": phase, "offsets": line_offsets((-16.0, -7.5, 3.25, 16.0)).copy()}
        summed = along | {"weights": np.array([3, -1, 2, 5], np.int32), "shift": 2, "signed": True}
        smooth, window = codes.view(np.uint16), draw_window(rng, codes.shape)
        whole = law.directional_sum(codes, direction, **summed)
        assert np.array_equal(law.directional_sum(codes, direction, **summed, window=window), whole[window])
        whole = law.directional_peak(codes, direction, **along)
        assert np.array_equal(law.directional_peak(codes, direction, **along, window=window), whole[window])
        blocks = draw_window(rng, [-(-n // 4) for n in codes.shape])
        voxels = tuple(slice(4 * w.start, min(4 * w.stop, n)) for w, n in zip(blocks, codes.shape, strict=True))
        for found, all_of in zip(law.directions(smooth, window=voxels), law.directions(smooth), strict=True):
            assert np.array_equal(found, all_of[blocks])


def test_directional_profile_is_sums_of_one_place(agree):
    """Far from every edge of a deep volume too, where its surroundings are cut off."""
    from cpu_fallback import law

    codes = np.random.default_rng(61).integers(0, 65_536, (60, 9, 10)).astype(np.uint16)
    phase, direction = draw_field(1, codes.shape)
    window = (slice(29, 32), slice(0, 9), slice(3, 10))
    offsets = line_offsets((-8.0, 0.0, 3.0)).copy()
    found = agree("directional_profile", codes, direction, phase=phase, offsets=offsets, window=window)
    given = {"phase": phase, "weights": ONES[:1], "shift": 0, "signed": False}
    for k, one in enumerate(found):
        way = np.ascontiguousarray(offsets[:, k : k + 1])
        assert np.array_equal(one, law.directional_sum(codes, direction, offsets=way, **given)[window])


def test_directional_peak(agree, seeds):
    for seed in seeds:
        codes = draw_codes(seed, np.int16)
        phase, direction = draw_field(seed, codes.shape)
        given = {"phase": phase, "offsets": line_offsets(LINES[seed % 4]).copy()}
        agree("directional_peak", codes, direction, **given)
        window = draw_window(np.random.default_rng([62, seed]), codes.shape)
        agree("directional_peak", codes, direction, **given, window=window)


def test_directional_peak_is_neither_at_an_end_nor_below_zero(agree):
    along_x = 2 * 576 + 12 * 24 + 12
    direction = np.full((1, 1, 4), along_x, np.uint16)
    given = {"phase": (0, 0, 0), "offsets": line_offsets((-1.0, 0.0, 1.0)).copy()}
    codes = np.array([[[5, -3, -2, -4, 7, 7, 9, 1]]], np.int16)
    found = agree("directional_peak", codes, direction, **given)
    assert found.tolist() == [[[5, 0, 0, 0, 7, 0, 9, 0]]]


CODES, FIELD = np.zeros((2, 3, 4), np.int16), np.zeros((1, 2, 2), np.uint16)
WAYS, ONES = line_offsets((-1.0, 0.0, 1.0)), np.ones(3, np.int32)
SUM = {"phase": (0, 0, 0), "offsets": WAYS, "weights": ONES, "shift": 0, "signed": True}
PEAK = {"phase": (0, 0, 0), "offsets": WAYS}
SMOOTH = CODES.astype(np.uint16)
FAR = WAYS.copy()
FAR[47, 1, 2] = -17
REFUSED = [
    (TypeError, "expected dtype uint16, got int16", "directions", [CODES], {}),
    (ValueError, "non-empty", "directions", [SMOOTH[:, :0]], {}),
    (ValueError, "radius in 1..8, got 9", "directions", [SMOOTH], {"radius": 9}),
    (TypeError, "radius as an integer, got 2.0", "directions", [SMOOTH], {"radius": 2.0}),
    (ValueError, "three slices", "directions", [SMOOTH], {"window": (slice(0, 3),) * 3}),
    (ValueError, "whole blocks", "directions", [SMOOTH], {"window": (slice(0, 2), slice(2, 3), slice(0, 4))}),
    (ValueError, "whole blocks", "directions", [SMOOTH], {"window": (slice(0, 2), slice(0, 2), slice(0, 4))}),
    (TypeError, "uint8 or uint16 or int16, got bool", "directional_sum", [CODES > 0, FIELD], SUM),
    (TypeError, "expected dtype uint16, got int16", "directional_sum", [CODES, FIELD.astype(np.int16)], SUM),
    (ValueError, "C-contiguous array", "directional_sum", [CODES, np.zeros((1, 2, 4), np.uint16)[..., ::2]], SUM),
    (ValueError, r"shape \(1, 2, 2\), got \(2, 3, 4\)", "directional_sum", [CODES, SMOOTH], SUM),
    (ValueError, r"shape \(1, 2, 3\), got", "directional_sum", [CODES, FIELD], SUM | {"phase": (0, 0, 1)}),
    (ValueError, "phase along y in 0..1, got 2", "directional_sum", [CODES, FIELD], SUM | {"phase": (0, 2, 0)}),
    (TypeError, "phase along z as an integer", "directional_sum", [CODES, FIELD], SUM | {"phase": (True, 0, 0)}),
    (ValueError, "phase as a tuple", "directional_sum", [CODES, FIELD], SUM | {"phase": [0, 0, 0]}),
    (ValueError, "at most 3456, got 3457", "directional_sum", [CODES, FIELD + np.uint16(3457)], SUM),
    (TypeError, "dtype int8, got int16", "directional_sum", [CODES, FIELD], SUM | {"offsets": WAYS.astype(np.int16)}),
    (TypeError, "dtype int8, got list", "directional_sum", [CODES, FIELD], SUM | {"offsets": []}),
    (ValueError, r"\(3457, 1..64, 3\), got \(3456", "directional_sum", [CODES, FIELD], SUM | {"offsets": WAYS[1:]}),
    (ValueError, "1..64", "directional_sum", [CODES, FIELD], SUM | {"offsets": np.zeros((3457, 65, 3), np.int8)}),
    (ValueError, "C-contiguous offsets", "directional_sum", [CODES, FIELD], SUM | {"offsets": WAYS[:, ::-1]}),
    (ValueError, "within 16 voxels, got -17..1", "directional_sum", [CODES, FIELD], SUM | {"offsets": FAR}),
    (ValueError, r"shape \(3,\), got int32 and \(2,\)", "directional_sum", [CODES, FIELD], SUM | {"weights": ONES[1:]}),
    (ValueError, "int32.*got int64", "directional_sum", [CODES, FIELD], SUM | {"weights": ONES.astype(np.int64)}),
    (ValueError, "int32.*got list", "directional_sum", [CODES, FIELD], SUM | {"weights": [1, 1, 1]}),
    (
        ValueError,
        "below 2.31.*2147483648",
        "directional_sum",
        [CODES, FIELD],
        SUM | {"weights": np.array([-65536, 0, 0], np.int32)},
    ),
    (ValueError, "shift in 0..16, got 17", "directional_sum", [CODES, FIELD], SUM | {"shift": 17}),
    (TypeError, "signed as a bool, got 1", "directional_sum", [CODES, FIELD], SUM | {"signed": 1}),
    (ValueError, "three slices", "directional_sum", [CODES, FIELD], SUM | {"window": (slice(0, 3),) * 3}),
    (TypeError, "expected dtype uint16, got int16", "directional_profile", [CODES, FIELD], PEAK),
    (ValueError, "1..64", "directional_profile", [SMOOTH, FIELD], PEAK | {"offsets": np.zeros((3457, 65, 3), np.int8)}),
    (ValueError, "phase along y", "directional_profile", [SMOOTH, FIELD], PEAK | {"phase": (0, 2, 0)}),
    (ValueError, "three slices", "directional_profile", [SMOOTH, FIELD], PEAK | {"window": (slice(0, 3),) * 3}),
    (TypeError, "expected dtype int16, got uint16", "directional_peak", [SMOOTH, FIELD], PEAK),
    (ValueError, "three slices", "directional_peak", [CODES, FIELD], PEAK | {"window": (slice(0, 3),) * 3}),
    (ValueError, "3..32", "directional_peak", [CODES, FIELD], PEAK | {"offsets": np.zeros((3457, 2, 3), np.int8)}),
    (ValueError, "3..32", "directional_peak", [CODES, FIELD], PEAK | {"offsets": np.zeros((3457, 33, 3), np.int8)}),
    (ValueError, "at most 3456, got 65535", "directional_peak", [CODES, FIELD - np.uint16(1)], PEAK),
]


@pytest.mark.parametrize(("error", "words", "kernel", "arrays", "given"), REFUSED)
def test_what_is_refused(refuse, error, words, kernel, arrays, given):
    refuse(error, words, kernel, *arrays, **given)
