"""Twin of `law/_projection.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback._border import reflect_index
from cpu_fallback.law._projection import accept_z_projection
from cpu_fallback.twin._jit import clear_row, compiled, copy_row, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE = np.float32(1)
_MEAN, _DEVIATION, _COHERENCE = 0, 1, 2
_STATISTIC = {"mean": _MEAN, "deviation": _DEVIATION, "coherence": _COHERENCE}


def z_projection(grey: NDArray[np.uint8], /, *, window: int, statistic: str) -> NDArray[np.uint16]:
    """Twin of law.z_projection."""
    accept_z_projection(grey, window, statistic)
    result = np.empty(grey.shape, np.uint16)
    at_z = reflect_index(grey.shape[0], window // 2)
    columns = np.empty((at_z.size, grey.shape[2]), np.uint8)
    if statistic == "max":
        _maxima(grey, at_z, window, columns, result)
        return result
    constants = np.array([512, window, 2 * window, 256 / window, 32768 * 255 * window, 255 * window], np.float32)
    sums = np.empty(grey.shape[2], np.int32), np.empty(grey.shape[2], np.int32)
    _moments(grey, at_z, window, _STATISTIC[statistic], constants, columns, *sums, result)
    return result


@inner
def _columns(grey: NDArray[np.uint8], at_z: NDArray[np.int64], y: int, columns: NDArray[np.uint8]) -> None:
    """Copy one y of all slices, border included: rows a slice apart would fall on the same cache lines."""
    for i in range(at_z.size):
        copy_row(grey[at_z[i], y], columns[i])


@compiled
def _maxima(
    grey: NDArray[np.uint8],
    at_z: NDArray[np.int64],
    window: int,
    columns: NDArray[np.uint8],
    result: NDArray[np.uint16],
) -> None:
    depth, height, width = grey.shape
    for y in range(height):
        _columns(grey, at_z, y, columns)
        # In place: row i reads row i + length before that one is overwritten.
        length = 1
        while 2 * length <= window:
            for i in range(at_z.size - 2 * length + 1):
                _raise(columns[i], columns[i + length])
            length *= 2
        for z in range(depth):
            _raise(columns[z], columns[z + window - length])
            row, out = columns[z], result[z, y]
            for x in range(width):
                out[x] = np.uint16(row[x]) << np.uint16(8)


@inner
def _raise(row: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    for x in range(row.size):
        row[x] = max(row[x], other[x])


@compiled
def _moments(
    grey: NDArray[np.uint8],
    at_z: NDArray[np.int64],
    window: int,
    statistic: int,
    constants: NDArray[np.float32],
    columns: NDArray[np.uint8],
    total: NDArray[np.int32],
    squares: NDArray[np.int32],
    result: NDArray[np.uint16],
) -> None:
    depth, height = grey.shape[0], grey.shape[1]
    for y in range(height):
        _columns(grey, at_z, y, columns)
        clear_row(total)
        clear_row(squares)
        for i in range(window - 1):
            _enter(columns[i], total, squares)
        for z in range(depth):
            _enter(columns[z + window - 1], total, squares)
            if statistic == _MEAN:
                _mean_row(total, constants, result[z, y])
            elif statistic == _DEVIATION:
                _deviation_row(total, squares, constants, result[z, y])
            else:
                _coherence_row(total, squares, constants, result[z, y])
            _leave(columns[z], total, squares)


@inner
def _enter(row: NDArray[np.uint8], total: NDArray[np.int32], squares: NDArray[np.int32]) -> None:
    for x in range(row.size):
        value = np.int32(row[x])
        total[x] += value
        squares[x] += value * value


@inner
def _leave(row: NDArray[np.uint8], total: NDArray[np.int32], squares: NDArray[np.int32]) -> None:
    for x in range(row.size):
        value = np.int32(row[x])
        total[x] -= value
        squares[x] -= value * value


@inner
def _mean_row(total: NDArray[np.int32], constants: NDArray[np.float32], result: NDArray[np.uint16]) -> None:
    # No vector unit divides integers. n = 512 S + w < 2^24 is exact in float32; where n / 2w is no integer it is at
    # least 1/126 below the next one, and a quotient under 2^16 is rounded by at most 1/512: floor finds the quotient.
    factor, window, divisor = constants[0], constants[1], constants[2]
    for x in range(result.size):
        quotient = (factor * np.float32(total[x]) + window) / divisor
        result[x] = np.uint16(np.int32(np.floor(quotient)))


@inner
def _root(window: np.int32, total: np.int32, squares: np.int32) -> np.float32:
    # w T and S S stay below 2^31 (law): 32 bits hold A.
    return np.sqrt(np.float32(np.int32(window * squares - total * total)))


@inner
def _deviation_row(
    total: NDArray[np.int32], squares: NDArray[np.int32], constants: NDArray[np.float32], result: NDArray[np.uint16]
) -> None:
    window, scale = np.int32(constants[1]), constants[3]
    for x in range(result.size):
        result[x] = np.uint16(np.int32(np.rint(_root(window, total[x], squares[x]) * scale)))


@inner
def _coherence_row(
    total: NDArray[np.int32], squares: NDArray[np.int32], constants: NDArray[np.float32], result: NDArray[np.uint16]
) -> None:
    window, numerator, denominator = np.int32(constants[1]), constants[4], constants[5]
    for x in range(result.size):
        # The bound changes nothing (255 w >= 765): it shows the compiler that no division by zero has to be raised, and
        # only then does the row vectorise.
        divisor = max(denominator + _root(window, total[x], squares[x]), _ONE)
        result[x] = np.uint16(np.int32(np.rint(numerator / divisor)))
