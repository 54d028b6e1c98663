"""What is counted in sheetless surrogates, voxel by voxel near the border and inside, and in cubes at corners."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from gpu_nx47 import anomalies, counters, rescue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine

WEIGHT: Final = 4096
"""Of a voxel in a weighted histogram: weights are whole numbers."""
RIM: Final = 8
"""Depth of the layer in which features see the border, voxels: they reach further, but with little weight."""
CORNERED_FROM: Final = 16
"""Shortest axis that has corners to compare; two thirds of a surrogate belong to one."""
Masks = Callable[["NDArray[np.uint16]"], "tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]"]
"""From a probability cube to its hysteresis, calibrated and final mask."""
Parts = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"]
"""Moments of a cube's components: before cleaning, of the final mask, and of what is golden in it."""


class Neural(Protocol):
    """What the trained neuron says of a surrogate."""

    @property
    def probability(self) -> NDArray[np.uint16]:
        """Probability codes."""

    @property
    def cells(self) -> NDArray[np.uint16] | None:
        """Joint cells of the features, where a reference is kept."""

    @property
    def edges(self) -> tuple[int, int]:
        """What `edges.meetings` found in the surrogate itself."""


@dataclass(frozen=True)
class Tally:
    """What was counted in the surrogates of one family."""

    voxels: NDArray[np.int64]
    """(4,): voxels of a surrogate that lie near the border on 0, 1, 2 or 3 axes."""
    scaled: Mapping[str, NDArray[np.int64]]
    """(surrogates, 4) of each scaled counter."""
    cubes: Mapping[str, Sequence[int]]
    """One figure a surrogate, of each counter per cube."""
    edges: Sequence[tuple[int, int]]
    """What `edges.meetings` found in each surrogate."""


@cache
def pieces(shape: tuple[int, ...]) -> tuple[tuple[int, tuple[slice, ...]], ...]:
    """Cut a volume into border and inside.

    Returns
    -------
    tuple of (stratum, index)
        `stratum` is on how many axes the piece lies near the border.
    """
    axes = []
    for n in shape:
        rim = min(RIM, n // 4)
        axes.append([(k != 1, slice(*ends)) for k, ends in enumerate(itertools.pairwise((0, rim, n - rim, n)))])
    return tuple((sum(near for near, _ in chosen), tuple(s for _, s in chosen)) for chosen in itertools.product(*axes))


def strata(shape: Sequence[int], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return, (4,), the voxels of a mask, or all, in each stratum of `pieces`."""
    found = np.zeros(4, np.int64)
    for stratum, index in pieces(tuple(shape)):
        if mask is None:
            found[stratum] += math.prod(s.stop - s.start for s in index)
        else:
            found[stratum] += np.count_nonzero(mask[index])
    return found


def family(
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
    bends = list(each(lambda fake: anomalies.bends(engine, fake.probability), fakes))
    usual = anomalies.usual(bends_counts(bends, sizes))

    def count(number: int) -> tuple[dict[str, NDArray[np.int64]], Parts]:
        fake = fakes[number]
        unknown = None if rare is None or fake.cells is None else rare[fake.cells]
        found = _found(fake.probability, masks, golden, unknown)
        sharp = anomalies.bent(engine, bends[number], usual)
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
    return Tally(strata(fakes[0].probability.shape), table, _counted(cubes), [fake.edges for fake in fakes])


def bends_counts(bends: Sequence[NDArray[np.int16]], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the histogram that bends like these have in a volume with `sizes` voxels in each stratum, but for a scale.

    Notes
    -----
    Without it the rough border of a small cube would make more seem usual in it than is in a volume.
    """
    first = np.empty(bends[0].shape, np.int32)
    for stratum, index in pieces(first.shape):
        first[index] = stratum * 65_536 + 32_768
    counts = np.bincount((first + np.stack(bends)).reshape(-1), minlength=4 * 65_536).reshape(4, 65_536)
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
    engine: Engine,
    probability: NDArray[np.uint16],
    masks: Masks,
    golden: int,
    shape: Sequence[int],
    each: Callable[..., Iterable[Any]] = map,
) -> Mapping[str, Sequence[int]]:
    """Count per cube at the corners of the volume, in cubes of the size of a surrogate's corner."""

    def count(place: tuple[slice, ...]) -> Parts:
        return count_cube(engine, np.ascontiguousarray(probability[place]), masks, golden)

    return _counted(each(count, _cubes(probability.shape, shape)))


def _cubes(whole: Sequence[int], surrogate: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return where cubes the size of a surrogate's corners lie at the corners of a volume."""
    axes = []
    for n, length in zip(whole, surrogate, strict=True):
        part = length * 2 // 3
        axes.append([slice(0, part), slice(n - part, n)] if length >= CORNERED_FROM else [slice(0, length)])
    return list(itertools.product(*axes))


def count_cube(engine: Engine, probability: NDArray[np.uint16], masks: Masks, golden: int) -> Parts:
    """Return the components of one cube, segmented on its own."""
    anchored, calibrated, final = masks(probability)
    meter = engine.backend

    def components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        def work() -> NDArray[np.int64]:
            moments: NDArray[np.int64] = meter.mask_moments(meter.to_device(mask), connectivity=26)
            return moments

        return rescue.whole(meter, "a cube's components", work)

    return components(anchored | calibrated), components(final), components(final & (probability > golden))


def _counted(cubes: Iterable[Parts]) -> dict[str, list[int]]:
    """Return the counters per cube of some cubes."""
    before, cleaned, golden = zip(*cubes, strict=True)
    return {
        "materials_before_cleaning": list(map(len, before)),
        "materials_detected": list(map(len, cleaned)),
        "patterns_detected": counters.patterns(cleaned),
        "largest_component": list(map(_largest, cleaned)),
        "golden_largest_cluster": list(map(_largest, golden)),
    }


def _largest(moments: NDArray[np.int64]) -> int:
    return int(moments[:, 0].max()) if len(moments) else 0
