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
_LINE = 1024  # words of rows that are widened at a time: both of two such lines stay in the first cache
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
    # Words of 0 behind each row, at least as many bits as a window reaches: rows are widened side by side.
    beyond = -(-reach[2] // WORD)
    bits = packed(mask.view(np.uint8).reshape(-1, width), flip, beyond)
    row, line = bits.shape[1], np.zeros((2, max(_LINE, bits.shape[1]) + beyond + 2), np.uint64)
    for step in flips:
        if step != flip:
            _turn(bits, width)
            flip = step
        source = bits.copy() if shape == "cross" else bits
        for axis, long in enumerate(((1, depth, height * row), (depth, height, row))):
            block = np.empty((long[1] + 2 * reach[axis]) * min(_STRETCH, long[2]), np.uint64)
            _columns(source.reshape(long), reach[axis], block, bits.reshape(long))
        _rows(source, reach[2], width, line, bits)
    result = np.empty(mask.shape, np.uint8)
    unpack(bits, flip, result.reshape(-1, width))
    return result.view(np.bool_)


@compiled
def _turn(bits: NDArray[np.uint64], width: int) -> None:
    """Set what is not set, but for bits beyond the rows."""
    whole, beyond = width // WORD, width % WORD
    inside = (np.uint64(1) << np.uint64(beyond)) - np.uint64(1)
    for r in range(bits.shape[0]):
        for j in range(whole):
            bits[r, j] = ~bits[r, j]
        if beyond:
            bits[r, whole] = ~bits[r, whole] & inside


@compiled
def _columns(source: NDArray[np.uint64], reach: int, block: NDArray[np.uint64], result: NDArray[np.uint64]) -> None:
    """Join into `result` the dilation of `source` along its second axis, block of columns by block."""
    if reach == 0:
        return
    length, width = source.shape[1], source.shape[2]
    window = 2 * reach + 1
    for i in range(source.shape[0]):
        plane, found = source[i].reshape(-1), result[i].reshape(-1)
        for low in range(0, width, _STRETCH):
            step = min(_STRETCH, width - low)
            # Rows of few words lie one behind the other here as there: all of them are one.
            number, long = (1, length * step) if step == width else (length, step)
            rows = block[: (length + 2 * reach) * step]
            clear_row(rows[: reach * step])
            clear_row(rows[(reach + length) * step :])
            for j in range(number):
                copy_row(plane[low + j * width :][:long], rows[reach * step + j * long :])
            # In place: a row reads the one `size` rows on before that one is overwritten.
            size = np.int64(1)
            while 2 * size <= window:
                _join(rows[: rows.size - size * step], rows[size * step :])
                size *= 2
            last = (window - size) * step
            for j in range(number):
                _store(rows[j * long :], rows[last + j * long :], found[low + j * width :][:long])


@compiled
def _rows(
    source: NDArray[np.uint64], reach: int, width: int, line: NDArray[np.uint64], result: NDArray[np.uint64]
) -> None:
    """Join into `result` the dilation of `source` along its rows of so many voxels, some rows at a time."""
    if reach == 0:
        return
    row = source.shape[1]
    whole, beyond = width // WORD, width % WORD
    inside = (np.uint64(1) << np.uint64(beyond)) - np.uint64(1)
    words, found = source.reshape(-1), result.reshape(-1)
    # What leaves the first row of a line on the left may come back into it: so there are words before it, too.
    before = 1 + row - whole - (beyond > 0)
    most = (line.shape[1] - before - 1) // row * row
    for low in range(0, words.size, most):
        high = min(low + most, words.size)
        end = before + high - low
        here, there = line[0], line[1]
        clear_row(here[:before])
        copy_row(words[low:high], here[before:end])
        here[end] = there[end] = there[0] = 0
        done = 0
        while done < reach:  # all within `done` voxels is joined: three of these side by side leave no gap
            step = min(2 * done + 1, reach - done, WORD - 1)
            _widen(here[: end - 1], here[1:end], here[2:], np.uint64(step), there[1:end])
            here, there = there, here
            done += step
        _join(found[low:high], here[before:end])
    for r in range(result.shape[0]):
        if beyond:
            result[r, whole] &= inside
        clear_row(result[r, whole + (beyond > 0) :])


@inner
def _widen(
    before: NDArray[np.uint64],
    here: NDArray[np.uint64],
    behind: NDArray[np.uint64],
    step: np.uint64,
    result: NDArray[np.uint64],
) -> None:
    """Write what stands in words, and that as many voxels before and behind; other words are beside each."""
    rest = np.uint64(WORD) - step
    for k in range(result.size):
        result[k] = here[k] | here[k] << step | here[k] >> step | before[k] >> rest | behind[k] << rest


@inner
def _join(row: NDArray[np.uint64], other: NDArray[np.uint64]) -> None:
    for x in range(row.size):
        row[x] |= other[x]


@inner
def _store(first: NDArray[np.uint64], second: NDArray[np.uint64], result: NDArray[np.uint64]) -> None:
    # The centre belongs to the element: joining with what stands there loses nothing, and gathers a cross's segments.
    for x in range(result.size):
        result[x] |= first[x] | second[x]
