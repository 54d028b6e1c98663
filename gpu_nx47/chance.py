"""What chance gives: the counters of sheetless surrogates beside the volume's, each with its spread.

Two kinds of counter, since only one of them grows with the volume:

- *scaled*: voxels and clusters. Counted in the surrogate as a whole, cut into eighths for the spread, and scaled by
  voxels to the volume, the border's layers apart: there, kernels see the volume mirrored, which alone makes noise look
  up to twice as rough, and a small surrogate has more border than a large volume.
- *per cube*: components, their patterns, the largest. Twice the volume has not twice the components where they hang
  together. They are counted anew in each eighth, and in as many cubes of that size at the corners of the volume.

Operations, active neurons and `materials_by_class` have no chance: a surrogate has the volume's neuron and histogram.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from gpu_nx47 import counters, rescue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine

RIM: Final = 8
"""Depth of the layer in which features see the border, voxels: they reach further, but with little weight."""
HALVED_FROM: Final = 16
"""Shortest axis that is cut in two."""
STUDENT: Final = {1: 12.706, 3: 3.182, 7: 2.365}
"""97.5th percentile of Student's t for the degrees of freedom that 2, 4 and 8 parts leave."""
EVIDENCE: Final = "anomalies_detected"
"""The counter in which every intact phantom stands out from both families and no noise does: sharp structure.

Golden voxels stand out from the isotropic family, but not always from the directional one. Anchored and active voxels,
components and the largest of them do not: the neuron, trained on the volume, finds as many in a surrogate, and the
sheets of a volume part its mask where a surrogate's hangs together.
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
    """What was counted in one surrogate."""

    voxels: NDArray[np.int64]
    """(parts, 4): voxels of each part that lie near the border on 0, 1, 2 or 3 axes."""
    scaled: Mapping[str, NDArray[np.int64]]
    """(parts, 4) of each scaled counter."""
    cubes: Mapping[str, Sequence[int]]
    """One figure a part, of each counter per cube."""


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
        fakes: Mapping[str, Neural],
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
        fakes : mapping of family to what the trained neuron says of its surrogate
        masks : callable
            From a probability cube to its hysteresis, calibrated and final mask, with the volume's own thresholds.
        golden : int
            Code that a golden voxel exceeds.
        rare : numpy.ndarray of bool, shape (65536,), or None
            Joint cells that the reference hardly has.
        """

        def count(fake: Neural) -> Tally:
            unknown = None if rare is None or fake.cells is None else rare[fake.cells]
            return tally(engine, fake.probability, masks, golden, unknown)

        z, y, x = next(iter(fakes.values())).probability.shape
        with ThreadPoolExecutor(min(engine.threads, 2), "nx47-chance", engine.backend.enter_thread) as pool:
            tallies = dict(zip(fakes, pool.map(count, fakes.values()), strict=True))
        return cls((z, y, x), golden, tallies, corner_cubes(engine, probability, masks, golden, (z, y, x)))


def pieces(shape: Sequence[int]) -> list[tuple[int, int, tuple[slice, ...]]]:
    """Cut a volume into halves along each long axis, and those into border and inside.

    Returns
    -------
    list of (part, stratum, index)
        `part` numbers the halves in raster order; `stratum` is on how many axes the piece lies near the border.
    """
    axes = []
    for n in shape:
        rim, half = min(RIM, n // 4), n // 2
        cuts = [0, rim, half, n - rim, n] if n >= HALVED_FROM else [0, rim, n - rim, n]
        ends = list(itertools.pairwise(cuts))
        axes.append([(k * 2 // len(ends) if len(ends) == 4 else 0, k in (0, len(ends) - 1), slice(*e))
                     for k, e in enumerate(ends)])  # fmt: skip
    found = []
    for chosen in itertools.product(*axes):
        part = 0
        for (half, _, _), axis in zip(chosen, axes, strict=True):
            part = part * (2 if len(axis) == 4 else 1) + half
        found.append((part, sum(near for _, near, _ in chosen), tuple(s for _, _, s in chosen)))
    return found


def strata(shape: Sequence[int], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return, (parts, 4), the voxels of a mask, or all, in each part and stratum of `pieces`."""
    cut = pieces(shape)
    found = np.zeros((1 + max(part for part, _, _ in cut), 4), np.int64)
    for part, stratum, index in cut:
        if mask is None:
            found[part, stratum] += math.prod(s.stop - s.start for s in index)
        else:
            found[part, stratum] += np.count_nonzero(mask[index])
    return found


def tally(
    engine: Engine,
    probability: NDArray[np.uint16],
    masks: Masks,
    golden: int,
    unknown: NDArray[np.bool_] | None,
) -> Tally:
    """Count in a surrogate what the run counts in the volume.

    Parameters
    ----------
    engine : Engine
    probability : numpy.ndarray of uint16
        Of the surrogate.
    masks : callable
    golden : int
        Code that a golden voxel exceeds.
    unknown : numpy.ndarray of bool or None
        Voxels in joint cells that the reference hardly has; None: there is no reference.
    """
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
    bends = counters.anomalies(engine, probability)
    _, first = np.unique(bends.cluster, return_index=True)  # a cluster stands where its first voxel does
    for name, index in (("anomalies_detected", bends.index), ("anomaly_clusters", bends.index[first])):
        found[name] = np.zeros(probability.shape, np.bool_)
        found[name].reshape(-1)[index] = True
    shape = probability.shape
    halves = [np.ascontiguousarray(probability[index]) for index in _cubes(shape, shape)]
    return Tally(
        strata(shape),
        {name: strata(shape, mask) for name, mask in found.items()},
        _joined([count_cube(engine, half, masks, golden) for half in halves]),
    )


def corner_cubes(
    engine: Engine, probability: NDArray[np.uint16], masks: Masks, golden: int, shape: Sequence[int]
) -> Mapping[str, Sequence[int]]:
    """Count per cube at the corners of the volume, in cubes of the size of the parts of a surrogate of `shape`."""
    places = _cubes(probability.shape, shape)
    return _joined([count_cube(engine, np.ascontiguousarray(probability[p]), masks, golden) for p in places])


def _cubes(whole: Sequence[int], surrogate: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return where cubes the size of a surrogate's parts lie at the corners of a volume."""
    axes = []
    for n, length in zip(whole, surrogate, strict=True):
        half = length // 2
        axes.append([slice(0, half), slice(n - half, n)] if length >= HALVED_FROM else [slice(0, length)])
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


def _joined(counted: list[dict[str, int]]) -> dict[str, list[int]]:
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
        `verdict` (above, within, below) over the families; `unit`. Where there is one part only there is no spread:
        null.

    Notes
    -----
    The interval is mean +- t d, t of Student for as many parts as there are. Scaled counters: d^2 is the variance of
    the surrogate's own mean over its parts, and that of the volume, which is smaller by its voxels. Per cube: the same
    for the means over the parts and over the volume's cubes. A count varies at least as its own square root.
    """
    sizes = strata(shape).sum(axis=0)
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
    """Scale the counts of a surrogate's parts to a volume with `sizes` voxels in each stratum."""
    parts = []
    for count, voxel in zip(counts.tolist(), voxels.tolist(), strict=True):
        parts.append(math.fsum(c / max(1, v) * int(n) for c, v, n in zip(count, voxel, sizes.tolist(), strict=True)))
    scale = int(sizes.sum()) / int(voxels.sum())
    least = math.sqrt(max(1, int(counts.sum()))) * scale
    return _interval(parts, least, 1 / scale)


def _per_cube(counts: Sequence[int], cubes: int) -> dict[str, Any]:
    least = math.sqrt(max(1, sum(counts))) / len(counts)
    return _interval([float(c) for c in counts], least, len(counts) / cubes)


def _interval(parts: list[float], least: float, more: float) -> dict[str, Any]:
    """Return mean, deviation of the mean (at least `least`) and the 95 % interval of another mean.

    `more` is how many times more the variance of that other mean is.
    """
    n = len(parts)
    mean = math.fsum(parts) / n
    if n == 1:
        return {"mean": mean, "deviation": None, "low": None, "high": None}
    variance = math.fsum((p - mean) ** 2 for p in parts) / (n - 1) / n
    deviation = max(math.sqrt(variance), least)
    half = STUDENT[n - 1] * deviation * math.sqrt(1 + more)
    return {"mean": mean, "deviation": deviation, "low": max(0.0, mean - half), "high": mean + half}


def _entry(value: float, families: dict[str, dict[str, Any]], unit: str) -> dict[str, Any]:
    for family in families.values():
        family["verdict"] = _verdict(value, family["low"], family["high"])
    known = all(family["low"] is not None for family in families.values())
    low = min(f["low"] for f in families.values()) if known else None
    high = max(f["high"] for f in families.values()) if known else None
    return {"value": value, **families, "low": low, "high": high, "verdict": _verdict(value, low, high), "unit": unit}


def _verdict(value: float, low: float | None, high: float | None) -> str | None:
    if low is None or high is None:
        return None
    if value > high:
        return "above"
    return "below" if value < low else "within"


def evidence(found: Mapping[str, Any]) -> float | None:
    """Return how many times chance's upper end the counter EVIDENCE is; None: there is no spread."""
    told = found.get(EVIDENCE)
    return None if told is None or told["high"] is None else float(told["value"] / told["high"])


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
    if any(f["high"] is None for f in families):
        return {"mean": mean, "deviation": None, "low": None, "high": None}
    deviation = share * math.sqrt(math.fsum(f["deviation"] ** 2 for f in families))
    half = share * math.sqrt(math.fsum((f["high"] - f["mean"]) ** 2 for f in families))
    return {"mean": mean, "deviation": deviation, "low": max(0.0, mean - half), "high": mean + half}
