"""Twins of `law/_gradient.py`: one march serves them all, compiled once, whatever results are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._gradient import (
    accept_gradient_along,
    accept_gradient_magnitude,
    accept_laplacian,
    accept_stencils,
)
from cpu_fallback.twin._floats import WIDTH, load
from cpu_fallback.twin._jit import compiled, copy_row, inner
from cpu_fallback.twin._stencil_lanes import load_codes, store_along, store_band, store_laplacian, store_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

_ONE = np.uint64(1)
_UNSIGNED = np.uint16(0)
_EVERYWHERE = (slice(None), slice(None), slice(None))
_KINDS = {"gradient_magnitude": np.uint16, "laplacian": np.int16, "band_pass": np.int16, "gradient_along": np.int16}
_NO_WAY = np.empty((0, 0), np.float32)


def gradient_magnitude(smooth: NDArray[np.uint16], /) -> NDArray[np.uint16]:
    """Twin of law.gradient_magnitude."""
    accept_gradient_magnitude(smooth)
    return _results(smooth, ("gradient_magnitude",))[0]


def laplacian(codes: NDArray[np.uint16] | NDArray[np.int16], /, *, shift: int) -> NDArray[np.int16]:
    """Twin of law.laplacian."""
    accept_laplacian(codes, shift)
    return _results(codes, ("laplacian",), shift=shift)[0]


def gradient_along(
    smooth: NDArray[np.uint16], /, *, axis: NDArray[np.int32], origin: tuple[int, int]
) -> NDArray[np.int16]:
    """Twin of law.gradient_along."""
    ways = accept_gradient_along(smooth, axis, origin)
    return _results(smooth, ("gradient_along",), ways=ways)[0]


def stencils(
    narrow: NDArray[np.uint16],
    wide: NDArray[np.uint16] | None = None,
    /,
    *,
    results: tuple[str, ...],
    shift: int = 0,
    axis: NDArray[np.int32] | None = None,
    origin: tuple[int, int] | None = None,
    window: Window | None = None,
) -> tuple[NDArray[np.uint16] | NDArray[np.int16], ...]:
    """Twin of law.stencils."""
    within, ways = accept_stencils(narrow, wide, results, shift, axis, origin, window)
    return _results(narrow, results, wide, shift, ways, within)


def _results(
    codes: NDArray,
    results: tuple[str, ...],
    wide: NDArray[np.uint16] | None = None,
    shift: int = 0,
    ways: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    window: Window = _EVERYWHERE,
) -> tuple[NDArray, ...]:
    """Return what was asked for; arrays without a voxel stand for what was not, so that one march serves all."""
    (z0, z1, _), (y0, y1, _), (x0, x1, _) = (part.indices(n) for part, n in zip(window, codes.shape, strict=True))
    flip = np.uint16(0x8000 if codes.dtype == np.int16 else 0)
    seen = codes.view(np.uint16)
    wide = seen if wide is None else wide
    to_y, to_x = ways if ways is not None else (_NO_WAY, _NO_WAY)
    length = x1 - x0
    if length < WIDTH:  # the border repeats the sample at the edge, and so do the voxels that fill up a step
        seen, wide = (np.pad(a, ((0, 0), (0, 0), (0, WIDTH)), "edge") for a in (seen, wide))
        to_x = np.pad(to_x, ((0, 0), (0, WIDTH)), "edge") if to_x.size else to_x
        x1 = x0 + WIDTH
    shape = z1 - z0, y1 - y0, x1 - x0
    new = {name: np.empty(shape if name in results else (0, 0, 0), kind) for name, kind in _KINDS.items()}
    half = np.int32(1 << shift >> 1)
    row = np.empty(shape[2] + 2, np.uint16)
    _march(seen, flip, wide, half, np.int32(shift), to_y, to_x, (z0, z1, y0, y1, x0, x1), row, *new.values())
    return tuple(np.ascontiguousarray(new[name][:, :, :length]) for name in results)


@compiled
def _march(
    codes: NDArray[np.uint16],
    flip: np.uint16,
    wide: NDArray[np.uint16],
    half: np.int32,
    shift: np.int32,
    to_y: NDArray[np.float32],
    to_x: NDArray[np.float32],
    bounds: tuple[int, ...],
    row: NDArray[np.uint16],
    length: NDArray[np.uint16],
    sharp: NDArray[np.int16],
    band: NDArray[np.int16],
    along: NDArray[np.int16],
) -> None:
    depth, height, width = codes.shape
    z0, z1, y0, y1, x0, x1 = bounds
    plane, size = height * width, x1 - x0
    flat, wide_flat, ways = codes.reshape(-1), wide.reshape(-1), to_x.reshape(-1)
    results = length.reshape(-1), sharp.reshape(-1), band.reshape(-1), along.reshape(-1)
    done = 0
    for z in range(z0, z1):
        for y in range(y0, y1):
            # The symmetric border of radius 1 repeats the sample at each edge.
            here = z * plane + y * width + x0
            copy_row(flat[here : here + size], row[1:])
            row[0], row[size + 1] = codes[z, y, max(x0 - 1, 0)], codes[z, y, min(x1, width - 1)]
            places = (
                np.uint64(here),
                np.uint64(here - plane if z > 0 else here),
                np.uint64(here + plane if z < depth - 1 else here),
                np.uint64(here - width if y > 0 else here),
                np.uint64(here + width if y < height - 1 else here),
                np.uint64(z * width + x0),
                np.uint64(done),
            )
            ty = to_y[z, y] if to_y.size > 0 else np.float32(0)
            _steps(row, flat, flip, places, wide_flat, half, shift, ty, ways, *results)
            done += size


@inner
def _steps(
    row: NDArray[np.uint16],
    flat: NDArray[np.uint16],
    flip: np.uint16,
    places: tuple[np.uint64, ...],
    wide: NDArray[np.uint16],
    half: np.int32,
    shift: np.int32,
    ty: np.float32,
    to_x: NDArray[np.float32],
    length: NDArray[np.uint16],
    sharp: NDArray[np.int16],
    band: NDArray[np.int16],
    along: NDArray[np.int16],
) -> None:
    at, at_below, at_above, at_up, at_down, at_way, out = places
    size = row.size - 2
    for x in range(0, size, WIDTH):
        i = np.uint64(min(x, size - WIDTH))  # nothing lies behind the last row: some of it is computed twice
        left, here = load_codes(row, i, flip), load_codes(row, i + _ONE, flip)
        right = load_codes(row, i + _ONE + _ONE, flip)
        up, down = load_codes(flat, at_up + i, flip), load_codes(flat, at_down + i, flip)
        below, above = load_codes(flat, at_below + i, flip), load_codes(flat, at_above + i, flip)
        if length.size > 0:
            store_length(below, above, up, down, left, right, length, out + i)
        if sharp.size > 0:
            store_laplacian(here, below, above, up, down, left, right, half, shift, sharp, out + i)
        if band.size > 0:
            store_band(here, load_codes(wide, at + i, _UNSIGNED), band, out + i)
        if along.size > 0:
            store_along(up, down, left, right, ty, load(to_x, at_way + i), along, out + i)
