"""Laws of binary morphology."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPES = ("box", "cross")


def _once(radius: tuple[int, int, int], shape: str) -> float:
    # A segment of w = 2 r + 1 voxels joins two masks as often as w has bits, none for r = 0; a cross joins its three.
    joins = sum((2 * reach + 1).bit_length() for reach in radius if reach)
    return joins + (2 if shape == "cross" else 0)


OPERATIONS: dict[str, Callable[..., float]] = {
    "erosion": lambda *, radius, shape: _once(radius, shape),
    "dilation": lambda *, radius, shape: _once(radius, shape),
    "opening": lambda *, radius, shape: 2 * _once(radius, shape),
    "closing": lambda *, radius, shape: 2 * _once(radius, shape),
}


def accept(kernel: str, mask: NDArray[np.bool_], radius: tuple[int, int, int], shape: str) -> None:
    """Refuse what the kernels of this file do not define, for law and twin alike."""
    _checks.volume(kernel, mask, np.bool_)
    _checks.radius(kernel, radius)
    _checks.one_of(kernel, "shape", shape, SHAPES)


def erosion(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Keep the voxels around which the whole structuring element is true.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    radius : tuple of int
        Voxels along (z, y, x), each >= 0; may exceed the axis.
    shape : {"box", "cross"}
        The cuboid of 2 r + 1 voxels on each axis, or its three segments through the centre along the axes.

    Returns
    -------
    numpy.ndarray of bool, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of bool, or a radius that is not an integer.
    ValueError
        Not a non-empty C-contiguous volume, a radius that is not three numbers >= 0, or another shape.

    Notes
    -----
    Law.

    - Formula: the and of the mask over the element at each voxel. A box is eroded axis by axis; a cross is the and of
      the three erosions by a segment. A segment joins runs of 1, 2, 4 ... voxels and then two that overlap.
    - Window: the element. Border: outside the array is foreground, so that the border does not eat the mask.
    - Format: bool. Rounding: none. Unit: none.
    - Source: scipy.ndimage.binary_erosion(border_value=1).
    """
    accept("erosion", mask, radius, shape)
    return _apply(np.logical_and, mask, radius, shape)


def dilation(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Add the voxels whose structuring element holds a true voxel.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    radius : tuple of int
        Voxels along (z, y, x), each >= 0; may exceed the axis.
    shape : {"box", "cross"}
        As in `erosion`.

    Returns
    -------
    numpy.ndarray of bool, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of bool, or a radius that is not an integer.
    ValueError
        Not a non-empty C-contiguous volume, a radius that is not three numbers >= 0, or another shape.

    Notes
    -----
    Law.

    - Formula: the or of the mask over the element at each voxel, in the way of `erosion`.
    - Window: the element. Border: outside the array is background.
    - Format: bool. Rounding: none. Unit: none.
    - Source: scipy.ndimage.binary_dilation(border_value=0).
    """
    accept("dilation", mask, radius, shape)
    return _apply(np.logical_or, mask, radius, shape)


def opening(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Keep the union of the structuring elements that fit into the mask.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    radius : tuple of int
        Voxels along (z, y, x), each >= 0; may exceed the axis.
    shape : {"box", "cross"}
        As in `erosion`.

    Returns
    -------
    numpy.ndarray of bool, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of bool, or a radius that is not an integer.
    ValueError
        Not a non-empty C-contiguous volume, a radius that is not three numbers >= 0, or another shape.

    Notes
    -----
    Law.

    - Formula: dilation of the erosion. Window: twice the element. Border: that of `erosion`, then that of `dilation`: a
      mask that continues outside would fit there.
    - Format: bool. Rounding: none. Unit: none. Source: definition.
    """
    accept("opening", mask, radius, shape)
    return _apply(np.logical_or, _apply(np.logical_and, mask, radius, shape), radius, shape)


def closing(mask: NDArray[np.bool_], /, *, radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    """Fill what no structuring element outside the mask can reach.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    radius : tuple of int
        Voxels along (z, y, x), each >= 0; may exceed the axis.
    shape : {"box", "cross"}
        As in `erosion`.

    Returns
    -------
    numpy.ndarray of bool, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of bool, or a radius that is not an integer.
    ValueError
        Not a non-empty C-contiguous volume, a radius that is not three numbers >= 0, or another shape.

    Notes
    -----
    Law.

    - Formula: erosion of the dilation. Window: twice the element. Border: that of `dilation`, then that of `erosion`:
      no true voxel is lost, on however thin a stack.
    - Format: bool. Rounding: none. Unit: none. Source: definition.
    """
    accept("closing", mask, radius, shape)
    return _apply(np.logical_and, _apply(np.logical_or, mask, radius, shape), radius, shape)


def _apply(join: np.ufunc, mask: NDArray[np.bool_], radius: tuple[int, int, int], shape: str) -> NDArray[np.bool_]:
    if shape == "cross":
        along_z, along_y, along_x = (_segment(join, mask, axis, radius[axis]) for axis in range(3))
        return join(join(along_z, along_y), along_x)
    mask = mask.copy()
    for axis in range(3):
        mask = _segment(join, mask, axis, radius[axis])
    return mask


def _segment(join: np.ufunc, mask: NDArray[np.bool_], axis: int, radius: int) -> NDArray[np.bool_]:
    """Join the 2 r + 1 voxels along one axis; outside lies what changes nothing: true for and, false for or."""
    length = mask.shape[axis]
    radius = min(radius, length - 1)  # a greater one reaches nothing more
    if radius == 0:
        return mask
    outside = np.full((radius, *np.delete(mask.shape, axis)), join is np.logical_and)
    along = np.moveaxis(mask, axis, 0)
    joined, size, window = np.concatenate([outside, along, outside]), 1, 2 * radius + 1
    while 2 * size <= window:
        joined = join(joined[:-size], joined[size:])
        size *= 2
    rest = window - size
    joined = join(joined[:-rest], joined[rest:])
    return np.ascontiguousarray(np.moveaxis(joined, 0, axis))
