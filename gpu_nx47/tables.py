"""Tables that kernels look up instead of calling exp or log: built here once, the same on every machine.

libm, NumPy's SIMD loops and CUDA disagree in the last bit of exp and log, so nothing here calls them. Gaussian taps and
powers come from `decimal`, whose exp is correctly rounded; logarithms from a series of + - * / on float64, which IEEE
754 fixes.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from math import ceil, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from cpu_fallback.law import DIRECTION_NONE, DIRECTION_OPPOSITE, DIRECTION_STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGIT_STEPS: Final = 2048
"""Codes of a logit of 1; codes run from -32767 to 32767, a logit of about -16 to 16."""
LOSS_STEPS: Final = 65_536
"""Units of the loss for one nat."""
LOGIT_EDGE: Final = 64
PROBABILITY_ONE: Final = 65_535
"""Code of probability 1."""

_LN2: Final = 0.6931471805599453  # nearest float64
_SERIES_TERMS: Final = 18  # (1/3)^(2*18+1) / 37 < 1e-19: below float64 of the sum


def gaussian_radius(sigma: float) -> int:
    """Return the radius of the Gaussian window, ceil(4 sigma) voxels."""
    return ceil(4 * sigma)


@cache
def gaussian_taps(sigma: float) -> NDArray[np.float32]:
    """Return half of a normalised Gaussian window, centre first.

    Parameters
    ----------
    sigma : float
        Standard deviation in voxels, > 0.

    Returns
    -------
    numpy.ndarray of float32, shape (ceil(4 sigma) + 1,), read-only
        w[0] + 2 (w[1] + ... + w[r]) = 1 before the rounding to float32.
    """
    with localcontext() as context:
        context.prec = 50
        inverse = 1 / (2 * Decimal(sigma) * Decimal(sigma))
        weights = [(-(k * k) * inverse).exp() for k in range(gaussian_radius(sigma) + 1)]
        total = weights[0] + 2 * sum(weights[1:])
        taps = np.array([float(w / total) for w in weights]).astype(np.float32)
    return _frozen(taps)


def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the natural logarithm of positive values, the same bits everywhere.

    Notes
    -----
    x = m 2^e with 1/2 <= m < 1, moved to sqrt(1/2) <= m < sqrt(2); ln m = 2 artanh t with t = (m - 1) / (m + 1), summed
    from the smallest term. Error below 4e-16 + 2^-52 |ln x|.
    """
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    low = mantissa < 0.7071067811865476
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    exponent = exponent - low
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square = t * t
    series = np.zeros_like(t)
    for term in range(_SERIES_TERMS, -1, -1):
        series = series * square + 1.0 / (2 * term + 1)
    return exponent * _LN2 + 2.0 * t * series


def log_scalar(value: float) -> float:
    """Return the natural logarithm of one positive value (see `log`)."""
    return float(log(np.array([value]))[0])


@cache
def count_log2_table(length: int) -> NDArray[np.float64]:
    """Return c log2 c for c = 0 .. length - 1 (0 at c = 0), in bits, read-only."""
    count = np.arange(length, dtype=np.float64)
    return _frozen(np.where(count > 0, count * (log(np.maximum(count, 1.0)) / _LN2), 0.0))


@cache
def entropy_table(voxels: int) -> NDArray[np.uint32]:
    """Return round(65536 c log2 c) for c = 0 .. voxels, read-only; voxels up to 15^3 fit in 32 bits."""
    return _frozen(np.rint(count_log2_table(voxels + 1) * 65536.0).astype(np.uint32))


@cache
def _decay() -> NDArray[np.float64]:
    """Return exp(-k / 2048) for k = 0 .. 32768, from two short tables of correctly rounded powers."""
    with localcontext() as context:
        context.prec = 40
        coarse = np.array([float((-Decimal(a) / 64).exp()) for a in range(1025)])
        fine = np.array([float((-Decimal(b) / LOGIT_STEPS).exp()) for b in range(32)])
    k = np.arange(32_769)
    return coarse[k >> 5] * fine[k & 31]


@cache
def sigmoid_table() -> NDArray[np.uint16]:
    """Return the probability code of each logit code: entry z + 32768 is round(65535 / (1 + exp(-z / 2048)))."""
    decay = _decay()
    upper = np.rint(PROBABILITY_ONE / (1.0 + decay)).astype(np.uint16)  # z = 0 .. 32768
    lower = np.rint(PROBABILITY_ONE * decay / (1.0 + decay)).astype(np.uint16)  # z = 0 .. -32768
    return _frozen(np.concatenate([lower[:0:-1], upper[:-1]]))


@cache
def softplus_table() -> NDArray[np.int32]:
    """Return the loss of background at each logit code: entry z + 32768 is round(65536 ln(1 + exp(z / 2048)))."""
    tail = log(1.0 + _decay())
    z = np.arange(32_769) / LOGIT_STEPS
    upper = np.rint((z + tail) * LOSS_STEPS).astype(np.int32)
    lower = np.rint(tail * LOSS_STEPS).astype(np.int32)
    return _frozen(np.concatenate([lower[:0:-1], upper[:-1]]))


@cache
def logit_table() -> NDArray[np.int16]:
    """Return the logit code of each probability code, between -14195 and 14195.

    Notes
    -----
    Probabilities nearer to 0 or 1 than LOGIT_EDGE codes stand at that edge: beyond it one code of probability is many
    codes of logit, and a Laplacian would show the rounding of the probability.
    """
    code = np.arange(PROBABILITY_ONE + 1, dtype=np.float64)
    inside = np.clip(code, LOGIT_EDGE, PROBABILITY_ONE - LOGIT_EDGE)
    return _frozen(np.rint((log(inside) - log(PROBABILITY_ONE - inside)) * LOGIT_STEPS).astype(np.int16))


def probability_code(probability: float) -> int:
    """Return the lowest code whose probability is at least the given one."""
    return min(PROBABILITY_ONE, max(0, ceil(probability * PROBABILITY_ONE)))


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each value: the counter-based source of every random choice.

    References
    ----------
    Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    x = np.asarray(values, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draws(seed: int, stream: int, start: int, count: int) -> NDArray[np.uint64]:
    """Return draws start .. start + count - 1 of a stream: each depends on (seed, stream, its number) only."""
    key = mix64(mix64(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) + np.uint64(stream))
    return mix64(key ^ mix64(np.arange(start, start + count, dtype=np.uint64)))


@cache
def direction_vectors() -> NDArray[np.float64]:
    """Return the unit vector (z, y, x) of each code of a direction; the last, of no direction, is zeros.

    Returns
    -------
    numpy.ndarray of float64, shape (DIRECTION_NONE + 1, 3), read-only
        The middles of the steps that `law.directions` states, and behind them their opposites.
    """
    face, first, second = np.indices((3, DIRECTION_STEPS, DIRECTION_STEPS)).reshape(3, -1)
    middles = (2 * np.arange(DIRECTION_STEPS) + 1) / DIRECTION_STEPS - 1.0
    vectors = np.zeros((DIRECTION_NONE + 1, 3))
    line = np.arange(DIRECTION_OPPOSITE)
    vectors[line, face] = 1.0
    vectors[line, np.where(face == 0, 1, 0)] = middles[first]
    vectors[line, np.where(face == 2, 1, 2)] = middles[second]
    vectors[line] /= _lengths(vectors[line])
    vectors[DIRECTION_OPPOSITE:-1] = -vectors[line]
    return _frozen(vectors)


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of each vector, (n, 1); squares are added in the order z, y, x."""
    z, y, x = vectors.T
    lengths: NDArray[np.float64] = np.sqrt((z * z + y * y) + x * x)[:, None]
    return lengths


@cache
def disk_offsets(radii: tuple[float, ...]) -> NDArray[np.int8]:
    """Return the voxels of rings across each direction: the centre, then eight for each radius.

    Parameters
    ----------
    radii : tuple of float
        Of the rings, voxels, at most 16.

    Returns
    -------
    numpy.ndarray of int8, shape (DIRECTION_NONE + 1, 1 + 8 len(radii), 3), read-only
        Offsets (z, y, x), those of no direction 0.

    Notes
    -----
    For a direction n, t is n x e of the axis e along which n is shortest (the first of equals), normalised, and
    s = n x t. Place k of ring q is rint(r (cos(a) t + sin(a) s)), a = (2 k + q) pi / 8: successive rings are turned
    by half a step.
    """
    normals = direction_vectors()[:-1]
    shortest = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    across = _cross(normals, shortest)
    across /= _lengths(across)
    other = _cross(normals, across)
    offsets = np.zeros((DIRECTION_NONE + 1, 1 + 8 * len(radii), 3), np.int8)
    cosine = _cosines()
    for q, radius in enumerate(radii):
        for k in range(8):
            eighth = 2 * k + q
            place = radius * (cosine[eighth % 16] * across + cosine[(eighth - 4) % 16] * other)
            offsets[:-1, 1 + 8 * q + k] = np.rint(place)
    return _frozen(offsets)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector products of the rows of two arrays."""
    return np.stack([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)


def _cosines() -> list[float]:
    """Return cos(k pi / 8) for k = 0..15, from the roots that half angles have: sqrt alone, which IEEE 754 fixes."""
    root = sqrt(2.0)
    quarter = [1.0, sqrt(2.0 + root) / 2.0, root / 2.0, sqrt(2.0 - root) / 2.0, 0.0]
    half = quarter + [-value for value in quarter[3::-1]]
    return half + half[7:0:-1]


@cache
def line_offsets(steps: tuple[float, ...]) -> NDArray[np.int8]:
    """Return the voxels at steps along each direction.

    Parameters
    ----------
    steps : tuple of float
        Distances along the direction, voxels, within 16; negative ones lie behind.

    Returns
    -------
    numpy.ndarray of int8, shape (DIRECTION_NONE + 1, len(steps), 3), read-only
        Offsets (z, y, x), rint(step n); those of no direction 0.
    """
    places = np.array(steps)[:, None] * direction_vectors()[:, None, :]
    return _frozen(np.rint(places).astype(np.int8))


def _frozen(table: NDArray) -> NDArray:
    table.flags.writeable = False
    return table
