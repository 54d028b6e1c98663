"""Twins of `law/_gaussian.py`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import reflect_index
from cpu_fallback.law._gaussian import HIGHEST, accept_band_pass, accept_gaussian, accept_gaussians
from cpu_fallback.twin._floats import WIDTH, add, add_bytes, add_product, load, load_bytes, same, store, store_codes
from cpu_fallback.twin._jit import compiled, inner
from cpu_fallback.twin._room import room

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

STEP = 4 * WIDTH
"""Voxels of a row whose sums stay in registers from the first tap to the last."""

_ONE, _TWO, _THREE = (np.uint64(k * WIDTH) for k in (1, 2, 3))
_ZERO = np.float32(0)
_SCALE = np.float32(256)
_TOP = np.float32(HIGHEST)


def gaussian(grey: NDArray[np.uint8], /, *, taps: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Twin of law.gaussian."""
    accept_gaussian(grey, taps)
    return _in_window(grey, taps, _checks.window("gaussian", grey.shape, None))


def gaussians(
    grey: NDArray[np.uint8], /, *, taps: tuple[NDArray[np.float32], ...], window: Window | None = None
) -> tuple[NDArray[np.uint16], ...]:
    """Twin of law.gaussians."""
    within = accept_gaussians(grey, taps, window)
    # One after the other: the grey values stay in the cache, and their reads are a small part of the work.
    return tuple(_in_window(grey, half, within) for half in taps)


def _in_window(grey: NDArray[np.uint8], taps: NDArray[np.float32], window: Window) -> NDArray[np.uint16]:
    """Return the Gaussian in a window; of the passes before the last, what its kernel reaches is computed."""
    radius = len(taps) - 1
    around = tuple(slice(max(0, w.start - radius), w.stop + radius) for w in window[1:])
    reached = grey[:, around[0], around[1]]
    shape = [w.stop - w.start for w in window]
    codes = np.empty(math.prod(shape) + WIDTH, np.uint16)  # of each row the last are written behind it
    # Where the window's surroundings are cut off, they are as long as the kernel: no reflection comes near it.
    at_z, at_y, at_x = (reflect_index(n, radius) for n in reached.shape)
    first = np.array([window[0].start, window[1].start - around[0].start, window[2].start - around[1].start])
    if reached.shape[2] < STEP:  # rows are read by steps; what is computed there is not in the window
        reached, narrow = np.zeros((*reached.shape[:2], STEP), np.uint8), reached
        reached[:, :, : narrow.shape[2]] = narrow
    place = np.array([reached.__array_interface__["data"][0], *reached.strides[:2]], np.uint64)
    # The taps are copied: Numba would compile once more for a read-only table.
    # The last step of a row ends behind it: in the next row, which comes later, or in the room at the end.
    height, width = reached.shape[1:]
    rooms = [room(n + STEP, np.float32) for n in (height * width, width + 2 * radius, shape[2])]
    rows = np.empty((2, taps.size), np.uint64)
    _smooth(place, reached.shape[1:], taps.copy(), at_z, at_y, at_x, first, *rooms, rows, tuple(shape), codes)
    return codes[: math.prod(shape)].reshape(shape)


@compiled
def _smooth(
    place: NDArray[np.uint64],
    shape: tuple[int, int],
    taps: NDArray[np.float32],
    at_z: NDArray[np.int64],
    at_y: NDArray[np.int64],
    at_x: NDArray[np.int64],
    first: NDArray[np.int64],
    plane: NDArray[np.float32],
    padded: NDArray[np.float32],
    row: NDArray[np.float32],
    rows: NDArray[np.uint64],
    size: tuple[int, int, int],
    codes: NDArray[np.uint16],
) -> None:
    height, width = shape
    radius = taps.size - 1
    length = at_x.size - 2 * radius
    lows, highs = rows[0], rows[1]
    for z in range(size[0]):
        for y in range(height):
            _places(at_z, first[0] + z, place[0] + np.uint64(y) * place[2], place[1], lows, highs)
            _pass_bytes(lows, highs, taps, width, plane[y * width :])
        for y in range(size[1]):
            _places(at_y, first[1] + y, np.uint64(0), np.uint64(width), lows, highs)
            _pass(plane, lows, highs, taps, length, padded[radius:])
            for i in range(radius):
                padded[i] = padded[radius + at_x[i]]
                padded[radius + length + i] = padded[radius + at_x[radius + length + i]]
            for k in range(taps.size):
                lows[k], highs[k] = first[2] + radius - k, first[2] + radius + k
            _pass(padded, lows, highs, taps, size[2], row)
            _round(row, size[2], codes, np.uint64((z * size[1] + y) * size[2]))


@inner
def _places(
    at: NDArray[np.int64],
    i: int,
    start: np.uint64,
    stride: np.uint64,
    lows: NDArray[np.uint64],
    highs: NDArray[np.uint64],
) -> None:
    """Put where the rows below and above a row lie for each tap."""
    radius = lows.size - 1
    for k in range(lows.size):
        lows[k] = start + np.uint64(at[radius + i - k]) * stride
        highs[k] = start + np.uint64(at[radius + i + k]) * stride


@inner
def _pass_bytes(
    lows: NDArray[np.uint64], highs: NDArray[np.uint64], taps: NDArray[np.float32], length: int, row: NDArray
) -> None:
    for x in range(0, length, STEP):
        i = np.uint64(min(x, length - STEP))  # nothing lies behind the last row: some of it is computed twice
        weight, low = taps[0], lows[0]
        a = add_product(same(_ZERO), weight, load_bytes(low, i))
        b = add_product(same(_ZERO), weight, load_bytes(low, i + _ONE))
        c = add_product(same(_ZERO), weight, load_bytes(low, i + _TWO))
        d = add_product(same(_ZERO), weight, load_bytes(low, i + _THREE))
        for k in range(1, taps.size):
            low, high, weight = lows[k], highs[k], taps[k]
            a = add_product(a, weight, add_bytes(low, high, i))
            b = add_product(b, weight, add_bytes(low, high, i + _ONE))
            c = add_product(c, weight, add_bytes(low, high, i + _TWO))
            d = add_product(d, weight, add_bytes(low, high, i + _THREE))
        store(a, row, i)
        store(b, row, i + _ONE)
        store(c, row, i + _TWO)
        store(d, row, i + _THREE)


@inner
def _pass(
    flat: NDArray[np.float32],
    lows: NDArray[np.uint64],
    highs: NDArray[np.uint64],
    taps: NDArray[np.float32],
    length: int,
    row: NDArray[np.float32],
) -> None:
    for x in range(0, length, STEP):
        i, weight = np.uint64(x), taps[0]
        low = lows[0] + i
        a = add_product(same(_ZERO), weight, load(flat, low))
        b = add_product(same(_ZERO), weight, load(flat, low + _ONE))
        c = add_product(same(_ZERO), weight, load(flat, low + _TWO))
        d = add_product(same(_ZERO), weight, load(flat, low + _THREE))
        for k in range(1, taps.size):
            low, high, weight = lows[k] + i, highs[k] + i, taps[k]
            a = add_product(a, weight, add(load(flat, low), load(flat, high)))
            b = add_product(b, weight, add(load(flat, low + _ONE), load(flat, high + _ONE)))
            c = add_product(c, weight, add(load(flat, low + _TWO), load(flat, high + _TWO)))
            d = add_product(d, weight, add(load(flat, low + _THREE), load(flat, high + _THREE)))
        store(a, row, i)
        store(b, row, i + _ONE)
        store(c, row, i + _TWO)
        store(d, row, i + _THREE)


@inner
def _round(row: NDArray[np.float32], length: int, result: NDArray[np.uint16], at: np.uint64) -> None:
    # No lower bound: taps and greys are not negative.
    for x in range(0, length, WIDTH):
        i = np.uint64(x)
        store_codes(load(row, i), _SCALE, _TOP, result, at + i)


def band_pass(narrow: NDArray[np.uint16], wide: NDArray[np.uint16], /) -> NDArray[np.int16]:
    """Twin of law.band_pass."""
    accept_band_pass(narrow, wide)
    result = np.empty(narrow.shape, np.int16)
    _subtract(narrow.reshape(-1), wide.reshape(-1), result.reshape(-1))
    return result


@compiled
def _subtract(narrow: NDArray[np.uint16], wide: NDArray[np.uint16], result: NDArray[np.int16]) -> None:
    for i in range(result.size):
        difference = np.int32(narrow[i]) - np.int32(wide[i])
        result[i] = np.int16(np.int32(difference + np.int32(2)) >> np.int32(2))
