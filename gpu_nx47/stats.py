"""Statistics from exact histograms and integer sums, on the host: one code for all backends, no float reduction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PART: Final = 26
"""Bits of a part of a number: times 16 bits, and summed over 65,536 codes, it fits into 64."""
LOG2_OF_E: Final = 1.4426950408889634


@dataclass(frozen=True)
class Histogram:
    """An exact histogram of integer codes: `counts[i]` voxels hold code `low + i`."""

    counts: NDArray[np.int64]
    low: int = 0

    @property
    def total(self) -> int:
        """Voxels counted."""
        return int(self.counts.sum())

    @property
    def minimum(self) -> int:
        """Lowest code that occurs."""
        return self.low + int(np.flatnonzero(self.counts)[0])

    @property
    def maximum(self) -> int:
        """Highest code that occurs."""
        return self.low + int(np.flatnonzero(self.counts)[-1])

    def sums(self) -> tuple[int, int, int]:
        """Return (n, sum, sum of squares) of the codes, exactly."""
        codes = np.arange(self.low, self.low + len(self.counts))
        firsts = codes * self.counts
        # In two parts: a volume of 2^37 voxels has 2^53 for a sum, but 2^69 for one of squares.
        high, low = int((codes * (firsts >> _PART)).sum()), int((codes * (firsts & (1 << _PART) - 1)).sum())
        return self.total, int(firsts.sum()), (high << _PART) + low

    def mean_deviation(self) -> tuple[float, float]:
        """Return mean and population deviation of the codes, correctly rounded from exact sums."""
        n, total, squares = self.sums()
        return total / n, math.sqrt((n * squares - total * total) / (n * n))

    def at_least(self, code: int) -> int:
        """Return how many voxels hold `code` or more."""
        return int(self.counts[max(0, code - self.low) :].sum())

    def highest_reaching(self, voxels: float) -> int:
        """Return the highest code that at least `voxels` (> 0, at most all) voxels reach."""
        tail = np.cumsum(self.counts[::-1])
        return self.low + len(self.counts) - 1 - int(np.argmax(tail >= voxels))

    def quantile(self, share: float) -> int:
        """Return the lowest code with at least `share` of the voxels at or below it."""
        need = math.ceil(share * self.total)
        return self.low + int(np.searchsorted(np.cumsum(self.counts), max(1, need)))


def otsu(counts: NDArray[np.int64], classes: int) -> tuple[int, ...]:
    """Return the multi-Otsu thresholds of a 256-bin histogram.

    Class k holds the values above threshold k - 1 and at most threshold k.

    Parameters
    ----------
    counts : numpy.ndarray of int64, shape (256,)
    classes : {2, 3}

    Returns
    -------
    tuple of int
        classes - 1 thresholds; the first best where several are equal.

    Notes
    -----
    Maximises the sum over classes of S^2 / n (S = sum of values, n = count), which is Otsu's between-class variance up
    to constants. S^2 / n is one correctly rounded float64 division of exact integers below 2^53 while the volume is
    below 2^37 voxels.

    References
    ----------
    Otsu 1979; Liao, Chen, Chung 2001.
    """
    n = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    s = np.concatenate([[0], np.cumsum(counts * np.arange(256))]).astype(np.float64)

    def score(start: NDArray, stop: NDArray) -> NDArray:
        count, total = n[stop] - n[start], s[stop] - s[start]
        return np.where(count > 0, total / np.maximum(count, 1) * total, 0.0)

    cut = np.arange(1, 256)
    zero, end = np.zeros_like(cut), np.full_like(cut, 256)
    if classes == 2:
        return (int(cut[np.argmax(score(zero, cut) + score(cut, end))]) - 1,)
    first, second = np.triu_indices(255, 1)
    a, b = cut[first], cut[second]
    best = int(np.argmax(score(np.zeros_like(a), a) + score(a, b) + score(b, np.full_like(b, 256))))
    return int(a[best]) - 1, int(b[best]) - 1


def class_mean(counts: NDArray[np.int64], low: int, high: int) -> float:
    """Return the mean of the values low .. high of a histogram; the middle of the range where it is empty."""
    part = counts[low : high + 1].tolist()
    n = sum(part)
    return sum((low + i) * c for i, c in enumerate(part)) / n if n else (low + high) / 2


def mutual_information(codes: NDArray, labels: NDArray, edges: NDArray) -> float:
    """Return the mutual information in bits between a binned feature and a 0/1 label.

    Parameters
    ----------
    codes : numpy.ndarray of integers, shape (n,)
    labels : numpy.ndarray of 0 and 1, shape (n,)
    edges : numpy.ndarray, sorted
        A code belongs to bin `searchsorted(edges, code, side="left")`.

    Notes
    -----
    n I = sum c_ij log c_ij - sum c_i log c_i - sum c_j log c_j + n log n, each term from `tables.count_log2_table`,
    summed by math.fsum, which rounds once.
    """
    # Looked up in a table of every code from the lowest on: codes are searched for in a row, which halved a selection.
    low, high = int(codes.min()), int(codes.max())
    bins = np.searchsorted(edges, np.arange(low, high + 1), side="left")[codes - low]
    joint = np.bincount(bins * 2 + labels, minlength=2 * (len(edges) + 1)).reshape(-1, 2)
    n = len(codes)
    clog = tables.count_log2_table(n + 1)
    terms = [*clog[joint.reshape(-1)], *(-clog[joint.sum(1)]), *(-clog[joint.sum(0)]), clog[n]]
    return max(0.0, math.fsum(float(t) for t in terms) / n)


def correlation(a: NDArray, b: NDArray) -> float:
    """Return Pearson's r of two integer samples from exact sums; 0 where one is constant."""
    x, y = a.astype(np.int64), b.astype(np.int64)
    n, sx, sy = len(x), int(x.sum()), int(y.sum())
    sxx, syy, sxy = int((x * x).sum()), int((y * y).sum()), int((x * y).sum())
    vx, vy = n * sxx - sx * sx, n * syy - sy * sy
    if vx == 0 or vy == 0:
        return 0.0
    return (n * sxy - sx * sy) / (math.sqrt(vx) * math.sqrt(vy))


def exact_sum(values: NDArray[np.float64], steps: int) -> float:
    """Return the sum of values rounded to 1 / steps: an integer sum, so its order cannot matter."""
    return int(np.rint(values * steps).astype(np.int64).sum()) / steps


def symmetric_eigen2(yy: float, yx: float, xx: float) -> tuple[float, float, tuple[float, float]]:
    """Return (smaller, larger eigenvalue, unit vector of the smaller) of [[yy, yx], [yx, xx]]."""
    middle, half = (yy + xx) / 2, (yy - xx) / 2
    root = math.sqrt(half * half + yx * yx)
    small, large = middle - root, middle + root
    vector = (yx, small - yy) if abs(small - yy) > abs(small - xx) else (small - xx, yx)
    length = math.sqrt(vector[0] ** 2 + vector[1] ** 2)
    if length == 0.0:
        return small, large, (1.0, 0.0)
    return small, large, (vector[0] / length, vector[1] / length)
