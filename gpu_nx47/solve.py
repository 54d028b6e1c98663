"""One volume from grey values to mask, told in order: survey, measure, select, train, probability, segment, count.

The stages do not know each other; this is where their results meet. Everything that is decided here is decided on the
host from exact numbers.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import bank, calibration, chance, counters, neuron, null, rescue, segmentation, selection, stats, survey
from gpu_nx47.engine import histogram
from gpu_nx47.events import Emit, Event
from gpu_nx47.hardware import release_memory, rss_bytes
from gpu_nx47.journal.fingerprint import MEANING, fingerprint_text, joined, tile_sums
from gpu_nx47.journal.trace import FORENSIC, LIGHT, STANDARD, array_trace
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.calibration import Calibration
    from gpu_nx47.engine import Engine, Tile
    from gpu_nx47.neuron import Trained, Unit
    from gpu_nx47.segmentation import Thresholds
    from gpu_nx47.selection import Selected
    from gpu_nx47.settings import Settings
    from gpu_nx47.survey import Axis


class Story:
    """What happened to one file, as events, with the seconds and operations of each stage."""

    def __init__(
        self,
        file: str,
        emit: Emit,
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
        record: str = STANDARD,
    ) -> None:
        self.file = file
        self.record = record
        self.emit = emit
        self.stages: dict[str, dict[str, float]] = {}
        self._meter = engine.backend
        self._threads = engine.threads
        self._phase = engine.phase
        self._clock = clock

    @contextmanager
    def stage(self, name: str, step: str | None = None) -> Iterator[Callable[[int, int], None]]:
        """Time a stage; yields what to call with (done, total)."""
        if step:
            self.emit(Event("STEP", {"name": step, "file": self.file}))
        asked, executed = self._meter.total()
        started = self._clock()

        def progress(done: int, total: int) -> None:
            data = {"file": self.file, "stage": name, "done": done, "total": total}
            self.emit(Event("PROGRESS_UPDATE", data))

        try:
            with self._phase(name, self.file):
                yield progress
        finally:
            release_memory()
            seconds = self._clock() - started
            now_asked, now_executed = self._meter.total()
            entry = self.stages.setdefault(name, {"seconds": 0.0, "calc_ops": 0, "calc_ops_executed": 0})
            entry["seconds"] += seconds
            entry["calc_ops"] += now_asked - asked
            entry["calc_ops_executed"] += now_executed - executed
            entry["calc_per_sec"] = entry["calc_ops"] / entry["seconds"] if entry["seconds"] > 0 else 0.0

    def trace(self, stage: str, array: NDArray) -> None:
        """Emit ARRAY_TRACE of an array (see `journal.trace`)."""
        if array.dtype == np.bool_:
            active = int(np.count_nonzero(array))
            counts = np.array([array.size - active, active])
        elif array.size:
            # Not metered: recording is no calculation of the run.
            counts = rescue.whole(self._meter, "a trace", lambda: histogram(self._meter.backend, array))
        else:
            counts = np.zeros(1, np.int64)
        told = array_trace(stage, array, counts, self.record, self._threads)
        self.emit(Event("ARRAY_TRACE", {"file": self.file, **told}))


_CLASSES: Final = {"background": survey.BACKGROUND, "recto": survey.RECTO, "undecided": survey.UNDECIDED}


@dataclass(frozen=True)
class Scene:
    """What the survey told: the axis, and a labelled sample."""

    axis: Axis
    axis_used: bool
    labels: NDArray[np.uint8]
    """Pseudo-label of each drawn voxel."""
    index: NDArray[np.int64]
    """Flat indices in the box of the sample: drawn voxels that are decided."""
    sample_labels: NDArray[np.uint8]
    """0 or 1 at the sample."""
    grey_counts: NDArray[np.int64]
    """Exact histogram of the box."""

    @property
    def counted(self) -> dict[str, int]:
        """Drawn voxels of each pseudo-label."""
        return {name: int((self.labels == code).sum()) for name, code in _CLASSES.items()}

    @property
    def keep_ratio(self) -> float:
        """Share of the drawn voxels that are decided."""
        return 1 - self.counted["undecided"] / len(self.labels)

    def eighths(self, slices: int) -> NDArray[np.int32] | None:
        """Return the axis as the kernels take it; None where its side is not known."""
        return self.axis.eighths(slices) if self.axis_used else None


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


def solve(
    grey: NDArray[np.uint8],
    engine: Engine,
    settings: Settings,
    story: Story,
    references: counters.References | None,
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
    """
    with story.stage("survey", "features_extract_start") as progress:
        scene = _look(engine, grey, settings, progress)
    axis = scene.eighths(grey.shape[0])
    with story.stage("features") as progress:
        names = _candidates(settings, scene.axis_used)
        measured = bank.measure(engine, grey, names, axis, scene.index, progress)
    with story.stage("select", "select_start"):
        chosen = _choose(settings, names, measured, scene)
    with story.stage("train", "train_start") as progress:
        trained = _train(engine, grey.shape, settings, chosen, measured, scene, progress)
    with story.stage("probability", "probability_start") as progress:
        places = _cell_tables(chosen, measured.histograms, references)
        keep = "features" in settings.save or settings.record == FORENSIC
        found = _probability(engine, grey, trained.unit, axis, places, keep, progress, settings.record != LIGHT)
    _trace_features(story, chosen, measured.histograms, grey.shape, found.sums)
    with story.stage("segment", "segment_start"):
        cut, limits, cutter, masks = _segment(engine, found, settings)
    with story.stage("null", "null_start"):
        fakes = _fakes(engine, grey, trained.unit, scene, places, settings.seed)
        golden = null.golden_limit(fakes["isotropic"].histogram)
        rare = references.rare(chosen.names) if references else None
        by_chance = chance.Chance.of(engine, found.probability, fakes, cutter, golden, rare)
    if settings.record == FORENSIC:
        for name, codes in found.saved.items():
            story.trace(f"feature_{name}", codes)
    story.trace("probability_map", found.probability)
    for name, mask in masks.items():
        story.trace(f"mask_{name}", mask)
    return Solved(
        scene=scene,
        selected=chosen,
        trained=trained,
        histograms={name: measured.histograms[name] for name in chosen.names},
        null=by_chance,
        calibration=cut,
        thresholds=limits,
        probability=found.probability,
        **masks,
        cells=found.cells,
        saved=found.saved,
    )


def _look(engine: Engine, grey: NDArray[np.uint8], settings: Settings, progress: Callable[[int, int], None]) -> Scene:
    seen = survey.survey(engine, grey, settings, progress)
    axis = survey.fit_axis(seen, grey.shape)
    used = axis.confidence >= survey.AXIS_LIMIT
    counts = histogram(engine.backend, grey)
    (cut,) = stats.otsu(counts, 2)
    contrast = stats.class_mean(counts, cut + 1, 255) - stats.class_mean(counts, 0, cut)
    labels = survey.pseudo_labels(seen, grey.shape, contrast, axis if used else None)
    keep = _balanced(labels, seen.order, settings.neuron.samples)
    return Scene(axis, used, labels, seen.index[keep], labels[keep], counts)


def _balanced(labels: NDArray, order: NDArray, wanted: int) -> NDArray[np.int64]:
    """Return the positions of the sample: rectos first come first served up to half, background for the rest."""
    by_draw = np.argsort(order, kind="stable")
    recto = by_draw[labels[by_draw] == survey.RECTO][: wanted // 2]
    background = by_draw[labels[by_draw] == survey.BACKGROUND][: wanted - len(recto)]
    return np.sort(np.concatenate([recto, background]))


def _candidates(settings: Settings, axis_used: bool) -> tuple[str, ...]:
    asked = settings.features.fixed or settings.features.bank
    return tuple(n for n in asked if axis_used or bank.base(n) not in bank.ODD)


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


def _probability(
    engine: Engine,
    grey: NDArray[np.uint8],
    unit: Unit,
    axis: NDArray | None,
    places: tuple[NDArray, ...] | None,
    save: bool,
    progress: Callable[[int, int], None] | None,
    mark: bool = False,
) -> _Found:
    """Run the neuron over a box, tile by tile: features are computed, used and forgotten."""
    backend = engine.backend
    margin = bank.halo(unit.features)

    def work(tile: Tile) -> tuple[NDArray, NDArray, NDArray | None, list[NDArray], list[tuple[int, ...]]]:
        features = bank.TileBank(backend, grey, tile, axis, margin)
        codes = tuple(features.codes(name) for name in unit.features)
        probability = unit.probability(backend, codes)
        cells = None
        if places is not None:
            parts = [backend.lookup(c, table=backend.to_device(t)) for c, t in zip(codes, places, strict=True)]
            cells = backend.to_host(sum(parts[1:], parts[0]))
        saved = [backend.to_host(c) for c in codes] if save else []
        marks = [tile_sums(backend, c, tile.start) for c in codes] if mark else []
        return backend.to_host(probability), backend.histogram(probability), cells, saved, marks

    probability = np.empty(grey.shape, np.uint16)
    cells = None if places is None else np.empty(grey.shape, np.uint16)
    counts = np.zeros(65_536, np.int64)
    saved: dict[str, NDArray] = {}
    sums: dict[str, tuple[int, ...]] = {}
    for tile, (part, part_counts, part_cells, part_saved, part_sums) in engine.map(grey.shape, work, progress):
        probability[tile.core] = part
        counts += part_counts
        if cells is not None and part_cells is not None:
            cells[tile.core] = part_cells
        for name, codes in zip(unit.features, part_saved, strict=False):
            saved.setdefault(name, np.empty(grey.shape, codes.dtype))[tile.core] = codes
        for name, marks in zip(unit.features, part_sums, strict=False):
            sums[name] = joined(marks, sums[name]) if name in sums else marks
    return _Found(probability, Histogram(counts), cells, saved, sums)


def _cell_tables(
    chosen: Selected, histograms: dict[str, Histogram], references: counters.References | None
) -> tuple[NDArray[np.uint16], ...] | None:
    tables = references.tables({name: histograms[name] for name in chosen.names}) if references else None
    return None if tables is None else tuple(tables[name] for name in chosen.names)


def _fakes(
    engine: Engine, grey: NDArray[np.uint8], unit: Unit, scene: Scene, places: tuple[NDArray, ...] | None, seed: int
) -> dict[str, _Found]:
    """Return what the trained neuron says of a surrogate of each family."""
    with ThreadPoolExecutor(min(engine.threads, len(null.FAMILIES))) as pool:
        drawn = list(pool.map(lambda family: null.surrogate(grey, scene.grey_counts, seed, family), null.FAMILIES))
    # The axis stands to the surrogate's middle as it stands to the volume's.
    dy, dx = ((whole - part) / 2 for whole, part in zip(grey.shape[1:], drawn[0].shape[1:], strict=True))
    moved = replace(scene, axis=replace(scene.axis, y=scene.axis.y - dy, x=scene.axis.x - dx))
    eighths = moved.eighths(drawn[0].shape[0])
    found = (_probability(engine, fake, unit, eighths, places, False, None) for fake in drawn)
    return dict(zip(null.FAMILIES, found, strict=True))


def _segment(
    engine: Engine, found: _Found, settings: Settings
) -> tuple[Calibration, Thresholds, chance.Masks, dict[str, NDArray[np.bool_]]]:
    if settings.segment.ratio is None:
        target, source = calibration.expected_share(found.histogram), "measured: mean probability"
    else:
        target, source = settings.segment.ratio, "given"
    cut = calibration.calibrate(found.histogram, target, source)
    limits = segmentation.thresholds(found.histogram, settings.segment, cut.threshold)
    cutter = segmentation.cutter(engine.backend, limits, cut.threshold, settings.segment)
    masks = dict(zip(("hysteresis", "calibrated", "final"), cutter(found.probability), strict=True))
    return cut, limits, cutter, masks
