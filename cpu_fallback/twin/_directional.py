"""Twins of `law/_directional.py`: cells of one direction in a row are read together, eight voxels of a row at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpu_fallback._border import reflect_index
from cpu_fallback.law._directional import (
    accept_directional_peak,
    accept_directional_profile,
    accept_directional_sum,
)
from cpu_fallback.twin._jit import compiled, copy_row, inner
from cpu_fallback.twin._lanes import LANES, add, add_product, higher_peak, load, same, shifted, store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window
    from cpu_fallback.law._directional import Codes, Phase

_CELLS = LANES // 2  # that eight voxels of a row lie in
_ZERO = np.int32(0)


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
    window: Window | None = None,
) -> NDArray[np.uint16] | NDArray[np.int16]:
    """Twin of law.directional_sum."""
    within = accept_directional_sum(codes, direction, phase, offsets, weights, shift, signed, window)
    low, high = (-32768, 32767) if signed else (0, 65535)
    limits = np.array([1 << shift >> 1, shift, low, high], np.int32)
    result: NDArray[Any] = np.empty(_shape(within), np.int16 if signed else np.uint16)
    # Neighbours of one weight are added up before they are multiplied: in integers that is the same sum.
    ends = np.append(np.flatnonzero(np.diff(weights)) + 1, weights.size)
    flat, steps, place, field, first = _around(codes, direction, phase, offsets, within)
    # The low bits are the same for both: seen as unsigned, they are compiled once.
    seen = result.view(np.uint16)
    _sums(flat, steps, place, field, first, weights[ends - 1], ends, limits, _four_rows(field), seen)
    return result


def directional_profile(
    codes: NDArray[np.uint16],
    direction: NDArray[np.uint16],
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None = None,
) -> tuple[NDArray[np.uint16], ...]:
    """Twin of law.directional_profile."""
    within = accept_directional_profile(codes, direction, phase, offsets, window)
    flat, steps, place, field, first = _around(codes, direction, phase, offsets, within)
    result = np.empty((offsets.shape[1], *_shape(within)), np.uint16)
    rows = np.empty((len(result), *_four_rows(field).shape), np.uint16)
    _profiles(flat, steps, place, field, first, rows, result)
    return tuple(result)


def directional_peak(
    codes: NDArray[np.int16],
    direction: NDArray[np.uint16],
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None = None,
) -> NDArray[np.uint16]:
    """Twin of law.directional_peak."""
    within = accept_directional_peak(codes, direction, phase, offsets, window)
    result = np.empty(_shape(within), np.uint16)
    flat, steps, place, field, first = _around(codes, direction, phase, offsets, within)
    _peaks(flat, steps, place, field, first, _four_rows(field), result)
    return result


def _shape(window: Window) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in window)


def _around(
    codes: Codes, direction: NDArray[np.uint16], phase: Phase, offsets: NDArray[np.int8], within: Window
) -> tuple[NDArray, NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint16], Phase]:
    """Return what a window's voxels see: codes, ways and first place as `_endless` does, its cells, and its phase."""
    # Slices that no way reaches are not copied; where they are cut off, no reflection comes near the window.
    reach = 2 + max(int(offsets.max()), -int(offsets.min()))
    bottom = max(0, within[0].start - reach)
    flat, steps, (start, row, plane) = _endless(codes[bottom : within[0].stop + reach], offsets)
    # Where in its first cell the window begins, and how far from the array's first voxel that cell is.
    z0, y0, x0 = ((w.start + p) & 1 for w, p in zip(within, phase, strict=True))
    z, y, x = within[0].start - bottom - z0, within[1].start - y0, within[2].start - x0
    place = np.array([start + z * plane + y * row + x, row, plane], np.uint64)
    cells = tuple(slice((w.start + p) >> 1, (w.stop + p + 1) >> 1) for w, p in zip(within, phase, strict=True))
    return flat, steps, place, np.ascontiguousarray(direction[cells]), (z0, y0, x0)


def _four_rows(direction: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return room for the voxels of a line of cells, and for what is read behind its last."""
    return np.empty((4, 2 * direction.shape[2] + LANES), np.uint16)


def _endless(codes: Codes, offsets: NDArray[np.int8]) -> tuple[NDArray, NDArray[np.uint64], tuple[int, int, int]]:
    """Return the codes with their border, flat; every way as a step through them; where the first voxel lies.

    With it come the steps to the next row and slice. The border reaches a voxel farther than the ways, for the voxels
    that only complete a cell; behind the last voxel is room for eight that are read and not used.
    """
    reach = 1 + max(int(offsets.max()), -int(offsets.min()))
    at_z, at_y, at_x = (reflect_index(n, reach) for n in codes.shape)
    room = at_z.size * at_y.size * at_x.size
    flat = np.zeros(room + LANES, codes.dtype)
    padded = flat[:room].reshape(at_z.size, at_y.size, at_x.size)
    if codes.dtype == np.int16:
        codes, padded = codes.view(np.uint16), padded.view(np.uint16)
    _pad(codes, at_z, at_y, at_x, reach, padded)
    steps = np.empty(offsets.shape[:2], np.uint64)
    _find_steps(offsets, at_y.size, at_x.size, steps)
    row, plane = at_x.size, at_y.size * at_x.size
    return flat, steps, (reach * (plane + row + 1), row, plane)


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
            z, y, x = offsets[d, k, 0], offsets[d, k, 1], offsets[d, k, 2]
            steps[d, k] = np.uint64((np.int64(z) * height + y) * width + x)


@compiled
def _sums(
    flat: NDArray,
    steps: NDArray[np.uint64],
    place: NDArray[np.uint64],
    direction: NDArray[np.uint16],
    phase: tuple[int, int, int],
    weights: NDArray[np.int32],
    ends: NDArray[np.int64],
    limits: NDArray[np.int32],
    rows: NDArray[np.uint16],
    result: NDArray[np.uint16],
) -> None:
    start, row, plane = place[0], place[1], place[2]
    for z in range(direction.shape[0]):
        for y in range(direction.shape[1]):
            at = start + np.uint64(2 * z) * plane + np.uint64(2 * y) * row
            _cells_of_sums(flat, at, row, plane, direction[z, y], steps, weights, ends, limits, rows)
            _keep(rows, 2 * z - phase[0], 2 * y - phase[1], phase[2], result)


@inner
def _cells_of_sums(
    flat: NDArray,
    start: np.uint64,
    row: np.uint64,
    plane: np.uint64,
    direction: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    weights: NDArray[np.int32],
    ends: NDArray[np.int64],
    limits: NDArray[np.int32],
    rows: NDArray[np.uint16],
) -> None:
    half, shift, low, high = limits[0], limits[1], limits[2], limits[3]
    x = np.int64(0)  # a literal would have `_next` compiled once more
    while x < direction.size:
        at, way = start + np.uint64(2 * x), steps[direction[x]]
        a = b = c = d = same(_ZERO)
        k = 0
        for group in range(ends.size):
            of_a = of_b = of_c = of_d = same(_ZERO)
            while k < ends[group]:
                i = at + way[k]
                of_a = add(of_a, load(flat, i))
                of_b = add(of_b, load(flat, i + row))
                of_c = add(of_c, load(flat, i + plane))
                of_d = add(of_d, load(flat, i + plane + row))
                k += 1
            weight = weights[group]
            a = add_product(a, weight, of_a)
            b = add_product(b, weight, of_b)
            c = add_product(c, weight, of_c)
            d = add_product(d, weight, of_d)
        here = np.uint64(2 * x)
        store(shifted(a, half, shift, low, high), rows[0], here)
        store(shifted(b, half, shift, low, high), rows[1], here)
        store(shifted(c, half, shift, low, high), rows[2], here)
        store(shifted(d, half, shift, low, high), rows[3], here)
        x = _next(direction, x)


@inner
def _next(direction: NDArray[np.uint16], x: int) -> int:
    """Return the first cell that what was read for this one does not hold: what is wrong there is written over."""
    end = x + 1
    while end < min(x + _CELLS, direction.size) and direction[end] == direction[x]:
        end += 1
    return end


@inner
def _keep(rows: NDArray[np.uint16], z: int, y: int, first: int, result: NDArray[np.uint16]) -> None:
    """Copy the four rows of a line of cells to where there are voxels of them."""
    for k in range(4):
        at_z, at_y = z + k // 2, y + k % 2
        if 0 <= at_z < result.shape[0] and 0 <= at_y < result.shape[1]:
            copy_row(rows[k, first : first + result.shape[2]], result[at_z, at_y])


@compiled
def _profiles(
    flat: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    place: NDArray[np.uint64],
    direction: NDArray[np.uint16],
    phase: tuple[int, int, int],
    rows: NDArray[np.uint16],
    result: NDArray[np.uint16],
) -> None:
    start, row, plane = place[0], place[1], place[2]
    for z in range(direction.shape[0]):
        for y in range(direction.shape[1]):
            at = start + np.uint64(2 * z) * plane + np.uint64(2 * y) * row
            _cells_of_profiles(flat, at, row, plane, direction[z, y], steps, rows.reshape(-1))
            for k in range(len(result)):
                _keep(rows[k], 2 * z - phase[0], 2 * y - phase[1], phase[2], result[k])


@inner
def _cells_of_profiles(
    flat: NDArray[np.uint16],
    start: np.uint64,
    row: np.uint64,
    plane: np.uint64,
    direction: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    rows: NDArray[np.uint16],
) -> None:
    length = np.uint64(2 * direction.size + LANES)
    x = np.int64(0)
    while x < direction.size:
        at, way, here = start + np.uint64(2 * x), steps[direction[x]], np.uint64(2 * x)
        for k in range(way.size):
            i = at + way[k]
            store(load(flat, i), rows, here)
            store(load(flat, i + row), rows, here + length)
            store(load(flat, i + plane), rows, here + length + length)
            store(load(flat, i + plane + row), rows, here + length + length + length)
            here += length + length + length + length
        x = _next(direction, x)


@compiled
def _peaks(
    flat: NDArray[np.int16],
    steps: NDArray[np.uint64],
    place: NDArray[np.uint64],
    direction: NDArray[np.uint16],
    phase: tuple[int, int, int],
    rows: NDArray[np.uint16],
    result: NDArray[np.uint16],
) -> None:
    start, row, plane = place[0], place[1], place[2]
    for z in range(direction.shape[0]):
        for y in range(direction.shape[1]):
            at = start + np.uint64(2 * z) * plane + np.uint64(2 * y) * row
            _cells_of_peaks(flat, at, row, plane, direction[z, y], steps, rows)
            _keep(rows, 2 * z - phase[0], 2 * y - phase[1], phase[2], result)


@inner
def _cells_of_peaks(
    flat: NDArray[np.int16],
    start: np.uint64,
    row: np.uint64,
    plane: np.uint64,
    direction: NDArray[np.uint16],
    steps: NDArray[np.uint64],
    rows: NDArray[np.uint16],
) -> None:
    x = np.int64(0)
    while x < direction.size:
        at, way = start + np.uint64(2 * x), steps[direction[x]]
        a = b = c = d = same(_ZERO)
        i, j = at + way[0], at + way[1]
        before_a, here_a = load(flat, i), load(flat, j)
        before_b, here_b = load(flat, i + row), load(flat, j + row)
        before_c, here_c = load(flat, i + plane), load(flat, j + plane)
        before_d, here_d = load(flat, i + plane + row), load(flat, j + plane + row)
        for k in range(2, way.size):
            i = at + way[k]
            after_a, after_b = load(flat, i), load(flat, i + row)
            after_c, after_d = load(flat, i + plane), load(flat, i + plane + row)
            a = higher_peak(a, before_a, here_a, after_a)
            b = higher_peak(b, before_b, here_b, after_b)
            c = higher_peak(c, before_c, here_c, after_c)
            d = higher_peak(d, before_d, here_d, after_d)
            before_a, before_b, before_c, before_d = here_a, here_b, here_c, here_d
            here_a, here_b, here_c, here_d = after_a, after_b, after_c, after_d
        here = np.uint64(2 * x)
        store(a, rows[0], here)
        store(b, rows[1], here)
        store(c, rows[2], here)
        store(d, rows[3], here)
        x = _next(direction, x)
