"""Variation of information between the components of two masks, and its score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA: Final = 0.3
"""The competition's; the official package's own default is 1."""


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


def variation_of_information(truth: NDArray[np.int32], found: NDArray[np.int32]) -> Voi:
    """Compare two label volumes (z, y, x) of components, 0 = background, over voxels where either is not 0.

    Notes
    -----
    H(A|B) = sum over pairs of n_ab / n log2(n_b / n_ab): every term is >= 0, and the counts are exact. Background is
    one part among the others, as in scikit-image without ignored labels.
    """
    (a, b), number = _pairs(truth, found)
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
    truth: NDArray[np.int32], found: NDArray[np.int32]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]:
    """Return the pairs of labels that occur together, (0, 0) left out, and the voxels of each."""
    base = int(found.max(initial=0)) + 1
    keys, lengths = [], []
    for plane_a, plane_b in zip(truth, found, strict=True):
        key = plane_a.reshape(-1).astype(np.int64)
        key *= base
        key += plane_b.reshape(-1)
        # Labels change seldom along x: runs of one pair are sorted instead of voxels.
        start = np.concatenate(([0], np.flatnonzero(key[1:] != key[:-1]) + 1))
        run = key[start]
        some = run != 0
        keys.append(run[some])
        lengths.append(np.diff(start, append=key.size)[some])
    pair, where = np.unique(np.concatenate(keys), return_inverse=True)
    number = np.bincount(where, np.concatenate(lengths), minlength=pair.size).astype(np.int64)
    return (pair // base, pair % base), number
