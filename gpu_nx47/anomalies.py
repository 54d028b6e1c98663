"""Anomalies: voxels where the logit bends as it does nowhere else in the volume, and the clusters that they are in."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import rescue, tables
from gpu_nx47.components import host_label, labels_at
from gpu_nx47.engine import tiles
from gpu_nx47.spread import spread
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Tile

ROBUST_Z: Final = 6.0
MAD_TO_DEVIATION: Final = 1.4826
LAPLACE_SHIFT: Final = 4
HELD_VOXELS: Final = 1 << 27
"""Volumes up to this have their bends held, rather than computed twice."""


@dataclass(frozen=True)
class Anomalies:
    """Voxels where the logit bends as it does nowhere else."""

    limits: Limits
    index: NDArray[np.int64]
    """Flat index of each anomalous voxel, ascending."""
    bend: NDArray[np.int16]
    """Its bend, a code."""
    cluster: NDArray[np.int32]
    """Number of the 26-connected cluster that it belongs to, from 1."""
    clusters: int

    @property
    def voxels(self) -> int:
        """How many there are."""
        return len(self.index)


@dataclass(frozen=True)
class Limits:
    """What a bend must not leave."""

    median: int
    reach: float

    @property
    def unit(self) -> float:
        """Robust deviations of a code."""
        return ROBUST_Z / self.reach

    def left_by(self, bend: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Return which bends lie beyond."""
        # Compared as integers: beside a float each bend would become one.
        return (bend < math.ceil(self.median - self.reach)) | (bend > math.floor(self.median + self.reach))


def anomalies_of(engine: Engine, probability: NDArray[np.uint16]) -> Anomalies:
    """Count voxels whose Laplacian of the logit code is more than 6 robust deviations from its median."""
    return listed(engine, probability).clustered(engine)


def listed(engine: Engine, probability: NDArray[np.uint16]) -> Listed:
    """Return the voxels that `anomalies_of` counts, before they are put into clusters.

    Notes
    -----
    The bends of a large volume are computed twice, for the histogram and for the list, as they take two bytes a voxel.
    """
    held = probability.size <= HELD_VOXELS
    counts, kept = np.zeros(65_536, np.int64), []

    def counted(_: Tile, codes: Any) -> tuple[NDArray[np.int64], Any]:
        return engine.backend.histogram(codes), engine.backend.to_host(codes) if held else None

    for tile, (part_counts, here) in _bends(engine, probability, counted):
        counts += part_counts
        kept.append((tile, here))
    limits = usual(counts)

    def beyond(tile: Tile, here: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        inside = np.flatnonzero(limits.left_by(here))
        bend = here.reshape(-1)[inside]
        if here[0].size == probability[0].size:
            inside += tile.start[0] * here[0].size
            return inside, bend
        place = (p + start for p, start in zip(np.unravel_index(inside, here.shape), tile.start, strict=True))
        return np.ravel_multi_index(tuple(place), probability.shape), bend

    number = int(counts[limits.left_by(np.arange(-32_768, 32_768).astype(np.int16))].sum())
    index, bend, at = np.empty(number, np.int64), np.empty(number, np.int16), 0
    lists: Iterator[tuple[NDArray[np.int64], NDArray[np.int16]]]
    if held:
        found = spread(len(kept), lambda run: [beyond(*kept[k]) for k in run], engine.threads, "nx47-bends")
        lists = itertools.chain.from_iterable(found)
    else:
        again = _bends(engine, probability, lambda tile, codes: beyond(tile, engine.backend.to_host(codes)))
        lists = (result for _, result in again)
    for places, codes in lists:
        part = slice(at, at := at + len(places))
        index[part], bend[part] = places, codes
    if np.any(index[1:] < index[:-1]):  # a GPU had no memory for whole slices
        order = np.argsort(index, kind="stable")
        index, bend = index[order], bend[order]
    return Listed(probability.shape, limits, index, bend)


def bends(engine: Engine, probability: NDArray[np.uint16]) -> NDArray[np.int16]:
    """Return the codes of the Laplacian of the logit code, of a small volume."""
    bend = np.empty(probability.shape, np.int16)
    for tile, codes in _bends(engine, probability, lambda _, codes: engine.backend.to_host(codes)):
        bend[tile.core] = codes
    return bend


def _bends(
    engine: Engine, probability: NDArray[np.uint16], work: Callable[[Tile, Any], Any]
) -> Iterator[tuple[Tile, Any]]:
    """Yield what a work makes of the codes of the Laplacian of the logit code, a few slices after the other."""
    table = tables.logit_table()
    thin = (max(1, math.prod(engine.tile) // 4 // max(1, probability[0].size)), *probability.shape[1:])

    def bend(tile: Tile) -> Any:
        codes = engine.backend.to_device(np.ascontiguousarray(probability[tile.crop(1)]))
        logit = engine.backend.lookup(codes, table=engine.backend.to_device(table))
        return work(tile, tile.cut(engine.backend.laplacian(logit, shift=LAPLACE_SHIFT), 0, 1))

    return engine.on(tiles(probability.shape, thin)).map(probability.shape, bend)


def usual(counts: NDArray[np.int64]) -> Limits:
    """Return the limits of bends with this histogram: the median, and 6 times 1.4826 MAD, at least one code."""
    median = Histogram(counts, -32_768).quantile(0.5)
    distance = np.abs(np.arange(-32_768, 32_768) - median)
    mad = Histogram(_fold(counts, distance)).quantile(0.5)
    return Limits(median, ROBUST_Z * MAD_TO_DEVIATION * max(1, mad))


def bent(engine: Engine, bend: NDArray[np.int16], limits: Limits) -> Anomalies:
    """Return the voxels whose bend is beyond the limits."""
    index = np.flatnonzero(limits.left_by(bend))
    return Listed(bend.shape, limits, index, bend.reshape(-1)[index]).clustered(engine)


@dataclass(frozen=True)
class Listed:
    """Anomalous voxels that are not in clusters yet."""

    shape: tuple[int, ...]
    limits: Limits
    index: NDArray[np.int64]
    bend: NDArray[np.int16]

    def clustered(self, engine: Engine) -> Anomalies:
        """Put them into clusters."""
        return Anomalies(self.limits, self.index, self.bend, *clusters_of(engine, self.shape, self.index))


def clusters_of(engine: Engine, shape: tuple[int, ...], index: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Return the number of the 26-connected cluster of each of some voxels, from 1, and how many there are.

    Parameters
    ----------
    engine : Engine
    shape : tuple of int
        Of the volume.
    index : numpy.ndarray of int64
        Flat indices of the voxels, ascending.
    """
    plane = shape[1] * shape[2]

    def rows(part: slice) -> NDArray[np.bool_]:
        mask = np.zeros((part.stop - part.start, *shape[1:]), np.bool_)
        first, last = np.searchsorted(index, (part.start * plane, part.stop * plane))
        mask.reshape(-1)[index[first:last] - part.start * plane] = True
        return mask

    def label() -> tuple[NDArray[np.int32], int]:
        return labels_at(shape, rows, host_label(engine.backend), connectivity=26, at=index)

    return rescue.whole(engine.backend, "the clusters", label)


def _fold(counts: NDArray[np.int64], distance: NDArray[np.int64]) -> NDArray[np.int64]:
    folded = np.zeros(int(distance.max()) + 1, np.int64)
    np.add.at(folded, distance, counts)
    return folded
