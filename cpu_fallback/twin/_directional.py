"""Twins of `law/_directional.py`: a cell reads the ways of its direction, as steps in memory, for several voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback._border import reflect_index
from cpu_fallback.law._directional import accept_directional_peak, accept_directional_sum
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cpu_fallback.law._directional import Codes, Phase

_NEXT = np.uint64(1)


def directional_sum(
    codes: Codes,
    direction: NDArray[np.uint16],
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    weights: NDArray[np.int32],
    shift: int,
    signed: bool,
) -> NDArray[np.uint16] | NDArray[np.int16]:
    """Twin of law.directional_sum."""
    accept_directional_sum(codes, direction, phase, offsets, weights, shift, signed)
    low, high = (-32768, 32767) if signed else (0, 65535)
    limits = np.array([1 << shift >> 1, shift, low, high], np.int32)
    padded, steps, first = _endless(codes, phase, offsets)
    cells = _of_whole_cells(direction, np.int16 if signed else np.uint16)
    _sums(padded, direction, steps, first, weights, limits, cells)
    return _cut(cells, codes, phase)


def directional_peak(
    codes: NDArray[np.int16], direction: NDArray[np.uint16], /, *, phase: Phase, offsets: NDArray[np.int8]
) -> NDArray[np.uint16]:
    """Twin of law.directional_peak."""
    accept_directional_peak(codes, direction, phase, offsets)
    padded, steps, first = _endless(codes, phase, offsets)
    cells = _of_whole_cells(direction, np.uint16)
    _peaks(padded, direction, steps, first, cells)
    return _cut(cells, codes, phase)


def _endless(codes: Codes, phase: Phase, offsets: NDArray[np.int8]) -> tuple[NDArray, NDArray[np.uint64], Phase]:
    """Return the codes with their border, every way as a step through them, and the first voxel of the first cell.

    The border reaches a voxel farther than the ways, for the voxels that only complete a cell.
    """
    reach = 1 + max(int(offsets.max()), -int(offsets.min()))
    at_z, at_y, at_x = (reflect_index(n, reach) for n in codes.shape)
    padded = np.empty((at_z.size, at_y.size, at_x.size), codes.dtype)
    _pad(codes, at_z, at_y, at_x, reach, padded)
    steps = np.empty(offsets.shape[:2], np.uint64)
    _find_steps(offsets, at_y.size, at_x.size, steps)
    return padded, steps, (reach - phase[0], reach - phase[1], reach - phase[2])


def _of_whole_cells(direction: NDArray[np.uint16], dtype: DTypeLike) -> NDArray:
    z, y, x = direction.shape
    return np.empty((2 * z, 2 * y, 2 * x), dtype)


def _cut(cells: NDArray, codes: Codes, phase: Phase) -> NDArray:
    """Return the voxels that are there; no copy where every cell is complete."""
    z, y, x = (slice(p, p + n) for p, n in zip(phase, codes.shape, strict=True))
    return np.ascontiguousarray(cells[z, y, x])


@compiled
def _pad(
    codes: NDArray,
    at_z: NDArray[np.int64],
    at_y: NDArray[np.int64],
    at_x: NDArray[np.int64],
    reach: int,
    padded: NDArray,
) -> None:
    for z in range(at_z.size):
        for y in range(at_y.size):
            row, out = codes[at_z[z], at_y[y]], padded[z, y]
            inner = out[reach : reach + row.size]
            for x in range(row.size):
                inner[x] = row[x]
            for x in range(reach):
                out[x] = row[at_x[x]]
                out[out.size - 1 - x] = row[at_x[out.size - 1 - x]]


@compiled
def _find_steps(offsets: NDArray[np.int8], height: int, width: int, steps: NDArray[np.uint64]) -> None:
    # Unsigned, they wrap: the compiler then knows of no negative index, which it would have to look for.
    for d in range(steps.shape[0]):
        for k in range(steps.shape[1]):
            z, y, x = offsets[d, k]
            steps[d, k] = np.uint64((np.int64(z) * height + y) * width + x)


@compiled
def _sums(
    padded: NDArray,
    direction: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    first: tuple[int, int, int],
    weights: NDArray[np.int32],
    limits: NDArray[np.int32],
    cells: NDArray,
) -> None:
    flat = padded.reshape(-1)
    _, height, width = padded.shape
    for z in range(direction.shape[0]):
        for y in range(direction.shape[1]):
            start = ((first[0] + 2 * z) * height + first[1] + 2 * y) * width + first[2]
            for i in range(2):
                # Four voxels of a cell at a time: their sums stay in registers, and rows of one slice in the cache.
                _row_of_sums(
                    flat,
                    direction[z, y],
                    steps,
                    np.uint64(start + i * height * width),
                    np.uint64(width),
                    weights,
                    limits,
                    cells[2 * z + i, 2 * y],
                    cells[2 * z + i, 2 * y + 1],
                )


@compiled
def _row_of_sums(
    flat: NDArray,
    row: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    start: np.uint64,
    width: np.uint64,
    weights: NDArray[np.int32],
    limits: NDArray[np.int32],
    upper: NDArray,
    lower: NDArray,
) -> None:
    for x in range(row.size):
        at, way = start + np.uint64(2 * x), steps[row[x]]
        a = b = c = d = np.int32(0)
        for k in range(weights.size):
            weight, i = weights[k], at + way[k]
            a += weight * np.int32(flat[i])
            b += weight * np.int32(flat[i + _NEXT])
            c += weight * np.int32(flat[i + width])
            d += weight * np.int32(flat[i + width + _NEXT])
        upper[2 * x], upper[2 * x + 1] = _code(a, limits), _code(b, limits)
        lower[2 * x], lower[2 * x + 1] = _code(c, limits), _code(d, limits)


@compiled
def _code(total: np.int32, limits: NDArray[np.int32]) -> np.int32:
    half, shift, low, high = limits
    return max(min((total + half) >> shift, high), low)


@compiled
def _peaks(
    padded: NDArray[np.int16],
    direction: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    first: tuple[int, int, int],
    cells: NDArray[np.uint16],
) -> None:
    flat = padded.reshape(-1)
    _, height, width = padded.shape
    for z in range(cells.shape[0]):
        for y in range(cells.shape[1]):
            start = np.uint64(((first[0] + z) * height + first[1] + y) * width + first[2])
            row, out = direction[z >> 1, y >> 1], cells[z, y]
            for x in range(row.size):
                way, at = steps[row[x]], start + np.uint64(2 * x)
                out[2 * x] = _highest(flat, at, way)
                out[2 * x + 1] = _highest(flat, at + _NEXT, way)


@compiled
def _highest(flat: NDArray[np.int16], at: np.uint64, way: NDArray[np.uint64]) -> np.uint16:
    peak = np.int32(0)
    before, here = np.int32(flat[at + way[0]]), np.int32(flat[at + way[1]])
    for k in range(2, way.size):
        after = np.int32(flat[at + way[k]])
        # A factor in place of a branch, which no processor guesses on noise.
        higher = np.int32(here >= before) & np.int32(here >= after) & np.int32(here > peak)
        peak += (here - peak) * higher
        before, here = here, after
    return np.uint16(peak)
