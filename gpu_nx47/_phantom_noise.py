"""Smooth random fields and voxel noise for the phantom, the same bits on every machine.

Only integer arithmetic and correctly rounded float32/float64 ``+ - * / sqrt`` are used, element by element, so that no
libm, no BLAS and no order of summation can change a phantom. Randomness is a hash of (key, lattice index): any part of
a field can be computed alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["SheetField", "VolumeField", "binomial_blur", "hash_lattice", "mix", "mix_int", "turns", "voxel_noise"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U32 = npt.NDArray[np.uint32]

# A uniform lattice on [-1, 1) has deviation 3 ** -.5; a cubic B-spline keeps .479 of the variance a dimension.
_UNIT_2D = 3.62
_UNIT_3D = 5.23

# Abramowitz and Stegun 4.4.49: arctan on [0, 1] with an error below 2e-8.
_ATAN = (
    -0.3333314528,
    0.1999355085,
    -0.1420889944,
    0.1065626393,
    -0.0752896400,
    0.0429096138,
    -0.0161657367,
    0.0028662257,
)


def mix(h: U32) -> U32:
    """Scramble 32-bit words (the finaliser "lowbias32"), wrapping modulo 2 ** 32."""
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h


def mix_int(*words: int) -> int:
    """Hash of a few integers, in [0, 2 ** 32)."""
    h = np.full(1, 0x9E3779B9, np.uint32)
    for word in words:
        h = mix(h ^ np.uint32(word & 0xFFFFFFFF)) + np.uint32(0x9E3779B9)
    return int(mix(h)[0])


def hash_lattice(key: int, *index: npt.NDArray[np.int64]) -> F32:
    """Uniform values in [-1, 1) for lattice indices that broadcast; multiples of 2 ** -23, so exact."""
    h = np.full((1,) * max(i.ndim for i in index), key & 0xFFFFFFFF, np.uint32)
    for i in index:
        h = mix(h ^ (i.astype(np.uint32) * np.uint32(0x9E3779B1)))
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def _spline(x: F64) -> tuple[npt.NDArray[np.int64], list[F32]]:
    """First lattice index and the four weights of the cubic B-spline at x."""
    base = np.floor(x)
    f = x - base
    g = 1 - f
    weights = [g * g * g / 6, (4 - 6 * f * f + 3 * f * f * f) / 6, (4 - 6 * g * g + 3 * g * g * g) / 6, f * f * f / 6]
    return base.astype(np.int64) - 1, [w.astype(np.float32) for w in weights]


class SheetField:
    """A smooth field on the unrolled papyrus: s along its length, z along its height, mean 0, deviation about 1.

    Parameters
    ----------
    key : int
        Which field.
    s : ndarray of float64, any shape
        Length coordinate of the table's columns, in voxels.
    n_z : int
        Slices.
    period_s, period_z : float
        Lattice spacing, in voxels.
    """

    def __init__(self, key: int, s: F64, n_z: int, period_s: float, period_z: float) -> None:
        first, weights = _spline(s / period_s)
        self._start, self._weights = _spline(np.arange(n_z, dtype=np.float64) / period_z + 1)
        rows = np.arange(int(self._start[-1]) + 4, dtype=np.int64).reshape((-1,) + (1,) * s.ndim)
        self._table = np.zeros((rows.shape[0], *s.shape), np.float32)
        for tap, weight in enumerate(weights):
            self._table += hash_lattice(key, first[None] + tap, rows) * (weight * np.float32(_UNIT_2D))

    def at(self, z: int) -> F32:
        """Values of all columns in slice z."""
        start = int(self._start[z])
        out = self._table[start] * self._weights[0][z]
        for tap in (1, 2, 3):
            out += self._table[start + tap] * self._weights[tap][z]
        return out


class VolumeField:
    """A smooth field in space, mean 0, deviation about 1, evaluated slice by slice.

    Parameters
    ----------
    key : int
        Which field.
    n : int
        Voxels a side.
    period, period_z : float
        Lattice spacing across and along z, in voxels.
    """

    def __init__(self, key: int, n: int, period: float, period_z: float) -> None:
        steps = np.arange(n, dtype=np.float64)
        self._z, self._weights_z = _spline(steps / period_z + 1)
        self._y, self._weights_y = _spline(steps / period + 1)
        depth, side = np.arange(int(self._z[-1]) + 4), np.arange(int(self._y[-1]) + 4)
        self._lattice = hash_lattice(key, depth[:, None, None], side[None, :, None], side[None, None, :]) * np.float32(
            _UNIT_3D
        )

    def at(self, z: int) -> F32:
        """Values of slice z, shape (n, n)."""
        plane = sum(self._lattice[int(self._z[z]) + t] * self._weights_z[t][z] for t in range(4))
        rows = sum(plane[self._y + t] * self._weights_y[t][:, None] for t in range(4))
        out: F32 = sum(rows[:, self._y + t] * self._weights_y[t][None, :] for t in range(4))
        return out


def turns(y: F32, x: F32) -> F32:
    """Angle of (y, x) in turns, in [-.5, .5]: arctan2 / (2 pi) from + - * / only, error below 1e-7."""
    ay, ax = np.abs(y), np.abs(x)
    t = np.minimum(ay, ax) / np.maximum(np.maximum(ay, ax), np.float32(1e-6))
    t2 = t * t
    poly = np.full_like(t, _ATAN[-1])
    for c in _ATAN[-2::-1]:
        poly = poly * t2 + np.float32(c)
    angle = t * (poly * t2 + np.float32(1)) * np.float32(0.15915494309189535)
    angle = np.where(ay > ax, np.float32(0.25) - angle, angle)
    angle = np.where(x < 0, np.float32(0.5) - angle, angle)
    return np.where(y < 0, -angle, angle)


def voxel_noise(key: int, n: int, z: int) -> F32:
    """Independent noise of slice z, mean 0, deviation 1: the sum of four bytes of one word, shape (n, n)."""
    index = np.arange(n * n, dtype=np.uint32).reshape(n, n)
    h = mix(mix(index + np.uint32(mix_int(key, z))) ^ np.uint32(mix_int(z, key, 1)))
    low, mask = np.uint32(0x00FF00FF), np.uint32(0xFFFF)
    pairs = (h & low) + ((h >> np.uint32(8)) & low)
    total = (pairs & mask) + (pairs >> np.uint32(16))
    # Four uniform bytes: mean 510, variance 4 (256 ** 2 - 1) / 12.
    return (total.astype(np.float32) - np.float32(510)) * np.float32(1 / 147.8)


def binomial_blur(volume: F32) -> None:
    """Blur by (1 2 1) / 4 along each axis, in place: variance one half of a voxel squared. Ends count twice."""
    for axis in range(volume.ndim):
        v = np.moveaxis(volume, axis, 0)
        previous = v[0].copy()
        for i in range(v.shape[0]):
            here = v[i].copy()
            after = v[min(i + 1, v.shape[0] - 1)]
            v[i] = (previous + after) * np.float32(0.25) + here * np.float32(0.5)
            previous = here
