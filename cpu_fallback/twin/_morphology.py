"""Twins of `law/_morphology.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._morphology import accept
from cpu_fallback.twin._bits import AS_IT_IS, TURNED, WORD, packed, unpack
from cpu_fallback.twin._jit import clear_row, compiled, copy_row, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRETCH = 128  # words of a column block: with 320 rows it stays in the second cache
_GROW, _SHRINK = AS_IT_IS, TURNED


def erosion(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.erosion."""
    accept("erosion", mask, radius, shape)
    return _apply((_SHRINK,), mask, radius, shape)


def dilation(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.dilation."""
    accept("dilation", mask, radius, shape)
    return _apply((_GROW,), mask, radius, shape)


def opening(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.opening."""
    accept("opening", mask, radius, shape)
    return _apply((_SHRINK, _GROW), mask, radius, shape)


def closing(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.closing."""
    accept("closing", mask, radius, shape)
    return _apply((_GROW, _SHRINK), mask, radius, shape)


def _apply(
    flips: tuple[np.uint64, ...], mask: NDArray[np.bool_], radius: tuple[int, int, int], shape: str
) -> NDArray[np.bool_]:
    """Dilate or erode, one after the other."""
    # An erosion is the dilation of the complement, outside complemented too: one code, bits flipped on the way.
    depth, height, width = mask.shape
    reach = [min(int(r), n - 1) for r, n in zip(radius, mask.shape, strict=True)]
    flip = flips[0]
    bits = packed(mask.view(np.uint8).reshape(-1, width), flip)
    for step in flips:
        if step != flip:
            _turn(bits, width)
            flip = step
        source = bits.copy() if shape == "cross" else bits
        for axis, long in enumerate(((1, depth, -1), (depth, height, -1))):
            block = np.empty((long[1] + 2 * reach[axis], _STRETCH), np.uint64)
            _columns(source.reshape(long), reach[axis], block, bits.reshape(long))
        # Words of 0 on both sides: a window may begin before the row, and what it reads may end behind it.
        line = np.zeros(bits.shape[1] + 3 * (reach[2] // WORD + 1) + 1, np.uint64)
        _rows(source, reach[2], width, line, bits)
    result = np.empty(mask.shape, np.uint8)
    unpack(bits, flip, result.reshape(-1, width))
    return result.view(np.bool_)


@compiled
def _turn(bits: NDArray[np.uint64], width: int) -> None:
    """Set what is not set, but for bits beyond the rows."""
    beyond = width % WORD
    inside = (np.uint64(1) << np.uint64(beyond)) - np.uint64(1)
    for r in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            bits[r, j] = ~bits[r, j]
        if beyond:
            bits[r, -1] &= inside


@compiled
def _columns(source: NDArray[np.uint64], reach: int, block: NDArray[np.uint64], result: NDArray[np.uint64]) -> None:
    """Join into `result` the dilation of `source` along its second axis, block of columns by block."""
    if reach == 0:
        return
    length, width = source.shape[1], source.shape[2]
    window = 2 * reach + 1
    for i in range(source.shape[0]):
        for low in range(0, width, _STRETCH):
            high = min(low + _STRETCH, width)
            for j in range(reach):
                clear_row(block[j])
                clear_row(block[reach + length + j])
            for j in range(length):
                copy_row(source[i, j, low:high], block[reach + j])
            # In place: row j reads row j + size before that one is overwritten.
            size = np.int64(1)
            while 2 * size <= window:
                for j in range(block.shape[0] - 2 * size + 1):
                    _join(block[j, : high - low], block[j + size])
                size *= 2
            for j in range(length):
                _store(block[j], block[j + window - size], result[i, j, low:high])


@compiled
def _rows(
    source: NDArray[np.uint64], reach: int, width: int, line: NDArray[np.uint64], result: NDArray[np.uint64]
) -> None:
    """Join into `result` the dilation of `source` along its rows of so many voxels."""
    if reach == 0:
        return
    length, window = source.shape[1], 2 * reach + 1
    before = reach // WORD + 1
    beyond = width % WORD
    inside = (np.uint64(1) << np.uint64(beyond)) - np.uint64(1)
    filled = line[: length + 2 * before]
    for r in range(source.shape[0]):
        clear_row(filled)
        copy_row(source[r], filled[before:])
        size = np.int64(1)  # a literal would have `_join_ahead` compiled once more
        while 2 * size <= window:
            _join_ahead(line, size, filled)
            size *= 2
        first = WORD * before - reach
        _join_ahead(line, first, result[r])
        _join_ahead(line, first + window - size, result[r])
        if beyond:
            result[r, -1] &= inside


@inner
def _join_ahead(line: NDArray[np.uint64], start: int, result: NDArray[np.uint64]) -> None:
    """Join into `result`, which may be the beginning of `line`, the bits of `line` from `start` on."""
    word, low = start // WORD, np.uint64(start % WORD)
    if low == 0:
        for k in range(result.size):
            result[k] |= line[k + word]
        return
    high = np.uint64(WORD) - low
    for k in range(result.size):
        result[k] |= line[k + word] >> low | line[k + word + 1] << high


@inner
def _join(row: NDArray[np.uint64], other: NDArray[np.uint64]) -> None:
    for x in range(row.size):
        row[x] |= other[x]


@inner
def _store(first: NDArray[np.uint64], second: NDArray[np.uint64], result: NDArray[np.uint64]) -> None:
    # The centre belongs to the element: joining with what stands there loses nothing, and gathers a cross's segments.
    for x in range(result.size):
        result[x] |= first[x] | second[x]
