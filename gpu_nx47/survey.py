"""The survey: what physics alone says at a drawn sample of voxels, before any feature is chosen.

Papyrus is brighter than air, so a sheet's face is a step from dark to bright across the sheet. The directions of all
sheets together tell where the scroll's axis is; the face whose dark side lies towards it is the recto. Pseudo-labels
follow from how sharp that step is at its sharpest: recto, certainly not recto, or undecided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import stats, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS_PER_SAMPLE: Final = 4
"""Voxels drawn for each training sample wanted: most are undecided or background."""
CANDIDATE_STREAM: Final = 1
SLAB: Final = 56
"""Slices, at most, of the slabs that candidates are measured in: those of a tile, whose margins cost then no more."""
LEAST_MEASURED: Final = 7_500_000
"""Voxels that are measured at least, where a volume has as many."""

BACKGROUND, RECTO, UNDECIDED = 0, 1, 2
FACE, NO_FACE = 0.19, 0.11
"""Shares of the contrast, of the mean step across an edge: from the first on it is a face, below the second none."""
SHARPEST: Final = 1 / 256
"""Share of the drawn voxels that are labelled recto at least: the sharpest ones. On a phantom it was a sixth; in
white noise so few voxels reach a face that nothing could be learned, and no count could be compared with chance."""


@dataclass(frozen=True)
class Axis:
    """The scroll's axis as a line along z, in voxels of the box."""

    y: float
    x: float
    confidence: float
    """0 no idea, 1 sure of the side; below AXIS_LIMIT the axis is not used."""
    source: str

    def eighths(self, slices: int) -> NDArray[np.int32]:
        """Return the axis in each slice, (y, x) in 1/8 voxel: what `gradient_along` takes."""
        return np.tile(np.array([round(self.y * 8), round(self.x * 8)], np.int32), (slices, 1))

    @classmethod
    def of(cls, line: NDArray[np.int32]) -> Axis:
        """Return the middle of an axis that is known in each slice."""
        y, x = line[len(line) // 2].tolist()
        return cls(y / 8, x / 8, 1.0, "umbilicus")


AXIS_LIMIT: Final = 0.5
ALIGNED: Final = 0.15
"""Mean squared cosine above 1/2 at which normals count as fully aligned with the radius."""


def draw_voxels(seed: int, voxels: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct voxel indices drawn from a counter, sorted, and the number of each draw."""
    index = (tables.draws(seed, CANDIDATE_STREAM, 0, count) % np.uint64(voxels)).astype(np.int64)
    bits = max(1, count - 1).bit_length()
    if (voxels - 1) >> (63 - bits):  # both do not fit: beyond 8 teravoxels, of a million draws
        return np.unique(index, return_index=True)
    # Place and number in one integer: numbers are sorted four times as fast as places with their order.
    both = np.sort(index << bits | np.arange(count))
    place = both >> bits
    first = np.concatenate([[True], place[1:] != place[:-1]]) if count else np.zeros(0, np.bool_)
    return place[first], both[first] & ((1 << bits) - 1)


def measured_slabs(shape: tuple[int, int, int], every: int) -> list[slice]:
    """Return the slices that candidates are measured in: slabs, evenly spread along z.

    Parameters
    ----------
    shape : tuple of int
        Of the box.
    every : int
        >= 1: one slab in so many is measured, more where that were fewer than LEAST_MEASURED voxels.

    Returns
    -------
    list of slice
        Ascending; of the whole box one alone.
    """
    depth, height, width = shape
    slabs = -(-depth // SLAB)
    some = max(-(-slabs // every), -(-LEAST_MEASURED // (depth // slabs * height * width)))
    if some >= slabs:
        return [slice(0, depth)]
    numbers = ((2 * k + 1) * slabs // (2 * some) for k in range(some))
    return [slice(n * depth // slabs, (n + 1) * depth // slabs) for n in numbers]


def draw_within(
    seed: int, slabs: Sequence[slice], plane: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `draw_voxels` does, of the voxels of some slabs; a slice of the box has `plane` voxels."""
    ends = plane * np.cumsum([slab.stop - slab.start for slab in slabs])
    starts = plane * np.array([slab.start for slab in slabs])
    place, order = draw_voxels(seed, int(ends[-1]), count)
    slab = np.searchsorted(ends, place, side="right")
    return place + (starts - np.append(0, ends[:-1]))[slab], order


def fit_axis(index: NDArray[np.int64], normal: NDArray[np.float64], shape: tuple[int, int, int]) -> Axis:
    """Fit the point (y, x) that the sheets' normals run through, robustly.

    Parameters
    ----------
    index : numpy.ndarray of int64, shape (n,)
        Flat indices of the drawn voxels in the box.
    normal : numpy.ndarray of float64, shape (n, 3)
        Normals there (z, y, x) of any sign, times how sure they are.
    shape : tuple of int
        Of the box.

    Notes
    -----
    Each clear normal spans a line through its voxel; the axis is the point nearest to these lines (weighted least
    squares of the distances, Cauchy weights, 12 rounds). The side is told by curvature only: along the direction the
    fit knows least, the axis lies `reach` voxels from the box's middle with a standard error; the confidence is 1 when
    the axis lies inside or its distance is many errors. It is no more than what the normals' alignment allows: the mean
    squared cosine between normal and radius is 1/2 where directions are random.
    """
    y0, x0 = (shape[1] - 1) / 2, (shape[2] - 1) / 2
    gy, gx = (normal[:, k] for k in (1, 2))
    length = np.sqrt(gy * gy + gx * gx)
    if not length.any():
        return Axis(y0, x0, 0.0, "no sheets")
    keep = longest(length, max(64, len(length) // 8))
    keep = keep[length[keep] > 0]
    _, y, x = np.unravel_index(index[keep], shape)
    ty, tx = -gx[keep] / length[keep], gy[keep] / length[keep]
    offset = ty * (y - y0) + tx * (x - x0)
    scale, cy, cx = float(max(shape[1:])), 0.0, 0.0
    for _ in range(12):
        miss = (offset - (ty * cy + tx * cx)) / scale
        total = _moments(ty, tx, offset, 1.0 / (1.0 + miss * miss))
        determinant = total["yy"] * total["xx"] - total["yx"] ** 2
        if determinant <= 1e-9 * (total["yy"] + total["xx"]) ** 2:
            return Axis(y0, x0, 0.0, "parallel sheets")
        cy = (total["xx"] * total["y"] - total["yx"] * total["x"]) / determinant
        cx = (total["yy"] * total["x"] - total["yx"] * total["y"]) / determinant
        miss = np.sort(np.abs(offset - (ty * cy + tx * cx)))
        scale = max(1.0, 1.5 * float(miss[len(miss) // 2]))
    small, _, weak = stats.symmetric_eigen2(total["yy"], total["yx"], total["xx"])
    # Neighbouring voxels share their sheet: the error is taken as if one voxel in sixteen were an observation of its
    # own.
    error = scale / np.sqrt(max(small, 1e-9) / 16)
    reach = abs(cy * weak[0] + cx * weak[1])
    half = max(shape[1:]) / 2
    # Of 30 phantoms (128-cubes, seeds 101 to 130) all are claimed. One side was wrong, 24 errors away; of the right
    # ones outside the box the nearest lay 17 errors away.
    sure = max(reach / (32 * error), half / (2 * error) if reach < half else 0.0)
    ry, rx = y - y0 - cy, x - x0 - cx
    away = np.maximum(np.sqrt(ry * ry + rx * rx), 1e-9)
    cosine = (tx * ry - ty * rx) / away
    aligned = stats.exact_sum(cosine * cosine, 1 << 20) / len(keep)
    return Axis(y0 + cy, x0 + cx, float(min(1.0, sure, max(0.0, (aligned - 0.5) / ALIGNED))), "normals")


def longest(length: Floats, count: int) -> NDArray[np.int64]:
    """Return which of some lengths are the longest, ascending; of equal ones the first."""
    if count >= len(length):
        return np.arange(len(length))
    least = np.partition(length, len(length) - count)[len(length) - count]
    longer, equal = length > least, np.flatnonzero(length == least)
    longer[equal[: count - np.count_nonzero(longer)]] = True
    return np.flatnonzero(longer)


def _moments(ty: Floats, tx: Floats, offset: Floats, weight: Floats) -> dict[str, float]:
    """Return the weighted sums of a least-squares fit of a point to lines across (ty, tx)."""
    products = {"yy": ty * ty, "yx": ty * tx, "xx": tx * tx, "y": ty * offset, "x": tx * offset}
    return {name: stats.exact_sum(weight * value, 1 << 20) for name, value in products.items()}


def pseudo_labels(face: NDArray[np.float64], contrast: float) -> NDArray[np.uint8]:
    """Return RECTO, BACKGROUND or UNDECIDED for each drawn voxel.

    Parameters
    ----------
    face : numpy.ndarray of float64
        Feature `face` at the voxels, grey.
    contrast : float
        Grey values from air to papyrus (difference of the two Otsu class means).

    Notes
    -----
    Where fewer than SHARPEST of the voxels reach a face, the sharpest are labelled recto all the same, ties included,
    but never a voxel without a step. Whether they mean anything, the null tells.
    """
    label = np.full(len(face), UNDECIDED, np.uint8)
    label[face < NO_FACE * contrast] = BACKGROUND
    least = max(1, round(SHARPEST * len(face)))
    reached = min(FACE * contrast, float(np.partition(face, -least)[-least]))
    label[(face >= reached) & (face > 0)] = RECTO
    return label
