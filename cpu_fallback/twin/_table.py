"""Twins of `law/_table.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._table import accept_count, accept_gather, accept_histogram, accept_lookup
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


def histogram(codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16], /) -> NDArray[np.int64]:
    """Twin of law.histogram."""
    accept_histogram(codes)
    flat = codes.reshape(-1)
    if codes.dtype == np.uint8:
        return _tally_bytes(flat)
    return _tally(flat, np.iinfo(codes.dtype).min)


@compiled
def _tally_bytes(flat: NDArray[np.uint8]) -> NDArray[np.int64]:
    # Four counters a code: a run of equal voxels would otherwise wait for its own last store.
    counts = np.zeros((4, 256), np.int64)
    whole = flat.size // 4 * 4
    for i in range(0, whole, 4):
        counts[0, flat[i]] += 1
        counts[1, flat[i + 1]] += 1
        counts[2, flat[i + 2]] += 1
        counts[3, flat[i + 3]] += 1
    for i in range(whole, flat.size):
        counts[0, flat[i]] += 1
    return counts[0] + counts[1] + counts[2] + counts[3]


@compiled
def _tally(flat: NDArray, lowest: int) -> NDArray[np.int64]:
    counts = np.zeros((2, 65536), np.int64)
    whole = flat.size // 2 * 2
    for i in range(0, whole, 2):
        counts[0, np.int64(flat[i]) - lowest] += 1
        counts[1, np.int64(flat[i + 1]) - lowest] += 1
    for i in range(whole, flat.size):
        counts[0, np.int64(flat[i]) - lowest] += 1
    return counts[0] + counts[1]


def count(mask: NDArray[np.bool_], /) -> int:
    """Twin of law.count."""
    accept_count(mask)
    return int(_ones(mask.reshape(-1).view(np.uint8)))


@compiled
def _ones(flat: NDArray[np.uint8]) -> int:
    total = 0
    for i in range(flat.size):
        total += flat[i] != 0
    return total


def lookup(
    codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16],
    /,
    *,
    table: NDArray,
) -> NDArray:
    """Twin of law.lookup."""
    accept_lookup(codes, table)
    result = np.empty(codes.shape, table.dtype)
    # The table is copied: Numba would compile once more for a read-only one.
    _translate(codes.reshape(-1), np.iinfo(codes.dtype).min, table.copy(), result.reshape(-1))
    return result


@compiled
def _translate(flat: NDArray, lowest: int, table: NDArray, result: NDArray) -> None:
    for i in range(flat.size):
        result[i] = table[np.int64(flat[i]) - lowest]


def gather(array: NDArray, /, *, index: NDArray[np.int64]) -> NDArray:
    """Twin of law.gather."""
    accept_gather(array, index)
    # Voxels at random addresses wait for memory, not for Python: NumPy's own gather is the compiled form.
    return array.reshape(-1)[index]
