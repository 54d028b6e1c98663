"""Twins of `law/_gaussian.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import reflect_index
from cpu_fallback.law._gaussian import HIGHEST, accept_band_pass, accept_gaussian, accept_gaussians
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

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
    result = np.empty([w.stop - w.start for w in window], np.uint16)
    # Where the window's surroundings are cut off, they are as long as the kernel: no reflection comes near it.
    at_z, at_y, at_x = (reflect_index(n, radius) for n in reached.shape)
    first = np.array([window[0].start, window[1].start - around[0].start, window[2].start - around[1].start])
    # The taps are copied: Numba would compile once more for a read-only table.
    _smooth(reached, taps.copy(), at_z, at_y, at_x, first, result)
    return result


@compiled
def _smooth(
    grey: NDArray[np.uint8],
    taps: NDArray[np.float32],
    at_z: NDArray[np.int64],
    at_y: NDArray[np.int64],
    at_x: NDArray[np.int64],
    first: NDArray[np.int64],
    result: NDArray[np.uint16],
) -> None:
    height, width = grey.shape[1:]
    radius = taps.size - 1
    plane = np.empty((height, width), np.float32)
    padded = np.empty(width + 2 * radius, np.float32)
    row = np.empty(result.shape[2], np.float32)
    for z in range(result.shape[0]):
        for y in range(height):
            _pass_z(grey, taps, at_z, first[0] + z, y, plane[y])
        for y in range(result.shape[1]):
            _pass_y(plane, taps, at_y, first[1] + y, padded[radius : radius + width])
            for i in range(radius):
                padded[i] = padded[radius + at_x[i]]
                padded[radius + width + i] = padded[radius + at_x[radius + width + i]]
            _pass_x(padded[first[2] :], taps, row)
            _round(row, result[z, y])


@compiled
def _pass_z(
    grey: NDArray[np.uint8],
    taps: NDArray[np.float32],
    at_z: NDArray[np.int64],
    z: int,
    y: int,
    row: NDArray[np.float32],
) -> None:
    radius = taps.size - 1
    centre, weight = grey[z, y], taps[0]
    for x in range(row.size):
        row[x] = weight * np.float32(centre[x])
    for k in range(1, radius + 1):
        lo, hi, weight = grey[at_z[radius + z - k], y], grey[at_z[radius + z + k], y], taps[k]
        for x in range(row.size):
            row[x] = row[x] + weight * (np.float32(lo[x]) + np.float32(hi[x]))


@compiled
def _pass_y(
    plane: NDArray[np.float32],
    taps: NDArray[np.float32],
    at_y: NDArray[np.int64],
    y: int,
    row: NDArray[np.float32],
) -> None:
    radius = taps.size - 1
    centre, weight = plane[y], taps[0]
    for x in range(row.size):
        row[x] = weight * centre[x]
    for k in range(1, radius + 1):
        lo, hi, weight = plane[at_y[radius + y - k]], plane[at_y[radius + y + k]], taps[k]
        for x in range(row.size):
            row[x] = row[x] + weight * (lo[x] + hi[x])


@compiled
def _pass_x(padded: NDArray[np.float32], taps: NDArray[np.float32], row: NDArray[np.float32]) -> None:
    radius = taps.size - 1
    centre, weight = padded[radius:], taps[0]
    for x in range(row.size):
        row[x] = weight * centre[x]
    for k in range(1, radius + 1):
        lo, hi, weight = padded[radius - k :], padded[radius + k :], taps[k]
        for x in range(row.size):
            row[x] = row[x] + weight * (lo[x] + hi[x])


@compiled
def _round(row: NDArray[np.float32], result: NDArray[np.uint16]) -> None:
    # No lower bound: taps and greys are not negative. int32 on the way, for which every vector unit has a conversion.
    for x in range(row.size):
        result[x] = np.uint16(np.int32(min(np.rint(row[x] * _SCALE), _TOP)))


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
