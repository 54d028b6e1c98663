"""What chance gives: the counters of sheetless surrogates beside the volume's, each with its spread.

Three kinds of counter, since not all of them grow with the volume:

- *scaled*: voxels and clusters. Counted in each surrogate and scaled by voxels to the volume, the border's layers
  apart: there, kernels see the volume mirrored, which alone makes noise look up to twice as rough, and a small
  surrogate has more border than a large volume.
- *per cube*: components, their patterns, the largest. Twice the volume has not twice the components where they hang
  together. They are counted anew in a corner of each surrogate, and in cubes of that size at the corners of the volume.
- the sharpness of edges (`edges`), in each surrogate and in cubes of its size out of the volume.

Operations, active neurons and `materials_by_class` have no chance: a surrogate has the volume's neuron and histogram.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import edges, tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine
    from gpu_nx47.tally import Masks, Neural, Tally

STUDENT: Final = 2.365
"""97.5th percentile of Student's t for the 7 degrees of freedom that 8 surrogates leave."""
FIDELITY: Final = 0.05
"""Share by which surrogates may lie off sheetless volumes for want of likeness: no interval is narrower."""
EVIDENCE: Final = "edge_sharpness"
"""The counter in which phantoms stand out from both families, and neither noise nor their phase-randomised twins do.

Golden voxels tell less: p = 1 takes in whatever is a little beyond the face that the neuron learned, and a texture's
strongest layers are as strong as a face; so each fifth phantom of 96 voxels is within. Anchored and active voxels,
components and the largest of them tell nothing: the neuron, trained on the volume, finds as many in a surrogate, and
the sheets of a volume part its mask where a surrogate's hangs together. `bench/chance.py` measures.
"""


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
    edges: Sequence[tuple[int, int]]
    """What `edges.meetings` found in cubes of the volume itself."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        probability: NDArray[np.uint16],
        fakes: Mapping[str, Sequence[Neural]],
        masks: Masks,
        golden: int,
        rare: NDArray[np.bool_] | None,
        met: Sequence[tuple[int, int]],
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
        met : sequence of (int, int)
            What `edges.meetings` found in cubes of the volume itself.
        """
        shape = next(iter(fakes.values()))[0].probability.shape
        sizes = tally.strata(probability.shape)
        with ThreadPoolExecutor(engine.threads, "nx47-chance", engine.backend.enter_thread) as pool:
            tallies = {
                family: tally.family(engine, them, masks, golden, rare, sizes, pool.map)
                for family, them in fakes.items()
            }
            corners = tally.corner_cubes(engine, probability, masks, golden, shape, pool.map)
        return cls(shape, golden, tallies, corners, met)


def expected(
    shape: Sequence[int],
    counted: Mapping[str, Any],
    by_chance: Chance,
) -> dict[str, Any]:
    """Return `expected_by_chance`: for each counter what the volume has and what its surrogates had.

    Parameters
    ----------
    shape : sequence of int
        Of the valid box.
    counted : mapping
        The volume's counters; one that it has not (null) is left out.
    by_chance : Chance

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
    tallies, sizes = by_chance.tallies, tally.strata(shape)
    found = {}
    some = next(iter(tallies.values()))
    for name in some.scaled:
        if counted.get(name) is not None:
            families = {f: _scaled(t.scaled[name], t.voxels, sizes) for f, t in tallies.items()}
            found[name] = _entry(int(counted[name]), families, "volume")
    for name, here in by_chance.cubes.items():
        families = {f: _per_cube(t.cubes[name], len(here)) for f, t in tallies.items()}
        found[name] = _entry(sum(here) / len(here), families, "corner cube")
    families = {f: _of_edges(t, len(by_chance.edges)) for f, t in tallies.items()}
    found[EVIDENCE] = _entry(edges.sharpness(by_chance.edges), families, "percent")
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


def _of_edges(tallied: Tally, cubes: int) -> dict[str, Any]:
    parts = [edges.sharpness([met]) for met in tallied.edges]
    voxels = len(parts) * int(tallied.voxels.sum())
    return _interval(parts, 100 / math.sqrt(voxels), len(parts) / cubes)


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
