"""Twin of `law/_variance.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback._border import reflect_index
from cpu_fallback.law._variance import accept_local_variance
from cpu_fallback.twin._jit import clear_row, compiled, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray


def local_variance(grey: NDArray[np.uint8], /, *, window: int) -> NDArray[np.uint16]:
    """Twin of law.local_variance."""
    accept_local_variance(grey, window)
    n = window**3
    result = np.empty(grey.shape, np.uint16)
    at_z, at_y, at_x = (reflect_index(length, window // 2) for length in grey.shape)
    rooms = (
        *(np.zeros((grey.shape[1], at_x.size), np.int32) for _ in range(2)),
        *(np.empty(n, np.int32) for n in (at_x.size, at_x.size, grey.shape[2], grey.shape[2])),
        np.empty((2, at_x.size), np.int32),
        *(np.zeros(at_x.size, np.uint8) for _ in range(2)),
    )
    _variance(grey, int(window), at_z, at_y, at_x, np.float64(n), np.float64(4 / (n * n)), *rooms, result)
    return result


@compiled
def _variance(
    grey: NDArray[np.uint8],
    window: int,
    at_z: NDArray[np.int64],
    at_y: NDArray[np.int64],
    at_x: NDArray[np.int64],
    n: np.float64,
    scale: np.float64,
    column1: NDArray[np.int32],
    column2: NDArray[np.int32],
    row1: NDArray[np.int32],
    row2: NDArray[np.int32],
    sum1: NDArray[np.int32],
    sum2: NDArray[np.int32],
    scratch: NDArray[np.int32],
    fresh: NDArray[np.uint8],
    stale: NDArray[np.uint8],
    result: NDArray[np.uint16],
) -> None:
    depth, height = grey.shape[0], grey.shape[1]
    for z in range(-window + 1, depth):
        for y in range(height):
            pad_row(grey[at_z[z + window - 1], y], at_x, fresh)
            if z > 0:
                pad_row(grey[at_z[z - 1], y], at_x, stale)
            _exchange(fresh, stale, column1[y], column2[y])
        if z < 0:
            continue
        clear_row(row1)
        clear_row(row2)
        for y in range(-window + 1, height):
            enter = at_y[y + window - 1]
            _add(row1, column1[enter])
            _add(row2, column2[enter])
            if y > 0:
                _subtract(row1, column1[at_y[y - 1]])
                _subtract(row2, column2[at_y[y - 1]])
            if y >= 0:
                sum_row(row1, window, scratch, sum1)
                sum_row(row2, window, scratch, sum2)
                _finish(sum1, sum2, n, scale, result[z, y])


@inner
def pad_row(row: NDArray[np.uint8], at_x: NDArray[np.int64], padded: NDArray[np.uint8]) -> None:
    """Write a row with its border on both sides."""
    radius = (padded.size - row.size) // 2
    inside = padded[radius : radius + row.size]
    for x in range(row.size):
        inside[x] = row[x]
    for i in range(radius):
        padded[i] = row[at_x[i]]
        padded[radius + row.size + i] = row[at_x[radius + row.size + i]]


@inner
def _exchange(
    fresh: NDArray[np.uint8], stale: NDArray[np.uint8], first: NDArray[np.int32], second: NDArray[np.int32]
) -> None:
    for x in range(fresh.size):
        new, old = np.int32(fresh[x]), np.int32(stale[x])
        first[x] += new - old
        second[x] += new * new - old * old


@inner
def _add(row: NDArray, other: NDArray) -> None:
    for x in range(row.size):
        row[x] += other[x]


@inner
def _subtract(row: NDArray, other: NDArray) -> None:
    for x in range(row.size):
        row[x] -= other[x]


@inner
def sum_row(row: NDArray, window: int, scratch: NDArray, result: NDArray) -> None:
    """Write result[x] = row[x] + row[x + 1] + ... + row[x + window - 1] for every x of `result`.

    A running sum along x is one chain of dependent additions. Sums of 1, 2, 4 ... samples, of which the bits of the
    window name those to add, take a few additions more, but many voxels at a time.
    """
    for x in range(result.size):
        result[x] = row[x]
    now, turn = row, 0
    length, done = 1, 1
    while 2 * length <= window:
        # Slices, not now[x + length]: Numba guards an index that might be negative, and that guard does not vectorise.
        twice = scratch[turn][: row.size - 2 * length + 1]
        _pairs(now, now[length:], twice)
        now, turn = twice, 1 - turn
        length *= 2
        if window & length:
            _add(result, now[done:])
            done += length


@inner
def _pairs(values: NDArray, ahead: NDArray, result: NDArray) -> None:
    for x in range(result.size):
        result[x] = values[x] + ahead[x]


@inner
def _finish(
    first: NDArray[np.int32], second: NDArray[np.int32], n: np.float64, scale: np.float64, result: NDArray[np.uint16]
) -> None:
    # int32 before uint16: every vector unit converts float64 to int32.
    for x in range(result.size):
        s1 = np.float64(first[x])
        spread = n * np.float64(second[x]) - s1 * s1
        result[x] = np.uint16(np.int32(np.rint(spread * scale)))
