"""The counters of a volume: what each key of NX47_METRICS counts, from masks and probabilities."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import stats
from gpu_nx47.atomic import whole_file
from gpu_nx47.engine import where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.bits import Packed
    from gpu_nx47.segmentation import Cut
    from gpu_nx47.stats import Histogram

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


def patterns(masks: Sequence[NDArray[np.int64]]) -> list[int]:
    """Return how many coarse shapes occur at least twice among the components of a mask, for each of some masks.

    Parameters
    ----------
    masks : sequence of numpy.ndarray of int64, shape (components, 11)
        From the kernel `mask_moments`.

    Notes
    -----
    A shape is (orientation, thickness, size): the nearest of 13 directions to the normal (the eigenvector of the
    smallest second moment), thickness 2 volume / exposed faces in powers of two, size in powers of four.
    All masks at once, as a cube has a few components, for which NumPy's calls take longer than the sums.
    """
    moments = np.concatenate(masks)
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
    shapes = list(zip(orientation.tolist(), thickness, size, strict=True))
    ends = itertools.accumulate(map(len, masks), initial=0)
    return [sum(count >= 2 for count in Counter(shapes[start:end]).values()) for start, end in itertools.pairwise(ends)]


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

    def known(self, names: Sequence[str]) -> tuple[bool, dict[str, NDArray[np.uint16]] | None]:
        """Return whether `tables` of these features needs no histograms, and what it returns then."""
        found = self._tables.get(frozenset(names))
        return found is not None or CELL_BITS * len(names) > 16, found

    def add(self, names: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Add a volume to those that were before: the exact histogram of its joint cells."""
        before = self._counts.get(frozenset(names))
        self._counts[frozenset(names)] = counts if before is None else counts + before

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


def unknown_voxels(cells: NDArray[np.uint16], rare: NDArray[np.bool_], anchored: Packed) -> NDArray[np.int64]:
    """Return the flat index of each anchored voxel that lies in a rare joint cell, ascending."""

    def found(rows: slice) -> NDArray[np.bool_]:
        here = anchored.rows(rows)
        here[here] = rare[cells[rows][here]]  # looked up of these alone
        return here

    return where(cells.shape, found)


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


def anchor_calibration(masks: Cut, rows: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return how far the anchors and the calibration agree, and what each of them gives to the final mask.

    Parameters
    ----------
    masks : Cut
    rows : mapping of str to sequence of int
        What was counted in each slice (`slices.counted`).

    Returns
    -------
    dict
        Voxels: `both`, `either`, `final`, of the final mask `final_anchored` and `final_calibrated`, and what it would
        be of one mask alone: `final_without_anchor`, `final_without_calibration`. Ratios of them: `jaccard`,
        `share_anchored`, `share_calibrated`.
    """
    counted = {name: sum(rows[name]) for name in ("final", "final_anchored", "final_calibrated")}
    either = masks.voxels["either"]
    both = masks.voxels["anchored"] + masks.voxels["calibrated"] - either
    return {
        "both": both,
        "either": either,
        **counted,
        "final_without_anchor": masks.alone["calibrated"],
        "final_without_calibration": masks.alone["anchored"],
        "jaccard": both / either if either else 1.0,
        "share_anchored": ratio(counted["final_anchored"], counted["final"]),
        "share_calibrated": ratio(counted["final_calibrated"], counted["final"]),
    }
