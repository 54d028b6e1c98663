"""Law of the local variance, and the sums over a cube that it shares with the entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import pad_axis, reflect_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

OPERATIONS: dict[str, Callable[..., float]] = {
    # two sums of 6; g g of the slice that enters and of the one that leaves; n S2, S1 S1, difference, scale, rint
    "local_variance": lambda *, window: 6 + (2 + 6) + 5,
}


def accept_local_variance(grey: NDArray[np.uint8], window: int) -> None:
    """Refuse what `local_variance` does not define, for law and twin alike."""
    _checks.volume("local_variance", grey, np.uint8)
    _checks.integer("local_variance", "window", window, 3, 15)
    _checks.odd_window("local_variance", window, 3, 15)


def local_variance(grey: NDArray[np.uint8], /, *, window: int) -> NDArray[np.uint16]:
    """Return the variance of the grey values in the cube around each voxel.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
        Grey values, 0..255.
    window : int
        Voxels on an edge of the cube, odd, 3..15.

    Returns
    -------
    numpy.ndarray of uint16, shape (z, y, x)
        0..65025; step 1/4 grey^2.

    Raises
    ------
    TypeError
        Not a NumPy array of uint8, or `window` is not an integer.
    ValueError
        Not a non-empty C-contiguous volume, or `window` not as above.

    Notes
    -----
    Law.

    - Formula: over the n = w^3 voxels of the cube, S1 = sum g, S2 = sum g g, A = n S2 - S1 S1 (= n^2 variance); the
      code is rint(float64(A) c) with c = 4 / n^2, the quotient rounded once to float64.
    - Window: w on each axis. Border: half-sample symmetric on each axis, repeated (`_border.reflect_index`).
    - Format: uint16. S1 <= 3375 * 255 = 860,625 and S2 <= 3375 * 255^2 = 219,459,375 < 2^31. The law takes them as
      differences of running sums modulo 2^32, which are the sums themselves, since these lie below 2^32. n S2 and S1 S1
      are at most 3375^2 255^2 = 740,675,390,625 < 2^53: A is exact in float64. A <= n^2 255^2 / 4 (half of the voxels
      0, half 255), so the code is at most 65025 < 2^16; A >= 0 by Cauchy and Schwarz.
    - Rounding: once, half to even, after two roundings of 2^-53 relative (c, product): within .5 + 2e-11 codes.
    - Unit: grey^2, 1/4 a step.
    - Source: SPEC.md, local_var; the population variance (divided by n, not by n - 1).
    """
    accept_local_variance(grey, window)
    n = window**3
    scale = np.float64(4 / (n * n))
    result = np.empty(grey.shape, np.uint16)
    sums = zip(cube_sums(grey, window, _values), cube_sums(grey, window, _squares), strict=True)
    for z, (first, second) in enumerate(sums):
        s1 = first.astype(np.float64)
        spread = np.float64(n) * second.astype(np.float64) - s1 * s1
        result[z] = np.rint(spread * scale).astype(np.uint16)
    return result


def _values(plane: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return plane.astype(np.uint32)


def _squares(plane: NDArray[np.uint8]) -> NDArray[np.uint32]:
    values = plane.astype(np.uint32)
    return values * values


def cube_sums(
    grey: NDArray[np.uint8], window: int, quantity: Callable[[NDArray[np.uint8]], NDArray]
) -> Iterator[NDArray]:
    """Yield for each slice the sums of a quantity over the cube around each voxel.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
    window : int
        Voxels on an edge, odd.
    quantity : callable
        From a slice of grey values to an unsigned array of its shape, whose dtype holds the sum over a cube.

    Yields
    ------
    numpy.ndarray of the quantity's dtype, shape (y, x)
        The sums, exact: unsigned arithmetic is modular, so a running sum that wraps does no harm to a difference.
    """
    at = reflect_index(grey.shape[0], window // 2)
    column = quantity(grey[at[0]])
    for i in at[1:window]:
        column = column + quantity(grey[i])
    yield _plane_sums(column, window)
    for z in range(1, grey.shape[0]):
        column = column + quantity(grey[at[z + window - 1]]) - quantity(grey[at[z - 1]])
        yield _plane_sums(column, window)


def _plane_sums(plane: NDArray, window: int) -> NDArray:
    for axis in (0, 1):
        padded = np.moveaxis(pad_axis(plane, axis, window // 2), axis, 0)
        running = np.add.accumulate(padded, axis=0, dtype=plane.dtype)
        total = running[window - 1 :].copy()
        total[1:] -= running[:-window]
        plane = np.moveaxis(total, 0, axis)
    return plane
