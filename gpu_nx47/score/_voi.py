"""Variation of information between the components of two masks, and its score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA: Final = 0.3
"""The competition's; the official package's own default is 1."""
TABLE: Final = 1 << 22
"""Pairs of labels that are counted in a table; more are sorted."""


@dataclass(frozen=True)
class Voi:
    """How far two partitions of the voxels where either mask is foreground are apart."""

    split: float
    """H(prediction | label), bits: grows where the prediction cuts a component of the label in pieces."""
    merge: float
    """H(label | prediction), bits: grows where the prediction joins components of the label."""

    @property
    def score(self) -> float:
        """1 / (1 + 0.3 (split + merge)), above 0 and at most 1; 1 where both masks are empty."""
        return 1 / (1 + ALPHA * (self.split + self.merge))


class Partition:
    """The components of a mask, prepared to be compared with those of others.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
    label : callable
        The kernel `label` of a backend.
    """

    def __init__(self, mask: NDArray[np.bool_], label: Any) -> None:
        self._label = label
        labels, count = label(mask, connectivity=26)
        self._labels: NDArray[Any] = labels.astype(np.min_scalar_type(count))
        self._starts = np.stack([_starts(plane) for plane in mask])

    def compare(self, mask: NDArray[np.bool_]) -> Voi:
        """Return how far the components of a mask are from these, over voxels where either is foreground.

        Notes
        -----
        Neighbours along x that are both foreground are of one component: only where a run begins, of either mask, are
        labels asked for.
        """
        places, lengths = [], []
        for plane, starts, inside, labels in zip(range(len(mask)), self._starts, mask, self._labels, strict=True):
            start = np.flatnonzero(starts | _starts(inside))
            some = inside.reshape(-1)[start] | (labels.reshape(-1)[start] != 0)
            places.append(start[some] + plane * inside.size)
            lengths.append(np.diff(start, append=inside.size)[some])
        place = np.concatenate(places)
        found, _ = self._label(mask, connectivity=26, at=place)
        return variation_of_information(self._labels.reshape(-1)[place], found, np.concatenate(lengths))


def _starts(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which voxels of a plane, flat, differ from the one before them, or begin a row."""
    starts = np.ones(plane.shape, np.bool_)
    np.not_equal(plane[:, 1:], plane[:, :-1], out=starts[:, 1:])
    return starts.reshape(-1)


def variation_of_information(truth: NDArray[Any], found: NDArray[Any], number: NDArray[np.int64]) -> Voi:
    """Compare two labels of parts of a volume, 0 = background, with the voxels of each part.

    Notes
    -----
    H(A|B) = sum over pairs of n_ab / n log2(n_b / n_ab): every term is >= 0, and the counts are exact. Background is
    one part among the others, as in scikit-image without ignored labels.
    """
    (a, b), number = _pairs(truth, found, number)
    total = int(number.sum())
    if total == 0:
        return Voi(0.0, 0.0)
    of_a, of_b = (_sums(part, number) for part in (a, b))
    split, merge = (
        math.fsum((number * (np.log2(whole) - np.log2(number))).tolist()) / total for whole in (of_a[a], of_b[b])
    )
    return Voi(split, merge)


def _sums(part: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the voxels of each part; a float64 sum of counts is exact below 2^53."""
    return np.bincount(part, number).astype(np.int64)


def _pairs(
    truth: NDArray[Any], found: NDArray[Any], number: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]:
    """Return the pairs of labels that occur together, (0, 0) left out, and the voxels of each."""
    base = int(found.max(initial=0)) + 1
    key = truth.astype(np.int64) * base + found
    if base * (int(truth.max(initial=0)) + 1) <= TABLE:
        voxels = _sums(key, number)
        pair = np.flatnonzero(voxels)
        voxels = voxels[pair]
    else:
        pair, where = np.unique(key, return_inverse=True)
        voxels = _sums(where, number)
    some = pair != 0
    pair, voxels = pair[some], voxels[some]
    return (pair // base, pair % base), voxels
