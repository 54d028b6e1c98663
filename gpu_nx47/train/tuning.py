"""The cleaning's settings, scanned by the real score on labelled volumes, with what settings share computed once."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import rescue, segmentation, solve, tables
from gpu_nx47.score import Reference, total
from gpu_nx47.settings import SegmentSettings
from gpu_nx47.solve_outside import heard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.direction import Field
    from gpu_nx47.engine import Engine
    from gpu_nx47.stats import Histogram
    from gpu_nx47.volume import Box

KEPT: Final = 6
"""Masks of one volume kept for the settings to come, a byte a voxel each."""
THRESHOLDS: Final = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8)
FINER: Final = (-0.03, -0.015, 0.015, 0.03)
"""Steps around the best of them."""
SHARES: Final = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4)
"""Ratios tried, in that of the best threshold."""
WEAKER: Final = (0.5, 0.65, 0.8, 1.0)
"""Weak thresholds tried, in the best one."""
STRONGER: Final = (0.25, 0.5, 0.75)
"""Strong thresholds tried: this share of the way from the best one to 1."""
DUST: Final = (0, 30, 100, 300, 1000, 2000)
VOTES: Final = (1, 2)
"""Votes along the sheets tried beside none, where the sheets' directions are known."""
LOWER: Final = (-0.2, -0.15, -0.1, -0.05, 0.0)
"""Steps from the best threshold at which votes are tried: a mean has lower peaks."""
FINALISTS: Final = 3
"""Settings, of each number of votes, whose official TopoScore is computed: the best by the mean."""
BOX: Final = (1, 1, 1)
MENDED: Final = ("dust", "dust_connectivity", "pinholes", "loops", "bridges", "cavities", "frame")
"""Settings of what is done after the morphology."""
Masks = dict[str, Any]


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
    """

    def __init__(
        self,
        probability: NDArray[np.uint16],
        histogram: Histogram,
        label: NDArray[np.uint8],
        box: Box | None = None,
        field: Field | None = None,
    ) -> None:
        self._box = box
        self.field = field
        self._shape = label.shape
        self._heard = {0: (np.ascontiguousarray(probability), histogram)}
        self.reference = Reference(label, topology=False, threads=1)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def score(self, engine: Engine, settings: SegmentSettings) -> tuple[float, float, float]:
        """Return SurfaceDice, VOI score and the share of active voxels of the mask that settings give."""
        cuts = self._cuts(engine, settings)
        mended = tuple(getattr(settings, name) for name in MENDED)
        key = (*cuts, *settings.closing, *settings.opening, *mended)
        return self._once(key, lambda: self._judge(engine, settings))

    def topo(self, engine: Engine, settings: SegmentSettings) -> float:
        """Return the official TopoScore of the mask that settings give; ImportError where its package is not here."""
        found = self.reference.score(self._mask(engine, settings), official=True, topology=False).topo
        assert found is not None
        return found

    def _judge(self, engine: Engine, settings: SegmentSettings) -> tuple[float, float, float]:
        mask = self._mask(engine, settings)
        score = self.reference.score(mask, topology=False)
        return score.surface_dice, score.voi_score, int(np.count_nonzero(mask)) / mask.size

    def hear(self, engine: Engine, votes: Sequence[int]) -> None:
        """Average the probability along the sheets as often as will be asked for."""
        if self.field is not None:
            for number in votes:
                if number not in self._heard:
                    self._heard[number] = heard(engine, self._heard[0][0], self.field, number)

    def _cuts(self, engine: Engine, settings: SegmentSettings) -> tuple[int, int, int, int]:
        """Return the votes, and the weak, the strong and the calibrated threshold."""
        votes = (settings.votes or 0) if self.field is not None else 0
        self.hear(engine, (votes,))
        cut, limits = solve.decide(self._heard[votes][1], settings)
        return votes, limits.weak, limits.strong, cut.threshold

    def _mask(self, engine: Engine, settings: SegmentSettings) -> NDArray[np.bool_]:
        meter = engine.backend
        cuts = self._cuts(engine, settings)
        shapes = (*settings.closing, *settings.opening)
        there = replace(settings, dust=0, pinholes=0, loops=0, bridges=0, cavities=False, frame=0)

        def united() -> NDArray[np.bool_]:
            votes, weak, strong, threshold = cuts
            p = meter.to_device(self._heard[votes][0])
            mask = p >= threshold
            if weak < threshold:  # else what an anchor carries is active by itself
                mask = mask | meter.hysteresis(p, weak=weak, strong=strong)
            made: NDArray[np.bool_] = meter.to_host(mask)
            return made

        def cleaned(mask: NDArray[np.bool_], by: SegmentSettings) -> NDArray[np.bool_]:
            made: NDArray[np.bool_] = meter.to_host(segmentation.clean(meter, meter.to_device(mask), by))
            return made

        mask = self._once(cuts, lambda: rescue.whole(meter, "the masks", united))
        if any(shapes):
            mask = self._once((*cuts, *shapes), lambda: rescue.whole(meter, "a cleaning", lambda: cleaned(mask, there)))
        dusted = replace(settings, closing=(0, 0, 0), opening=(0, 0, 0))
        mask = rescue.whole(meter, "the dust", lambda: cleaned(mask, dusted))
        if self._box is not None:
            inner, mask = mask, np.zeros(self._shape, np.bool_)
            mask[self._box.slices] = inner
        return mask

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


@dataclass(frozen=True)
class Tried:
    """One set of settings and what it scored, over the volumes."""

    stage: str
    segment: dict[str, Any]
    """What differs from the settings at the start."""
    surface_dice: float
    voi_score: float
    share: float
    """Of active voxels."""
    topo: float | None = None
    """The official TopoScore, of a finalist."""

    @property
    def mean(self) -> float:
        """Mean of SurfaceDice and VOI score: what is maximised, among finalists the total."""
        return (self.surface_dice + self.voi_score) / 2

    @property
    def total(self) -> float | None:
        """The competition's score; None without the official TopoScore."""
        return total(self.topo, self.surface_dice, self.voi_score)


class Tuner:
    """Scans settings, stage by stage: each stage begins with the best of those before.

    Parameters
    ----------
    engine : Engine
    volumes : sequence of Volume
    start : SegmentSettings
        The settings that the user has; the first that is scored.
    official : bool
        Let the competition's total, with the package `topometrics`, choose among the best by the mean.
    """

    def __init__(
        self, engine: Engine, volumes: Sequence[Volume], start: SegmentSettings, *, official: bool = False
    ) -> None:
        self._engine = engine
        self._official = official
        self._votes = VOTES if all(volume.field is not None for volume in volumes) else ()
        self._volumes = volumes
        self._start = start
        self.tried: list[Tried] = []

    def run(self, tell: Callable[[Tried], None]) -> Tried:
        """Scan, tell each result in order, and return the best; of equal ones the first."""
        for stage, grid in (
            ("start", self._as_given),
            ("threshold", self._thresholds),
            ("finer threshold", self._finer),
            ("votes and threshold", self._voted),
            ("ratio", self._ratios),
            ("hysteresis", self._hysteresis),
            ("dust", self._dust),
            ("closing and opening", self._shapes),
        ):
            best = replace(self._start, **self.best.segment) if self.tried else self._start
            self._try(stage, list(grid(best)), tell)
        if self._official:
            self._final(tell)
        return self.best

    @property
    def best(self) -> Tried:
        """The best so far: by the total, where finalists have one."""
        finalists = [one for one in self.tried if one.total is not None]
        return max(finalists, key=lambda one: one.total or 0.0) if finalists else max(self.tried, key=_mean)

    def _final(self, tell: Callable[[Tried], None]) -> None:
        """Score the best by the mean, of each number of votes, officially."""
        by_votes: dict[Any, list[Tried]] = {}
        for one in sorted(self.tried, key=_mean, reverse=True):
            by_votes.setdefault(one.segment.get("votes"), []).append(one)
        for one in itertools.chain.from_iterable(them[:FINALISTS] for them in by_votes.values()):
            settings = replace(self._start, **one.segment)
            topos = [volume.topo(self._engine, settings) for volume in self._volumes]
            self.tried.append(replace(one, stage="official", topo=math.fsum(topos) / len(topos)))
            tell(self.tried[-1])

    def _try(self, stage: str, wanted: Sequence[SegmentSettings], tell: Callable[[Tried], None]) -> None:
        known = [one.segment for one in self.tried]
        new = [one for one in wanted if self._difference(one) not in known]
        jobs = [(settings, volume) for settings in new for volume in self._volumes]
        with ThreadPoolExecutor(self._engine.threads, "nx47-tune", self._engine.backend.enter_thread) as pool:
            rows = pool.map(lambda job: job[1].score(self._engine, job[0]), jobs)
            for settings in new:
                scores = [next(rows) for _ in self._volumes]
                dice, voi, share = (math.fsum(column) / len(scores) for column in zip(*scores, strict=True))
                self.tried.append(Tried(stage, self._difference(settings), dice, voi, share))
                tell(self.tried[-1])

    def _difference(self, settings: SegmentSettings) -> dict[str, Any]:
        start = asdict(self._start)
        return {key: value for key, value in asdict(settings).items() if value != start[key]}

    def _as_given(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        yield best

    def _thresholds(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for value in THRESHOLDS:
            yield replace(best, ratio=None, threshold=value, weak=value, strong=value)

    def _finer(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        centre = self._centre()
        for step in FINER:
            value = round(centre + step, 3)
            yield replace(best, ratio=None, threshold=value, weak=value, strong=value)

    def _voted(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for volume in self._volumes:
            volume.hear(self._engine, self._votes)
        centre = self._centre()
        for votes in self._votes:
            for step in LOWER:
                if (value := round(centre + step, 3)) > 0:
                    yield replace(best, votes=votes, ratio=None, threshold=value, weak=value, strong=value)

    def _centre(self) -> float:
        """Return the best threshold so far."""
        best = max((one for one in self.tried if "threshold" in one.stage), key=lambda one: one.mean)
        return float(best.segment.get("threshold") or self._start.threshold or 0.5)

    def _ratios(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        """Yield shares in place of the threshold: the same on every volume, whatever its probabilities."""
        share = max((one for one in self.tried if "threshold" in one.stage), key=lambda one: one.mean).share
        for factor in SHARES:
            if 0 < share * factor <= 1:
                yield replace(best, threshold=None, ratio=round(share * factor, 4) or 0.0001, weak=None, strong=None)

    def _hysteresis(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        middle = self._centre()
        for low in WEAKER:
            for up in STRONGER:
                strong = round(middle + up * (1 - middle), 3)
                yield replace(best, ratio=None, threshold=1.0, weak=round(low * middle, 3), strong=strong)

    def _dust(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for voxels in DUST:
            yield replace(best, dust=voxels)

    def _shapes(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        nothing = (0, 0, 0)
        for closing, opening in ((nothing, nothing), (BOX, nothing), (nothing, BOX), (BOX, BOX), ((1, 0, 0), nothing)):
            yield replace(best, closing=closing, opening=opening)


def _mean(one: Tried) -> float:
    return one.mean


def piece_histogram(probability: NDArray[np.uint16]) -> Histogram:
    """Return the exact histogram of probability codes."""
    from gpu_nx47.stats import Histogram

    counts = np.zeros(tables.PROBABILITY_ONE + 1, np.int64)
    for plane in probability:
        counts += np.bincount(plane.reshape(-1), minlength=len(counts))
    return Histogram(counts)
