"""Twins of `law/_table.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._table import accept_count, accept_gather, accept_histogram, accept_lookup, accept_row_sums
from cpu_fallback.twin._bits import WORD, ones, set_of
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 1 << 31  # voxels tallied together: their counts fit in 32 bits


def _indices(codes: NDArray) -> tuple[NDArray, np.unsignedinteger]:
    """Return codes as flat unsigned numbers, and the sign bit whose flip makes each its index: code - lowest code.

    Numba looks at a signed index whether it is negative; an unsigned one it takes as it is.
    """
    flat = codes.reshape(-1)
    if codes.dtype == np.uint8:
        return flat, np.uint8(0)
    return flat.view(np.uint16), np.uint16(0x8000 if codes.dtype == np.int16 else 0)


def histogram(codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16], /) -> NDArray[np.int64]:
    """Twin of law.histogram."""
    accept_histogram(codes)
    flat, flip = _indices(codes)
    if codes.dtype == np.uint8:
        parts = np.zeros((4, 256), np.int64)
        _tally_bytes(flat, parts)
        return parts[0] + parts[1] + parts[2] + parts[3]
    counts = np.zeros(65536, np.int64)
    for start in range(0, flat.size, _MOST):
        some = np.zeros(65536, np.uint32)  # two tables in turn took half as long again, of noise
        _tally(flat[start : start + _MOST], flip, some)
        counts += some
    return counts


@compiled
def _tally_bytes(flat: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    # Four counters a code: a run of equal voxels would otherwise wait for its own last store.
    whole = flat.size // 4 * 4
    for i in range(0, whole, 4):
        counts[0, flat[i]] += 1
        counts[1, flat[i + 1]] += 1
        counts[2, flat[i + 2]] += 1
        counts[3, flat[i + 3]] += 1
    for i in range(whole, flat.size):
        counts[0, flat[i]] += 1


@compiled
def _tally(flat: NDArray[np.uint16], flip: np.uint16, counts: NDArray[np.uint32]) -> None:
    one, eight = np.uint32(1), np.uint32(8)
    groups = flat[: flat.size // 8 * 8].reshape(-1, 8)
    for i in range(groups.shape[0]):
        a, b, c, d = groups[i, 0], groups[i, 1], groups[i, 2], groups[i, 3]
        e, f, g, h = groups[i, 4], groups[i, 5], groups[i, 6], groups[i, 7]
        if (a ^ b) | (a ^ c) | (a ^ d) | (a ^ e) | (a ^ f) | (a ^ g) | (a ^ h):
            counts[a ^ flip] += one
            counts[b ^ flip] += one
            counts[c ^ flip] += one
            counts[d ^ flip] += one
            counts[e ^ flip] += one
            counts[f ^ flip] += one
            counts[g ^ flip] += one
            counts[h ^ flip] += one
        else:  # each of a run of equal codes would wait for the store before
            counts[a ^ flip] += eight
    for code in flat[groups.size :]:
        counts[code ^ flip] += one


def row_sums(
    codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16], /, *, weights: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Twin of law.row_sums."""
    accept_row_sums(codes, weights)
    z, y, x = codes.shape
    flat, flip = _indices(codes)
    result = np.empty(z * y, np.uint64)
    # The weights are copied: Numba would compile once more for read-only ones.
    _sum_rows(flat.reshape(-1, x), flip, weights.copy(), result)
    if flip:  # each code was counted from the lowest one
        result -= np.sum(weights * np.uint64(flip))
    return result.reshape(z, y)


@compiled
def _sum_rows(rows: NDArray, flip: np.unsignedinteger, weights: NDArray[np.uint64], sums: NDArray[np.uint64]) -> None:
    for i in range(sums.size):
        row, total = rows[i], np.uint64(0)
        for x in range(row.size):
            total += np.uint64(row[x] ^ flip) * weights[x]
        sums[i] = total


def count(mask: NDArray[np.bool_], /) -> int:
    """Twin of law.count."""
    accept_count(mask)
    return int(_ones(mask.reshape(-1).view(np.uint8)))


@compiled
def _ones(flat: NDArray[np.uint8]) -> np.int64:
    total = np.int64(0)
    whole = flat.size // WORD * WORD
    for i in range(0, whole, WORD):
        total += np.int64(ones(set_of(flat, np.uint64(i))))
    for i in range(whole, flat.size):
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
    flat, flip = _indices(codes)
    _translate(flat, flip, table.copy(), result.reshape(-1))
    return result


@compiled
def _translate(flat: NDArray, flip: np.unsignedinteger, table: NDArray, result: NDArray) -> None:
    for i in range(flat.size):
        result[i] = table[flat[i] ^ flip]


def gather(array: NDArray, /, *, index: NDArray[np.int64]) -> NDArray:
    """Twin of law.gather."""
    accept_gather(array, index)
    # Voxels at random addresses wait for memory, not for Python: NumPy's own gather is the compiled form.
    return array.reshape(-1)[index]
