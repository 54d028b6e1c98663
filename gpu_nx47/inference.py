"""Inference: what a trained neuron says of a box, tile by tile; features are computed, used and forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47 import across, bank
from gpu_nx47.journal.fingerprint import joined, tile_sums
from gpu_nx47.journal.trace import tile_trace
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.direction import Bearing
    from gpu_nx47.engine import Engine, Slices, Tile
    from gpu_nx47.neuron import Unit
    from gpu_nx47.settings import Settings

    _Said = tuple[Slices, NDArray[np.int64] | None, list[NDArray], list[Any], list[Any]]
    """Of a part of the box: where it is, counts of its probability, codes, fingerprints, traces."""


@dataclass(frozen=True)
class Found:
    """What the neuron said of a box."""

    probability: NDArray[np.uint16]
    histogram: Histogram
    cells: NDArray[np.uint16] | None
    """Joint cell of each voxel, where they were asked for."""
    saved: dict[str, NDArray]
    """Codes of the features that were to be kept."""
    sums: dict[str, tuple[int, ...]]
    """Fingerprint of each feature, where the record is to hold it."""
    histograms: dict[str, Histogram]
    """Exact histogram of each feature of the neuron in the slices that were asked for; empty: in none."""
    alone: NDArray[np.uint16] | None = None
    """What the neuron said before its neighbours voted, where the record holds it."""
    edges: tuple[int, int] = (0, 0)
    """Of a surrogate: what `edges.meetings` found."""

    @property
    def of_volume(self) -> dict[str, Any]:
        """What `solve.Solved` takes of it."""
        kept = {"cells": self.cells, "saved": self.saved, "alone": self.alone}
        return {"probability": self.probability, "levels": self.histogram, **kept}


@dataclass(frozen=True)
class Wanted:
    """What is kept, marked and told beside the probability."""

    features: tuple[str, ...] = ()
    """Whose codes are kept: the neuron's own, or others."""
    mark: bool = False
    """Fingerprint the neuron's features."""
    slabs: Sequence[slice] = ()
    """Slices of the box, ascending, in which the codes of the neuron's features are counted."""
    tell: Callable[[dict[str, Any]], None] | None = None
    """Gets the traces of each tile, in raster order."""


def votes_of(settings: Settings) -> int:
    """Return how often the neuron's own probability is averaged along the sheets."""
    return 1 if settings.segment.votes is None else settings.segment.votes


def infer(
    engine: Engine,
    grey: NDArray[np.uint8],
    unit: Unit,
    bearing: Bearing,
    places: tuple[NDArray, ...] | None = None,
    *,
    votes: int = 1,
    wanted: Wanted | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Run the neuron over a box; then each voxel hears its neighbours along the sheet.

    Parameters
    ----------
    engine : Engine
        Where it works on some tiles only, the probability is 0 elsewhere.
    grey : numpy.ndarray of uint8
        The valid box.
    unit : Unit
    bearing : Bearing
    places : tuple of numpy.ndarray, optional
        For each feature the table from its codes to its part of the joint cell.
    votes : int
        How often the probability is averaged along the sheets.
    wanted : Wanted, optional
    progress : callable, optional
        Called with (tiles done, tiles).
    """
    votes = 0 if bearing.field is None else votes
    work = _Work(engine, grey, unit, bearing, places, wanted or Wanted(), final=not votes)
    for _, (said, counted) in engine.map(grey.shape, work.tile, progress):
        for part in said:
            work.take(*part)
        work.add(counted)
    alone = work.whole.copy() if work.wanted.tell else None
    counts = work.counts
    if bearing.field is not None:
        for _ in range(votes):
            counts = across.vote(engine, work.whole, bearing.field)
    return Found(work.whole, Histogram(counts), work.cells, work.saved, work.sums, work.histograms, alone)


class _Work:
    """A neuron at work on a box, and what has come of it so far."""

    def __init__(
        self,
        engine: Engine,
        grey: NDArray[np.uint8],
        unit: Unit,
        bearing: Bearing,
        places: tuple[NDArray, ...] | None,
        wanted: Wanted,
        *,
        final: bool,
    ) -> None:
        self._final = final  # what it says is counted; else what comes of it is
        self._backend, self._grey, self._unit, self._bearing = engine.backend, grey, unit, bearing
        self._places = places
        self._names = tuple(dict.fromkeys((*unit.features, *wanted.features)))
        self.wanted = wanted
        self.whole = engine.room(grey.shape, np.uint16)
        self.cells = None if places is None else np.empty(grey.shape, np.uint16)
        self.counts = np.zeros(65_536, np.int64)
        self.saved: dict[str, NDArray] = {}
        self.sums: dict[str, tuple[int, ...]] = {}
        self.histograms: dict[str, Histogram] = {}

    def tile(self, tile: Tile) -> tuple[list[_Said], dict[str, Histogram]]:
        """Do a tile, part by part; on a thread of its own. Features are counted for all its parts together."""
        names, margin = self._names, bank.halo(self._names)
        features = bank.TileBank(self._backend, self._grey, tile, self._bearing, margin, names)
        counted: dict[str, Histogram] = {}
        if self.wanted.tell:  # each tile has its traces
            return [self._say(features, counted)], counted
        said = []
        for part in features.parts(names):
            with self._backend.asking(part.tile.voxels):
                said.append(self._say(part, counted))
        return said, counted

    def _say(self, features: bank.TileBank, counted: dict[str, Histogram]) -> _Said:
        tile, backend, wanted = features.tile, self._backend, self.wanted
        codes = {name: features.codes(name) for name in self._unit.features}
        own = tuple(codes.values())
        probability = self._unit.probability(backend, own)
        self.whole[tile.core] = backend.to_host(probability)  # here: results that wait would be kept
        if self.cells is not None and self._places is not None:
            self.cells[tile.core] = _joint_cells(backend, own, self._places)
        kept = [backend.to_host(codes[n] if n in codes else features.codes(n)) for n in wanted.features]
        # Not metered: recording is no calculation of the run.
        marks = [tile_sums(backend.backend, c, tile.start) for c in own] if wanted.mark else []
        told = _traces(backend, tile, (*codes.items(), ("neuron_output", probability))) if wanted.tell else []
        if wanted.slabs:
            with backend.asking():  # for what the part has of the slabs
                _add(counted, _counted(backend, tile, codes, wanted.slabs))
        counts = backend.histogram(probability) if self._final else None
        return tile.core, counts, kept, marks, told

    def add(self, counted: dict[str, Histogram]) -> None:
        """Add what was counted of the features in a tile."""
        _add(self.histograms, counted)

    def take(
        self,
        core: Slices,
        counts: NDArray[np.int64] | None,
        kept: list[NDArray],
        marks: list[Any],
        told: list[Any],
    ) -> None:
        """Put together what was said of a part; on the main thread, in raster order."""
        if counts is not None:
            self.counts += counts
        for name, codes in zip(self.wanted.features, kept, strict=True):
            self.saved.setdefault(name, np.empty(self.whole.shape, codes.dtype))[core] = codes
        for name, mark in zip(self._unit.features, marks, strict=False):
            self.sums[name] = joined(mark, self.sums[name]) if name in self.sums else mark
        for one in told:
            if self.wanted.tell:
                self.wanted.tell(one)


def _add(total: dict[str, Histogram], more: dict[str, Histogram]) -> None:
    for name, found in more.items():
        before = total.get(name)
        total[name] = found if before is None else Histogram(before.counts + found.counts, found.low)


def _counted(backend: Meter, tile: Tile, codes: dict[str, Any], slabs: Sequence[slice]) -> dict[str, Histogram]:
    """Return the histograms of a tile's codes in its slices that lie in one of the slabs; none where none does."""
    first, end = tile.start[0], tile.stop[0]
    found: dict[str, Histogram] = {}
    for slab in slabs:
        here = slice(max(slab.start, first) - first, min(slab.stop, end) - first)
        if here.start < here.stop:
            some = {name: backend.histogram(one[here]) for name, one in codes.items()}
            _add(found, {name: Histogram(n, int(np.iinfo(codes[name].dtype).min)) for name, n in some.items()})
    return found


def _joint_cells(backend: Meter, codes: tuple[Any, ...], places: tuple[NDArray, ...]) -> NDArray[np.uint16]:
    joint: Any = 0
    for one, place in zip(codes, places, strict=True):  # a feature at a time: no more than two parts are held
        joint = backend.lookup(one, table=backend.to_device(place)) + joint
    cells: NDArray[np.uint16] = backend.to_host(joint)
    return cells


def _traces(backend: Meter, tile: Tile, named: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return the traces of a tile's codes; not metered: recording is no calculation of the run."""
    stages = [name if name == "neuron_output" else f"feature_{name}" for name, _ in named]
    return [
        tile_trace(stage, backend.to_host(codes), backend.backend.histogram(codes), tile.start)
        for stage, (_, codes) in zip(stages, named, strict=True)
    ]
