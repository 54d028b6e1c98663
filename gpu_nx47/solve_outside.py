"""A volume whose probability another program gave: calibrated, segmented, cleaned; nothing is trained or surveyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_nx47 import across, chance, direction, solve
from gpu_nx47.descent import Training
from gpu_nx47.direction import Bearing
from gpu_nx47.engine import histogram
from gpu_nx47.neuron import OUTSIDE, Scaling, Trained, Unit
from gpu_nx47.scene import Scene
from gpu_nx47.selection import Selected
from gpu_nx47.stats import Histogram
from gpu_nx47.survey import Axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.direction import Field
    from gpu_nx47.engine import Engine
    from gpu_nx47.settings import Settings
    from gpu_nx47.solve import Solved
    from gpu_nx47.story import Story


def heard(
    engine: Engine, probability: NDArray[np.uint16], field: Field, votes: int
) -> tuple[NDArray[np.uint16], Histogram]:
    """Return a probability averaged along the sheets, as often as asked for (at least once), and its histogram."""
    means = probability.copy()
    for _ in range(votes):
        counts = across.vote(engine, means, field)
    return means, Histogram(counts)


def solve_outside(
    grey: NDArray[np.uint8], probability: NDArray[np.uint16], engine: Engine, settings: Settings, story: Story
) -> Solved:
    """Cut a given probability as a run cuts its own.

    Parameters
    ----------
    grey : numpy.ndarray of uint8
        The valid box.
    probability : numpy.ndarray of uint16
        Of the same box, C-contiguous.
    engine : Engine
    settings : Settings
    story : Story

    Notes
    -----
    There is no neuron here, so nothing can be said of what chance would give: no surrogates, no golden points. With
    `segment.votes` the sheets' directions, measured in the grey values, tell along which neighbours to average.
    """
    counts = Histogram(histogram(engine.backend, probability))
    if settings.segment.votes:
        with story.stage("survey", "features_extract_start") as progress:
            field = direction.measure(engine, grey, progress)
        with story.stage("probability", "probability_start"):
            probability, counts = heard(engine, probability, field, settings.segment.votes)
    with story.stage("segment", "segment_start"):
        cut, limits, masks = solve.cut_volume(engine, probability, counts, settings.segment)
    story.trace("probability_map", probability, counts.counts)
    for tell in solve.masks_looked_at(story, probability, masks, cut.threshold):
        tell()
    nothing, empty = np.zeros(0, np.float32), np.zeros(0, np.uint8)
    unit = Unit((), Scaling(nothing, nothing), nothing, np.float32(0))
    chosen = Training(0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, (), 0.0)
    scene = Scene(
        axis=Axis(0.0, 0.0, 0.0, "not asked for"),
        bearing=Bearing(),
        labels=empty,
        index=np.zeros(0, np.int64),
        sample_labels=empty,
        grey_counts=histogram(engine.backend, grey),
    )
    return solve.Solved(
        scene=scene,
        selected=Selected((), {}, {}),
        trained=Trained(unit, chosen, (), 0, 0, 0.0, "none: the probability is another program's", OUTSIDE),
        histograms={},
        null=chance.Chance((0, 0, 0), int(np.iinfo(np.uint16).max), {}, {}, ()),
        calibration=cut,
        thresholds=limits,
        probability=probability,
        levels=counts,
        masks=masks,
        cells=None,
    )
