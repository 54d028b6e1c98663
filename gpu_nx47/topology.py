"""Steps of the cleaning that mend what a mask hangs together by: pinholes plugged, cavities filled, the frame cleared.

Each step is exact (labels and comparisons), can be switched off, and tells what it changed. What grows a mask here
never joins two of its components, but for what floats in a cavity that is filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import bits, cavities, components
from gpu_nx47.engine import where

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.backend import Backend, Meter

REACH: Final = (1, 1, 1)
"""Radius of the closing whose new voxels may plug a pinhole, voxels: what is wider is no pinhole."""


def fill_cavities(backend: Backend | Meter, mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask without cavities, and what that changed.

    Parameters
    ----------
    backend : Backend or Meter
    mask : numpy.ndarray of bool, shape (z, y, x)
        On the host, C-contiguous, as all arrays here; kernels get a copy on the device.

    Returns
    -------
    mask : numpy.ndarray of bool
        The same array where there was no cavity.
    told : dict
        `step`, `voxels` added, `cavities` (before, after).

    Notes
    -----
    A cavity is a component of the background, 6-connected, that does not reach the border of the array.

    References
    ----------
    scipy.ndimage.binary_fill_holes does the same.
    """
    made, told, _ = _filled(backend, mask)
    return made, told


def _filled(
    backend: Backend | Meter, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], dict[str, Any], NDArray[np.int64]]:
    """Return a mask without cavities, what that changed, and the voxels added."""
    first, count = cavities.first_voxels(mask, bits.packed(mask), components.host_label(backend))
    made, added = cavities.filled(mask, first)
    return made, {"step": "cavities", "voxels": len(added), "cavities": [count, 0]}, added


class Fill:
    """`fill_cavities`, which is not done again for the very array it was done for last; nobody may write to it.

    Parameters
    ----------
    backend : Backend or Meter
    """

    def __init__(self, backend: Backend | Meter) -> None:
        self._backend = backend
        self._last: tuple[Any, Any] = (None, None)

    def __call__(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        """Return a mask without cavities, and what that changed."""
        made, told, _ = self._done(mask)
        return made, dict(told)

    def voxels(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the voxels of a mask's cavities, flat indices."""
        added: NDArray[np.int64] = self._done(mask)[2]
        return added

    def forget(self) -> None:
        """Let go of the mask, which is about to change."""
        self._last = (None, None)

    def _done(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], dict[str, Any], NDArray[np.int64]]:
        if self._last[0] is not mask:
            self._last = mask, _filled(self._backend, mask)
        done: tuple[NDArray[np.bool_], dict[str, Any], NDArray[np.int64]] = self._last[1]
        return done


def plug_pinholes(
    backend: Backend | Meter, mask: NDArray[np.bool_], most: int, *, own: bool = False
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask without pinholes, and what that changed.

    Parameters
    ----------
    backend : Backend or Meter
    mask : numpy.ndarray of bool, shape (z, y, x)
        On the host, C-contiguous, as all arrays here; kernels get a copy on the device.
    most : int
        Voxels of a plug, at most.
    own : bool
        The mask may be written to, and is what is returned.

    Returns
    -------
    mask : numpy.ndarray of bool
    told : dict
        `step`, `voxels` added, `plugs`, `refused` (they would have joined components), `components` (before, after).

    Notes
    -----
    A plug is a 26-connected group of voxels that a closing by 3 x 3 x 3 would add. It is put in where it is small and
    all mask voxels that it touches belong to one component: plugs do not touch one another, so no two components join.
    """
    closed = backend.to_host(backend.closing(backend.to_device(mask), radius=REACH, shape="box"))
    index, group, _ = small_groups(backend, mask, closed, most)
    del closed, _
    beside, of = near(index, group, mask)
    there, count = backend.label(backend.to_device(mask), connectivity=26, at=backend.to_device(beside))
    lowest, highest = touched(of, backend.to_host(there), int(group.max(initial=0)) + 1)
    tried = np.unique(group)
    one = lowest == highest
    chosen = index[one[group]]
    after = mask if own else mask.copy()
    after.reshape(-1)[chosen] = True
    plugs = int(np.count_nonzero(one[tried]))
    told = {"step": "pinholes", "voxels": len(chosen), "plugs": plugs, "refused": len(tried) - plugs}
    return after, {**told, "components": [count, count]}


def small_groups(
    backend: Backend | Meter, mask: NDArray[np.bool_], made: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Return the small 26-connected groups of voxels in which two masks differ.

    Parameters
    ----------
    backend : Backend or Meter
    mask, made : numpy.ndarray of bool, shape (z, y, x)
        The second is written over.
    most : int
        Voxels of a group, at most.

    Returns
    -------
    index : numpy.ndarray of int64
        Flat indices of the voxels of these groups, ascending.
    group : numpy.ndarray of int32
        The group of each.
    differ : numpy.ndarray of bool, shape (z, y, x)
        Where the masks differ, large groups included.
    """
    index = where(mask.shape, lambda rows: np.not_equal(made[rows], mask[rows], out=made[rows]))
    there, count = backend.label(backend.to_device(made), connectivity=26, at=backend.to_device(index))
    group = backend.to_host(there)
    small = np.bincount(group, minlength=count + 1)[group] <= most
    return index[small], group[small], made


def near(
    index: NDArray[np.int64], group: NDArray[np.int32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return mask voxels (flat indices) that voxels of groups touch, and the group of each; with repeats.

    All that a voxel touches is 26-connected to some of those that are returned for it.
    """
    flat = mask.reshape(-1)
    steps = (mask.shape[1] * mask.shape[2], mask.shape[2], 1)
    planes, rows, columns = map(_beside, np.unravel_index(index, mask.shape), mask.shape, steps)
    found, beside = [], []

    def empty(there: NDArray[np.int64], of: NDArray[np.int32]) -> NDArray[np.bool_]:
        touches = flat[there]
        found.append(there[touches])
        beside.append(of[touches])
        return ~touches

    # What lies around the middle of a plane touches it, and so in a line: where that is there, it stands for them.
    for plane in planes:
        left = empty(plane + rows[1] + columns[1], group)
        here, of, across = plane[left], group[left], [column[left] for column in columns]
        for row in rows:
            line = here + row[left]
            open_line = empty(line + across[1], of)
            for column in across[::2]:
                empty((line + column)[open_line], of[open_line])
    return np.concatenate(found), np.concatenate(beside)


def _beside(place: NDArray[np.int64], length: int, step: int) -> tuple[NDArray[np.int64], ...]:
    """Return what places of an axis, the ones before and the ones behind them, add to a flat index.

    At the border a voxel stands in for its neighbour outside: it touches nothing new.
    """
    return step * np.maximum(place - 1, 0), step * place, step * np.minimum(place + 1, length - 1)


def touched(
    group: NDArray[np.int32], part: NDArray[np.int32], length: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the lowest and the highest component that each of `length` groups touches."""
    highest = np.zeros(length, np.int32)
    lowest = np.full(length, np.iinfo(np.int32).max, np.int32)
    np.maximum.at(highest, group, part)
    np.minimum.at(lowest, group, part)
    return lowest, highest


def clear_frame(mask: NDArray[np.bool_], depth: int) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask that is empty within `depth` voxels of the array's border, and what that changed."""
    inner = tuple(slice(depth, max(depth, n - depth)) for n in mask.shape)
    cleared = np.zeros_like(mask)
    cleared[inner] = mask[inner]
    return cleared, {"step": "frame", "voxels": int(cleared.sum()) - int(mask.sum())}
