"""The null: a volume with this one's grey values and roughness and no sheets, to tell what chance would give.

A surrogate is counter-based noise through the Gaussians at sigma 0, 1, 2 and 4, weighted so that its variance in each
band is the volume's, then mapped rank by rank to the volume's exact histogram. Shuffled voxels would be no null: plain
blurred noise beats them many times over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter

EDGE: Final = 96
"""Edge of a surrogate cube, voxels; a smaller volume gives a smaller one."""
BLOCK: Final = 128
"""Edge of the block in the middle of the volume whose bands are measured."""
SIGMAS: Final = (0.0, 1.0, 2.0, 4.0)
NOISE_STREAM: Final = 16
GOLDEN_QUANTILE: Final = 0.9999


@dataclass(frozen=True)
class Null:
    """What the surrogate's probabilities were."""

    probability: Histogram
    shape: tuple[int, int, int]
    band_weights: tuple[float, ...]

    @property
    def golden_limit(self) -> int:
        """The code of its 99.99th percentile."""
        return self.probability.quantile(GOLDEN_QUANTILE)


def surrogate(backend: Meter, grey: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """Return a sheetless volume like `grey`, and the weights of its bands.

    Parameters
    ----------
    backend : Meter
    grey : numpy.ndarray of uint8
        The valid box.
    seed : int

    Returns
    -------
    numpy.ndarray of uint8, at most 96 voxels an axis
    tuple of float
        Share of the variance drawn from the noise of each sigma.
    """
    shares = _band_shares(_band_variances(backend, grey))
    shape = tuple(min(EDGE, n) for n in grey.shape)
    count = math.prod(shape)
    total = np.zeros(count)
    for number, (sigma, share) in enumerate(zip(SIGMAS, shares, strict=True)):
        noise = (tables.draws(seed, NOISE_STREAM + number, 0, count) >> np.uint64(56)).astype(np.uint8).reshape(shape)
        codes = _smoothed(backend, noise, sigma)
        mean, deviation = Histogram(np.bincount(codes.reshape(-1), minlength=65_536)).mean_deviation()
        if share and deviation:
            total = total + (codes.reshape(-1).astype(np.float64) - mean) * (math.sqrt(share) / deviation)
    rank = np.empty(count, np.int64)
    rank[np.argsort(total, kind="stable")] = np.arange(count)
    cumulated = np.cumsum(backend.histogram(backend.to_device(grey)))
    # Rank r of n stands where the volume's sorted voxels have passed the share (r + 1/2) / n.
    place = (2 * rank + 1) * grey.size // (2 * count)
    return np.searchsorted(cumulated, place, side="right").astype(np.uint8).reshape(shape), shares


def _smoothed(backend: Meter, grey: NDArray[np.uint8], sigma: float) -> NDArray[np.uint16]:
    if sigma == 0.0:
        return grey.astype(np.uint16) << np.uint16(8)
    return backend.to_host(backend.gaussian(backend.to_device(grey), taps=tables.gaussian_taps(sigma)))


def _band_variances(backend: Meter, grey: NDArray[np.uint8]) -> list[float]:
    """Return the variance of G(sigma) for each sigma, over a block in the middle of the volume."""
    start = [max(0, (n - BLOCK) // 2) for n in grey.shape]
    block = grey[tuple(slice(a, a + BLOCK) for a in start)].copy()
    variances = []
    for sigma in SIGMAS:
        codes = _smoothed(backend, block, sigma)
        variances.append(Histogram(np.bincount(codes.reshape(-1), minlength=65_536)).mean_deviation()[1] ** 2)
    return variances


def _band_shares(variances: list[float]) -> tuple[float, ...]:
    """Return the non-negative shares of unit-variance noises that reproduce a volume's variance in each band.

    Notes
    -----
    Least squares of the relative misses by 400 rounds of coordinate descent in Python floats. Noise of sigma b keeps
    the share (|g_s * g_b|^2 / |g_b|^2)^3 of its variance under G(s), with |.|^2 the sum of squared taps and * the
    convolution.
    """
    if variances[0] == 0.0:
        return (1.0, 0.0, 0.0, 0.0)
    kept = [[_kept(s, b) for b in SIGMAS] for s in SIGMAS]
    rows = [[a * variances[0] / max(v, 1e-6) for a in row] for row, v in zip(kept, variances, strict=True)]
    shares = [0.0] * len(SIGMAS)
    for _ in range(400):
        for b in range(len(SIGMAS)):
            column = [row[b] for row in rows]
            miss = [1.0 - math.fsum(r * w for r, w in zip(row, shares, strict=True)) for row in rows]
            step = math.fsum(c * m for c, m in zip(column, miss, strict=True)) / math.fsum(c * c for c in column)
            shares[b] = max(0.0, shares[b] + step)
    total = math.fsum(shares)
    return tuple(w / total for w in shares)


def _kept(s: float, b: float) -> float:
    window, noise = _window(s), _window(b)
    both = [
        math.fsum(window[i] * noise[k - i] for i in range(len(window)) if 0 <= k - i < len(noise))
        for k in range(len(window) + len(noise) - 1)
    ]
    return (math.fsum(v * v for v in both) / math.fsum(v * v for v in noise)) ** 3


def _window(sigma: float) -> list[float]:
    if sigma == 0.0:
        return [1.0]
    half = tables.gaussian_taps(sigma).tolist()
    return [*half[:0:-1], *half]
