"""The survey: what physics alone says at a drawn sample of voxels, before any feature is chosen.

Papyrus is brighter than air, so a sheet's face is a step from dark to bright. At each drawn voxel the survey reads the
gradient of the grey value and a profile of grey values along it. From the gradients of all voxels it fits the scroll's
axis; a face whose bright side lies away from the axis is a recto. Pseudo-labels follow from the profile and that side:
recto, certainly not recto, or undecided. No feature of the bank enters, so a neuron trained on them is not taught its
own input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import stats, tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Tile
    from gpu_nx47.settings import Settings

NORMAL_SIGMA: Final = 2.0
"""Scale of the gradient that gives the direction of a profile, voxels."""
PROFILE_SIGMA: Final = 1.0
"""Scale of the grey values on the profile, voxels."""
REACH: Final = 6
"""Half length of the profile, voxels."""
DRAWS_PER_SAMPLE: Final = 4
"""Voxels drawn for each training sample wanted: most are undecided or background."""
CANDIDATE_STREAM: Final = 1
HALO: Final = 10
"""Profile reach and Gaussian radius; the normal needs 8 + 1."""

BACKGROUND, RECTO, UNDECIDED = 0, 1, 2


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


AXIS_LIMIT: Final = 0.5
ALIGNED: Final = 0.15
"""Mean squared cosine above 1/2 at which normals count as fully aligned with the radius."""


@dataclass(frozen=True)
class Survey:
    """Drawn voxels and what was read at them, in order of their index in the box."""

    index: NDArray[np.int64]
    """Flat index in the box."""
    order: NDArray[np.int64]
    """Number of the draw."""
    gradient: NDArray[np.int32]
    """(n, 3): central differences of G(2), z y x, Q8.8 over two voxels."""
    profile: NDArray[np.uint16]
    """(n, 2 REACH + 1): G(1) in Q8.8 at t = -REACH .. REACH voxels along the gradient, towards the bright side."""


def draw_voxels(seed: int, voxels: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct voxel indices drawn from a counter, sorted, and the number of each draw."""
    index = (tables.draws(seed, CANDIDATE_STREAM, 0, count) % np.uint64(voxels)).astype(np.int64)
    return np.unique(index, return_index=True)


def survey(engine: Engine, grey: NDArray[np.uint8], settings: Settings, progress: Callable | None = None) -> Survey:
    """Read gradients and profiles at drawn voxels of the valid box.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    settings : Settings
    progress : callable, optional
        Called with (tiles done, tiles).
    """
    index, order = draw_voxels(settings.seed, grey.size, DRAWS_PER_SAMPLE * settings.neuron.samples)
    point = np.stack(np.unravel_index(index, grey.shape), axis=1)
    gradient = np.zeros((len(index), 3), np.int32)
    profile = np.zeros((len(index), 2 * REACH + 1), np.uint16)

    def work(tile: Tile) -> tuple[NDArray, NDArray, NDArray]:
        inside = np.flatnonzero(((point >= tile.start) & (point < tile.stop)).all(axis=1))
        return inside, *_read(engine.backend, grey, tile, point[inside])

    for _, (inside, vectors, values) in engine.map(grey.shape, work, progress):
        gradient[inside], profile[inside] = vectors, values
    return Survey(index, order, gradient, profile)


def _read(backend: Any, grey: NDArray, tile: Tile, point: NDArray) -> tuple[NDArray, NDArray]:
    """Return gradients and profiles at points of a tile's core."""
    crop = tile.crop(HALO)
    local = backend.to_device(grey[crop].copy())
    corner = np.array([s.start for s in crop])
    coarse = backend.gaussian(local, taps=tables.gaussian_taps(NORMAL_SIGMA))
    fine = backend.gaussian(local, taps=tables.gaussian_taps(PROFILE_SIGMA))

    def values(array: Any, at: NDArray) -> NDArray:
        at = _reflect(at, grey.shape) - corner
        flat = (at[:, 0] * local.shape[1] + at[:, 1]) * local.shape[2] + at[:, 2]
        return backend.to_host(backend.gather(array, index=backend.to_device(np.ascontiguousarray(flat))))

    gradient = np.zeros(point.shape, np.int32)
    for axis in range(3):
        unit = np.zeros(3, np.int64)
        unit[axis] = 1
        gradient[:, axis] = values(coarse, point + unit).astype(np.int32) - values(coarse, point - unit)
    normal = unit_vectors(gradient)
    steps = range(-REACH, REACH + 1)
    columns = [values(fine, point + np.rint(normal * t).astype(np.int64)) for t in steps]
    return gradient, np.stack(columns, axis=1)


def _reflect(point: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Bring points outside the box back by the half-sample symmetric rule."""
    length = np.array(shape)
    inside = point % (2 * length)
    return np.where(inside < length, inside, 2 * length - 1 - inside)


def unit_vectors(vectors: NDArray) -> NDArray[np.float64]:
    """Return vectors of length 1 (0 for the zero vector), by + * / sqrt only."""
    v = vectors.astype(np.float64)
    length = np.sqrt((v[:, 0] * v[:, 0] + v[:, 1] * v[:, 1]) + v[:, 2] * v[:, 2])
    return v / np.where(length == 0.0, 1.0, length)[:, None]


def fit_axis(survey: Survey, shape: tuple[int, int, int]) -> Axis:
    """Fit the point (y, x) that the sheets' normals run through, robustly.

    Notes
    -----
    Each strong gradient spans a line through its voxel; the axis is the point nearest to these lines (weighted least
    squares of the distances, Cauchy weights, 12 rounds). The side is told by curvature only: along the direction the
    fit knows least, the axis lies `reach` voxels from the box's middle with a standard error; the confidence is 1 when
    the axis lies inside or its distance is many errors. It is no more than what the normals' alignment allows: the mean
    squared cosine between normal and radius is 1/2 where directions are random.
    """
    y0, x0 = (shape[1] - 1) / 2, (shape[2] - 1) / 2
    gy, gx = (survey.gradient[:, k].astype(np.float64) for k in (1, 2))
    length = np.sqrt(gy * gy + gx * gx)
    if not length.any():
        return Axis(y0, x0, 0.0, "no gradients")
    keep = np.argsort(-length, kind="stable")[: max(64, len(length) // 8)]
    keep = keep[length[keep] > 0]
    _, y, x = np.unravel_index(survey.index[keep], shape)
    ty, tx = -gx[keep] / length[keep], gy[keep] / length[keep]
    offset = ty * (y - y0) + tx * (x - x0)
    scale, cy, cx = float(max(shape[1:])), 0.0, 0.0
    for _ in range(12):
        miss = (offset - (ty * cy + tx * cx)) / scale
        weight = 1.0 / (1.0 + miss * miss)
        total = {
            name: stats.exact_sum(weight * value, 1 << 20)
            for name, value in (
                ("yy", ty * ty),
                ("yx", ty * tx),
                ("xx", tx * tx),
                ("y", ty * offset),
                ("x", tx * offset),
            )
        }
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
    sure = max(reach / (6 * error), half / (2 * error) if reach < half else 0.0)
    ry, rx = y - y0 - cy, x - x0 - cx
    away = np.maximum(np.sqrt(ry * ry + rx * rx), 1e-9)
    cosine = (tx * ry - ty * rx) / away
    aligned = stats.exact_sum(cosine * cosine, 1 << 20) / len(keep)
    return Axis(y0 + cy, x0 + cx, float(min(1.0, sure, max(0.0, (aligned - 0.5) / ALIGNED))), "normals")


def outwardness(survey: Survey, shape: tuple[int, int, int], axis: Axis) -> NDArray[np.float64]:
    """Return the cosine between each gradient and the direction away from the axis, in the (y, x) plane."""
    _, y, x = np.unravel_index(survey.index, shape)
    away = np.stack([np.zeros(len(y)), y - axis.y, x - axis.x], axis=1)
    a, b = unit_vectors(away), unit_vectors(survey.gradient)
    return (a[:, 1] * b[:, 1]) + a[:, 2] * b[:, 2]


def pseudo_labels(survey: Survey, shape: tuple[int, int, int], contrast: float, axis: Axis | None) -> NDArray[np.uint8]:
    """Return RECTO, BACKGROUND or UNDECIDED for each drawn voxel.

    Parameters
    ----------
    survey : Survey
    shape : tuple of int
        Shape of the box.
    contrast : float
        Grey values from air to papyrus (difference of the two Otsu class means).
    axis : Axis or None
        None: any face counts.

    Notes
    -----
    Along the profile the edge is where G(1) rises fastest, D(t) = u(t + 1) - u(t - 1). The recto layer is the two or
    three voxels on the bright side of it: the edge lies 0 to 2 voxels behind the voxel. A rise below .15 of the
    contrast is no edge; above .4 it is one.
    """
    u = survey.profile.astype(np.float64) / 256.0
    rise = u[:, 2:] - u[:, :-2]  # t = -REACH + 1 .. REACH - 1
    near = rise[:, REACH - 5 : REACH + 4]  # t = -4 .. 4
    where = np.argmax(near, axis=1) - 4
    height = np.max(near, axis=1)
    strong = height >= 0.4 * contrast / 2
    flat = height < 0.15 * contrast / 2
    layer = (where >= -2) & (where <= 0)
    if axis is None:
        recto, verso = strong, np.zeros(len(u), bool)
    else:
        out = outwardness(survey, shape, axis)
        recto, verso = strong & (out > 0.5), strong & (out < -0.3)
    label = np.full(len(u), UNDECIDED, np.uint8)
    label[flat | verso | (strong & ((where <= -4) | (where >= 2)))] = BACKGROUND
    label[recto & layer] = RECTO
    return label
