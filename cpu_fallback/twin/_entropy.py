"""Twin of `law/_entropy.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback._border import reflect_index
from cpu_fallback.law._entropy import accept_local_entropy
from cpu_fallback.twin._jit import clear_row, compiled, copy_row, inner
from cpu_fallback.twin._variance import pad_row, sum_row

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reciprocal(n: int) -> tuple[int, int]:
    """Return (m, s) such that v // n = (v m) >> s for every v below 2^16 n.

    With k = bits of n, s = 16 + 2 k and m = 2^s // n + 1 = (2^s + e) / n, 0 < e <= n: (v m) / 2^s exceeds v / n by
    v e / (n 2^s), which is below 1 / n because v e < 2^16 n n < 2^s; a quotient that is no integer lies at least 1 / n
    below the next one. m <= 2^(17 + k) <= 2^29 for n <= 15^3, and v < 2^28, so the product fits in 64 bits.
    """
    shift = 16 + 2 * n.bit_length()
    return 2**shift // n + 1, shift


def local_entropy(
    grey: NDArray[np.uint8], /, *, window: int, bins: int, table: NDArray[np.uint32]
) -> NDArray[np.uint16]:
    """Twin of law.local_entropy."""
    accept_local_entropy(grey, window, bins, table)
    result = np.empty(grey.shape, np.uint16)
    at_z, at_y, at_x = (reflect_index(length, window // 2) for length in grey.shape)
    multiplier, shift = reciprocal(int(window) ** 3)
    division = np.array([multiplier, shift], np.uint64)
    # 5^3 = 125 fits in a byte, which doubles the voxels of a vector.
    counts = np.empty((bins, at_x.size), np.uint8 if window <= 5 else np.uint16)
    wide = bins * at_x.size
    rooms = (
        np.zeros((grey.shape[1], bins, at_x.size), np.uint8),
        np.empty(wide, np.uint8),
        np.empty(wide, counts.dtype),
        np.empty((2, wide), counts.dtype),
        np.empty(at_x.size, np.uint8),
        np.empty(at_x.size, np.uint8),
        np.empty(grey.shape[2], np.uint32),
    )
    sizes = int(window), int(bins)
    _entropy(grey, *sizes, np.ascontiguousarray(table), at_z, at_y, at_x, division, *rooms, counts, result)
    return result


@compiled
def _entropy(
    grey: NDArray[np.uint8],
    window: int,
    bins: int,
    table: NDArray[np.uint32],
    at_z: NDArray[np.int64],
    at_y: NDArray[np.int64],
    at_x: NDArray[np.int64],
    division: NDArray[np.uint64],
    columns: NDArray[np.uint8],
    row: NDArray[np.uint8],
    wider: NDArray,
    scratch: NDArray,
    fresh: NDArray[np.uint8],
    stale: NDArray[np.uint8],
    total: NDArray[np.uint32],
    counts: NDArray,
    result: NDArray[np.uint16],
) -> None:
    # Counts over z and over z, y are at most 15 and 225: bytes hold them, 64 voxels a vector. The rows of all bins,
    # with their borders, lie one behind the other: one long row for the sums along y and x. Sums that reach from one
    # bin's row into the next are never read.
    depth, height = grey.shape[0], grey.shape[1]
    down = np.uint8(4 if bins == 16 else 3)
    sums = counts.reshape(-1)[: row.size - window + 1]
    for z in range(-window + 1, depth):
        for y in range(height):
            pad_row(grey[at_z[z + window - 1], y], at_x, fresh)
            if z > 0:
                pad_row(grey[at_z[z - 1], y], at_x, stale)
                _exchange(fresh, stale, down, columns[y])
            else:
                _enter(fresh, down, columns[y])
        if z < 0:
            continue
        clear_row(row)
        for y in range(-window + 1, height):
            if y > 0:
                _replace(row, columns[at_y[y + window - 1]].reshape(-1), columns[at_y[y - 1]].reshape(-1))
            else:
                _add(row, columns[at_y[y + window - 1]].reshape(-1))
            if y >= 0:
                copy_row(row, wider)
                sum_row(wider, window, scratch, sums)
                clear_row(total)
                for b in range(0, bins, 4):
                    _look_up(counts[b], counts[b + 1], counts[b + 2], counts[b + 3], table, total)
                _divide(total, table, division, result[z, y])


@inner
def _enter(fresh: NDArray[np.uint8], down: np.uint8, column: NDArray[np.uint8]) -> None:
    for b in range(column.shape[0]):
        row, key = column[b], np.uint8(b)
        for x in range(row.size):
            row[x] += np.uint8(fresh[x] >> down == key)


@inner
def _exchange(fresh: NDArray[np.uint8], stale: NDArray[np.uint8], down: np.uint8, column: NDArray[np.uint8]) -> None:
    for b in range(column.shape[0]):
        row, key = column[b], np.uint8(b)
        for x in range(row.size):
            row[x] += np.uint8(fresh[x] >> down == key) - np.uint8(stale[x] >> down == key)


@inner
def _add(row: NDArray[np.uint8], enter: NDArray[np.uint8]) -> None:
    for x in range(row.size):
        row[x] += enter[x]


@inner
def _replace(row: NDArray[np.uint8], enter: NDArray[np.uint8], leave: NDArray[np.uint8]) -> None:
    for x in range(row.size):
        row[x] += enter[x] - leave[x]


@inner
def _look_up(
    first: NDArray,
    second: NDArray,
    third: NDArray,
    fourth: NDArray,
    table: NDArray[np.uint32],
    total: NDArray[np.uint32],
) -> None:
    # Four bins at a time: a quarter of the loads and stores of the total. The counts lie in longer rows than the total.
    for x in range(total.size):
        low = np.uint32(table[first[x]] + table[second[x]])
        total[x] += np.uint32(low + np.uint32(table[third[x]] + table[fourth[x]]))


@inner
def _divide(
    total: NDArray[np.uint32], table: NDArray[np.uint32], division: NDArray[np.uint64], result: NDArray[np.uint16]
) -> None:
    n = table.size - 1
    high = np.uint32(table[n] + np.uint32(4 * n))
    multiplier, shift = division[0], division[1]
    for x in range(result.size):
        # (v // 8) // n = v // (8 n)
        eighth = np.uint64(np.uint32(high - total[x]) >> np.uint32(3))
        result[x] = np.uint16((eighth * multiplier) >> shift)
