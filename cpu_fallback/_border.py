"""The one border rule: half-sample symmetric (d c b a | a b c d | d c b a), repeated when a window exceeds the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reflect_index(length: int, radius: int) -> NDArray[np.int64]:
    """Return the in-range index of each position -radius .. length-1+radius of an axis.

    Parameters
    ----------
    length : int
        Samples on the axis, >= 1.
    radius : int
        Samples added on each side, >= 0; may exceed `length`.

    Returns
    -------
    numpy.ndarray of int64, shape (length + 2 radius,)

    Notes
    -----
    The extension has period 2n: position i is sample m = i mod 2n where m < n, else 2n - 1 - m.
    SciPy calls it ``reflect``, NumPy ``symmetric``.
    """
    position = np.arange(-radius, length + radius, dtype=np.int64) % (2 * length)
    return np.where(position < length, position, 2 * length - 1 - position)


def pad_axis(array: NDArray, axis: int, radius: int) -> NDArray:
    """Return a copy of `array` extended by `radius` samples on both sides of one axis."""
    return np.take(array, reflect_index(array.shape[axis], radius), axis=axis)
