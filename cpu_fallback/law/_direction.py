"""Law of the direction across the sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import pad_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

DIRECTION_BLOCK: Final = 4
"""Edge of a block of voxels that has one direction."""
DIRECTION_STEPS: Final = 24
"""Steps of a face of the cube map, on each of its two axes."""
DIRECTION_OPPOSITE: Final = 3 * DIRECTION_STEPS**2
"""A code plus this is the opposite direction; the codes below it are half a sphere, one for each line."""
DIRECTION_NONE: Final = 2 * DIRECTION_OPPOSITE
"""Code of a block without a gradient; the codes are 0..DIRECTION_NONE."""
PAIRS: Final = ((0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2))
"""Axes of the six sums of a structure tensor, in the order in which every array of them is kept."""
SQUARINGS: Final = 5

_VOXEL: Final = 3 * 3 + 6  # three differences, rounded with a sum and a shift; six products
_SUMS: Final = 6 * 63 + 6 * 3 * 2 * 2  # over the voxels; a running sum and a difference on three axes, twice
_TENSOR: Final = 3 + 6  # the trace, whether it is 0; quotients
_SQUARING: Final = 6 * 5 + 2 + 6  # products and sums; the trace; quotients
_CODE: Final = 3 + 6 + 1 + 2 * 4 + 4  # the row; the longest; its face; quotient, sum, product and bound twice; the code
_PLANARITY: Final = 3 * 5 + 2 * 5 + 2 + 14 + 7 + 6  # A v; both dots; l1, s; q; l2; the code
OPERATIONS: dict[str, Callable[..., float]] = {
    "directions": lambda *, radius=2, window=None: (
        _VOXEL + (_SUMS + _TENSOR + SQUARINGS * _SQUARING + _CODE + _PLANARITY) / DIRECTION_BLOCK**3
    ),
}


def accept_directions(smooth: NDArray[np.uint16], radius: int, window: Window | None) -> Window:
    """Refuse what `directions` does not define, for law and twin alike; return the blocks of its window."""
    _checks.volume("directions", smooth, np.uint16)
    _checks.integer("directions", "radius", radius, 1, 8)
    z, y, x = _checks.window("directions", smooth.shape, window)
    for part, length in zip((z, y, x), smooth.shape, strict=True):
        if part.start % DIRECTION_BLOCK or (part.stop % DIRECTION_BLOCK and part.stop != length):
            raise ValueError(f"directions: expected a window of whole blocks, got {window!r}")
    z, y, x = (slice(part.start // DIRECTION_BLOCK, blocks_of(part.stop)) for part in (z, y, x))
    return z, y, x


def blocks_of(length: int) -> int:
    """Return how many blocks an axis of so many voxels has; the last may be incomplete."""
    return -(-length // DIRECTION_BLOCK)


def directions(
    smooth: NDArray[np.uint16], /, *, radius: int = 2, window: Window | None = None
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return the direction across the sheets in blocks of 4 x 4 x 4 voxels, and how plane they are there.

    Parameters
    ----------
    smooth : numpy.ndarray of uint16, shape (z, y, x)
        Q8.8 codes of `gaussian`.
    radius : int
        Of the two box sums over the blocks, 1..8 blocks.
    window : tuple of slice, optional
        Part of the array (z, y, x) whose blocks are asked for, whole ones; by default all of it.

    Returns
    -------
    direction : numpy.ndarray of uint16, shape (ceil(z/4), ceil(y/4), ceil(x/4)) of the window
        Codes 0..DIRECTION_OPPOSITE - 1 of a line, or DIRECTION_NONE where nothing differs within reach.
    planarity : numpy.ndarray of uint8, same shape
        1/255: 0 no direction leads (or none is there), 255 one alone.

    Raises
    ------
    TypeError, ValueError
        Not a non-empty C-contiguous volume of uint16, or `radius` no integer in 1..8; a window of parts of blocks.

    Notes
    -----
    Law.

    - Formula, integers: a_i = (v[i+1] - v[i-1] + 8) >> 4 on each axis, the shift arithmetic; the six products a_i a_j
      summed over the voxels of each block, whose first is at indices divisible by 4; two passes of a box sum of
      2 radius + 1 blocks on each axis. The sums are those of zz, zy, zx, yy, yx, xx.
    - Formula, float32, where trace = zz + yy + xx (an integer) is not 0: A = sums / trace, each rounded to float32
      before the quotient. B = A, then five times B = B B, (b_i0 b_0j + b_i1 b_1j) + b_i2 b_2j, over its trace
      (zz + yy) + xx. v is the row of B with the largest diagonal, first of equals. Dot products in the order of B B:
      l1 = (v.(A v)) / (v.v); s = 1 - l1; q = (((zz zz + yy yy) + xx xx) + 2 ((zy zy + zx zx) + yx yx)) - l1 l1 of A;
      l2 = (s + sqrt(max(0, 2 q - s s))) / 2; planarity = rint(255 max(0, min(1, (l1 - l2) / l1))).
    - Direction: the axis m of the largest |v|, first of equals; for the others, o1 < o2, i = min(23, int((v[o1] / v[m]
      + 1) 12)), j likewise; code = (m 24 + i) 24 + j. It stands for the line along 1 on m, (2 i + 1) / 24 - 1 on o1
      and (2 j + 1) / 24 - 1 on o2.
    - Window: 3 voxels, then 4 radius + 1 blocks. Border: half-sample symmetric; in an incomplete last block the last
      voxel stands for those that lack on that axis, and sums are repeated beyond the blocks' edges as voxels are.
    - Format: uint16, uint8. |a| <= 4096, a block's sum <= 64 2^24 and 17^6 < 2^24.6 of them: sums below 2^54.6, the
      trace below 2^56.2. trace(B B) >= 1/3 but for rounding and a row's largest element >= 1/3: no quotient by 0. Small
      elements of B may become subnormal; they are added to 1 or to products above 2^-10, which do not see them.
    - Rounding: gradients half up to 1/32 grey/voxel; the sums are exact, so they do not depend on the tile. Five
      squarings leave (l2 / l1)^32 of the second vector: from a planarity of .15 the direction is the eigenvector's but
      for its step (3.4 degrees at most) and planarity exact to 2/255; below, it may be .03 too low. Unit: none.
    - Source: the structure tensor and its eigenvector by powers: Bigun and Granlund 1987; Knutsson 1989.
    """
    within = accept_directions(smooth, radius, window)
    sums = np.stack([_products(smooth, block) for block in range(blocks_of(len(smooth)))], axis=1)
    for one in sums:
        for axis in (0, 1, 2, 0, 1, 2):
            one[...] = _box_sum(one, axis, radius)
    sums = sums[:, *within]
    direction, planarity = np.empty(sums.shape[1:], np.uint16), np.empty(sums.shape[1:], np.uint8)
    for z in range(len(direction)):
        direction[z], planarity[z] = _leading(sums[:, z])
    return direction, planarity


def _products(smooth: NDArray[np.uint16], block: int) -> NDArray[np.int64]:
    """Return the six sums of products over each block of a layer of blocks, (6, y, x)."""
    last = smooth.shape[0] - 1
    here = np.minimum(np.arange(DIRECTION_BLOCK) + DIRECTION_BLOCK * block, last)
    layer, below, above = (
        smooth[z].astype(np.int32) for z in (here, np.maximum(here - 1, 0), np.minimum(here + 1, last))
    )
    ends = [pad_axis(layer, axis, 1) for axis in (1, 2)]
    gradient = [
        (high - low + np.int32(8)) >> np.int32(4)
        for high, low in [
            (above, below),
            (ends[0][:, 2:], ends[0][:, :-2]),
            (ends[1][:, :, 2:], ends[1][:, :, :-2]),
        ]
    ]
    return np.stack([_of_blocks(gradient[i] * gradient[j]) for i, j in PAIRS]).astype(np.int64)


def _of_blocks(products: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the sums over the blocks of one layer of 4 slices: at most 64 * 2^24, within int32."""
    total = np.add.reduce(products, axis=0)
    for axis in (0, 1):
        length = total.shape[axis]
        first = np.arange(0, length, DIRECTION_BLOCK)
        parts = [np.take(total, np.minimum(first + k, length - 1), axis=axis) for k in range(DIRECTION_BLOCK)]
        total = (parts[0] + parts[1]) + (parts[2] + parts[3])
    return total


def _box_sum(sums: NDArray[np.int64], axis: int, radius: int) -> NDArray[np.int64]:
    """Return the sums over 2 radius + 1 successive blocks; running sums may wrap, their differences are exact."""
    running = np.moveaxis(np.add.accumulate(pad_axis(sums, axis, radius), axis=axis), axis, 0)
    total = running[2 * radius :].copy()
    total[1:] -= running[: -2 * radius - 1]
    return np.moveaxis(total, 0, axis)


def _leading(sums: NDArray[np.int64]) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return the code of the leading direction of each tensor, and its planarity."""
    trace = (sums[0] + sums[3]) + sums[5]
    flat = trace == 0
    # A block without a gradient is computed as one along z and then told apart: nothing is divided by 0.
    whole = np.where(flat, 1, trace).astype(np.float32)
    zz, zy, zx, yy, yx, xx = a = [np.where(flat, k == 0, one).astype(np.float32) / whole for k, one in enumerate(sums)]
    for _ in range(SQUARINGS):
        zz, zy, zx, yy, yx, xx = _squared(zz, zy, zx, yy, yx, xx)
    leads_y, leads_x = yy > zz, xx > np.maximum(yy, zz)
    v = [
        np.where(leads_x, of_x, np.where(leads_y, of_y, of_z))
        for of_z, of_y, of_x in ((zz, zy, zx), (zy, yy, yx), (zx, yx, xx))
    ]
    direction = np.where(flat, DIRECTION_NONE, _code(*v)).astype(np.uint16)
    return direction, np.where(flat, 0, _planarity(a, v)).astype(np.uint8)


def _dot(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return (a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]


def _squared(*b: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the square of a symmetric matrix over its trace."""
    zz, zy, zx, yy, yx, xx = b
    rows = [zz, zy, zx], [zy, yy, yx], [zx, yx, xx]
    square = [_dot(rows[j], rows[i]) for i, j in PAIRS]
    trace = (square[0] + square[3]) + square[5]
    return [one / trace for one in square]


def _planarity(a: list[NDArray[np.float32]], v: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    zz, zy, zx, yy, yx, xx = a
    one, two = np.float32(1), np.float32(2)
    along = [_dot([zz, zy, zx], v), _dot([zy, yy, yx], v), _dot([zx, yx, xx], v)]
    first = _dot(v, along) / _dot(v, v)
    rest = one - first
    squares = (((zz * zz + yy * yy) + xx * xx) + two * ((zy * zy + zx * zx) + yx * yx)) - first * first
    second = (rest + np.sqrt(np.maximum(two * squares - rest * rest, np.float32(0)))) / two
    return np.rint(np.float32(255) * np.maximum(np.minimum((first - second) / first, one), np.float32(0)))


def _code(z: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.int32]:
    length_z, length_y, length_x = np.abs(z), np.abs(y), np.abs(x)
    leads_y, leads_x = length_y > length_z, length_x > np.maximum(length_y, length_z)
    main = np.where(leads_x, x, np.where(leads_y, y, z))
    face = np.where(leads_x, 2, np.where(leads_y, 1, 0)).astype(np.int32)
    one, half = np.float32(1), np.float32(DIRECTION_STEPS // 2)
    steps = [
        np.minimum(((other / main + one) * half).astype(np.int32), np.int32(DIRECTION_STEPS - 1))
        for other in (np.where(face == 0, y, z), np.where(leads_x, y, x))
    ]
    return (face * np.int32(DIRECTION_STEPS) + steps[0]) * np.int32(DIRECTION_STEPS) + steps[1]
