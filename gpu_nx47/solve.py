"""One volume from grey values to mask, told in order: survey, measure, select, train, probability, segment, count.

The stages do not know each other; this is where their results meet. Everything that is decided here is decided on the
host from exact numbers.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gpu_nx47 import (
    bank,
    calibration,
    chance,
    counters,
    fake,
    hardware,
    neuron,
    null,
    rescue,
    segmentation,
    selection,
    tables,
)
from gpu_nx47.events import Event
from gpu_nx47.hardware import rss_bytes
from gpu_nx47.inference import Found, Wanted, infer, votes_of
from gpu_nx47.journal.fingerprint import MEANING, fingerprint_text
from gpu_nx47.journal.trace import FORENSIC, LIGHT
from gpu_nx47.scene import Scene, View, look, measure, unlabelled, usable
from gpu_nx47.selection import Selected
from gpu_nx47.stats import Histogram
from gpu_nx47.story import Story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from gpu_nx47.calibration import Calibration
    from gpu_nx47.engine import Engine
    from gpu_nx47.model import Model
    from gpu_nx47.neuron import Trained
    from gpu_nx47.segmentation import Thresholds
    from gpu_nx47.settings import SegmentSettings, Settings


@dataclass(frozen=True)
class Solved:
    """All that was found in the valid box of one volume."""

    scene: Scene
    selected: Selected
    trained: Trained
    histograms: dict[str, Histogram]
    """Of the codes of each selected feature, in the slices that were measured."""
    null: chance.Chance
    calibration: Calibration
    thresholds: Thresholds
    probability: NDArray[np.uint16]
    levels: Histogram
    """Exact, of the probability."""
    masks: segmentation.Cut
    cells: NDArray[np.uint16] | None
    """Joint cell of each voxel, where a reference is kept."""
    saved: dict[str, NDArray] = field(default_factory=dict)
    """Feature codes asked for with --save."""
    alone: NDArray[np.uint16] | None = None
    """Probability before the vote of the neighbours, where the record holds it."""

    @property
    def final(self) -> NDArray[np.bool_]:
        """The final mask."""
        return self.masks.final

    @property
    def hysteresis(self) -> NDArray[np.bool_]:
        """The hysteresis mask, made anew."""
        return self.masks.anchored.mask()

    @property
    def calibrated(self) -> NDArray[np.bool_]:
        """The calibrated mask, made anew."""
        return self.probability >= self.calibration.threshold


@dataclass(frozen=True)
class _Learned:
    """What is known before the probability is computed."""

    scene: Scene
    selected: Selected
    trained: Trained
    histograms: dict[str, Histogram]
    """Of the codes of features in the view's slabs; empty: not measured yet."""


def solve(
    grey: NDArray[np.uint8],
    engine: Engine,
    settings: Settings,
    story: Story,
    references: counters.References | None,
    model: Model | None = None,
    line: NDArray[np.int32] | None = None,
    standing: Callable[[NDArray[np.bool_]], None] | None = None,
) -> Solved:
    """Find the surface in a valid box.

    Parameters
    ----------
    grey : numpy.ndarray of uint8
        The valid box, perhaps a view; neither empty nor constant.
    engine : Engine
    settings : Settings
    story : Story
    references : References or None
        The volumes done before; None: this volume has no others to be compared with.
    model : Model, optional
        Used in place of a training on this volume.
    line : numpy.ndarray of int32, shape (Z, 2), optional
        The scroll's axis in each slice of the box, (y, x) in 1/8 voxel of it; else it is estimated.
    standing : callable, optional
        Told the final mask as soon as it stands.
    """
    settings = settings if model is None else model.settings(settings)
    with story.stage("survey", "features_extract_start") as progress:
        view = look(engine, grey, settings, progress, line)
    given = (engine, grey, settings, story, view)
    learned = _by_itself(*given) if model is None else _by_model(*given, model, references)
    scene, chosen, trained = learned.scene, learned.selected, learned.trained
    with story.stage("probability", "probability_start") as progress:
        places = _cell_tables(chosen, learned.histograms, references)
        own = (engine, grey, trained.unit, scene.bearing, places)
        wanted = _wanted(settings, learned, view.slabs, story)
        found = infer(*own, votes=votes_of(settings), wanted=wanted, progress=progress)
    histograms = found.histograms or learned.histograms
    _trace_features(story, chosen, histograms, grey.shape, found.sums, view.slabs)
    cut, limits, masks, by_chance = _judge(*given, learned, references, places, found, standing)
    return Solved(
        scene=scene,
        selected=chosen,
        trained=trained,
        histograms={name: histograms[name] for name in chosen.names},
        null=by_chance,
        calibration=cut,
        thresholds=limits,
        masks=masks,
        **found.of_volume,
    )


def _judge(
    engine: Engine,
    grey: NDArray[np.uint8],
    settings: Settings,
    story: Story,
    view: View,
    learned: _Learned,
    references: counters.References | None,
    places: tuple[NDArray, ...] | None,
    found: Found,
    standing: Callable[[NDArray[np.bool_]], None] | None,
) -> tuple[Calibration, Thresholds, segmentation.Cut, chance.Chance]:
    """Cut what the neuron said into masks, and count what it would have said by chance."""
    probability, unit = found.probability, learned.trained.unit
    crowded = not learned.trained.model  # memory is in pieces where candidates were measured: no mask fits between them
    if crowded:
        hardware.release_memory()
    with engine.aside(grey.shape) as aside:  # cleaning and null leave a processor time for digests and draws
        traces = [story.begin("probability_map", lambda: probability, found.histogram.counts, aside)]
        ahead = aside.submit(null.drawn, grey, view.grey_counts, settings.seed) if aside else None
        with story.stage("segment", "segment_start"):
            cut, limits, masks = cut_volume(engine, probability, found.histogram, settings.segment)
        if standing is not None:
            standing(masks.final)
        if crowded:
            hardware.release_memory()  # what is counted from here on takes little
        traces += masks_looked_at(story, probability, masks, cut.threshold, aside)
        with story.stage("null", "null_start"):
            fakes = fake.said(engine, grey, view, unit, places, settings, ahead)
            rare = references.rare(learned.selected.names) if references else None
            cutter = segmentation.cutter(engine.backend, limits, cut.threshold, settings.segment)
            by_chance = fake.compared(engine, grey, view, probability, fakes, cutter, rare)
    _trace_found(story, found, fakes if settings.record == FORENSIC else {}, traces)
    return cut, limits, masks, by_chance


def _by_itself(engine: Engine, grey: NDArray[np.uint8], settings: Settings, story: Story, view: View) -> _Learned:
    """Measure the candidates, select, and train on the volume's own faces."""
    with story.stage("features") as progress:
        names = usable(_asked(settings), view.axis_used)
        scene, measured = measure(engine, grey, view, names, settings.neuron.samples, progress)
    with story.stage("select", "select_start"):
        chosen = _choose(settings, names, measured, scene)
    with story.stage("train", "train_start") as progress:
        trained = _train(engine, grey.shape, settings, chosen, measured, scene, progress)
    return _Learned(scene, chosen, trained, measured.histograms)


def _by_model(
    engine: Engine,
    grey: NDArray[np.uint8],
    settings: Settings,
    story: Story,
    view: View,
    model: Model,
    references: counters.References | None,
) -> _Learned:
    """Take what a model knows; its features are measured first only where joint cells have no bins yet."""
    names = usable(model.unit.features, view.axis_used)
    histograms: dict[str, Histogram] = {}
    with story.stage("features") as progress:
        if references is not None and not references.known(names)[0]:
            histograms = view.measure(engine, grey, names, progress, drawn=False).histograms
    with story.stage("select", "select_start"):
        chosen = _of_model(model, names)
    with story.stage("train", "train_start"):
        trained = model.trained_on(names)
    return _Learned(unlabelled(view), chosen, trained, histograms)


def _wanted(settings: Settings, learned: _Learned, slabs: Sequence[slice], story: Story) -> Wanted:
    """Return what `infer` is to keep, mark, count and tell beside the probability."""
    forensic = settings.record == FORENSIC
    kept = learned.trained.unit.features if forensic or "features" in settings.save else ()
    known = learned.histograms.keys() >= set(learned.selected.names)
    return Wanted(kept, settings.record != LIGHT, () if known else slabs, story.traced if forensic else None)


def _trace_found(story: Story, found: Found, fakes: dict[str, list[Found]], traces: list[Callable[[], None]]) -> None:
    """Tell of probability and masks, and before them at `forensic` of what they were made of."""
    if story.record == FORENSIC:
        for name, codes in found.saved.items():
            story.trace(f"feature_{name}", codes)
        if found.alone is not None:
            story.trace("neuron_output", found.alone)
    for family, them in fakes.items():
        for number, one in enumerate(them):
            story.trace(f"probability_{family}_{number}", one.probability, one.histogram.counts)
    for tell in traces:
        tell()


def masks_looked_at(
    story: Story,
    probability: NDArray[np.uint16],
    masks: segmentation.Cut,
    threshold: int,
    aside: Executor | None = None,
) -> list[Callable[[], None]]:
    """Begin the traces of a volume's masks, one after the other (`Story.begin`)."""
    made = {
        "hysteresis": masks.anchored.mask,
        "calibrated": lambda: probability >= threshold,
        "final": lambda: masks.final,
    }
    return [story.begin(f"mask_{name}", make, None, aside) for name, make in made.items()]


def _asked(settings: Settings) -> tuple[str, ...]:
    return settings.features.fixed or settings.features.bank


def _of_model(model: Model, names: tuple[str, ...]) -> Selected:
    lacking = {n: "the side of the axis is unknown" for n in model.unit.features if n not in names}
    return Selected(names, {}, lacking)


def _trace_features(
    story: Story,
    chosen: Selected,
    histograms: dict[str, Histogram],
    shape: tuple[int, int, int],
    sums: dict[str, tuple[int, ...]],
    slabs: Sequence[slice],
) -> None:
    digest = hashlib.sha256()
    table = {}
    for name in chosen.names:
        histogram, kind = histograms[name], bank.feature(name)
        digest.update(np.ascontiguousarray(histogram.counts, "<i8").tobytes())
        low, high = histogram.minimum * kind.step, histogram.maximum * kind.step
        mean = histogram.mean_deviation()[0] * kind.step
        table[name] = {"min": low, "max": high, "mean": mean, "unit": kind.unit, "step": kind.step}
        if name in sums:
            table[name]["fingerprint"] = fingerprint_text(sums[name])
    data = {
        "file": story.file,
        "stage": "features_selected",
        "shape": [len(chosen.names), *shape],
        "dtype": "16-bit codes",
        "bytes": 2 * len(chosen.names) * math.prod(shape),
        "features": table,
        "digest": digest.hexdigest(),
        "digest_of": "exact histograms of the codes in the measured slices, in order",
        "measured_slices": [[slab.start, slab.stop] for slab in slabs],
        "rss": rss_bytes(),
    }
    if sums:
        data["fingerprint_of"] = MEANING
    story.emit(Event("ARRAY_TRACE", data))


def _choose(settings: Settings, names: tuple[str, ...], measured: bank.Measured, scene: Scene) -> Selected:
    return selection.select(
        measured.histograms,
        measured.samples,
        scene.sample_labels,
        top_k=settings.features.top_k,
        redundancy=settings.features.redundancy,
        fixed=tuple(n for n in settings.features.fixed if n in names),
    )


def _train(
    engine: Engine,
    shape: tuple[int, int, int],
    settings: Settings,
    chosen: Selected,
    measured: bank.Measured,
    scene: Scene,
    progress: Callable[[int, int], None],
) -> Trained:
    point = np.stack(np.unravel_index(scene.index, shape), axis=1)
    split = neuron.hold_out(point, scene.sample_labels, shape, settings.seed, bank.halo(chosen.names))
    # Undecided voxels lie off the face: for the prior they count as background.
    prior = scene.counted["recto"] / len(scene.labels)
    return rescue.whole(
        engine.backend,
        "the training",
        lambda: neuron.train(
            engine.backend,
            chosen.names,
            measured.histograms,
            measured.samples,
            scene.sample_labels,
            split,
            settings.neuron,
            prior,
            progress,
            engine.threads,
        ),
    )


def _cell_tables(
    chosen: Selected, histograms: dict[str, Histogram], references: counters.References | None
) -> tuple[NDArray[np.uint16], ...] | None:
    if references is None:
        return None
    known, tables = references.known(chosen.names)
    if not known:
        tables = references.tables({name: histograms[name] for name in chosen.names})
    return None if tables is None else tuple(tables[name] for name in chosen.names)


def decide(histogram: Histogram, settings: SegmentSettings) -> tuple[Calibration, Thresholds]:
    """Return the threshold that makes voxels active, and those of the hysteresis, from a volume's probabilities."""
    if settings.threshold is not None:
        cut = calibration.calibrate_at(histogram, tables.probability_code(settings.threshold))
    elif settings.ratio is not None:
        cut = calibration.calibrate(histogram, settings.ratio, "given")
    else:
        share = calibration.expected_share(histogram)
        cut = calibration.calibrate(histogram, share, "measured: mean probability")
    return cut, segmentation.thresholds(histogram, settings, cut.threshold)


def cut_volume(
    engine: Engine, probability: NDArray[np.uint16], histogram: Histogram, settings: SegmentSettings
) -> tuple[Calibration, Thresholds, segmentation.Cut]:
    """Return the thresholds of a volume's probabilities, and the masks."""
    cut, limits = decide(histogram, settings)
    with engine.aside(probability.shape) as aside:
        masks = segmentation.cut_volume(engine.backend, probability, limits, cut.threshold, settings, aside)
    return cut, limits, masks
