"""The scene: what a volume shows before anything is learned on it, and the voxels that learning begins with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import bank, direction, stats, survey
from gpu_nx47.direction import Bearing
from gpu_nx47.engine import histogram
from gpu_nx47.settings import NO_SIDE
from gpu_nx47.spread import begun
from gpu_nx47.survey import Axis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine
    from gpu_nx47.settings import Settings

FACE: Final = "face"
"""The feature that pseudo-labels are read from."""
_CLASSES: Final = {"background": survey.BACKGROUND, "recto": survey.RECTO, "undecided": survey.UNDECIDED}


@dataclass(frozen=True)
class Scene:
    """What the survey told: the axis, and a labelled sample."""

    axis: Axis
    bearing: Bearing
    """Axis and directions of the sheets, as the features take them."""
    labels: NDArray[np.uint8]
    """Pseudo-label of each drawn voxel."""
    index: NDArray[np.int64]
    """Flat indices in the box of the sample: drawn voxels that are decided."""
    sample_labels: NDArray[np.uint8]
    """0 or 1 at the sample."""
    grey_counts: NDArray[np.int64]
    """Exact histogram of the box."""
    slabs: Sequence[slice] = ()
    """Slices of the box in which features were measured and voxels drawn; empty where nothing was learned here."""

    @property
    def axis_used(self) -> bool:
        """Whether it was sure enough which side the axis is on."""
        return self.bearing.axis is not None

    @property
    def counted(self) -> dict[str, int]:
        """Drawn voxels of each pseudo-label."""
        return {name: int((self.labels == code).sum()) for name, code in _CLASSES.items()}

    @property
    def keep_ratio(self) -> float:
        """Share of the drawn voxels that are decided."""
        return 1 - self.counted["undecided"] / len(self.labels)


@dataclass(frozen=True)
class View:
    """What is seen before any feature is measured."""

    axis: Axis
    bearing: Bearing
    slabs: Sequence[slice]
    """Slices that features are measured in."""
    plane: int
    """Voxels of a slice."""
    seed: int
    count: int
    """Voxels drawn in the slabs, where any are asked for."""
    grey_counts: NDArray[np.int64]
    """Exact histogram of the box."""

    @cached_property
    def drawn(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Flat indices in the box of the voxels drawn, ascending, and the number of each one's draw."""
        return survey.draw_within(self.seed, self.slabs, self.plane, self.count)

    @property
    def axis_used(self) -> bool:
        """Whether it was sure enough which side the axis is on."""
        return self.bearing.axis is not None

    def measure(
        self,
        engine: Engine,
        grey: NDArray[np.uint8],
        names: Sequence[str],
        progress: Callable[[int, int], None],
        *,
        drawn: bool = True,
    ) -> bank.Measured:
        """Measure features in the view's slabs, and at the drawn voxels."""
        index = self.drawn[0] if drawn else np.zeros(0, np.int64)
        return bank.measure(engine.within(self.slabs), grey, names, self.bearing, index, progress)


def look(
    engine: Engine,
    grey: NDArray[np.uint8],
    settings: Settings,
    progress: Callable[[int, int], None],
    line: NDArray[np.int32] | None = None,
) -> View:
    """Return what direction field and axis tell of a valid box.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    settings : Settings
    progress : callable
        Called with (tiles done, tiles).
    line : numpy.ndarray of int32, shape (Z, 2), optional
        The axis where it is known, (y, x) in 1/8 voxel of the box, in each slice; else it is estimated.
    """
    seed, count = settings.seed, survey.DRAWS_PER_SAMPLE * settings.neuron.samples
    with engine.aside() as aside:  # one thread draws and fits: it leaves a processor time to count
        counts = begun(aside, lambda: histogram(engine.backend, grey, 1 if aside else engine.threads))
        index, _ = survey.draw_voxels(seed, grey.size, count)
        sided = settings.umbilicus != NO_SIDE
        axis, bearing = orient(engine, grey, index, progress, line, sided=sided)
        z, y, x = grey.shape
        slabs = survey.measured_slabs((z, y, x), settings.features.measured)
        return View(axis, bearing, slabs, y * x, seed, count, counts())


def measure(
    engine: Engine,
    grey: NDArray[np.uint8],
    view: View,
    names: tuple[str, ...],
    samples: int,
    progress: Callable[[int, int], None],
) -> tuple[Scene, bank.Measured]:
    """Measure features in one pass over the view's slabs, and label a balanced sample by the faces in them.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    view : View
        Of that box.
    names : tuple of str
        Features.
    samples : int
        Voxels wanted.
    progress : callable
        Called with (tiles done, tiles).

    Returns
    -------
    (Scene, bank.Measured)
        What was measured of `names`, at the scene's sample.
    """
    asked = names if FACE in names else (*names, FACE)
    drawn = view.measure(engine, grey, asked, progress)
    (cut,) = stats.otsu(view.grey_counts, 2)
    contrast = stats.class_mean(view.grey_counts, cut + 1, 255) - stats.class_mean(view.grey_counts, 0, cut)
    labels = survey.pseudo_labels(drawn.samples[FACE].astype(np.float64) * bank.feature(FACE).step, contrast)
    index, order = view.drawn
    keep = balanced(labels, order, samples)
    histograms = {name: drawn.histograms[name] for name in names}
    at_sample = {name: drawn.samples[name][keep] for name in names}
    scene = Scene(view.axis, view.bearing, labels, index[keep], labels[keep], view.grey_counts, view.slabs)
    return scene, bank.Measured(histograms, at_sample)


def unlabelled(view: View) -> Scene:
    """Return a scene in which nothing is labelled: a model has learned elsewhere."""
    nothing, empty = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    return Scene(view.axis, view.bearing, empty, nothing, empty, view.grey_counts)


def orient(
    engine: Engine,
    grey: NDArray[np.uint8],
    index: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
    line: NDArray[np.int32] | None = None,
    *,
    sided: bool = True,
) -> tuple[Axis, Bearing]:
    """Measure the sheets' directions, and turn them by the axis that they tell at drawn voxels, where it is sure.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    index : numpy.ndarray of int64
        Flat indices of the drawn voxels in the box.
    progress : callable, optional
        Called with (tiles done, tiles).
    line : numpy.ndarray of int32, shape (Z, 2), optional
        The axis where it is known.
    sided : bool
        False: no side is taken, whatever the directions tell.
    """
    field = direction.measure(engine, grey, progress)
    if not sided:
        return Axis((grey.shape[1] - 1) / 2, (grey.shape[2] - 1) / 2, 0.0, "not asked for"), Bearing.of(None, field)
    if line is not None:
        return Axis.of(line), Bearing.of(line, field, engine.threads)
    axis = survey.fit_axis(index, direction.normals_at(field, index, grey.shape), grey.shape)
    sure = axis.confidence >= survey.AXIS_LIMIT
    return axis, Bearing.of(axis.eighths(grey.shape[0]) if sure else None, field, engine.threads)


def balanced(labels: NDArray, order: NDArray, wanted: int) -> NDArray[np.int64]:
    """Return the positions of the sample: rectos first come first served up to half, background for the rest."""
    by_draw = np.full(int(order.max(initial=-1)) + 1, -1)
    by_draw[order] = np.arange(len(order))
    by_draw = by_draw[by_draw >= 0]
    recto = by_draw[labels[by_draw] == survey.RECTO][: wanted // 2]
    background = by_draw[labels[by_draw] == survey.BACKGROUND][: wanted - len(recto)]
    return np.sort(np.concatenate([recto, background]))


def usable(names: tuple[str, ...], axis_used: bool) -> tuple[str, ...]:
    """Return the features that can be computed: where the axis is unknown, those without a side."""
    return tuple(n for n in names if axis_used or bank.base(n) not in bank.ODD)
