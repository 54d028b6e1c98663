"""Twins of `law/_morphology.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._morphology import accept
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRETCH = 1024  # bytes of a column block: with 320 rows it stays in the second cache
_GROW, _SHRINK = np.uint8(0), np.uint8(1)


def erosion(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.erosion."""
    accept("erosion", mask, radius, shape)
    return _apply(_SHRINK, mask, radius, shape)


def dilation(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.dilation."""
    accept("dilation", mask, radius, shape)
    return _apply(_GROW, mask, radius, shape)


def opening(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.opening."""
    accept("opening", mask, radius, shape)
    return _apply(_GROW, _apply(_SHRINK, mask, radius, shape), radius, shape, own=True)


def closing(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Twin of law.closing."""
    accept("closing", mask, radius, shape)
    return _apply(_SHRINK, _apply(_GROW, mask, radius, shape), radius, shape, own=True)


def _apply(
    flip: np.uint8, mask: NDArray[np.bool_], radius: tuple[int, int, int], shape: str, *, own: bool = False
) -> NDArray[np.bool_]:
    """Dilate or erode; `own`: the mask may be written over, where its shape allows that."""
    # An erosion is the dilation of the complement, outside complemented too: one code, bytes flipped on the way.
    depth, height, width = mask.shape
    reach_z, reach_y, reach_x = (min(int(r), n - 1) for r, n in zip(radius, mask.shape, strict=True))
    source = mask.view(np.uint8)
    result = source if own and shape != "cross" else source.copy()
    start = source if shape == "cross" else result
    _columns(start.reshape(1, depth, height * width), reach_z, flip, result.reshape(1, depth, height * width))
    _columns(start, reach_y, flip, result)
    _rows(start.reshape(-1, width), reach_x, flip, result.reshape(-1, width))
    return result.view(np.bool_)


@compiled
def _columns(source: NDArray[np.uint8], reach: int, flip: np.uint8, result: NDArray[np.uint8]) -> None:
    """Join into `result` the dilation of `source` along its second axis, block of columns by block."""
    if reach == 0:
        return
    length, width = source.shape[1], source.shape[2]
    window = 2 * reach + 1
    block = np.empty((length + 2 * reach, _STRETCH), np.uint8)
    for i in range(source.shape[0]):
        for low in range(0, width, _STRETCH):
            high = min(low + _STRETCH, width)
            block[:reach] = 0
            block[reach + length :] = 0
            for j in range(length):
                _load(source[i, j, low:high], flip, block[reach + j])
            # In place: row j reads row j + size before that one is overwritten.
            size = 1
            while 2 * size <= window:
                for j in range(block.shape[0] - 2 * size + 1):
                    _join(block[j, : high - low], block[j + size])
                size *= 2
            for j in range(length):
                _store(block[j], block[j + window - size], flip, result[i, j, low:high])


@compiled
def _rows(source: NDArray[np.uint8], reach: int, flip: np.uint8, result: NDArray[np.uint8]) -> None:
    """Join into `result` the dilation of `source` along its rows."""
    if reach == 0:
        return
    width = source.shape[1]
    window = 2 * reach + 1
    scratch = np.empty((2, width + 2 * reach), np.uint8)
    for r in range(source.shape[0]):
        now, turn, size = scratch[0], 1, 1
        now[:reach] = 0
        now[reach + width :] = 0
        _load(source[r], flip, now[reach : reach + width])
        while 2 * size <= window:
            twice = scratch[turn][: now.size - size]
            _pairs(now, now[size:], twice)
            now, turn = twice, 1 - turn
            size *= 2
        _store(now, now[window - size :], flip, result[r])


@compiled
def _load(row: NDArray[np.uint8], flip: np.uint8, copy: NDArray[np.uint8]) -> None:
    for x in range(row.size):
        copy[x] = np.uint8(row[x] != 0) ^ flip


@compiled
def _join(row: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    for x in range(row.size):
        row[x] |= other[x]


@compiled
def _pairs(row: NDArray[np.uint8], ahead: NDArray[np.uint8], result: NDArray[np.uint8]) -> None:
    for x in range(result.size):
        result[x] = row[x] | ahead[x]


@compiled
def _store(first: NDArray[np.uint8], second: NDArray[np.uint8], flip: np.uint8, result: NDArray[np.uint8]) -> None:
    # The centre belongs to the element: joining with what stands there loses nothing, and gathers a cross's segments.
    for x in range(result.size):
        joined = first[x] | second[x] | (result[x] ^ flip)
        result[x] = np.uint8(joined ^ flip)
