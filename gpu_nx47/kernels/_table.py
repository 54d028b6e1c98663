"""Ports of `cpu_fallback/law/_table.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._table import accept_count, accept_gather, accept_histogram, accept_lookup, accept_row_sums
from gpu_nx47.kernels._launch import RESIDENT, blocks, each, empty, host, i64, shadow, upload, zeros
from gpu_nx47.kernels._loader import cupy, launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE: Final = "_table"
STRETCH: Final = 16
"""Codes of a thread in `histogram_codes`: 32 bytes, what a load fetches at least."""
MOST: Final = 2**31
"""Voxels of a block in `histogram_bytes`, whose counters have 32 bits."""


def histogram(codes: Any, /) -> NDArray[np.int64]:
    """Port of law.histogram."""
    accept_histogram(shadow(codes))
    n = codes.size
    if codes.dtype == np.uint8:
        counts = zeros(256, np.uint64)
        grid = max(min(blocks(n), RESIDENT), blocks(n, MOST))
        launch(FILE, "histogram_bytes", grid, codes, *i64(n), counts)
    else:
        counts = zeros(65536, np.uint64)
        grid = blocks(blocks(n, STRETCH))
        launch(FILE, "histogram_codes", grid, codes.view(np.uint16), *i64(n), _flip(codes), *i64(STRETCH), counts)
    result: NDArray[np.int64] = host(counts).astype(np.int64)
    return result


def _flip(codes: Any) -> np.uint32:
    """Return what turns a bit pattern into the distance from the dtype's lowest code."""
    return np.uint32(0x8000 if codes.dtype == np.int16 else 0)


def count(mask: Any, /) -> int:
    """Port of law.count."""
    accept_count(shadow(mask))
    total = zeros(1, np.uint64)
    each(FILE, "count_true", mask.size, mask, *i64(mask.size), total)
    return int(host(total)[0])


def row_sums(codes: Any, /, *, weights: Any) -> NDArray[np.uint64]:
    """Port of law.row_sums."""
    accept_row_sums(shadow(codes), shadow(weights) if isinstance(weights, cupy().ndarray) else weights)
    z, y, x = codes.shape
    found = empty((z, y), np.uint64)
    name, seen = ("bytes", codes) if codes.dtype == np.uint8 else ("codes", codes.view(np.uint16))
    launch(FILE, f"sum_rows_{name}", z * y, seen, upload(weights), *i64(x), _flip(codes), found)
    result: NDArray[np.uint64] = host(found)
    return result


def lookup(codes: Any, /, *, table: Any) -> Any:
    """Port of law.lookup."""
    accept_lookup(shadow(codes), shadow(table) if isinstance(table, cupy().ndarray) else table)
    result = empty(codes.shape, table.dtype)
    entries, out, n = upload(table).view(np.uint16), result.view(np.uint16), codes.size
    if codes.dtype == np.uint8:
        each(FILE, "lookup_bytes", n, codes, entries, *i64(n), out)
    else:
        each(FILE, "lookup_codes", n, codes.view(np.uint16), entries, *i64(n), _flip(codes), out)
    return result


def gather(array: Any, /, *, index: Any) -> Any:
    """Port of law.gather."""
    accept_gather(shadow(array), judged(index))
    where = upload(index)
    result = empty(where.shape, array.dtype)
    if where.size:
        size = array.dtype.itemsize
        raw, out = array.reshape(-1).view(np.uint8), result.view(np.uint8)
        each(FILE, "gather", where.size * size, raw, where, *i64(where.size, size), out)
    return result


def judged(index: Any) -> Any:
    """Return an index for the law to judge: one on the device is measured there."""
    if not isinstance(index, cupy().ndarray):
        return index
    flat = index.dtype == np.int64 and index.ndim == 1 and index.size
    return shadow(index, bounds=bounds(index) if flat else (0, 0))


def bounds(values: Any) -> tuple[int, int]:
    """Return the least and the greatest of a device array of int32 or int64, not empty."""
    ends = np.iinfo(np.int64)
    found = upload(np.array([ends.max, ends.min], np.int64))
    each(FILE, f"bounds_i{8 * values.dtype.itemsize}", values.size, values, *i64(values.size), found)
    low, high = host(found)
    return int(low), int(high)
