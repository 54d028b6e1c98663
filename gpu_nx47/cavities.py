"""Cavities of a mask: the components of its background that do not reach the border of the array.

A component's first voxel in raster order has none of it before it on any axis: so few voxels need to be asked about,
and no volume of labels is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_nx47 import bits
from gpu_nx47.components import Label, labels_at

if TYPE_CHECKING:
    from numpy.typing import NDArray


def first_voxels(
    mask: NDArray[np.bool_], packed: NDArray[np.uint64], label: Label, *, connectivity: int = 6
) -> tuple[NDArray[np.int64], int]:
    """Return some voxels of each cavity of a mask, its first among them, and the number of cavities.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    packed : numpy.ndarray of uint64
        The mask as `bits.packed` returns it.
    label : callable
        The kernel `label` of a backend.
    connectivity : {6, 26}
        Of the background.

    Returns
    -------
    voxels : numpy.ndarray of int64
        Flat indices, ascending.
    count : int
    """
    inside = _led(packed, mask.shape)
    border = _led_on_the_border(mask)
    if not inside.size:
        return inside, 0
    among = np.searchsorted(inside, border)
    at = np.insert(inside, among, border)
    labels, count = labels_at(mask.shape, lambda rows: ~mask[rows], label, connectivity=connectivity, at=at)
    among += np.arange(len(border))
    closed = np.ones(count + 1, np.bool_)
    closed[labels[among]] = False
    of = np.delete(labels, among)
    enclosed = closed[of]
    return inside[enclosed], len(np.unique(of[enclosed]))


def _led(packed: NDArray[np.uint64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the background voxels behind mask voxels on all three axes: the first of a cavity is one."""
    found = []
    for part in bits.parts(packed[1:]):
        before, here = packed[part], packed[1:][part]
        ahead = bits.moved(here)
        ahead &= ~here
        ahead &= before
        ahead[:, 0] = 0
        ahead[:, 1:] &= here[:, :-1]
        found.append(bits.listed(ahead, shape[2]) + (part.start + 1) * shape[1] * shape[2])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _led_on_the_border(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a background voxel, at least, of each of its pieces on the six faces of an array."""
    found = []
    strides = (mask.shape[1] * mask.shape[2], mask.shape[2], 1)
    for axis, n in enumerate(mask.shape):
        row, column = (other for other in range(3) if other != axis)
        for at in {0, n - 1}:
            face = np.take(mask, at, axis)
            led = ~face
            led[1:] &= face[:-1]
            led[:, 1:] &= face[:, :-1]
            i, j = np.nonzero(led)
            found.append(at * strides[axis] + i * strides[row] + j * strides[column])
    return np.unique(np.concatenate(found))


def filled(mask: NDArray[np.bool_], voxels: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return a mask without the cavities, 6-connected, that some voxels belong to, and all voxels of these.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
        C-contiguous.
    voxels : numpy.ndarray of int64
        Flat indices of background voxels in cavities.

    Returns
    -------
    mask : numpy.ndarray of bool
        The same array where there is no cavity to fill.
    voxels : numpy.ndarray of int64
        Flat indices.
    """
    if not voxels.size:
        return mask, voxels
    made = mask.copy()
    flat = made.reshape(-1)
    above = np.array([1, mask.shape[2], mask.shape[1] * mask.shape[2]])
    steps = np.concatenate([above, -above])
    found, front = [voxels], voxels
    flat[voxels] = True
    while front.size:
        # A cavity has voxels of the mask on every side: no neighbour lies outside of the array.
        beside = (front[:, None] + steps).reshape(-1)
        front = np.unique(beside[~flat[beside]])
        flat[front] = True
        found.append(front)
    return made, np.concatenate(found)
