"""Laws of connected components: their labels, hysteresis, the removal of small ones, their moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CONNECTIVITIES = (6, 26)
MOMENTS = 11

# The dense part; what is done for each run of true voxels, for each labelled voxel and each face follows the data.
_LABEL = 1  # each voxel is compared with the one on its left
_MOMENTS = 3  # comparison with the neighbour along each axis
OPERATIONS: dict[str, Callable[..., float]] = {
    "label": lambda *, connectivity, at=None: _LABEL,
    "hysteresis": lambda *, weak, strong: 2 + _LABEL + 1,  # two comparisons, look-up of the label
    "remove_small": lambda *, min_size, connectivity: 1 + _LABEL + 1,  # size of each label, look-up
    "component_moments": lambda *, count: _MOMENTS,
    "mask_moments": lambda *, connectivity: _LABEL + _MOMENTS,
}


def accept_label(mask: NDArray[np.bool_], connectivity: int, at: NDArray[np.int64] | None = None) -> None:
    """Refuse what `label` does not define, for law and twin alike."""
    _checks.volume("label", mask, np.bool_)
    _checks.one_of("label", "connectivity", connectivity, CONNECTIVITIES)
    _checks.at_most_int32("label", mask)
    if at is not None:
        _checks.flat_index("label", "at", at, mask.size)


def accept_hysteresis(p: NDArray[np.uint16], weak: int, strong: int) -> None:
    """Refuse what `hysteresis` does not define, for law and twin alike."""
    _checks.volume("hysteresis", p, np.uint16)
    _checks.integer("hysteresis", "weak", weak, 0, 65535)
    _checks.integer("hysteresis", "strong", strong, 0, 65535)
    if strong < weak:
        raise ValueError(f"hysteresis: expected strong >= weak, got weak {weak} and strong {strong}")
    _checks.at_most_int32("hysteresis", p)


def accept_remove_small(mask: NDArray[np.bool_], min_size: int, connectivity: int) -> None:
    """Refuse what `remove_small` does not define, for law and twin alike."""
    _checks.volume("remove_small", mask, np.bool_)
    _checks.integer("remove_small", "min_size", min_size, 0)
    _checks.one_of("remove_small", "connectivity", connectivity, CONNECTIVITIES)
    _checks.at_most_int32("remove_small", mask)


def accept_component_moments(labels: NDArray[np.int32], count: int) -> None:
    """Refuse what `component_moments` does not define, for law and twin alike."""
    _checks.volume("component_moments", labels, np.int32)
    _checks.integer("component_moments", "count", count, 0, 2**31 - 1)
    _summable("component_moments", labels)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > count:
        raise ValueError(f"component_moments: expected labels in 0..{count}, got {low}..{high}")


def accept_mask_moments(mask: NDArray[np.bool_], connectivity: int) -> None:
    """Refuse what `mask_moments` does not define, for law and twin alike."""
    _checks.volume("mask_moments", mask, np.bool_)
    _checks.one_of("mask_moments", "connectivity", connectivity, CONNECTIVITIES)
    _checks.at_most_int32("mask_moments", mask)
    _summable("mask_moments", mask)


def _summable(kernel: str, array: NDArray) -> None:
    if array.size * max(array.shape) ** 2 >= 2**63:
        raise ValueError(f"{kernel}: expected voxels * (longest axis)^2 < 2^63, got shape {array.shape}")


def label(
    mask: NDArray[np.bool_], /, *, connectivity: int, at: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int32], int]:
    """Label the connected components of a mask.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    connectivity : {6, 26}
        Voxels joined by a face, or by a face, an edge or a corner.
    at : numpy.ndarray of int64, shape (n,), optional
        Flat indices, as `gather` takes them, of the voxels whose labels are asked for; else those of all are.

    Returns
    -------
    labels : numpy.ndarray of int32, shape (z, y, x), or (n,) where `at` is given
        0 outside the mask, 1..count inside.
    count : int
        Components.

    Raises
    ------
    TypeError
        Not a NumPy array of bool.
    ValueError
        Not a non-empty C-contiguous volume of less than 2^31 voxels, another connectivity, or `at` of another dtype or
        shape or out of range.

    Notes
    -----
    Law.

    - Formula: two true voxels carry the same label if and only if a path of true neighbours joins them; components are
      numbered from 1 in the order in which their first voxels appear when z, y, x are read with x fastest.
      Runs of true voxels along x are the nodes of a graph, touching runs of neighbouring rows its edges; each root is
      hooked to the smallest root that it touches and the paths are shortened, until no edge joins two roots. A parent
      is never greater than its child, so the root of a component is its first run whatever the order of the hooks.
    - Window: 6 or 26 neighbours, in any number of steps. Border: outside is background.
    - Format: int32. There are no more components than voxels, fewer than 2^31 by the check.
    - Rounding: none. Unit: none.
    - Source: the numbering of scipy.ndimage.label; Shiloach and Vishkin, J. Algorithms 3 (1982) 57-67.
    """
    accept_label(mask, connectivity, at)
    height, width = mask.shape[1:]
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    flat = padded.reshape(-1)
    # A false voxel stands before and behind each row, and a false row above and below each slice: runs end with
    # their row, and a step to a neighbouring row is the same number everywhere.
    edge = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start, end = edge[0::2], edge[1::2]
    first, second = _touching(start, end, width + 2, (height + 2) * (width + 2), connectivity)
    root = _roots(start.size, first, second)
    is_root = root == np.arange(root.size)
    number = np.cumsum(is_root, dtype=np.int32)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(number[root], end - start)
    return labels if at is None else labels.reshape(-1)[at], int(np.count_nonzero(is_root))


def _touching(
    start: NDArray[np.int64], end: NDArray[np.int64], row: int, plane: int, connectivity: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of runs that touch; `row` and `plane` are the steps to the next row and to the next slice."""
    reach = 1 if connectivity == 26 else 0
    steps = (row, plane - row, plane, plane + row) if connectivity == 26 else (row, plane)
    firsts, seconds = [], []
    for step in steps:
        # runs of the other row that end after this one starts, and start before it ends
        low = np.searchsorted(end, start + (step - reach), side="right")
        high = np.searchsorted(start, end + (step + reach), side="left")
        number = high - low
        before = np.cumsum(number) - number
        firsts.append(np.repeat(np.arange(start.size), number))
        seconds.append(np.arange(firsts[-1].size) + np.repeat(low - before, number))
    return np.concatenate(firsts), np.concatenate(seconds)


def _roots(nodes: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the smallest node of each node's component."""
    parent = np.arange(nodes)
    while first.size:
        first, second = parent[first], parent[second]
        apart = first != second
        first, second = first[apart], second[apart]
        np.minimum.at(parent, np.maximum(first, second), np.minimum(first, second))
        grand = parent[parent]
        while not np.array_equal(grand, parent):
            parent, grand = grand, grand[grand]
    return parent


def hysteresis(p: NDArray[np.uint16], /, *, weak: int, strong: int) -> NDArray[np.bool_]:
    """Keep the weak voxels that are connected to a strong one.

    Parameters
    ----------
    p : numpy.ndarray of uint16, shape (z, y, x)
        Probability codes, step 1/65535.
    weak, strong : int
        Codes, 0 <= weak <= strong <= 65535.

    Returns
    -------
    numpy.ndarray of bool, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of uint16, or `weak` or `strong` not an integer.
    ValueError
        Not a non-empty C-contiguous volume of less than 2^31 voxels, or codes out of range or order.

    Notes
    -----
    Law.

    - Formula: the 26-connected components of p >= weak that hold a voxel with p >= strong.
    - Window: 26 neighbours, in any number of steps. Border: outside is background.
    - Format: bool. Rounding: none. Unit: none.
    - Source: Canny, IEEE PAMI 8 (1986) 679-698; skimage.filters.apply_hysteresis_threshold has > where this has >=.
    """
    accept_hysteresis(p, weak, strong)
    labels, count = label(p >= np.uint16(weak), connectivity=26)
    keep = np.zeros(count + 1, np.bool_)
    keep[labels[p >= np.uint16(strong)]] = True  # strong voxels are weak ones: no label 0 among them
    return np.take(keep, labels)


def remove_small(mask: NDArray[np.bool_], /, *, min_size: int, connectivity: int) -> NDArray[np.bool_]:
    """Keep the connected components of at least `min_size` voxels.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    min_size : int
        Voxels, >= 0; 0 and 1 keep everything.
    connectivity : {6, 26}

    Returns
    -------
    numpy.ndarray of bool, shape (z, y, x)

    Raises
    ------
    TypeError
        Not a NumPy array of bool, or `min_size` not an integer.
    ValueError
        Not a non-empty C-contiguous volume of less than 2^31 voxels, a negative size, or another connectivity.

    Notes
    -----
    Law.

    - Formula: the union of the components (of `label`) whose number of voxels is >= min_size.
    - Window: the neighbours, in any number of steps. Border: outside is background.
    - Format: bool; sizes in int64, at most the number of voxels. Rounding: none. Unit: none.
    - Source: skimage.morphology.remove_small_objects.
    """
    accept_remove_small(mask, min_size, connectivity)
    labels, count = label(mask, connectivity=connectivity)
    keep = np.bincount(labels.reshape(-1), minlength=count + 1) >= min_size
    keep[0] = False
    return np.take(keep, labels)


def component_moments(labels: NDArray[np.int32], /, *, count: int) -> NDArray[np.int64]:
    """Sum coordinates, their products and exposed faces over each component.

    Parameters
    ----------
    labels : numpy.ndarray of int32, shape (z, y, x)
        0..count; 0 is background.
    count : int
        Components, >= 0.

    Returns
    -------
    numpy.ndarray of int64, shape (count, 11)
        Row k belongs to label k + 1: voxels n, sums of z, y, x, zz, yy, xx, zy, zx, yx, exposed faces. On the host.

    Raises
    ------
    TypeError
        Not a NumPy array of int32, or `count` not an integer.
    ValueError
        Not a non-empty C-contiguous volume, a label outside 0..count, or voxels * (longest axis)^2 >= 2^63.

    Notes
    -----
    Law.

    - Formula: sums over the voxels of the label, z, y, x their indices in the array; a face of a voxel is exposed where
      the neighbour across it has another label or lies outside the array.
    - Window: 6 neighbours. Border: outside has no label, so faces on it are exposed.
    - Format: int64. A sum has at most N terms, the voxels of the array, each below (longest axis)^2, so it stays below
      2^63 by the check; there are at most 6 N faces. All sums are of integers: no order changes them.
    - Rounding: none. Unit: voxels, voxels^2, faces.
    - Source: definition. n, the sums and the products give centre and covariance; faces, the area.
    """
    accept_component_moments(labels, count)
    flat = labels.reshape(-1)
    at = np.flatnonzero(flat)
    component = flat[at].astype(np.int64) - 1
    z, y, x = np.unravel_index(at, labels.shape)
    result = np.zeros((count, MOMENTS), np.int64)
    result[:, 0] = np.bincount(component, minlength=count)
    for column, values in enumerate((z, y, x, z * z, y * y, x * x, z * y, z * x, y * x), start=1):
        np.add.at(result[:, column], component, values)
    for axis in range(3):
        along = np.moveaxis(labels, axis, 0)
        differs = along[1:] != along[:-1]
        for side in (along[:1], along[-1:], along[1:][differs], along[:-1][differs]):
            result[:, 10] += np.bincount(side.reshape(-1), minlength=count + 1)[1:]
    return result


def mask_moments(mask: NDArray[np.bool_], /, *, connectivity: int) -> NDArray[np.int64]:
    """Return the `component_moments` of a mask's components, together with their `label`: no labels are kept.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    connectivity : {6, 26}

    Returns
    -------
    numpy.ndarray of int64, shape (components, 11)
        As `component_moments` returns it. On the host.

    Raises
    ------
    TypeError
        Not a NumPy array of bool.
    ValueError
        Not a non-empty C-contiguous volume of less than 2^31 voxels, another connectivity, or voxels *
        (longest axis)^2 >= 2^63.

    Notes
    -----
    Law: `component_moments` of the labels and the count that `label` returns.
    """
    accept_mask_moments(mask, connectivity)
    labels, count = label(mask, connectivity=connectivity)
    return component_moments(labels, count=count)
