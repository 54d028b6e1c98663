"""Twins of `law/_gradient.py`: one march serves them all, compiled once for each set of results asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpu_fallback.law._gradient import (
    accept_gradient_along,
    accept_gradient_magnitude,
    accept_laplacian,
    accept_stencils,
)
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

_EIGHTH = np.float32(0.125)
_QUARTER = np.float32(0.25)
_ONE = np.float32(1)
_TWO = np.float32(2)
_SIX = np.float32(6)
_LOWEST = np.float32(-32768)
_HIGHEST = np.float32(32767)
_EVERYWHERE = (slice(None), slice(None), slice(None))


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
    """Return what was asked for; None stands for what was not, and what only that would need is not compiled."""
    (z0, z1, _), (y0, y1, _), (x0, x1, _) = (part.indices(n) for part, n in zip(window, codes.shape, strict=True))
    shape = z1 - z0, y1 - y0, x1 - x0
    new = {name: np.empty(shape, np.uint16 if name == "gradient_magnitude" else np.int16) for name in results}
    half, scale = np.float32(1 << (shift - 1) if shift else 0), np.float32(2.0**-shift)
    to_y, to_x = ways if ways is not None and "gradient_along" in new else (None, None)
    _march(
        codes,
        wide if "band_pass" in new else None,
        half,
        scale,
        to_y,
        to_x,
        (z0, z1, y0, y1, x0, x1),
        new.get("gradient_magnitude"),
        new.get("laplacian"),
        new.get("band_pass"),
        new.get("gradient_along"),
    )
    return tuple(new[name] for name in results)


@compiled
def _march(
    codes: NDArray,
    wide: Any,
    half: np.float32,
    scale: np.float32,
    to_y: Any,
    to_x: Any,
    bounds: tuple[int, ...],
    length: Any,
    sharp: Any,
    band: Any,
    along: Any,
) -> None:
    depth, height, width = codes.shape
    z0, z1, y0, y1, x0, x1 = bounds
    padded = np.empty(x1 - x0 + 2, codes.dtype)
    for z in range(z0, z1):
        below, above = codes[max(z - 1, 0)], codes[min(z + 1, depth - 1)]
        for y in range(y0, y1):
            # The symmetric border of radius 1 repeats the sample at each edge.
            row = codes[z, y, x0:x1]
            for x in range(row.size):
                padded[x + 1] = row[x]
            padded[0] = codes[z, y, max(x0 - 1, 0)]
            padded[row.size + 1] = codes[z, y, min(x1, width - 1)]
            _row(
                padded,
                codes[z, max(y - 1, 0), x0:x1],
                codes[z, min(y + 1, height - 1), x0:x1],
                below[y, x0:x1],
                above[y, x0:x1],
                None if wide is None else wide[z, y, x0:x1],
                half,
                scale,
                None if to_y is None else to_y[z, y],
                None if to_x is None else to_x[z, x0:x1],
                None if length is None else length[z - z0, y - y0],
                None if sharp is None else sharp[z - z0, y - y0],
                None if band is None else band[z - z0, y - y0],
                None if along is None else along[z - z0, y - y0],
            )


@compiled
def _row(
    padded: NDArray,
    lo_y: NDArray,
    hi_y: NDArray,
    lo_z: NDArray,
    hi_z: NDArray,
    wide: Any,
    half: np.float32,
    scale: np.float32,
    ty: Any,
    to_x: Any,
    length: Any,
    sharp: Any,
    band: Any,
    along: Any,
) -> None:
    # The laws subtract integers and then convert; both are exact below 2^24, so converting first gives the same bits
    # without Numba's 64-bit integers, and the row stays in vectors.
    for x in range(lo_y.size):
        left, here, right = np.float32(padded[x]), np.float32(padded[x + 1]), np.float32(padded[x + 2])
        up, down = np.float32(lo_y[x]), np.float32(hi_y[x])
        below, above = np.float32(lo_z[x]), np.float32(hi_z[x])
        dy, dx = down - up, right - left
        if length is not None:
            dz = above - below
            squares = (dz * dz + dy * dy) + dx * dx
            length[x] = np.uint16(np.int32(np.rint(np.sqrt(squares) * _EIGHTH)))
        # The band before the Laplacian: the other way round, LLVM takes one voxel at a time where both are asked for
        # with the gradient along a way, and eight times as long.
        if band is not None:
            band[x] = np.int16(np.int32(np.floor((here - np.float32(wide[x]) + _TWO) * _QUARTER)))
        if sharp is not None:
            # Every sum is an integer below 2^24 and the scale a power of two: exact in any order; floor is the shift.
            total = (below + above) + (up + down) + (left + right) - _SIX * here
            code = np.floor((total + half) * scale)
            sharp[x] = np.int16(np.int32(max(min(code, _HIGHEST), _LOWEST)))
        if along is not None:
            tx = to_x[x]
            distance = max(np.sqrt(ty * ty + tx * tx), _ONE)
            along[x] = np.int16(np.int32(np.rint((dy * ty + dx * tx) / distance * _EIGHTH)))
