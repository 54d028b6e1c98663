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
    from numpy.typing import NDArray

TOLERANCE: Final = 2
"""Voxels; the only one: `_within_two` is written for it."""


@dataclass(frozen=True)
class Surface:
    """The surface of a mask."""

    codes: NDArray[np.uint8]
    """Code of each corner, (z + 1, y + 1, x + 1)."""
    border: NDArray[np.bool_]
    """Corners that lie on the surface."""
    near: NDArray[np.bool_]
    """Corners within `TOLERANCE` of the surface."""
    area: float
    """Voxels^2."""


def surface_of(mask: NDArray[np.bool_]) -> Surface:
    """Return the surface of a mask (z, y, x); outside of it is background."""
    codes = corners.corner_codes(mask)
    border = (codes != 0) & (codes != corners.CODES - 1)
    return Surface(codes, border, _within_two(border), corners.area(corners.count_codes(codes[border])))


def surface_dice(a: Surface, b: Surface) -> float:
    """Return SurfaceDice, 0..1: 1 where both surfaces are empty, 0 where one is."""
    if a.area == 0 or b.area == 0:
        return float(a.area == b.area)
    close = (corners.area(corners.count_codes(s.codes[s.border & t.near])) for s, t in ((a, b), (b, a)))
    return sum(close) / (a.area + b.area)


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
