"""The cleaning's settings, scanned stage by stage by the real score on labelled volumes."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.score import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpu_nx47.engine import Engine
    from gpu_nx47.settings import SegmentSettings
    from gpu_nx47.train.tuning import Volume

THRESHOLDS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
FINER: Final = (-0.06, -0.03, 0.03, 0.06)
"""Steps around the best of them."""
SHARES: Final = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4)
"""Ratios tried, in that of the best threshold."""
WEAKER: Final = (0.65, 0.8, 1.0)
"""Weak thresholds tried, in the best one."""
STRONGER: Final = (0.25, 0.5, 0.75)
"""Strong thresholds tried: this share of the way from the best one to 1."""
VOTES: Final = (1, 2, 4)
"""Votes along the sheets tried beside none, where the sheets' directions are known."""
LOWER: Final = (-0.15, -0.1, -0.05, 0.0, 0.05)
"""Steps from the best threshold at which votes are tried: a mean has lower peaks."""
NONE: Final = (0, 0, 0)
BOX: Final = (1, 1, 1)
ALONG: Final = ((1, 0, 0), (2, 0, 0), (3, 0, 0))
"""Along z, where a scroll's sheets go on: what is thin there is no sheet."""
SHAPES: Final = (
    *((NONE, NONE, "box"), (BOX, NONE, "box"), (NONE, BOX, "box"), (BOX, BOX, "box")),
    *((ALONG[0], NONE, "box"), (NONE, ALONG[0], "box"), (ALONG[1], ALONG[1], "box"), (ALONG[2], ALONG[2], "box")),
    *((NONE, BOX, "cross"), (BOX, BOX, "cross")),
)
"""Closings and openings tried; by a cross, the opening first, as is usual elsewhere."""
DUST: Final = ((0, 6), (30, 6), (100, 6), (300, 6), (1000, 6), (2000, 6), (4000, 6), (300, 26), (2000, 26))
"""Sizes of dust and what makes a piece of it."""
BRIDGES: Final = (0, 8, 64, 512)
LOOPS: Final = (0, 64, 512, 4096)
PINHOLES: Final = (0, 16, 64)
AGAIN: Final = (-0.06, -0.03, 0.03, 0.06, 0.1)
"""Steps of all thresholds, with the cleaning that was found: an opening wants a lower one, a closing a higher."""
TOPOLOGICAL: Final = ("bridges", "loops", "pinholes", "once more")
"""Stages that a brief scan leaves out."""
UNMENDED: Final[dict[str, Any]] = {"pinholes": 0, "loops": 0, "cavities": False}
"""What a brief scan leaves undone until its end: most of a cleaning's time, a few ten-thousandths of the mean."""
MENDED: Final = 3
"""Settings that a brief scan scores again with everything done; the best of them is taken."""
FINALISTS: Final = 6
"""Settings whose official TopoScore is computed."""
ALIKE: Final = 0.003
"""Settings are no finalists beside one whose figures are as near as this."""
WORTH: Final = 1 / 3
"""TopoScore in its bound, of masks of two peers on two training phantoms: it orders settings, and scores none."""


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
    topo_bound: float | None = None
    """Of the official TopoScore, from above; no part of any score."""
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

    @property
    def promise(self) -> float:
        """What the scan climbs by: the mean; where finalists will be chosen, the total that they may come to."""
        if self.topo_bound is None:
            return self.mean
        return total(WORTH * self.topo_bound, self.surface_dice, self.voi_score) or 0.0


class Tuner:
    """Scans settings, stage by stage: each stage begins with the best of those before.

    Parameters
    ----------
    engine : Engine
    volumes : sequence of Volume
        With `official`, such as bound the TopoScore.
    start : SegmentSettings
        The settings that the user has; the first that is scored.
    official : bool
        Let the competition's total, with the package `topometrics`, choose among those that promise most.
    brief : bool
        Leave out what changes topology and little else: what is taken was scored with it all the same.
    """

    def __init__(
        self,
        engine: Engine,
        volumes: Sequence[Volume],
        start: SegmentSettings,
        *,
        official: bool = False,
        brief: bool = False,
    ) -> None:
        self._engine = engine
        self._brief = brief
        self._official = official
        self._votes = VOTES if all(volume.field is not None for volume in volumes) else ()
        self._volumes = volumes
        self._start = start
        self.tried: list[Tried] = []

    def run(self, tell: Callable[[Tried], None]) -> Tried:
        """Scan, tell each result in order, and return the best; of equal ones the first."""
        stages = (
            ("start", self._as_given),
            ("threshold", self._thresholds),
            ("finer threshold", self._finer),
            ("votes and threshold", self._voted),
            ("ratio", self._ratios),
            ("hysteresis", self._hysteresis),
            ("closing and opening", self._shapes),
            ("dust", self._dust),
            ("bridges", self._bridges),
            ("loops", self._loops),
            ("pinholes", self._pinholes),
            ("once more", self._again),
        )
        for stage, grid in stages:
            if self._brief and stage in TOPOLOGICAL:
                continue
            leader = max(self.tried, key=_promise).segment if self.tried else {}
            wanted = list(grid(replace(self._start, **leader)))
            if self._brief and self.tried:
                wanted = [replace(one, **UNMENDED) for one in wanted]
            self._try(stage, wanted, tell)
        if self._brief:
            mended = {key: getattr(self._start, key) for key in UNMENDED}
            few = [replace(self._start, **one.segment) for one in shortlist(self.tried)[:MENDED]]
            self._try("all steps", [replace(one, **mended) for one in few], tell)
        if self._official:
            self._final(tell)
        return self.best

    @property
    def best(self) -> Tried:
        """The best: by the total, where finalists have one; of a brief scan, one with the steps that the user has."""
        finalists = [one for one in self.tried if one.total is not None]
        if finalists:
            return max(finalists, key=lambda one: one.total or 0.0)
        mended = [one for one in self.tried if not self._brief or not UNMENDED.keys() & one.segment.keys()]
        return max(mended, key=_promise)

    def _final(self, tell: Callable[[Tried], None]) -> None:
        """Score those officially that promise most."""
        for one in shortlist(self.tried):
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
                found = [next(rows) for _ in self._volumes]
                dice, voi, share = (
                    _average([getattr(one, key) for one in found]) for key in ("surface_dice", "voi_score", "share")
                )
                bounds = [one.topo_bound for one in found if one.topo_bound is not None]
                bound = _average(bounds) if self._official and len(bounds) == len(found) else None
                self.tried.append(Tried(stage, self._difference(settings), dice, voi, share, bound))
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
            if (value := round(centre + step, 3)) > 0:
                yield replace(best, ratio=None, threshold=value, weak=value, strong=value)

    def _voted(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for volume in self._volumes:
            volume.hear(self._engine, self._votes)
        centre = self._centre()
        for votes in self._votes:
            for step in LOWER:
                if 0 < (value := round(centre + step, 3)) <= 1:
                    yield replace(best, votes=votes, ratio=None, threshold=value, weak=value, strong=value)

    def _by_threshold(self) -> Tried:
        """Return the best so far that a threshold alone cuts."""
        return max((one for one in self.tried if "threshold" in one.stage), key=_promise)

    def _centre(self) -> float:
        """Return the best threshold so far."""
        return float(self._by_threshold().segment.get("threshold") or self._start.threshold or 0.5)

    def _ratios(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        """Yield shares in place of the threshold: the same on every volume, whatever its probabilities."""
        share = self._by_threshold().share
        for factor in SHARES:
            if 0 < share * factor <= 1:
                yield replace(best, threshold=None, ratio=round(share * factor, 4) or 0.0001, weak=None, strong=None)

    def _hysteresis(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        middle = self._centre()
        for low in WEAKER:
            for up in STRONGER:
                strong = round(middle + up * (1 - middle), 3)
                yield replace(best, ratio=None, threshold=1.0, weak=round(low * middle, 3), strong=strong)

    def _shapes(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for closing, opening, element in SHAPES:
            crossed = element == "cross"
            yield replace(best, closing=closing, opening=opening, element=element, opening_first=crossed)

    def _dust(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for voxels, connectivity in DUST:
            yield replace(best, dust=voxels, dust_connectivity=connectivity)

    def _bridges(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for voxels in BRIDGES:
            yield replace(best, bridges=voxels)

    def _loops(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for voxels in LOOPS:
            yield replace(best, loops=voxels)

    def _pinholes(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for voxels in PINHOLES:
            yield replace(best, pinholes=voxels)

    def _again(self, best: SegmentSettings) -> Iterator[SegmentSettings]:
        for step in AGAIN:
            moved = {}
            for key in ("threshold", "weak", "strong"):
                value = getattr(best, key)
                if value is not None and value < 1:  # a threshold of 1 leaves all to the hysteresis
                    moved[key] = min(1.0, max(0.001, round(value + step, 3)))
            if best.ratio is not None:
                moved["ratio"] = min(1.0, round(best.ratio * (1 - 3 * step), 4) or 0.0001)
            if moved:
                yield replace(best, **moved)


def shortlist(tried: Sequence[Tried]) -> list[Tried]:
    """Return the settings that promise the highest totals, best first; of those that score alike only the first."""
    chosen: list[Tried] = []
    for one in sorted(tried, key=_promise, reverse=True):
        if len(chosen) < FINALISTS and all(_apart(one, other) for other in chosen):
            chosen.append(one)
    return chosen


def _apart(one: Tried, other: Tried) -> bool:
    """Return whether two differ in a figure by more than `ALIKE`."""
    pairs = zip(_figures(one), _figures(other), strict=True)
    return any(abs(a - b) > ALIKE for a, b in pairs)


def _figures(one: Tried) -> tuple[float, float, float]:
    return one.surface_dice, one.voi_score, one.topo_bound or 0.0


def _promise(one: Tried) -> float:
    return one.promise


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
