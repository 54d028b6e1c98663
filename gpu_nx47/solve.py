"""One volume from grey values to mask, told in order: survey, measure, select, train, probability, segment, count.

The stages do not know each other; this is where their results meet. Everything that is decided here is decided on the
host from exact numbers.
"""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47 import (
    across,
    bank,
    calibration,
    chance,
    counters,
    direction,
    neuron,
    null,
    rescue,
    segmentation,
    selection,
    tables,
)
from gpu_nx47.direction import Bearing
from gpu_nx47.events import Event
from gpu_nx47.hardware import rss_bytes
from gpu_nx47.journal.fingerprint import MEANING, fingerprint_text, joined, tile_sums
from gpu_nx47.journal.trace import FORENSIC, LIGHT, tile_trace
from gpu_nx47.scene import Scene, look, measure, usable
from gpu_nx47.selection import Selected
from gpu_nx47.stats import Histogram
from gpu_nx47.story import Story

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gpu_nx47.calibration import Calibration
    from gpu_nx47.engine import Engine, Tile
    from gpu_nx47.model import Model
    from gpu_nx47.neuron import Trained, Unit
    from gpu_nx47.segmentation import Thresholds
    from gpu_nx47.settings import SegmentSettings, Settings


@dataclass(frozen=True)
class Solved:
    """All that was found in the valid box of one volume."""

    scene: Scene
    selected: Selected
    trained: Trained
    histograms: dict[str, Histogram]
    """Of the codes of each selected feature, over the whole box."""
    null: chance.Chance
    calibration: Calibration
    thresholds: Thresholds
    probability: NDArray[np.uint16]
    hysteresis: NDArray[np.bool_]
    calibrated: NDArray[np.bool_]
    final: NDArray[np.bool_]
    cells: NDArray[np.uint16] | None
    """Joint cell of each voxel, where a reference is kept."""
    saved: dict[str, NDArray] = field(default_factory=dict)
    """Feature codes asked for with --save."""
    alone: NDArray[np.uint16] | None = None
    """Probability before the vote of the neighbours, where the record holds it."""
    cleaning: tuple[dict[str, Any], ...] = ()
    """What each step of `topology` changed in the mask."""


def solve(
    grey: NDArray[np.uint8],
    engine: Engine,
    settings: Settings,
    story: Story,
    references: counters.References | None,
    model: Model | None = None,
    line: NDArray[np.int32] | None = None,
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
    """
    settings = settings if model is None else model.settings(settings)
    with story.stage("survey", "features_extract_start") as progress:
        view = look(engine, grey, settings, progress, line)
    with story.stage("features") as progress:
        names = usable(_asked(settings) if model is None else model.unit.features, view.axis_used)
        scene, measured = measure(engine, grey, view, names, settings.neuron.samples, progress)
    with story.stage("select", "select_start"):
        chosen = _choose(settings, names, measured, scene) if model is None else _of_model(model, names)
    with story.stage("train", "train_start") as progress:
        own = (engine, grey.shape, settings, chosen, measured, scene, progress)
        trained = _train(*own) if model is None else model.trained_on(names)
    with story.stage("probability", "probability_start") as progress:
        places = _cell_tables(chosen, measured.histograms, references)
        found = infer(engine, grey, trained.unit, scene.bearing, places, *_kept(settings, story, progress))
    _trace_features(story, chosen, measured.histograms, grey.shape, found.sums)
    with story.stage("segment", "segment_start"):
        cut, limits, cutter, masks, cleaning = _segment(engine, found, settings)
    with story.stage("null", "null_start"):
        fakes = _fakes(engine, grey, trained.unit, scene, places, settings.seed)
        rare = references.rare(chosen.names) if references else None
        by_chance = chance.Chance.of(engine, found.probability, fakes, cutter, _golden(fakes), rare)
    _trace_found(story, found, fakes if settings.record == FORENSIC else {}, masks)
    return Solved(
        scene=scene,
        selected=chosen,
        trained=trained,
        histograms={name: measured.histograms[name] for name in chosen.names},
        null=by_chance,
        calibration=cut,
        thresholds=limits,
        **(found.of_volume | masks),
        cleaning=cleaning,
    )


def _kept(settings: Settings, story: Story, progress: Callable[[int, int], None]) -> tuple[Any, ...]:
    """Return what `infer` is to keep, mark and tell beside the probability."""
    forensic = settings.record == FORENSIC
    keep = forensic or "features" in settings.save
    return keep, progress, settings.record != LIGHT, story.traced if forensic else None


def _golden(fakes: dict[str, list[_Found]]) -> int:
    """Return the probability code that voxels of a texture without sheets hardly pass."""
    return null.golden_limit(Histogram(np.sum([fake.histogram.counts for fake in fakes["isotropic"]], axis=0)))


def _trace_found(
    story: Story, found: _Found, fakes: dict[str, list[_Found]], masks: dict[str, NDArray[np.bool_]]
) -> None:
    """Trace probability and masks, and at `forensic` what they were made of."""
    if story.record == FORENSIC:
        for name, codes in found.saved.items():
            story.trace(f"feature_{name}", codes)
        if found.alone is not None:
            story.trace("neuron_output", found.alone)
    for family, them in fakes.items():
        for number, fake in enumerate(them):
            story.trace(f"probability_{family}_{number}", fake.probability)
    story.trace("probability_map", found.probability)
    for name, mask in masks.items():
        story.trace(f"mask_{name}", mask)


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
        "digest_of": "exact histograms of the codes, in order",
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
        ),
    )


@dataclass(frozen=True)
class _Found:
    probability: NDArray[np.uint16]
    histogram: Histogram
    cells: NDArray[np.uint16] | None
    saved: dict[str, NDArray]
    sums: dict[str, tuple[int, ...]]
    """Fingerprint of each feature, where the record is to hold it."""
    alone: NDArray[np.uint16] | None = None
    """What the neuron said before its neighbours voted, where the record holds it."""

    @property
    def of_volume(self) -> dict[str, Any]:
        """What `Solved` takes of it."""
        return {"probability": self.probability, "cells": self.cells, "saved": self.saved, "alone": self.alone}


def infer(
    engine: Engine,
    grey: NDArray[np.uint8],
    unit: Unit,
    bearing: Bearing,
    places: tuple[NDArray, ...] | None,
    save: bool,
    progress: Callable[[int, int], None] | None,
    mark: bool = False,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> _Found:
    """Run the neuron over a box, tile by tile: features are computed, used and forgotten; `tell` gets their traces."""
    backend = engine.backend
    margin = bank.halo(unit.features)

    def trace(stage: str, codes: Any, start: tuple[int, int, int]) -> dict[str, Any]:
        # Not metered: recording is no calculation of the run.
        return tile_trace(stage, backend.to_host(codes), backend.backend.histogram(codes), start)

    whole = np.empty(grey.shape, np.uint16)
    cells = None if places is None else np.empty(grey.shape, np.uint16)
    saved: dict[str, NDArray] = {}

    def work(tile: Tile) -> tuple[NDArray[np.int64], list[NDArray], list[Any], list[Any]]:
        features = bank.TileBank(backend, grey, tile, bearing, margin, unit.features)
        codes = tuple(features.codes(name) for name in unit.features)
        probability = unit.probability(backend, codes)
        whole[tile.core] = backend.to_host(probability)  # here: results that wait would be kept
        if cells is not None and places is not None:
            joint = None
            for c, t in zip(codes, places, strict=True):
                part = backend.lookup(c, table=backend.to_device(t))
                joint = part if joint is None else joint + part
            cells[tile.core] = backend.to_host(joint)
        kept = [backend.to_host(c) for c in codes] if save else []
        marks = [tile_sums(backend, c, tile.start) for c in codes] if mark else []
        stages = (*(f"feature_{name}" for name in unit.features), "neuron_output") if tell else ()
        told = [trace(stage, c, tile.start) for stage, c in zip(stages, (*codes, probability), strict=False)]
        return backend.histogram(probability), kept, marks, told

    counts = np.zeros(65_536, np.int64)
    sums: dict[str, tuple[int, ...]] = {}
    for tile, (part_counts, part_saved, part_sums, told) in engine.map(grey.shape, work, progress):
        counts += part_counts
        for name, codes in zip(unit.features, part_saved, strict=False):
            saved.setdefault(name, np.empty(grey.shape, codes.dtype))[tile.core] = codes
        for name, marks in zip(unit.features, part_sums, strict=False):
            sums[name] = joined(marks, sums[name]) if name in sums else marks
        if tell:
            for one in told:
                tell(one)
    alone = whole.copy() if tell else None
    if bearing.field is not None:
        whole, counts = across.voted(engine, whole, bearing.field)
    return _Found(whole, Histogram(counts), cells, saved, sums, alone)


def _cell_tables(
    chosen: Selected, histograms: dict[str, Histogram], references: counters.References | None
) -> tuple[NDArray[np.uint16], ...] | None:
    tables = references.tables({name: histograms[name] for name in chosen.names}) if references else None
    return None if tables is None else tuple(tables[name] for name in chosen.names)


def _fakes(
    engine: Engine, grey: NDArray[np.uint8], unit: Unit, scene: Scene, places: tuple[NDArray, ...] | None, seed: int
) -> dict[str, list[_Found]]:
    """Return what the trained neuron says of the surrogates of each family."""
    with ThreadPoolExecutor(engine.threads, "nx47-null", engine.backend.enter_thread) as pool:
        drawn = {f: null.surrogates(grey, scene.grey_counts, seed, f, pool.map) for f in null.FAMILIES}
        depth, *plane = drawn["isotropic"].shape[1:]
        # The axis stands to the surrogate's middle as it stands to the volume's.
        first, *corner = ((whole - part) * 4 for whole, part in zip(grey.shape, (depth, *plane), strict=True))
        line = scene.bearing.axis
        axis = None if line is None else line[first // 8 :][:depth] - np.array(corner, np.int32)

        def say(fake: NDArray[np.uint8]) -> _Found:
            return infer(engine, fake, unit, Bearing.of(axis, direction.measure(engine, fake)), places, False, None)

        return {family: list(pool.map(say, fakes)) for family, fakes in drawn.items()}


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


def _segment(
    engine: Engine, found: _Found, settings: Settings
) -> tuple[Calibration, Thresholds, chance.Masks, dict[str, NDArray[np.bool_]], tuple[dict[str, Any], ...]]:
    cut, limits = decide(found.histogram, settings.segment)
    cutter = segmentation.cutter(engine.backend, limits, cut.threshold, settings.segment)
    told: list[dict[str, Any]] = []
    own = segmentation.cutter(engine.backend, limits, cut.threshold, settings.segment, told)
    masks = dict(zip(("hysteresis", "calibrated", "final"), own(found.probability), strict=True))
    return cut, limits, cutter, masks, tuple(told)
