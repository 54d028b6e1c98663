"""Law of the local entropy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback.law._variance import cube_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BINS = (16, 32)
FIELDS = 4  # counters of 16 bits in a word of 64

OPERATIONS: dict[str, Callable[..., float]] = {
    # for each word two look-ups (slice that enters, slice that leaves) and sums of 6; for each bin shift, look-up and
    # sum; at the end difference, half and division
    "local_entropy": lambda *, window, bins, table: bins // FIELDS * (2 + 6) + bins * 3 + 3,
}


def accept_local_entropy(grey: NDArray[np.uint8], window: int, bins: int, table: NDArray[np.uint32]) -> None:
    """Refuse what `local_entropy` does not define, for law and twin alike."""
    kernel = "local_entropy"
    _checks.volume(kernel, grey, np.uint8)
    _checks.integer(kernel, "window", window, 3, 15)
    _checks.odd_window(kernel, window, 3, 15)
    _checks.one_of(kernel, "bins", bins, BINS)
    if not isinstance(table, np.ndarray):
        raise TypeError(f"{kernel}: expected table as a NumPy array, got {type(table).__name__}")
    n = window**3
    _checks.table(kernel, "table", table, np.uint32, n + 1)
    terms = table.astype(np.int64)
    even, more = divmod(n, bins)
    greatest = int(terms[n] - more * terms[even + 1] - (bins - more) * terms[even])
    if terms[0] != 0 or np.any(np.diff(terms, 2) < 0) or terms[n] + 4 * n >= 2**32 or greatest + 4 * n >= 2**19 * n:
        raise ValueError(f"{kernel}: expected table[c] = round(c log2(c) 2^16) for c = 0..{n}: another table came")


def local_entropy(
    grey: NDArray[np.uint8], /, *, window: int, bins: int, table: NDArray[np.uint32]
) -> NDArray[np.uint16]:
    """Return the Shannon entropy of the grey values in the cube around each voxel.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
        Grey values, 0..255.
    window : int
        Voxels on an edge of the cube, odd, 3..15.
    bins : {16, 32}
        Bins of the histogram, equally wide.
    table : numpy.ndarray of uint32, shape (window^3 + 1,)
        round(c log2(c) 2^16), entry 0 being 0.

    Returns
    -------
    numpy.ndarray of uint16, shape (z, y, x)
        0..32768 (16 bins) or 0..40960 (32 bins); step 2^-13 bit.

    Raises
    ------
    TypeError
        Not NumPy arrays, `grey` not uint8, or `window` not an integer.
    ValueError
        Not a non-empty C-contiguous volume, `window`, `bins` not as above, or `table` not one of c log2(c).

    Notes
    -----
    Law.

    - Formula: c_b = number of voxels of the cube with g bins // 256 = b; n = w^3, T = table[n], S = sum over b of
      table[c_b]; the code is (T - S + 4 n) // (8 n). For H = log2 n - (1 / n) sum c_b log2 c_b this is H 2^13.
      Counts are differences of running sums, four counters of 16 bits in a word of 64.
    - Window: w on each axis. Border: half-sample symmetric on each axis, repeated (`_border.reflect_index`).
    - Format: uint16. c_b <= 3375 < 2^16: no counter carries into the next, and a running sum modulo 2^64 leaves its
      differences right. T <= 3375 log2(3375) 2^16 < 3375 * 11.721 * 65536 = 2,592,485,000 < 2^32. The table is convex
      and 0 at 0, hence table[a] + table[b] <= table[a + b], 0 <= S <= T and T - S + 4 n <= T + 13,500 < 2^32: uint32
      holds it all. H <= log2(bins) <= 5 bits: the code is at most 5 * 2^13 = 40960. The check holds any table to this:
      convex, T + 4 n below 2^32, code of the most even histogram (by convexity the smallest S) below 2^16.
    - Rounding: half up, once. At most bins + 1 rounded entries, each off by 2^-17, divided by n: with the half step of
      the code the error is at most 2^-14 + 33 * 2^-17 / 27 < 7.1e-5 bit.
    - Unit: bit, 2^-13 a step.
    - Source: SPEC.md, local_entropy; Shannon, Bell Syst. Tech. J. 27 (1948) 379-423.
    """
    accept_local_entropy(grey, window, bins, table)
    n = window**3
    high, half, divisor = table[n], np.uint32(4 * n), np.uint32(8 * n)
    sums = [cube_sums(grey, window, partial(np.take, word)) for word in _one_hot(bins)]
    result = np.empty(grey.shape, np.uint16)
    for z, words in enumerate(zip(*sums, strict=True)):
        total = np.zeros(grey.shape[1:], np.uint32)
        for word in words:
            for field in range(FIELDS):
                total += np.take(table, (word >> np.uint64(16 * field)).astype(np.uint16))
        result[z] = ((high - total + half) // divisor).astype(np.uint16)
    return result


def _one_hot(bins: int) -> NDArray[np.uint64]:
    """Return, for each word and each grey value, the word with a 1 in the counter of the grey value's bin."""
    bin_of = np.arange(256) * bins // 256
    words = np.zeros((bins // FIELDS, 256), np.uint64)
    shift = (16 * (bin_of % FIELDS)).astype(np.uint64)
    words[bin_of // FIELDS, np.arange(256)] = np.uint64(1) << shift
    return words
