"""Golden voxels: those of the mask more probable than a texture without sheets makes them; and the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.engine import where

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_SPACING: Final = 8
"""Golden points are at least this many voxels apart."""


def golden_points(
    probability: NDArray[np.uint16],
    mask: NDArray[np.bool_],
    above: int,
    limit: int,
    origin: tuple[int, int, int],
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many voxels of the mask lie above a code, and the best of them at least 8 voxels apart.

    Parameters
    ----------
    probability, mask : arrays of the valid box
    above : int
        Probability code that must be exceeded.
    limit : int
        Points listed; 0: all.
    origin : tuple of int
        Position of the box in the volume.
    """
    index = where(probability.shape, lambda rows: (probability[rows] > above) & mask[rows])
    value = probability.reshape(-1)[index]
    order = np.argsort(~value, kind="stable")  # the highest first; of equals the first
    points: list[dict[str, Any]] = []
    taken: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    _, height, width = probability.shape
    for k in map(int, order):  # one by one: few of a million are looked at
        row, x = divmod(int(index[k]), width)
        z, y = divmod(row, height)
        cell = (z // GOLDEN_SPACING, y // GOLDEN_SPACING, x // GOLDEN_SPACING)
        if _near(taken, cell, (z, y, x)):
            continue
        taken.setdefault(cell, []).append((z, y, x))
        place = dict(zip("zyx", (z + origin[0], y + origin[1], x + origin[2]), strict=True))
        points.append({**place, "p": int(value[k]) / tables.PROBABILITY_ONE})
        if limit and len(points) == limit:
            break
    return len(index), points


def _near(taken: dict, cell: tuple[int, int, int], point: tuple[int, int, int]) -> bool:
    around = (-1, 0, 1)
    for dz in around:
        for dy in around:
            for dx in around:
                for other in taken.get((cell[0] + dz, cell[1] + dy, cell[2] + dx), ()):
                    if sum((a - b) ** 2 for a, b in zip(point, other, strict=True)) < GOLDEN_SPACING**2:
                        return True
    return False
