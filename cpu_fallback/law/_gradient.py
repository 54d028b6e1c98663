"""Laws of the first and second differences."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import pad_axis
from cpu_fallback.law import _gaussian

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

STENCILS = ("gradient_magnitude", "laplacian", "band_pass", "gradient_along")
"""What `stencils` can compute: the kernels of these names."""
FARTHEST = 2**24  # eighths of a voxel: the largest distance that float32 holds exactly, 2,097,152 voxels

OPERATIONS: dict[str, Callable[..., float]] = {
    # three differences, three squares, two sums; root, scale, rint
    "gradient_magnitude": lambda: 11,
    # five sums, six times the centre, minus; two bounds; a shift rounds with one sum and one shift
    "laplacian": lambda *, shift: 9 + (2 if shift else 0),
    # two differences, two products and a sum; sum of squares (the squares themselves are one a row and one a column),
    # root, bound; quotient, scale, rint
    "gradient_along": lambda *, axis, origin: 11,
    "stencils": lambda *, results, shift=0, axis=None, origin=None, window=None: sum(_cost(r, shift) for r in results),
}


def _cost(result: str, shift: int) -> float:
    """Return the operations of one result of `stencils`: those of the kernel of that name."""
    parameters: dict[str, Any] = {"laplacian": {"shift": shift}, "gradient_along": {"axis": None, "origin": None}}
    return (_gaussian.OPERATIONS | OPERATIONS)[result](**parameters.get(result, {}))


def accept_gradient_magnitude(smooth: NDArray[np.uint16]) -> None:
    """Refuse what `gradient_magnitude` does not define, for law and twin alike."""
    _checks.volume("gradient_magnitude", smooth, np.uint16)


def accept_laplacian(codes: NDArray[np.uint16] | NDArray[np.int16], shift: int) -> None:
    """Refuse what `laplacian` does not define, for law and twin alike."""
    _checks.volume("laplacian", codes, np.uint16, np.int16)
    _checks.one_of("laplacian", "shift", operator.index(shift), tuple(range(17)))


def accept_gradient_along(
    smooth: NDArray[np.uint16], axis: NDArray[np.int32], origin: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Refuse what `gradient_along` does not define; return the ways to the axis, ty (Z, Y) and tx (Z, X)."""
    _checks.volume("gradient_along", smooth, np.uint16)
    depth, height, width = smooth.shape
    if not isinstance(axis, np.ndarray) or axis.dtype != np.int32 or axis.shape != (depth, 2):
        came = f"{axis.dtype.name} and {axis.shape}" if isinstance(axis, np.ndarray) else type(axis).__name__
        raise ValueError(f"gradient_along: expected axis of dtype int32 and shape ({depth}, 2), got {came}")
    if len(origin) != 2:
        raise ValueError(f"gradient_along: expected origin (y, x), got {origin!r}")
    first_y, first_x = operator.index(origin[0]), operator.index(origin[1])
    if max(abs(first_y), abs(first_x)) > FARTHEST:
        raise ValueError(f"gradient_along: expected an origin within {FARTHEST} voxels, got {origin!r}")
    ty = axis[:, 0, None].astype(np.int64) - 8 * (first_y + np.arange(height, dtype=np.int64))
    tx = axis[:, 1, None].astype(np.int64) - 8 * (first_x + np.arange(width, dtype=np.int64))
    farthest = max(int(abs(ty).max()), int(abs(tx).max()))
    if farthest > FARTHEST:
        raise ValueError(f"gradient_along: expected an axis within {FARTHEST} eighths of a voxel, got {farthest}")
    return ty.astype(np.float32), tx.astype(np.float32)


def _difference(values: NDArray[np.int32], axis: int) -> NDArray[np.float32]:
    """Return v[i+1] - v[i-1] along one axis; below 2^24, so float32 holds it exactly."""
    padded = np.moveaxis(pad_axis(values, axis, 1), axis, 0)
    return np.moveaxis(padded[2:] - padded[:-2], 0, axis).astype(np.float32)


def gradient_magnitude(smooth: NDArray[np.uint16], /) -> NDArray[np.uint16]:
    """Return the length of the central-difference gradient.

    Parameters
    ----------
    smooth : numpy.ndarray of uint16, shape (z, y, x)
        Q8.8 codes of `gaussian`.

    Returns
    -------
    numpy.ndarray of uint16, shape (z, y, x)
        Codes 0..14189; step 1/64 grey/voxel.

    Raises
    ------
    TypeError
        Not a NumPy array of uint16.
    ValueError
        Not a non-empty C-contiguous volume.

    Notes
    -----
    Law.

    - Formula: d_i = v[i+1] - v[i-1] in int32 on each axis, then in float32 n = (dz dz + dy dy) + dx dx and
      code = rint(sqrt(n) 0.125). A gradient of one grey/voxel is d = 512, and 512 / 8 = 64 codes.
    - Window: 3 on each axis. Border: half-sample symmetric, so a difference at an edge is one-sided over its step.
    - Format: uint16. |d| <= 65535 < 2^24 is exact in float32; n <= 3 (65535)^2 (1 + 2^-24)^3, so
      sqrt(n) / 8 <= 14189 and no bound is needed.
    - Rounding: once to the code, half to even, after at most four float32 roundings (2^-24 relative each); 0.125 is
      exact.
    - Unit: grey/voxel, 1/64 a step.
    - Source: SPEC.md, grad_mag.
    """
    accept_gradient_magnitude(smooth)
    values = smooth.astype(np.int32)
    dz, dy, dx = (_difference(values, axis) for axis in range(3))
    squares = (dz * dz + dy * dy) + dx * dx
    return np.rint(np.sqrt(squares) * np.float32(0.125)).astype(np.uint16)


def laplacian(codes: NDArray[np.uint16] | NDArray[np.int16], /, *, shift: int) -> NDArray[np.int16]:
    """Return the 7-point Laplacian of a code volume.

    Parameters
    ----------
    codes : numpy.ndarray of uint16 or int16, shape (z, y, x)
        Codes of any step.
    shift : int
        0..16; the result's step is 2^shift steps of `codes`.

    Returns
    -------
    numpy.ndarray of int16, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of uint16 or int16, or `shift` is not an integer.
    ValueError
        Not a non-empty C-contiguous volume, or `shift` outside 0..16.

    Notes
    -----
    Law.

    - Formula: s = (sum of the six face neighbours) - 6 centre in int32; with shift > 0, s = (s + 2^(shift-1)) >> shift,
      the shift arithmetic (floor); code = max(-32768, min(32767, s)).
    - Window: 3 on each axis, faces only. Border: half-sample symmetric.
    - Format: int16. |s| <= 6 (65535) = 393210 and with 2^15 added it stays below 2^19: int32 holds it. The code
      saturates where |s| / 2^shift passes 32767, which no input reaches with shift >= 4.
    - Rounding: half up, floor(s / 2^shift + 1/2).
    - Unit: step(codes) 2^shift, per voxel squared.
    - Source: SPEC.md, laplace.
    """
    accept_laplacian(codes, shift)
    values = codes.astype(np.int32)
    lo_z, hi_z, lo_y, hi_y, lo_x, hi_x = (side for axis in range(3) for side in _sides(values, axis))
    total = lo_z + hi_z + lo_y + hi_y + lo_x + hi_x - np.int32(6) * values
    if shift:
        total = (total + np.int32(1 << (shift - 1))) >> np.int32(shift)
    return np.maximum(np.minimum(total, np.int32(32767)), np.int32(-32768)).astype(np.int16)


def _sides(values: NDArray[np.int32], axis: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    padded = np.moveaxis(pad_axis(values, axis, 1), axis, 0)
    return np.moveaxis(padded[:-2], 0, axis), np.moveaxis(padded[2:], 0, axis)


def gradient_along(
    smooth: NDArray[np.uint16], /, *, axis: NDArray[np.int32], origin: tuple[int, int]
) -> NDArray[np.int16]:
    """Return the signed gradient towards an axis that runs through the slices.

    Parameters
    ----------
    smooth : numpy.ndarray of uint16, shape (z, y, x)
        Q8.8 codes of `gaussian`.
    axis : numpy.ndarray of int32, shape (z, 2)
        (y, x) of the axis in each slice, in 1/8 voxel, in the frame of `origin`.
    origin : tuple of int
        (y, x) of the array's first voxel, in voxels.

    Returns
    -------
    numpy.ndarray of int16, shape (z, y, x)
        Codes -11586..11586; step 1/64 grey/voxel; > 0 = brighter towards the axis; 0 on the axis itself.

    Raises
    ------
    TypeError
        `smooth` is not a NumPy array of uint16, or `origin` is not of integers.
    ValueError
        Not a non-empty C-contiguous volume, `axis` of another dtype or shape, or a distance beyond 2^24 eighths of
        a voxel.

    Notes
    -----
    Law.

    - Formula: ty = axis[z, 0] - 8 (origin_y + y), tx likewise; dy, dx = v[i+1] - v[i-1]; in float32 num = dy ty + dx
      tx, den = max(sqrt(ty ty + tx tx), 1), code = rint(num / den 0.125). ty and tx are integers, so the root is at
      least 1 except on the axis, where ty = tx = 0 makes num and the code 0.
    - Window: 3 on the axes y and x. Border: half-sample symmetric.
    - Format: int16. |ty|, |tx| <= 2^24 and |dy|, |dx| <= 65535 are exact in float32; |num| / den <= sqrt(dy^2 + dx^2)
      but for the roundings below (Cauchy-Schwarz), so |code| <= 65535 sqrt(2) / 8 + 1 < 11587. No value that is not 0
      is below 2^-28: no subnormal.
    - Rounding: once to the code, half to even, after float32 roundings of 2^-24 of |dy ty| + |dx tx| over den, each
      under .002 codes; 0.125 is exact.
    - Unit: grey/voxel, 1/64 a step.
    - Source: SPEC.md, grad_inward.
    """
    ty, tx = accept_gradient_along(smooth, axis, origin)
    to_y, to_x = ty[:, :, None], tx[:, None, :]
    values = smooth.astype(np.int32)
    along = _difference(values, 1) * to_y + _difference(values, 2) * to_x
    distance = np.maximum(np.sqrt(to_y * to_y + to_x * to_x), np.float32(1))
    return np.rint(along / distance * np.float32(0.125)).astype(np.int16)


def accept_stencils(
    narrow: NDArray[np.uint16],
    wide: NDArray[np.uint16] | None,
    results: tuple[str, ...],
    shift: int,
    axis: NDArray[np.int32] | None,
    origin: tuple[int, int] | None,
    window: Window | None,
) -> tuple[Window, tuple[NDArray[np.float32], NDArray[np.float32]] | None]:
    """Refuse what `stencils` does not define, for law and twin alike; return its window, and the ways to the axis."""
    _checks.volume("stencils", narrow, np.uint16)
    if not isinstance(results, tuple) or not results or len(set(results)) != len(results):
        raise ValueError(f"stencils: expected results as a tuple of names, none twice, got {results!r}")
    for name in results:
        _checks.one_of("stencils", "results", name, STENCILS)
    if "laplacian" in results:
        accept_laplacian(narrow, shift)
    if "band_pass" in results:
        _gaussian.accept_band_pass(narrow, _known(wide))
    ways = None
    if "gradient_along" in results:
        if axis is None or origin is None:
            raise ValueError("stencils: expected axis and origin with gradient_along, got None")
        ways = accept_gradient_along(narrow, axis, origin)
    return _checks.window("stencils", narrow.shape, window), ways


def _known(wide: Any) -> NDArray[np.uint16]:
    """Return an array that may be missing: the check of its kernel refuses None."""
    return wide


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
    """Return several results of one smoothed volume from one pass over it, where they are wanted.

    Parameters
    ----------
    narrow : numpy.ndarray of uint16, shape (z, y, x)
        Q8.8 codes of `gaussian`.
    wide : numpy.ndarray of uint16, shape (z, y, x), optional
        Q8.8 codes of a wider `gaussian`, for band_pass.
    results : tuple of str
        One or more of gradient_magnitude, laplacian, band_pass, gradient_along.
    shift : int
        As `laplacian` takes it.
    axis : numpy.ndarray of int32, shape (z, 2), optional
    origin : tuple of int, optional
        As `gradient_along` takes them, for the whole of `narrow`.
    window : tuple of slice, optional
        Part of the array (z, y, x) whose results are asked for; by default all of it.

    Returns
    -------
    tuple of numpy.ndarray of uint16 or int16, shape of the window
        In the order of `results`, each with the dtype, step and unit of the kernel of that name.

    Raises
    ------
    TypeError
        As the kernels named.
    ValueError
        As the kernels named; `results` is empty, names one twice or an unknown one; or `window` is empty or reaches
        beyond the array. What only results that are not asked for would need is not looked at.

    Notes
    -----
    Law.

    - Formula: for each name, the kernel of that name on the whole array, cut to the window: what lies outside of the
      window is read, not computed. Windows, borders, formats, rounding and units are those of the kernels.
    - Source: as the kernels.
    """
    within, _ = accept_stencils(narrow, wide, results, shift, axis, origin, window)
    given: dict[str, Any] = {"axis": axis, "origin": origin}
    kernels: dict[str, Callable[..., NDArray]] = {
        "gradient_magnitude": gradient_magnitude,
        "laplacian": partial(laplacian, shift=shift),
        "band_pass": lambda codes: _gaussian.band_pass(codes, _known(wide)),
        "gradient_along": partial(gradient_along, **given),
    }
    return tuple(kernels[name](narrow)[within].copy() for name in results)
