"""What chance gives: the counters of sheetless surrogates beside the volume's, each with its spread.

Two kinds of counter, since only one of them grows with the volume:

- *scaled*: voxels and clusters. Counted in each surrogate and scaled by voxels to the volume, the border's layers
  apart: there, kernels see the volume mirrored, which alone makes noise look up to twice as rough, and a small
  surrogate has more border than a large volume.
- *per cube*: components, their patterns, the largest. Twice the volume has not twice the components where they hang
  together. They are counted anew in a corner of each surrogate, and in cubes of that size at the corners of the volume.

Operations, active neurons and `materials_by_class` have no chance: a surrogate has the volume's neuron and histogram.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from gpu_nx47 import counters, rescue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine

WEIGHT: Final = 4096
"""Of a voxel in a weighted histogram: weights are whole numbers."""
RIM: Final = 8
"""Depth of the layer in which features see the border, voxels: they reach further, but with little weight."""
CORNERED_FROM: Final = 16
"""Shortest axis that has corners to compare; two thirds of a surrogate belong to one."""
STUDENT: Final = 2.365
"""97.5th percentile of Student's t for the 7 degrees of freedom that 8 surrogates leave."""
FIDELITY: Final = 0.05
"""Share by which surrogates may lie off sheetless volumes for want of likeness: no interval is narrower."""
EVIDENCE: Final = "golden_nonce_detected"
"""The counter in which intact phantoms stand out from both families and no noise does: the most probable faces.

Anchored and active voxels, components and the largest of them do not: the neuron, trained on the volume, finds as many
in a surrogate, and the sheets of a volume part its mask where a surrogate's hangs together. `bench/chance.py` measures.
"""

Masks = Callable[["NDArray[np.uint16]"], "tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]"]
"""From a probability cube to its hysteresis, calibrated and final mask."""


class Neural(Protocol):
    """What the trained neuron says of a surrogate."""

    @property
    def probability(self) -> NDArray[np.uint16]:
        """Probability codes."""

    @property
    def cells(self) -> NDArray[np.uint16] | None:
        """Joint cells of the features, where a reference is kept."""


@dataclass(frozen=True)
class Tally:
    """What was counted in the surrogates of one family."""

    voxels: NDArray[np.int64]
    """(4,): voxels of a surrogate that lie near the border on 0, 1, 2 or 3 axes."""
    scaled: Mapping[str, NDArray[np.int64]]
    """(surrogates, 4) of each scaled counter."""
    cubes: Mapping[str, Sequence[int]]
    """One figure a surrogate, of each counter per cube."""


@dataclass(frozen=True)
class Chance:
    """What the surrogates of a volume came to."""

    shape: tuple[int, int, int]
    """Of each surrogate."""
    golden_limit: int
    """Code that a golden voxel exceeds."""
    tallies: Mapping[str, Tally]
    """Of each family."""
    cubes: Mapping[str, Sequence[int]]
    """The counters per cube at the corners of the volume itself."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        probability: NDArray[np.uint16],
        fakes: Mapping[str, Sequence[Neural]],
        masks: Masks,
        golden: int,
        rare: NDArray[np.bool_] | None,
    ) -> Chance:
        """Count in each surrogate, and per cube in the volume.

        Parameters
        ----------
        engine : Engine
        probability : numpy.ndarray of uint16
            Of the volume.
        fakes : mapping of family to what the trained neuron says of each of its surrogates
        masks : callable
            From a probability cube to its hysteresis, calibrated and final mask, with the volume's own thresholds.
        golden : int
            Code that a golden voxel exceeds.
        rare : numpy.ndarray of bool, shape (65536,), or None
            Joint cells that the reference hardly has.
        """
        shape = next(iter(fakes.values()))[0].probability.shape
        sizes = strata(probability.shape)
        with ThreadPoolExecutor(engine.threads, "nx47-chance", engine.backend.enter_thread) as pool:
            tallies = {
                family: tally(engine, them, masks, golden, rare, sizes, pool.map) for family, them in fakes.items()
            }
        return cls(shape, golden, tallies, corner_cubes(engine, probability, masks, golden, shape))


def pieces(shape: Sequence[int]) -> list[tuple[int, tuple[slice, ...]]]:
    """Cut a volume into border and inside.

    Returns
    -------
    list of (stratum, index)
        `stratum` is on how many axes the piece lies near the border.
    """
    axes = []
    for n in shape:
        rim = min(RIM, n // 4)
        axes.append([(k != 1, slice(*ends)) for k, ends in enumerate(itertools.pairwise((0, rim, n - rim, n)))])
    return [(sum(near for near, _ in chosen), tuple(s for _, s in chosen)) for chosen in itertools.product(*axes)]


def strata(shape: Sequence[int], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return, (4,), the voxels of a mask, or all, in each stratum of `pieces`."""
    found = np.zeros(4, np.int64)
    for stratum, index in pieces(shape):
        if mask is None:
            found[stratum] += math.prod(s.stop - s.start for s in index)
        else:
            found[stratum] += np.count_nonzero(mask[index])
    return found


def tally(
    engine: Engine,
    fakes: Sequence[Neural],
    masks: Masks,
    golden: int,
    rare: NDArray[np.bool_] | None,
    sizes: NDArray[np.int64],
    each: Callable[..., Iterable[Any]] = map,
) -> Tally:
    """Count in the surrogates of a family what the run counts in the volume.

    Parameters
    ----------
    engine : Engine
    fakes : sequence of Neural
        Of one shape.
    masks : callable
    golden : int
        Code that a golden voxel exceeds.
    rare : numpy.ndarray of bool, shape (65536,), or None
        Joint cells that the reference hardly has; None: there is no reference.
    sizes : numpy.ndarray of int64, shape (4,)
        Voxels of the volume in each stratum: what bends sharply does so beside what is usual in a volume of that size.
    each : callable
        As `map`.
    """
    bends = list(each(lambda fake: counters.bends(engine, fake.probability)[0], fakes))
    usual = counters.usual(bends_counts(bends, sizes))

    def count(number: int) -> tuple[dict[str, NDArray[np.int64]], dict[str, int]]:
        fake = fakes[number]
        unknown = None if rare is None or fake.cells is None else rare[fake.cells]
        found = _found(fake.probability, masks, golden, unknown)
        sharp = counters.bent(engine, bends[number], *usual)
        _, first = np.unique(sharp.cluster, return_index=True)  # a cluster stands where its first voxel does
        for name, index in (("anomalies_detected", sharp.index), ("anomaly_clusters", sharp.index[first])):
            found[name] = np.zeros(fake.probability.shape, np.bool_)
            found[name].reshape(-1)[index] = True
        corners = _cubes(fake.probability.shape, fake.probability.shape)
        cube = np.ascontiguousarray(fake.probability[corners[number % len(corners)]])
        counted = {name: strata(mask.shape, mask) for name, mask in found.items()}
        return counted, count_cube(engine, cube, masks, golden)

    scaled, cubes = zip(*each(count, range(len(fakes))), strict=True)
    table = {name: np.stack([one[name] for one in scaled]) for name in scaled[0]}
    return Tally(strata(fakes[0].probability.shape), table, _joined(cubes))


def bends_counts(bends: Sequence[NDArray[np.int16]], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the histogram that bends like these have in a volume with `sizes` voxels in each stratum, but for a scale.

    Notes
    -----
    Without it the rough border of a small cube would make more seem usual in it than is in a volume.
    """
    counts = np.zeros((4, 65_536), np.int64)
    for bend in bends:
        for stratum, index in pieces(bend.shape):
            counts[stratum] += np.bincount(bend[index].reshape(-1).astype(np.int64) + 32_768, minlength=65_536)
    weights = sizes * WEIGHT // np.maximum(1, counts.sum(axis=1))
    found: NDArray[np.int64] = (weights[:, None] * counts).sum(axis=0)
    return found


def _found(
    probability: NDArray[np.uint16], masks: Masks, golden: int, unknown: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels of each scaled counter."""
    anchored, calibrated, final = masks(probability)
    bright = probability > golden
    found = {
        "pixels_anchor_detected": anchored,
        "pixels_papyrus_without_anchor": calibrated & ~anchored,
        "pixels_active_calibrated": calibrated,
        "pixels_active_before_cleaning": calibrated | anchored,
        "pixels_active_final": final,
        "pixels_final_anchored": final & anchored,
        "golden_before_cleaning": bright & (calibrated | anchored),
        "golden_nonce_detected": bright & final,
    }
    if unknown is not None:
        found["unknown_discoveries"] = unknown & anchored
    return found


def corner_cubes(
    engine: Engine, probability: NDArray[np.uint16], masks: Masks, golden: int, shape: Sequence[int]
) -> Mapping[str, Sequence[int]]:
    """Count per cube at the corners of the volume, in cubes of the size of a surrogate's corner."""
    places = _cubes(probability.shape, shape)
    return _joined([count_cube(engine, np.ascontiguousarray(probability[p]), masks, golden) for p in places])


def _cubes(whole: Sequence[int], surrogate: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return where cubes the size of a surrogate's corners lie at the corners of a volume."""
    axes = []
    for n, length in zip(whole, surrogate, strict=True):
        part = length * 2 // 3
        axes.append([slice(0, part), slice(n - part, n)] if length >= CORNERED_FROM else [slice(0, length)])
    return list(itertools.product(*axes))


def count_cube(engine: Engine, probability: NDArray[np.uint16], masks: Masks, golden: int) -> dict[str, int]:
    """Return the counters per cube of one cube, segmented on its own."""
    anchored, calibrated, final = masks(probability)
    meter = engine.backend

    def components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        def work() -> NDArray[np.int64]:
            labels, count = meter.label(meter.to_device(mask), connectivity=26)
            moments: NDArray[np.int64] = meter.component_moments(labels, count=count)
            return moments

        return rescue.whole(meter, "a cube's components", work)

    cleaned = components(final)
    golden_parts = components(final & (probability > golden))
    return {
        "materials_before_cleaning": len(components(anchored | calibrated)),
        "materials_detected": len(cleaned),
        "patterns_detected": counters.patterns(cleaned),
        "largest_component": _largest(cleaned),
        "golden_largest_cluster": _largest(golden_parts),
    }


def _largest(moments: NDArray[np.int64]) -> int:
    return int(moments[:, 0].max()) if len(moments) else 0


def _joined(counted: Sequence[dict[str, int]]) -> dict[str, list[int]]:
    return {name: [one[name] for one in counted] for name in counted[0]}


def expected(
    shape: Sequence[int],
    counted: Mapping[str, Any],
    tallies: Mapping[str, Tally],
    cubes: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    """Return `expected_by_chance`: for each counter what the volume has and what its surrogates had.

    Parameters
    ----------
    shape : sequence of int
        Of the valid box.
    counted : mapping
        The volume's counters; one that it has not (null) is left out.
    tallies : mapping of family to Tally
    cubes : mapping of name to sequence of int
        The counters per cube at the volume's corners.

    Returns
    -------
    dict
        By counter: `value`; for each family `mean`, `deviation`, `low` and `high` (95 %), `verdict`; `low`, `high` and
        `verdict` (above, within, below) over the families; `unit`.

    Notes
    -----
    d is the deviation of the mean over the surrogates, at least as large as that of a count of independent voxels. That
    of the volume's own count, which is smaller by its voxels (per cube: by the number of its cubes), is added to it;
    r = t sqrt(d^2 + ...) / mean, t of Student for 8 surrogates, and FIDELITY is added to r in the same way. The
    interval is mean (1 - r) to mean (1 + r + min(r, r^2) / 2), as of what varies by factors: counts of a few large
    clusters are skewed.
    """
    sizes = strata(shape)
    found = {}
    some = next(iter(tallies.values()))
    for name in some.scaled:
        if counted.get(name) is not None:
            families = {f: _scaled(t.scaled[name], t.voxels, sizes) for f, t in tallies.items()}
            found[name] = _entry(int(counted[name]), families, "volume")
    for name, here in cubes.items():
        families = {f: _per_cube(t.cubes[name], len(here)) for f, t in tallies.items()}
        found[name] = _entry(sum(here) / len(here), families, "corner cube")
    return found


def _scaled(counts: NDArray[np.int64], voxels: NDArray[np.int64], sizes: NDArray[np.int64]) -> dict[str, Any]:
    """Scale the counts of surrogates to a volume with `sizes` voxels in each stratum."""
    factor = [n / max(1, v) for v, n in zip(voxels.tolist(), sizes.tolist(), strict=True)]
    parts = [math.fsum(c * f for c, f in zip(count, factor, strict=True)) for count in counts.tolist()]
    scale = int(sizes.sum()) / int(voxels.sum())
    least = math.sqrt(max(1, int(counts.sum()))) * scale / len(counts)
    return _interval(parts, least, len(counts) / scale)


def _per_cube(counts: Sequence[int], cubes: int) -> dict[str, Any]:
    least = math.sqrt(max(1, sum(counts))) / len(counts)
    return _interval([float(c) for c in counts], least, len(counts) / cubes)


def _interval(parts: list[float], least: float, more: float) -> dict[str, Any]:
    """Return mean, deviation of the mean (at least `least`) and the 95 % interval of another mean.

    `more` is how many times more the variance of that other mean is.
    """
    n = len(parts)
    mean = math.fsum(parts) / n
    variance = math.fsum((p - mean) ** 2 for p in parts) / (n - 1) / n
    deviation = max(math.sqrt(variance), least)
    half = math.sqrt((STUDENT * deviation) ** 2 * (1 + more) + (FIDELITY * mean) ** 2)
    high = mean + half + min(half, half * half / mean if mean else half) / 2
    return {"mean": mean, "deviation": deviation, "low": max(0.0, mean - half), "high": high}


def _entry(value: float, families: dict[str, dict[str, Any]], unit: str) -> dict[str, Any]:
    for family in families.values():
        family["verdict"] = _verdict(value, family["low"], family["high"])
    low = min(f["low"] for f in families.values())
    high = max(f["high"] for f in families.values())
    return {"value": value, **families, "low": low, "high": high, "verdict": _verdict(value, low, high), "unit": unit}


def _verdict(value: float, low: float, high: float) -> str:
    if value > high:
        return "above"
    return "below" if value < low else "within"


def evidence(found: Mapping[str, Any]) -> float | None:
    """Return how many times chance's upper end the counter EVIDENCE is; None: it was not counted."""
    told = found.get(EVIDENCE)
    return None if told is None else float(told["value"] / told["high"])


def over_files(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `expected_by_chance` of a run from that of its volumes.

    Scaled counters add up, and so do their variances; counters per cube are means over the volumes.
    """
    joined = {}
    for name in sorted({name for entry in entries for name in entry}):
        known = [entry[name] for entry in entries if name in entry]
        share = 1 if known[0]["unit"] == "volume" else 1 / len(known)
        families = {
            family: _sum_of([one[family] for one in known], share)
            for family in known[0]
            if isinstance(known[0][family], dict)
        }
        joined[name] = _entry(share * sum(one["value"] for one in known), families, known[0]["unit"])
    return joined


def _sum_of(families: list[dict[str, Any]], share: float) -> dict[str, Any]:
    mean = share * math.fsum(f["mean"] for f in families)
    deviation = share * math.sqrt(math.fsum(f["deviation"] ** 2 for f in families))
    up, down = (share * math.sqrt(math.fsum((f[end] - f["mean"]) ** 2 for f in families)) for end in ("high", "low"))
    return {"mean": mean, "deviation": deviation, "low": max(0.0, mean - down), "high": mean + up}
