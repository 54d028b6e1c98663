"""SurfaceDice at a tolerance of 2 voxels, as surface-distance-based-measures computes it at spacing 1.

Notes
-----
A surface lies at the corners whose 2x2x2 voxels are not all alike; its area there is the code's. The share of both
surfaces' area that lies within 2 of a corner of the other surface is the score. Distances between corners are square
roots of integers, so "within 2" is an offset with dz^2 + dy^2 + dx^2 <= 4: the 3x3x3 cube and six points at 2 along the
axes. No distance transform is needed, and none is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import corners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Count = Callable[[NDArray[np.uint8]], NDArray[np.int64]]

TOLERANCE: Final = 2
"""Voxels; the only one: `_within_two` is written for it."""
PLANES: Final = 16
"""Planes of corners worked on at once: what they need stays in a cache. Changes no figure."""


@dataclass(frozen=True)
class Surface:
    """The surface of a mask."""

    codes: NDArray[np.uint8]
    """Code of each corner, (z + 1, y + 1, x + 1)."""
    near: NDArray[np.bool_]
    """Corners within `TOLERANCE` of the surface."""
    area: float
    """Voxels^2."""


def surface_of(mask: NDArray[np.bool_], count: Count) -> Surface:
    """Return the surface of a mask (z, y, x); outside of it is background. `count`: a backend's kernel `histogram`."""
    z, y, x = (n + 1 for n in mask.shape)
    codes, near = np.empty((z, y, x), np.uint8), np.empty((z, y, x), np.bool_)
    counts = np.zeros(corners.CODES, np.int64)
    for planes, own, close in _slabs(mask):
        codes[planes], near[planes] = own, close
        counts += count(own)
    return Surface(codes, near, corners.area(counts))


def surface_dice(truth: Surface, mask: NDArray[np.bool_], count: Count) -> float:
    """Return SurfaceDice of a mask (z, y, x), 0..1: 1 where both surfaces are empty, 0 where one is."""
    of_mask, of_mask_close, of_truth_close = np.zeros((3, corners.CODES), np.int64)
    for planes, own, close in _slabs(mask):
        of_mask += count(own)
        of_mask_close += count(own * truth.near[planes].view(np.uint8))
        of_truth_close += count(truth.codes[planes] * close.view(np.uint8))
    whole = corners.area(of_mask)
    if truth.area == 0 or whole == 0:
        return float(truth.area == whole)
    return (corners.area(of_truth_close) + corners.area(of_mask_close)) / (truth.area + whole)


def _slabs(mask: NDArray[np.bool_]) -> Iterator[tuple[slice, NDArray[np.uint8], NDArray[np.bool_]]]:
    """Yield planes of corners, the codes there, and whether a corner lies within two of the surface."""
    planes = mask.shape[0] + 1
    for start in range(0, planes, PLANES):
        stop = min(planes, start + PLANES)
        low, high = max(0, start - TOLERANCE), min(planes, stop + TOLERANCE)
        below, above = max(0, low - 1), min(planes - 1, high)  # the voxels on both sides of these planes
        codes = corners.corner_codes(mask[below:above])[low - below :][: high - low]
        border = codes + np.uint8(1) > 1  # neither 0 nor 255, which wraps
        inner = slice(start - low, stop - low)
        yield slice(start, stop), codes[inner], _within_two(border)[inner]


def _within_two(border: NDArray[np.bool_]) -> NDArray[np.bool_]:
    near = border.copy()
    for axis in range(3):
        cube = near.copy()
        _spread(cube, near, axis, 1)
        near = cube
    for axis in range(3):
        _spread(near, border, axis, TOLERANCE)
    return near


def _spread(target: NDArray[np.bool_], source: NDArray[np.bool_], axis: int, step: int) -> None:
    """Add the source, moved by `step` both ways along an axis, to the target."""
    to, of = np.moveaxis(target, axis, 0), np.moveaxis(source, axis, 0)
    to[step:] |= of[:-step]
    to[:-step] |= of[step:]
