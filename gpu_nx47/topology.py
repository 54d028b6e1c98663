"""Steps of the cleaning that mend what a mask hangs together by: pinholes plugged, cavities filled, the frame cleared.

Each step is exact (labels and comparisons), can be switched off, and tells what it changed. What grows a mask here
never joins two of its components, but for what floats in a cavity that is filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

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
    there, count = backend.label(backend.to_device(~mask), connectivity=6)
    labels = backend.to_host(there)
    closed = np.ones(count + 1, np.bool_)
    closed[0] = False
    for axis in range(3):
        for end in (0, -1):
            closed[np.unique(labels.take(end, axis=axis))] = False
    cavities = int(np.count_nonzero(closed))
    added = 0
    if cavities:
        inside = closed[labels]
        added = int(np.count_nonzero(inside))
        mask = mask | inside
    return mask, {"step": "cavities", "voxels": added, "cavities": [cavities, 0]}


def plug_pinholes(
    backend: Backend | Meter, mask: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask without pinholes, and what that changed.

    Parameters
    ----------
    backend : Backend or Meter
    mask : numpy.ndarray of bool, shape (z, y, x)
        On the host, C-contiguous, as all arrays here; kernels get a copy on the device.
    most : int
        Voxels of a plug, at most.

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
    index, group = _small_groups(backend, mask, most)
    parts, count = backend.label(backend.to_device(mask), connectivity=26)
    lowest, highest = _touched(index, group, backend.to_host(parts))
    del parts
    tried = np.unique(group)
    one = lowest == highest
    chosen = index[one[group]]
    after = mask.copy()
    after.reshape(-1)[chosen] = True
    plugs = int(np.count_nonzero(one[tried]))
    told = {"step": "pinholes", "voxels": len(chosen), "plugs": plugs, "refused": len(tried) - plugs}
    return after, {**told, "components": [count, count]}


def _small_groups(
    backend: Backend | Meter, mask: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the voxels (flat indices) of the groups that may be plugs, and the group of each."""
    closed = backend.to_host(backend.closing(backend.to_device(mask), radius=REACH, shape="box"))
    labels, count = backend.label(backend.to_device(closed & ~mask), connectivity=26)
    groups = backend.to_host(labels).reshape(-1)
    index = np.flatnonzero(groups)
    group = groups[index]
    small = np.bincount(group, minlength=count + 1)[group] <= most
    return index[small], group[small]


def _touched(
    index: NDArray[np.int64], group: NDArray[np.int32], parts: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the lowest and the highest component that each group touches."""
    length = int(group.max(initial=0)) + 1
    highest = np.zeros(length, np.int32)
    lowest = np.full(length, np.iinfo(np.int32).max, np.int32)
    place = np.unravel_index(index, parts.shape)
    for step in np.ndindex(3, 3, 3):
        # At the border a voxel stands in for its neighbour outside: it touches nothing new.
        z, y, x = (np.clip(p + s - 1, 0, n - 1) for p, s, n in zip(place, step, parts.shape, strict=True))
        part = parts[z, y, x]
        np.maximum.at(highest, group, part)
        np.minimum.at(lowest, group, np.where(part > 0, part, lowest[0]))
    return lowest, highest


def clear_frame(mask: NDArray[np.bool_], depth: int) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask that is empty within `depth` voxels of the array's border, and what that changed."""
    inner = tuple(slice(depth, max(depth, n - depth)) for n in mask.shape)
    cleared = np.zeros_like(mask)
    cleared[inner] = mask[inner]
    return cleared, {"step": "frame", "voxels": int(cleared.sum()) - int(mask.sum())}
