"""The counters of a volume: what each key of NX47_METRICS counts, from masks and probabilities."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import rescue, stats, tables
from gpu_nx47.atomic import whole_file
from gpu_nx47.engine import slabs, where
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Tile

ROBUST_Z: Final = 6.0
MAD_TO_DEVIATION: Final = 1.4826
LAPLACE_SHIFT: Final = 4
RARE: Final = 1e-5
"""A joint cell with a smaller share of the reference is unknown to it."""
CELL_BITS: Final = 2
"""Four bins for each selected feature."""

_DIRECTIONS: Final = np.array(
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
     (1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)], np.float64,
)  # fmt: skip


def materials_by_class(counts: NDArray[np.int64], frame: int) -> dict[str, int]:
    """Return voxels of air, papyrus and dense matter (exact three-class Otsu of the grey values) and of the frame."""
    low, high = stats.otsu(counts, 3)
    return {
        "air": int(counts[: low + 1].sum()),
        "papyrus": int(counts[low + 1 : high + 1].sum()),
        "dense": int(counts[high + 1 :].sum()),
        "frame": frame,
    }


def patterns(moments: NDArray[np.int64]) -> int:
    """Return how many coarse shapes occur at least twice among components.

    Parameters
    ----------
    moments : numpy.ndarray of int64, shape (components, 11)
        From the kernel `mask_moments`.

    Notes
    -----
    A shape is (orientation, thickness, size): the nearest of 13 directions to the normal (the eigenvector of the
    smallest second moment), thickness 2 volume / exposed faces in powers of two, size in powers of four.
    """
    if len(moments) == 0:
        return 0
    n = moments[:, 0].astype(np.float64)
    mean = moments[:, 1:4] / n[:, None]
    second = moments[:, 4:10] / n[:, None]
    zz, yy, xx, zy, zx, yx = (
        second[:, k] - mean[:, a] * mean[:, b]
        for k, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
    )
    normal = _smallest_eigenvector(zz, yy, xx, zy, zx, yx)
    length = np.sqrt((_DIRECTIONS * _DIRECTIONS).sum(1))
    match = [
        np.abs((normal[:, 0] * d[0] + normal[:, 1] * d[1]) + normal[:, 2] * d[2]) / s
        for d, s in zip(_DIRECTIONS, length, strict=True)
    ]
    # Rounded, so that two equally near directions are told apart by their number and not by the last bit.
    orientation = np.argmax(np.round(np.stack(match), 9), axis=0)
    thickness = [int(2 * v * 4 / max(1, f)).bit_length() for v, f in moments[:, [0, 10]].tolist()]
    size = [(int(v).bit_length() + 1) // 2 for v in moments[:, 0].tolist()]
    bins = Counter(zip(orientation.tolist(), thickness, size, strict=True))
    return sum(count >= 2 for count in bins.values())


def _smallest_eigenvector(
    zz: NDArray, yy: NDArray, xx: NDArray, zy: NDArray, zx: NDArray, yx: NDArray
) -> NDArray[np.float64]:
    """Return the unit eigenvectors of the smallest eigenvalues of many symmetric 3x3 matrices.

    Notes
    -----
    Five cyclic Jacobi sweeps, elementwise: the same bits on every machine.
    """
    a = np.zeros((len(zz), 3, 3))
    a[:, 0, 0], a[:, 1, 1], a[:, 2, 2] = zz, yy, xx
    a[:, 0, 1] = a[:, 1, 0] = zy
    a[:, 0, 2] = a[:, 2, 0] = zx
    a[:, 1, 2] = a[:, 2, 1] = yx
    vectors = np.tile(np.eye(3), (len(zz), 1, 1))
    for _ in range(5):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            off = a[:, p, q]
            safe = np.where(off == 0.0, 1.0, off)
            # Beyond 1e100 the angle is 0 to the last bit, and its square would overflow.
            theta = np.clip((a[:, q, q] - a[:, p, p]) / (2.0 * safe), -1e100, 1e100)
            t = np.where(theta >= 0, 1.0, -1.0) / (np.abs(theta) + np.sqrt(theta * theta + 1.0))
            t = np.where(off == 0.0, 0.0, t)
            c = 1.0 / np.sqrt(t * t + 1.0)
            s = t * c
            for matrix in (a, vectors):
                left, right = matrix[:, :, p].copy(), matrix[:, :, q].copy()
                matrix[:, :, p] = c[:, None] * left - s[:, None] * right
                matrix[:, :, q] = s[:, None] * left + c[:, None] * right
            left, right = a[:, p, :].copy(), a[:, q, :].copy()
            a[:, p, :] = c[:, None] * left - s[:, None] * right
            a[:, q, :] = s[:, None] * left + c[:, None] * right
    smallest = np.argmin(np.round(np.stack([a[:, k, k] for k in range(3)]), 9), axis=0)
    return vectors[np.arange(len(zz)), :, smallest]


@dataclass(frozen=True)
class Anomalies:
    """Voxels where the logit bends as it does nowhere else."""

    voxels: int
    clusters: int
    limit_low: float
    limit_high: float
    index: NDArray[np.int64]
    """Flat index of each anomalous voxel, ascending."""
    cluster: NDArray[np.int32]
    """Number of the 26-connected cluster that it belongs to, from 1."""
    excess: NDArray[np.float64]
    """How many robust deviations its Laplacian lies from the median, signed."""


def anomalies(engine: Engine, probability: NDArray[np.uint16]) -> Anomalies:
    """Count voxels whose Laplacian of the logit code is more than 6 robust deviations from its median."""
    bend, counts = bends(engine, probability)
    return bent(engine, bend, *usual(counts))


def anomalies_listed(engine: Engine, probability: NDArray[np.uint16]) -> Listed:
    """Return the voxels that `anomalies` counts, before they are put into clusters: then no bend is held any more."""
    bend, counts = bends(engine, probability)
    return Listed.of(bend, *usual(counts))


def bends(engine: Engine, probability: NDArray[np.uint16]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the codes of the Laplacian of the logit code, and their histogram."""
    table = tables.logit_table()
    bend = np.empty(probability.shape, np.int16)

    def work(tile: Tile) -> NDArray[np.int64]:
        codes = engine.backend.to_device(probability[tile.crop(1)].copy())
        logit = engine.backend.lookup(codes, table=engine.backend.to_device(table))
        codes = engine.backend.laplacian(logit, shift=LAPLACE_SHIFT)[tile.within(0, 1)].copy()
        bend[tile.core] = engine.backend.to_host(codes)  # here: results that wait would be kept
        counted: NDArray[np.int64] = engine.backend.histogram(codes)
        return counted

    counts = np.zeros(65_536, np.int64)
    for _, part in engine.thinner(4).map(probability.shape, work):
        counts += part
    return bend, counts


def usual(counts: NDArray[np.int64]) -> tuple[int, float]:
    """Return the median of bends with this histogram, and six robust deviations: 1.4826 MAD, at least one code."""
    median = Histogram(counts, -32_768).quantile(0.5)
    distance = np.abs(np.arange(-32_768, 32_768) - median)
    mad = Histogram(_fold(counts, distance)).quantile(0.5)
    return median, ROBUST_Z * MAD_TO_DEVIATION * max(1, mad)


def bent(engine: Engine, bend: NDArray[np.int16], median: int, reach: float) -> Anomalies:
    """Return the voxels whose bend is further than `reach` from the median."""
    return Listed.of(bend, median, reach).clustered(engine)


@dataclass
class Listed:
    """Anomalous voxels that are not in clusters yet."""

    mask: NDArray[np.bool_]
    index: NDArray[np.int64]
    excess: NDArray[np.float64]
    limits: tuple[float, float]

    @classmethod
    def of(cls, bend: NDArray[np.int16], median: int, reach: float) -> Listed:
        """Return the voxels whose bend is further than `reach` from the median."""
        low, high = median - reach, median + reach
        # Compared as integers: beside a float each bend would become one.
        least, most = math.ceil(low), math.floor(high)
        mask = np.empty(bend.shape, np.bool_)

        def found(rows: slice) -> NDArray[np.bool_]:
            return np.logical_or(bend[rows] < least, bend[rows] > most, out=mask[rows])

        index = where(bend.shape, found)
        excess = (bend.reshape(-1)[index] - np.float64(median)) * (ROBUST_Z / reach)
        return cls(mask, index, excess, (low, high))

    def clustered(self, engine: Engine) -> Anomalies:
        """Put them into clusters, once: their mask is let go."""
        cluster, clusters = clusters_of(engine, self.mask, self.index)
        self.mask = self.mask[:0].copy()
        return Anomalies(len(self.index), clusters, *self.limits, self.index, cluster, self.excess)


def clusters_of(engine: Engine, mask: NDArray[np.bool_], index: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Return the number of the 26-connected cluster of each voxel of a mask, from 1, and how many there are.

    Parameters
    ----------
    engine : Engine
    mask : numpy.ndarray of bool, shape (z, y, x)
    index : numpy.ndarray of int64
        Flat indices of its voxels.
    """
    meter = engine.backend

    def label() -> tuple[NDArray[np.int32], int]:
        labels, clusters = meter.label(meter.to_device(mask), connectivity=26, at=meter.to_device(index))
        return meter.to_host(labels), int(clusters)

    return rescue.whole(meter, "the clusters", label)


def _fold(counts: NDArray[np.int64], distance: NDArray[np.int64]) -> NDArray[np.int64]:
    folded = np.zeros(int(distance.max()) + 1, np.int64)
    np.add.at(folded, distance, counts)
    return folded


class References:
    """The volumes done before in a run: what a discovery is unknown to.

    A volume is compared with those that selected the same features (in whatever order), in joint cells of four bins a
    feature; the bins are the quarters of the first of these volumes, so that a cell means the same in all.
    """

    def __init__(self) -> None:
        self._tables: dict[frozenset[str], dict[str, NDArray[np.uint16]]] = {}
        self._counts: dict[frozenset[str], NDArray[np.int64]] = {}

    def tables(self, histograms: Mapping[str, Histogram]) -> dict[str, NDArray[np.uint16]] | None:
        """Return the table of each selected feature from code to its part of the joint cell; None: too many features.

        Parameters
        ----------
        histograms : mapping of name to Histogram
            Of the selected features, over the whole box.
        """
        if CELL_BITS * len(histograms) > 16:
            return None
        return self._tables.setdefault(frozenset(histograms), cell_tables(histograms))

    def compare(
        self,
        names: Sequence[str],
        cells: NDArray[np.uint16],
        anchored: NDArray[np.bool_],
        counts: NDArray[np.int64] | None = None,
    ) -> tuple[int | None, str | None]:
        """Count the anchored voxels unknown to the volumes before, or say why not; then add this volume to them.

        `counts`: the exact histogram of the cells, where it is known.
        """
        key = frozenset(names)
        before = self._counts.get(key)
        counts = _tally(cells) if counts is None else counts
        self._counts[key] = counts if before is None else counts + before
        if before is None:
            return None, "no reference: no volume before this one selected the same features"
        return unknown_voxels(_tally(cells, anchored), before), None

    def rare(self, names: Sequence[str]) -> NDArray[np.bool_] | None:
        """Return which joint cells the volumes so far hardly have; None: none of them selected the same features."""
        before = self._counts.get(frozenset(names))
        return None if before is None else rare_cells(before)

    def save(self, path: Path) -> None:
        """Write what was gathered, as a NumPy archive, whole or not at all; OutputError where that fails."""
        parts: dict[str, Any] = {f"counts/{_word(key)}": counts for key, counts in self._counts.items()}
        for key, found in self._tables.items():
            parts.update({f"table/{_word(key)}/{name}": table for name, table in found.items()})
        with whole_file(path) as file:
            np.savez_compressed(file, **parts)

    def load(self, path: Path) -> None:
        """Take over what another run had gathered, in place of what is here."""
        self._tables, self._counts = {}, {}
        with np.load(path, allow_pickle=False) as parts:
            for part in parts.files:
                kind, word, *name = part.split("/")
                key = frozenset(word.split("+"))
                if kind == "counts":
                    self._counts[key] = parts[part]
                else:
                    self._tables.setdefault(key, {})[name[0]] = parts[part]


def _word(names: frozenset[str]) -> str:
    return "+".join(sorted(names))


def _tally(cells: NDArray[np.uint16], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Count the voxels of each joint cell, of all voxels or of a mask's; np.bincount would make int64 of them all."""
    counts = np.zeros(65_536, np.int64)
    for part in slabs(cells.shape):
        inside = cells[part].reshape(-1) if mask is None else cells[part][mask[part]]
        counts += np.bincount(inside, minlength=65_536)
    return counts


def cell_tables(histograms: Mapping[str, Histogram]) -> dict[str, NDArray[np.uint16]]:
    """Return, for each feature, the table from code to its part of the joint cell: the quarter of the box."""
    built = {}
    for k, name in enumerate(sorted(histograms)):
        histogram = histograms[name]
        edges = [histogram.quantile(q / 4) for q in (1, 2, 3)]
        code = np.arange(len(histogram.counts)) + histogram.low
        quarter = np.searchsorted(edges, code, side="left")
        built[name] = (quarter << np.uint16(CELL_BITS * k)).astype(np.uint16)
    return built


def unknown_voxels(cells_of_anchored: NDArray[np.int64], reference: NDArray[np.int64]) -> int:
    """Return how many anchored voxels lie in joint cells with under 1e-5 of the reference."""
    return int(cells_of_anchored[rare_cells(reference)].sum())


def rare_cells(reference: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which joint cells hold under 1e-5 of the reference."""
    rare: NDArray[np.bool_] = reference < RARE * int(reference.sum())
    return rare


def border_share(mask: NDArray[np.bool_], depth: int) -> tuple[float, float]:
    """Return the share of the mask within `depth` voxels of the box's border, and the share of an even mask."""
    inner = tuple(slice(min(depth, n // 2), n - min(depth, n // 2)) for n in mask.shape)
    total = int(np.count_nonzero(mask))
    inside = mask[inner]
    expected = 1 - inside.size / mask.size
    if total == 0:
        return 0.0, expected
    return 1 - int(np.count_nonzero(inside)) / total, expected


def ratio(part: int, whole: int) -> float:
    """Return part / whole; 0 of nothing is 0."""
    return part / whole if whole else 0.0


def anchor_calibration(
    anchored: NDArray[np.bool_],
    calibrated: NDArray[np.bool_],
    final: NDArray[np.bool_],
    clean: Callable[[NDArray[np.bool_]], NDArray[np.bool_]],
) -> dict[str, Any]:
    """Return how far the anchors and the calibration agree, and what each of them gives to the final mask.

    Parameters
    ----------
    anchored, calibrated, final : numpy.ndarray of bool, shape (z, y, x)
    clean : callable
        The cleaning that made `final` of their union.

    Returns
    -------
    dict
        Voxels: `both`, `either`, `final`, of the final mask `final_anchored` and `final_calibrated`, and what it would
        be of one mask alone: `final_without_anchor`, `final_without_calibration`. Ratios of them: `jaccard`,
        `share_anchored`, `share_calibrated`.
    """
    counted: Counter[str] = Counter(both=0, either=0, final=0, final_anchored=0, final_calibrated=0)
    for part in slabs(final.shape):
        a, c, f = anchored[part], calibrated[part], final[part]
        masks = {"both": a & c, "final": f, "final_anchored": f & a, "final_calibrated": f & c}
        counted.update({name: int(np.count_nonzero(mask)) for name, mask in masks.items()})
        counted["either"] += int(np.count_nonzero(a)) + int(np.count_nonzero(c))
    counted["either"] -= counted["both"]
    return {
        **counted,
        "final_without_anchor": int(np.count_nonzero(clean(calibrated))),
        "final_without_calibration": int(np.count_nonzero(clean(anchored))),
        "jaccard": counted["both"] / counted["either"] if counted["either"] else 1.0,
        "share_anchored": ratio(counted["final_anchored"], counted["final"]),
        "share_calibrated": ratio(counted["final_calibrated"], counted["final"]),
    }
