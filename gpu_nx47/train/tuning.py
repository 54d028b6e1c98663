"""One labelled volume whose masks are scored by any settings of the cleaning; what settings share is computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import rescue, segmentation, solve, tables
from gpu_nx47.score import Reference
from gpu_nx47.settings import SegmentSettings
from gpu_nx47.solve_outside import heard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.direction import Field
    from gpu_nx47.engine import Engine
    from gpu_nx47.stats import Histogram
    from gpu_nx47.volume import Box

KEPT: Final = 8
"""Masks of one volume kept for the settings to come, a byte a voxel each."""
STEPS: Final = (
    ("closing", "opening", "element", "opening_first"),
    ("bridges",),
    ("dust", "dust_connectivity"),
    ("pinholes",),
    ("loops", "cavities", "frame"),
)
"""Settings of the cleaning in the order in which it works: settings that differ in a step share those before it."""
HOW: Final = ("element", "opening_first", "dust_connectivity")
"""Settings that say how a step is done: of one that is not asked for they mean nothing."""
OFF: Final = SegmentSettings(dust=0, pinholes=0, loops=0, bridges=0, cavities=False, frame=0)
"""A cleaning that does nothing."""


@dataclass(frozen=True)
class Figures:
    """What the mask of some settings scored."""

    surface_dice: float
    voi_score: float
    share: float
    """Of active voxels."""
    topo_bound: float | None
    """Of the TopoScore, from above; None where it was not asked for."""


class Volume:
    """One labelled volume with its probability.

    Parameters
    ----------
    probability : numpy.ndarray of uint16, shape (z, y, x)
        C-contiguous or not.
    histogram : Histogram
        Of the probability in the whole valid box, where that is more than this piece.
    label : numpy.ndarray of uint8, shape (z, y, x)
        0, 1, 2.
    box : Box, optional
        Where in the labels the probability lies, if it is a part: outside of it no mask reaches.
    field : Field, optional
        The sheets' directions in the box, where votes are to be tried; else the probability is cut as it is given.
    topology : bool
        Bound the TopoScore of each mask too: twice the time.
    """

    def __init__(
        self,
        probability: NDArray[np.uint16],
        histogram: Histogram,
        label: NDArray[np.uint8],
        box: Box | None = None,
        field: Field | None = None,
        *,
        topology: bool = False,
    ) -> None:
        self._box = box
        self.field = field
        self._shape = label.shape
        self._heard = {0: (np.ascontiguousarray(probability), histogram)}
        self.reference = Reference(label, topology=topology, threads=1)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def score(self, engine: Engine, settings: SegmentSettings) -> Figures:
        """Return what the mask that settings give scores."""
        key = (*self._cuts(engine, settings), *(getattr(settings, name) for names in STEPS for name in names))
        found: Figures = self._once(key, lambda: self._judge(self._mask(engine, settings)))
        return found

    def topo(self, engine: Engine, settings: SegmentSettings) -> float:
        """Return the official TopoScore of the mask that settings give; ImportError where its package is not here."""
        found = self.reference.score(self._mask(engine, settings), official=True, topology=False).topo
        assert found is not None
        return found

    def _judge(self, mask: NDArray[np.bool_]) -> Figures:
        def judged() -> Figures:
            score = self.reference.score(mask)
            bound = None if score.topology is None else score.topology.bound.value
            return Figures(score.surface_dice, score.voi_score, int(np.count_nonzero(mask)) / mask.size, bound)

        # Settings often give one and the same mask: where no piece is of a size between two limits, say.
        found: Figures = self._once(hashlib.blake2b(np.packbits(mask).data).digest(), judged)
        return found

    def hear(self, engine: Engine, votes: Sequence[int]) -> None:
        """Average the probability along the sheets as often as will be asked for, one after the other."""
        if self.field is None:
            return
        for number in sorted(votes):
            if number not in self._heard:
                before = max(known for known in self._heard if known < number)
                self._heard[number] = heard(engine, self._heard[before][0], self.field, number - before)

    def _cuts(self, engine: Engine, settings: SegmentSettings) -> tuple[int, int, int, int]:
        """Return the votes, and the weak, the strong and the calibrated threshold."""
        votes = (settings.votes or 0) if self.field is not None else 0
        self.hear(engine, (votes,))
        cut, limits = solve.decide(self._heard[votes][1], settings)
        return votes, limits.weak, limits.strong, cut.threshold

    def _mask(self, engine: Engine, settings: SegmentSettings) -> NDArray[np.bool_]:
        meter = engine.backend
        key: tuple[Hashable, ...] = self._cuts(engine, settings)
        votes, *limits = self._cuts(engine, settings)
        mask = self._once(key, lambda: rescue.whole(meter, "the masks", lambda: self._united(meter, votes, *limits)))
        how = {name: getattr(settings, name) for name in HOW}
        off = replace(OFF, **how)
        for names in STEPS:
            values = {name: getattr(settings, name) for name in names}
            key = (*key, *values.values())
            if (step := replace(off, **values)) != off:
                made = _cleaning(meter, mask, step)
                mask = made() if names == STEPS[-1] else self._once(key, made)  # the last is never begun with
        if self._box is not None:
            inner, mask = mask, np.zeros(self._shape, np.bool_)
            mask[self._box.slices] = inner
        found: NDArray[np.bool_] = mask
        return found

    def _united(self, meter: Meter, votes: int, weak: int, strong: int, threshold: int) -> NDArray[np.bool_]:
        """Return the mask before its cleaning."""
        p = meter.to_device(self._heard[votes][0])
        mask = p >= threshold
        if weak < threshold:  # else what an anchor carries is active by itself
            mask = mask | meter.hysteresis(p, weak=weak, strong=strong)
        made: NDArray[np.bool_] = meter.to_host(mask)
        return made

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what is kept under a key, made where it is not; two threads may make it twice, alike."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            arrays = [k for k, value in self._kept.items() if isinstance(value, np.ndarray)]
            for old in arrays[:-KEPT]:
                del self._kept[old]
        return made


def _cleaning(meter: Meter, mask: NDArray[np.bool_], step: SegmentSettings) -> Callable[[], NDArray[np.bool_]]:
    """Return what makes of a mask on the host what a step of the cleaning makes of it."""

    def cleaned() -> NDArray[np.bool_]:
        made: NDArray[np.bool_] = meter.to_host(segmentation.clean(meter, meter.to_device(mask), step))
        return made

    def whole() -> NDArray[np.bool_]:
        made: NDArray[np.bool_] = rescue.whole(meter, "a cleaning", cleaned)
        return made

    return whole


def piece_histogram(probability: NDArray[np.uint16]) -> Histogram:
    """Return the exact histogram of probability codes."""
    from gpu_nx47.stats import Histogram

    counts = np.zeros(tables.PROBABILITY_ONE + 1, np.int64)
    for plane in probability:
        counts += np.bincount(plane.reshape(-1), minlength=len(counts))
    return Histogram(counts)
