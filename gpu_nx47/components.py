"""Components of a mask labelled a slab at a time and joined where slabs touch: the same numbers with less memory.

The kernel `label` takes the mask whole, and its runs; between slabs two planes tell what belongs together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.backend import Backend, Meter

Label = Callable[..., tuple[Any, int]]
"""The kernel `label` of a backend, called with arrays of the host."""
SLAB: Final = 1 << 25
"""Voxels that are labelled at once, about: a 320-cube is one slab."""


def labels_at(
    shape: tuple[int, ...],
    part: Callable[[slice], NDArray[np.bool_]],
    label: Label,
    *,
    connectivity: int,
    at: NDArray[np.int64],
    slab: int = SLAB,
) -> tuple[NDArray[np.int32], int]:
    """Return the component of some voxels, and the number of components.

    Parameters
    ----------
    shape : tuple of int
        Of the mask.
    part : callable
        Returns slices of the mask, C-contiguous.
    label : callable
        The kernel `label` of a backend.
    connectivity : {6, 26}
    at : numpy.ndarray of int64
        Flat indices, ascending.
    slab : int
        Voxels labelled at once; nothing but memory depends on it.

    Returns
    -------
    labels : numpy.ndarray of int32
        0 where the mask is false; else as the kernel numbers them, whatever the slabs: in the order of first voxels.
    count : int
    """
    plane = shape[1] * shape[2]
    depth = max(1, slab // max(1, plane))
    if depth >= shape[0]:
        return label(part(slice(0, shape[0])), connectivity=connectivity, at=at)
    face, found = np.arange(plane), np.empty(len(at), np.int32)
    total, pairs, before = 0, [], np.zeros(shape[1:], np.int32)
    for start in range(0, shape[0], depth):
        stop = min(start + depth, shape[0])
        first, last = np.searchsorted(at, (start * plane, stop * plane))
        faces = face, face + (stop - start - 1) * plane
        asked = np.concatenate([at[first:last] - start * plane, *faces])
        labels, count = label(part(slice(start, stop)), connectivity=connectivity, at=asked)
        labels[labels > 0] += total
        found[first:last] = labels[: last - first]
        top, bottom = labels[last - first :].reshape(2, *shape[1:])
        pairs.append(_touching(before, top, connectivity))
        before, total = bottom, total + count
    roots, count = _joined(total, np.concatenate(pairs))
    for start in range(0, len(found), slab):  # in place, as there may be many
        found[start : start + slab] = roots[found[start : start + slab]]
    return found, count


def host_label(backend: Backend | Meter) -> Label:
    """Return the kernel `label` for arrays of the host, of which it returns the labels of voxels asked for."""

    def label(mask: NDArray[np.bool_], *, connectivity: int, at: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
        labels, count = backend.label(backend.to_device(mask), connectivity=connectivity, at=backend.to_device(at))
        return backend.to_host(labels), int(count)

    return label


def _touching(above: NDArray[np.int32], below: NDArray[np.int32], connectivity: int) -> NDArray[np.int32]:
    """Return the pairs of labels, shape (n, 2), that touch between two planes, each once."""
    reach = (0,) if connectivity == 6 else (-1, 0, 1)
    height, width = above.shape
    found = []
    for y in reach:
        for x in reach:
            a = above[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
            b = below[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
            both = (a > 0) & (b > 0)
            found.append(np.stack([a[both], b[both]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _joined(total: int, pairs: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """Return the number from 1 of each label's component, 0 for label 0, and how many there are."""
    above: dict[int, int] = {}

    def root(label: int) -> int:
        while (parent := above.get(label, label)) != label:
            above[label] = above.get(parent, parent)
            label = parent
        return label

    for a, b in pairs.tolist():
        one, other = root(a), root(b)
        if one != other:
            above[max(one, other)] = min(one, other)  # the lowest label of a component is its first slab's first
    first = np.arange(total + 1)
    for label in above:
        first[label] = root(label)
    own = first == np.arange(total + 1)
    own[0] = False
    number = np.cumsum(own, dtype=np.int32)
    return number[first], int(number[-1])
