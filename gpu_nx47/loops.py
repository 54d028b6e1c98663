"""Steps of the cleaning that undo tunnels: loops filled in a sheet, bridges cut between sheets.

A closing or an opening by the smallest neighbourhood proposes groups of voxels; those that undo a tunnel are taken. The
Euler number tells it exactly: what a group changes in it is a sum over the group's own corners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import corners, topology

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.backend import Backend, Meter

REACH: Final = (1, 1, 1)
"""Arms of the cross of seven voxels that closes and opens: a box takes much more, in larger groups."""


def fill_loops(
    backend: Backend | Meter,
    mask: NDArray[np.bool_],
    most: int,
    fill: topology.Fill | None = None,
    *,
    own: bool = False,
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask whose small loops are filled, and what that changed.

    Parameters
    ----------
    backend : Backend or Meter
    mask : numpy.ndarray of bool, shape (z, y, x)
        On the host, C-contiguous.
    most : int
        Voxels of a filling, at most.
    fill : Fill, optional
        Of this backend: it remembers, which saves a step behind this one its work.
    own : bool
        The mask may be written to, and is what is returned.

    Returns
    -------
    mask : numpy.ndarray of bool
    told : dict
        `step`, `voxels` added, `fillings`, `refused` (they would have joined components or enclosed a cavity).

    Notes
    -----
    A filling is a 26-connected group of voxels that a closing by a cross of seven voxels would add. It is put in where
    the Euler number grows, all mask voxels that it touches belong to one component, and no cavity borders on it
    afterwards: then it closes loops, more than the cavities that it may fill with them, and changes nothing else.
    Fillings do not touch one another, so this holds for all of them together. A filling may be thinner than its sheet.
    """
    closed = backend.to_host(backend.closing(backend.to_device(mask), radius=REACH, shape="cross"))
    index, group = _gainful(mask, *topology.small_groups(backend, mask, closed, most))
    del closed
    tried = np.unique(group)
    beside, of = topology.near(index, group, mask)
    there, _ = backend.label(backend.to_device(mask), connectivity=26, at=backend.to_device(beside))
    lowest, highest = topology.touched(of, backend.to_host(there), int(group.max(initial=0)) + 1)
    one = (lowest == highest)[group]
    index, group = index[one], group[one]
    after = mask if own else mask.copy()
    after.reshape(-1)[index] = True
    fill = fill or topology.Fill(backend)
    inside = fill.voxels(after)
    enclosing = np.unique(group[_beside(inside, index, mask.shape)])
    if enclosing.size:
        fill.forget()
        after.reshape(-1)[index[np.isin(group, enclosing)]] = False
    fillings = len(np.unique(group)) - len(enclosing)
    added = int(np.count_nonzero(~np.isin(group, enclosing)))
    return after, {"step": "loops", "voxels": added, "fillings": fillings, "refused": len(tried) - fillings}


def cut_bridges(
    backend: Backend | Meter, mask: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Return a mask whose thin bridges are cut, and what that changed.

    Parameters
    ----------
    backend : Backend or Meter
    mask : numpy.ndarray of bool, shape (z, y, x)
        On the host, C-contiguous.
    most : int
        Voxels of a bridge, at most.

    Returns
    -------
    mask : numpy.ndarray of bool
    told : dict
        `step`, `voxels` (less: negative), `bridges` cut.

    Notes
    -----
    A bridge is a 26-connected group of voxels that an opening by a cross of seven voxels would take away, without which
    the Euler number is greater: it held a loop together, or two pieces.
    """
    opened = backend.to_host(backend.opening(backend.to_device(mask), radius=REACH, shape="cross"))
    index, group = _gainful(mask, *topology.small_groups(backend, mask, opened, most))
    after = mask.copy()
    after.reshape(-1)[index] = False
    return after, {"step": "bridges", "voxels": -len(index), "bridges": len(np.unique(group))}


def _gainful(
    mask: NDArray[np.bool_], index: NDArray[np.int64], group: NDArray[np.int32], differ: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the voxels of groups with which the Euler number grows if they are changed, and the group of each."""
    gain = np.zeros(int(group.max(initial=0)) + 1, np.int64)
    np.add.at(gain, group, corners.euler_changes(mask, differ, index))
    good = gain[group] > 0
    return index[good], group[good]


def _beside(cavity: NDArray[np.int64], index: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which of some voxels share a face with a voxel of cavities, which has six neighbours in the array."""
    above = np.array([1, shape[2], shape[1] * shape[2]])
    return np.isin(index, (cavity[:, None] + np.concatenate([above, -above])).reshape(-1))
