"""Laws of counting, of tables and of picking voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

OPERATIONS: dict[str, Callable[..., float]] = {
    "histogram": lambda: 1,  # one sum; the index is free
    "count": lambda: 1,
    "row_sums": lambda *, weights: 2,  # a product and a sum
    "lookup": lambda *, table: 1,
    "gather": lambda *, index: 0,  # a move
}

_CHUNK = 1 << 16  # voxels widened to 64 bits at once: they fit into a processor's cache


def accept_histogram(codes: NDArray) -> None:
    """Refuse what `histogram` does not define, for law and twin alike."""
    _checks.volume("histogram", codes, np.uint8, np.uint16, np.int16)


def accept_count(mask: NDArray[np.bool_]) -> None:
    """Refuse what `count` does not define, for law and twin alike."""
    _checks.volume("count", mask, np.bool_)


def accept_row_sums(codes: NDArray, weights: NDArray[np.uint64]) -> None:
    """Refuse what `row_sums` does not define, for law and twin alike."""
    _checks.volume("row_sums", codes, np.uint8, np.uint16, np.int16)
    _checks.table("row_sums", "weights", weights, np.uint64, codes.shape[2])


def accept_lookup(codes: NDArray, table: NDArray) -> None:
    """Refuse what `lookup` does not define, for law and twin alike."""
    _checks.volume("lookup", codes, np.uint8, np.uint16, np.int16)
    if not isinstance(table, np.ndarray) or table.dtype not in (np.dtype(np.uint16), np.dtype(np.int16)):
        came = table.dtype.name if isinstance(table, np.ndarray) else type(table).__name__
        raise ValueError(f"lookup: expected a table of dtype uint16 or int16, got {came}")
    _checks.table("lookup", "table", table, table.dtype, _length(codes))


def accept_gather(array: NDArray, index: NDArray[np.int64]) -> None:
    """Refuse what `gather` does not define, for law and twin alike."""
    _checks.volume("gather", array, getattr(array, "dtype", np.uint8))
    _checks.flat_index("gather", "index", index, array.size)


def _length(codes: NDArray) -> int:
    return 256 if codes.dtype == np.uint8 else 65536


def _unsigned(codes: NDArray) -> tuple[NDArray, int]:
    """Return the codes as unsigned bit patterns, and the pattern of the lowest code."""
    return (codes.view(np.uint16), 32768) if codes.dtype == np.int16 else (codes, 0)


def histogram(codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16], /) -> NDArray[np.int64]:
    """Count the voxels of each code.

    Parameters
    ----------
    codes : numpy.ndarray of uint8, uint16 or int16, shape (z, y, x)

    Returns
    -------
    numpy.ndarray of int64, shape (256,) or (65536,)
        On the host; entry i counts the code i + the lowest code of the dtype.

    Raises
    ------
    TypeError
        Not a NumPy array of one of these dtypes.
    ValueError
        Not a non-empty C-contiguous volume.

    Notes
    -----
    Law.

    - Formula: h[i] = number of voxels v with v - iinfo(dtype).min = i.
    - Window: one voxel. Border: none is read.
    - Format: int64; no count exceeds the number of voxels, which an array in memory keeps below 2^63.
    - Rounding: none. Unit: voxels. Source: definition.
    """
    accept_histogram(codes)
    patterns, lowest = _unsigned(codes)
    counts = np.bincount(patterns.reshape(-1), minlength=_length(codes)).astype(np.int64)
    return np.roll(counts, lowest)


def count(mask: NDArray[np.bool_], /) -> int:
    """Count the true voxels of a mask.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)

    Returns
    -------
    int
        0 .. number of voxels.

    Raises
    ------
    TypeError
        Not a NumPy array of bool.
    ValueError
        Not a non-empty C-contiguous volume.

    Notes
    -----
    Law.

    - Formula: number of voxels that are true. Window: one voxel. Border: none is read.
    - Format: a Python int. Rounding: none. Unit: voxels. Source: definition.
    """
    accept_count(mask)
    return int(np.count_nonzero(mask))


def row_sums(
    codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16], /, *, weights: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the weighted sum of each row of codes, modulo 2^64.

    Parameters
    ----------
    codes : numpy.ndarray of uint8, uint16 or int16, shape (z, y, x)
    weights : numpy.ndarray of uint64, shape (x,)

    Returns
    -------
    numpy.ndarray of uint64, shape (z, y)
        On the host.

    Raises
    ------
    TypeError
        Not a NumPy array of one of these dtypes.
    ValueError
        Not a non-empty C-contiguous volume; weights of another dtype or length.

    Notes
    -----
    Law.

    - Formula: sum over x of codes[z, y, x] weights[x] modulo 2^64; a negative code counts as itself.
    - Window: a row. Border: none is read.
    - Format: uint64, wrapping. Rounding: none. Unit: that of the weights. Source: definition.
    """
    accept_row_sums(codes, weights)
    z, y, x = codes.shape
    sums, step = np.empty(z * y, np.uint64), max(1, _CHUNK // x)
    for first in range(0, z * y, step):
        rows = codes.reshape(-1, x)[first : first + step].astype(np.uint64)
        rows *= weights
        sums[first : first + step] = np.sum(rows, axis=1)  # wrapping around is exact: no order can matter
    return sums.reshape(z, y)


def lookup(
    codes: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16],
    /,
    *,
    table: NDArray,
) -> NDArray:
    """Replace each code by its entry of a table.

    Parameters
    ----------
    codes : numpy.ndarray of uint8, uint16 or int16, shape (z, y, x)
    table : numpy.ndarray of uint16 or int16, shape (256,) for uint8 codes, else (65536,)
        Entry i belongs to the code i + the lowest code of the dtype, as in `histogram`.

    Returns
    -------
    numpy.ndarray of the table's dtype, shape (z, y, x)

    Raises
    ------
    TypeError
        `codes` is not a NumPy array of one of these dtypes.
    ValueError
        Not a non-empty C-contiguous volume, or a table of another dtype or length.

    Notes
    -----
    Law.

    - Formula: table[v - iinfo(dtype).min]. Window: one voxel. Border: none is read.
    - Format: the table's; every code of the dtype has an entry, so no index is out of range.
    - Rounding: none. Unit: the table's. Source: definition.
    """
    accept_lookup(codes, table)
    patterns, lowest = _unsigned(codes)
    return np.take(np.roll(table, -lowest), patterns)


def gather(array: NDArray, /, *, index: NDArray[np.int64]) -> NDArray:
    """Pick voxels by their flat index.

    Parameters
    ----------
    array : numpy.ndarray of any dtype, shape (z, y, x)
    index : numpy.ndarray of int64, shape (n,)
        (z Y + y) X + x, each in 0 .. number of voxels - 1; repeats and any order allowed.

    Returns
    -------
    numpy.ndarray of the array's dtype, shape (n,)

    Raises
    ------
    TypeError
        `array` is not a NumPy array.
    ValueError
        Not a non-empty C-contiguous volume, or `index` of another dtype or shape or out of range.

    Notes
    -----
    Law.

    - Formula: out[i] = array.flat[index[i]]. Window: one voxel. Border: none is read.
    - Format: the array's. Rounding: none. Unit: the array's. Source: definition.
    """
    accept_gather(array, index)
    return array.reshape(-1)[index]
