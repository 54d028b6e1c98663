"""Twins of `law/_gradient.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._gradient import accept_gradient_along, accept_gradient_magnitude, accept_laplacian
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EIGHTH = np.float32(0.125)
_ONE = np.float32(1)
_SIX = np.float32(6)
_LOWEST = np.float32(-32768)
_HIGHEST = np.float32(32767)


@compiled
def _pad_row(row: NDArray, padded: NDArray[np.float32]) -> None:
    """Write a row of codes as float32; the symmetric border of radius 1 repeats the sample at each edge."""
    for x in range(row.size):
        padded[x + 1] = np.float32(row[x])
    padded[0] = padded[1]
    padded[row.size + 1] = padded[row.size]


def gradient_magnitude(smooth: NDArray[np.uint16], /) -> NDArray[np.uint16]:
    """Twin of law.gradient_magnitude."""
    accept_gradient_magnitude(smooth)
    result = np.empty(smooth.shape, np.uint16)
    _magnitude(smooth, result)
    return result


@compiled
def _magnitude(smooth: NDArray[np.uint16], result: NDArray[np.uint16]) -> None:
    depth, height, width = smooth.shape
    padded = np.empty(width + 2, np.float32)
    for z in range(depth):
        above, below = smooth[max(z - 1, 0)], smooth[min(z + 1, depth - 1)]
        for y in range(height):
            _pad_row(smooth[z, y], padded)
            lo_y, hi_y = smooth[z, max(y - 1, 0)], smooth[z, min(y + 1, height - 1)]
            _magnitude_row(padded, lo_y, hi_y, above[y], below[y], result[z, y])


@compiled
def _magnitude_row(
    padded: NDArray[np.float32],
    lo_y: NDArray[np.uint16],
    hi_y: NDArray[np.uint16],
    lo_z: NDArray[np.uint16],
    hi_z: NDArray[np.uint16],
    result: NDArray[np.uint16],
) -> None:
    # The law subtracts integers and then converts; both are exact below 2^24, so converting first gives the same bits
    # without Numba's 64-bit integers.
    for x in range(result.size):
        dz = np.float32(hi_z[x]) - np.float32(lo_z[x])
        dy = np.float32(hi_y[x]) - np.float32(lo_y[x])
        dx = padded[x + 2] - padded[x]
        squares = (dz * dz + dy * dy) + dx * dx
        result[x] = np.uint16(np.int32(np.rint(np.sqrt(squares) * _EIGHTH)))


def laplacian(codes: NDArray[np.uint16] | NDArray[np.int16], /, *, shift: int) -> NDArray[np.int16]:
    """Twin of law.laplacian."""
    accept_laplacian(codes, shift)
    result = np.empty(codes.shape, np.int16)
    half = np.float32(1 << (shift - 1) if shift else 0)
    _seven_points(codes, half, np.float32(2.0**-shift), result)
    return result


@compiled
def _seven_points(codes: NDArray, half: np.float32, scale: np.float32, result: NDArray[np.int16]) -> None:
    depth, height, width = codes.shape
    padded = np.empty(width + 2, np.float32)
    for z in range(depth):
        above, below = codes[max(z - 1, 0)], codes[min(z + 1, depth - 1)]
        for y in range(height):
            _pad_row(codes[z, y], padded)
            lo_y, hi_y = codes[z, max(y - 1, 0)], codes[z, min(y + 1, height - 1)]
            _seven_points_row(padded, lo_y, hi_y, above[y], below[y], half, scale, result[z, y])


@compiled
def _seven_points_row(
    padded: NDArray[np.float32],
    lo_y: NDArray,
    hi_y: NDArray,
    lo_z: NDArray,
    hi_z: NDArray,
    half: np.float32,
    scale: np.float32,
    result: NDArray[np.int16],
) -> None:
    # Every sum is an integer below 2^24 and the scale a power of two: float32 is exact here in any order, floor is the
    # arithmetic shift, and the row stays in vectors where Numba's integers would be 64 bits wide.
    for x in range(result.size):
        faces_z = np.float32(lo_z[x]) + np.float32(hi_z[x])
        faces_y = np.float32(lo_y[x]) + np.float32(hi_y[x])
        total = faces_z + faces_y + (padded[x] + padded[x + 2]) - _SIX * padded[x + 1]
        code = np.floor((total + half) * scale)
        result[x] = np.int16(np.int32(max(min(code, _HIGHEST), _LOWEST)))


def gradient_along(
    smooth: NDArray[np.uint16], /, *, axis: NDArray[np.int32], origin: tuple[int, int]
) -> NDArray[np.int16]:
    """Twin of law.gradient_along."""
    to_y, to_x = accept_gradient_along(smooth, axis, origin)
    result = np.empty(smooth.shape, np.int16)
    _along(smooth, to_y, to_x, result)
    return result


@compiled
def _along(
    smooth: NDArray[np.uint16], to_y: NDArray[np.float32], to_x: NDArray[np.float32], result: NDArray[np.int16]
) -> None:
    depth, height, width = smooth.shape
    padded = np.empty(width + 2, np.float32)
    for z in range(depth):
        for y in range(height):
            _pad_row(smooth[z, y], padded)
            lo_y, hi_y = smooth[z, max(y - 1, 0)], smooth[z, min(y + 1, height - 1)]
            _along_row(padded, lo_y, hi_y, to_y[z, y], to_x[z], result[z, y])


@compiled
def _along_row(
    padded: NDArray[np.float32],
    lo_y: NDArray[np.uint16],
    hi_y: NDArray[np.uint16],
    ty: np.float32,
    to_x: NDArray[np.float32],
    result: NDArray[np.int16],
) -> None:
    for x in range(result.size):
        dy = np.float32(hi_y[x]) - np.float32(lo_y[x])
        dx = padded[x + 2] - padded[x]
        tx = to_x[x]
        distance = max(np.sqrt(ty * ty + tx * tx), _ONE)
        result[x] = np.int16(np.int32(np.rint((dy * ty + dx * tx) / distance * _EIGHTH)))
