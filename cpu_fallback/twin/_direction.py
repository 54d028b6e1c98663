"""Twin of `law/_direction.py`: gradients row by row, sliding box sums, a row of tensors at a time.

Sums of integers are exact, so the box is summed on y and x, while a slice is at hand, and on z at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback._border import reflect_index
from cpu_fallback.law._direction import (
    DIRECTION_BLOCK,
    DIRECTION_NONE,
    DIRECTION_STEPS,
    PAIRS,
    accept_directions,
    blocks_of,
)
from cpu_fallback.twin._jit import clear_row, compiled, copy_row, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

    Six = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_WHITE = np.float32(255)
_STEPS, _HALF = np.int32(DIRECTION_STEPS), np.float32(DIRECTION_STEPS // 2)
# Below every divisor that the law can meet (1/9 at least): it changes none, and shows the compiler that no division by
# zero has to be raised; only then does a row vectorise.
_LEAST = np.float32(2.0**-10)


def directions(
    smooth: NDArray[np.uint16], /, *, radius: int = 2, window: Window | None = None
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Twin of law.directions."""
    within = accept_directions(smooth, radius, window)
    blocks = [blocks_of(n) for n in smooth.shape]
    reach = 2 * radius  # of both passes: the extension of a box sum is the box sum of the extension
    at_z, at_y, at_x = (
        reflect_index(n, reach)[part.start : part.stop + 2 * reach] for n, part in zip(blocks, within, strict=True)
    )
    depth, height, width = (part.stop - part.start for part in within)
    # A slice of blocks, then a plane across all slices, stays in the cache from its first step to its last.
    sums = np.empty((len(PAIRS), blocks[0], height, width), np.int64)
    seen = int(at_z.min()), int(at_z.max()) + 1
    products = np.empty((len(PAIRS), *blocks[1:]), np.int32)
    rows, total, line = (np.empty(n, np.int64) for n in ((at_y.size, blocks[2]), blocks[2], at_x.size))
    lines = [np.empty((n, DIRECTION_BLOCK * blocks[2] + 2), np.int32) for n in (1, 3, 6)]
    _slices(smooth, seen, at_y, at_x, radius, *lines, products, rows, total, line, sums)
    direction, planarity = np.empty((depth, height, width), np.uint16), np.empty((depth, height, width), np.uint8)
    planes = np.empty((len(PAIRS), at_z.size, width), np.int64)
    _planes(sums, at_z, radius, planes, total[:width], direction, planarity)
    return direction, planarity


@compiled
def _slices(
    smooth: NDArray[np.uint16],
    seen: tuple[int, int],
    at_y: NDArray[np.int64],
    at_x: NDArray[np.int64],
    radius: int,
    padded: NDArray[np.int32],
    gradient: NDArray[np.int32],
    totals: NDArray[np.int32],
    products: NDArray[np.int32],
    rows: NDArray[np.int64],
    total: NDArray[np.int64],
    line: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Put the products of gradients of each slice of blocks, summed twice over the box on y and x."""
    height, width = sums.shape[2], sums.shape[3]
    for z in range(seen[0], seen[1]):
        _products(smooth, z, padded, gradient, totals, products)
        for k in range(len(products)):
            for i in range(at_y.size):
                copy_row(products[k, at_y[i]], rows[i])
            _slide(rows, total, radius)
            for y in range(height):
                row = rows[y]
                for i in range(at_x.size):
                    line[i] = row[at_x[i]]
                _slide_line(line, radius)
                copy_row(line[:width], sums[k, z, y])


@inner
def _products(
    smooth: NDArray[np.uint16],
    layer: int,
    rows: NDArray[np.int32],
    gradient: NDArray[np.int32],
    totals: NDArray[np.int32],
    products: NDArray[np.int32],
) -> None:
    depth, height, width = smooth.shape
    padded, dz, dy, dx = rows[0], gradient[0, :width], gradient[1, :width], gradient[2, :width]
    for block in range(products.shape[1]):
        for k in range(6):
            clear_row(totals[k])
        for line in range(DIRECTION_BLOCK * DIRECTION_BLOCK):
            z = min(DIRECTION_BLOCK * layer + line // DIRECTION_BLOCK, depth - 1)
            y = min(DIRECTION_BLOCK * block + line % DIRECTION_BLOCK, height - 1)
            row = smooth[z, y]
            for x in range(width):
                padded[x + 1] = row[x]
            padded[0], padded[width + 1] = padded[1], padded[width]
            _difference(smooth[max(z - 1, 0), y], smooth[min(z + 1, depth - 1), y], dz)
            _difference(smooth[z, max(y - 1, 0)], smooth[z, min(y + 1, height - 1)], dy)
            _difference(padded, padded[2:], dx)
            _add_products(dz, dy, dx, totals)  # of 16 voxels: at most 2^28
        for k in range(6):
            total, out = totals[k], products[k, block]
            for x in range(width, DIRECTION_BLOCK * out.size):
                total[x] = total[width - 1]
            for x in range(out.size):
                four = total[DIRECTION_BLOCK * x :]
                out[x] = (four[0] + four[1]) + (four[2] + four[3])


@inner
def _difference(low: NDArray, high: NDArray, out: NDArray[np.int32]) -> None:
    for x in range(out.size):
        out[x] = (np.int32(high[x]) - np.int32(low[x]) + np.int32(8)) >> np.int32(4)


@inner
def _add_products(
    dz: NDArray[np.int32], dy: NDArray[np.int32], dx: NDArray[np.int32], totals: NDArray[np.int32]
) -> None:
    zz, zy, zx, yy, yx, xx = totals[0], totals[1], totals[2], totals[3], totals[4], totals[5]
    for x in range(dz.size):
        zz[x] += dz[x] * dz[x]
        zy[x] += dy[x] * dz[x]
        zx[x] += dx[x] * dz[x]
        yy[x] += dy[x] * dy[x]
        yx[x] += dx[x] * dy[x]
        xx[x] += dx[x] * dx[x]


@inner
def _slide(rows: NDArray[np.int64], total: NDArray[np.int64], radius: int) -> None:
    """Put both sums over 2 radius + 1 successive rows into the first 4 radius rows less."""
    for behind in range(1, 3):
        clear_row(total)
        for i in range(2 * radius):
            _enter(rows[i], total)
        for i in range(len(rows) - 2 * radius * behind):
            _pass(rows[i], rows[i + 2 * radius], total)


@inner
def _enter(row: NDArray[np.int64], total: NDArray[np.int64]) -> None:
    for x in range(total.size):
        total[x] += row[x]


@inner
def _pass(row: NDArray[np.int64], ahead: NDArray[np.int64], total: NDArray[np.int64]) -> None:
    for x in range(total.size):
        whole = total[x] + ahead[x]
        total[x] = whole - row[x]
        row[x] = whole


@inner
def _slide_line(line: NDArray[np.int64], radius: int) -> None:
    """`_slide` of one row along itself."""
    for behind in range(1, 3):
        total = np.int64(0)
        for i in range(2 * radius):
            total += line[i]
        ahead = line[2 * radius :]
        for i in range(line.size - 2 * radius * behind):
            whole = total + ahead[i]
            total = whole - line[i]
            line[i] = whole


@compiled
def _planes(
    sums: NDArray[np.int64],
    at_z: NDArray[np.int64],
    radius: int,
    rows: NDArray[np.int64],
    total: NDArray[np.int64],
    direction: NDArray[np.uint16],
    planarity: NDArray[np.uint8],
) -> None:
    """Sum twice over the box on z, too, and put what the tensors say."""
    for y in range(direction.shape[1]):
        for k in range(len(sums)):
            for i in range(at_z.size):
                copy_row(sums[k, at_z[i], y], rows[k, i])
            _slide(rows[k], total, radius)
        for z in range(len(direction)):
            zz, zy, zx, yy, yx, xx = rows[0, z], rows[1, z], rows[2, z], rows[3, z], rows[4, z], rows[5, z]
            _leading_row(zz, zy, zx, yy, yx, xx, direction[z, y], planarity[z, y])


@inner
def _leading_row(
    sum_zz: NDArray[np.int64],
    sum_zy: NDArray[np.int64],
    sum_zx: NDArray[np.int64],
    sum_yy: NDArray[np.int64],
    sum_yx: NDArray[np.int64],
    sum_xx: NDArray[np.int64],
    direction: NDArray[np.uint16],
    planarity: NDArray[np.uint8],
) -> None:
    for i in range(direction.size):
        trace = sum_zz[i] + sum_yy[i] + sum_xx[i]
        whole = max(np.float32(trace), _ONE)  # a trace is 0 or at least 1
        # A block without a gradient is computed as one along z and then told apart.
        zz = _ONE if trace == 0 else np.float32(sum_zz[i]) / whole
        a = (
            zz,
            np.float32(sum_zy[i]) / whole,
            np.float32(sum_zx[i]) / whole,
            np.float32(sum_yy[i]) / whole,
            np.float32(sum_yx[i]) / whole,
            np.float32(sum_xx[i]) / whole,
        )
        v = _row_of_largest(_squared(_squared(_squared(_squared(_squared(a))))))
        direction[i] = np.uint16(DIRECTION_NONE) if trace == 0 else _code(v)
        planarity[i] = np.uint8(0) if trace == 0 else _planarity(a, v)


@inner
def _squared(b: Six) -> Six:
    zz, zy, zx, yy, yx, xx = b
    c = (zz * zz + zy * zy) + zx * zx
    f = (zy * zy + yy * yy) + yx * yx
    i = (zx * zx + yx * yx) + xx * xx
    trace = max((c + f) + i, _LEAST)
    return (
        c / trace,
        ((zy * zz + yy * zy) + yx * zx) / trace,
        ((zx * zz + yx * zy) + xx * zx) / trace,
        f / trace,
        ((zx * zy + yx * yy) + xx * yx) / trace,
        i / trace,
    )


@inner
def _row_of_largest(b: Six) -> tuple[np.float32, np.float32, np.float32]:
    zz, zy, zx, yy, yx, xx = b
    leads_y, leads_x = yy > zz, xx > max(yy, zz)
    return (
        zx if leads_x else (zy if leads_y else zz),
        yx if leads_x else (yy if leads_y else zy),
        xx if leads_x else (yx if leads_y else zx),
    )


@inner
def _code(v: tuple[np.float32, np.float32, np.float32]) -> np.uint16:
    z, y, x = v
    leads_y, leads_x = abs(y) > abs(z), abs(x) > max(abs(y), abs(z))
    main = x if leads_x else (y if leads_y else z)
    first = z if leads_x or leads_y else y
    second = y if leads_x else x
    face = np.int32(2) if leads_x else (np.int32(1) if leads_y else np.int32(0))
    # A quotient of two negated numbers is the same: the divisor is then known to be no zero.
    size = max(abs(main), _LEAST)
    first, second = (-first, -second) if main < _ZERO else (first, second)
    i = min(np.int32((first / size + _ONE) * _HALF), _STEPS - np.int32(1))
    j = min(np.int32((second / size + _ONE) * _HALF), _STEPS - np.int32(1))
    return np.uint16((face * _STEPS + i) * _STEPS + j)


@inner
def _planarity(a: Six, v: tuple[np.float32, np.float32, np.float32]) -> np.uint8:
    zz, zy, zx, yy, yx, xx = a
    z, y, x = v
    to_z = (zz * z + zy * y) + zx * x
    to_y = (zy * z + yy * y) + yx * x
    to_x = (zx * z + yx * y) + xx * x
    length = max((z * z + y * y) + x * x, _LEAST)
    first = max(((z * to_z + y * to_y) + x * to_x) / length, _LEAST)
    rest = _ONE - first
    squares = (((zz * zz + yy * yy) + xx * xx) + _TWO * ((zy * zy + zx * zx) + yx * yx)) - first * first
    second = (rest + np.sqrt(max(_TWO * squares - rest * rest, _ZERO))) / _TWO
    return np.uint8(np.int32(np.rint(_WHITE * max(min((first - second) / first, _ONE), _ZERO))))
