"""ARRAY_TRACE: what the record says of an array, so that anyone who computes it again can compare.

How much is said is the run's setting `record`:

- light: exact statistics of every array, and the digest of the final mask.
- standard: the digest of every array as the root of a tree with one leaf a z-slice, and the leaves (`slices`), so that
  one slice can be checked alone, and a difference is found in its slice. Features, which no run holds whole, as exact
  histograms and fingerprints.
- forensic: the codes of each selected feature and the probability of each surrogate too, whole, as trees; and of each
  tile, in raster order, the codes of each feature and the neuron's output as they left it (`tile`: start and stop on
  each axis). A tile's digest is that of a piece of an array: whoever holds the array can compare it, however cut.

The leaves stand in the event (64 hexadecimal digits a slice): signed with it, and never lost apart from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.hardware import rss_bytes
from gpu_nx47.journal.merkle import slice_hashes, tree_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LIGHT, STANDARD, FORENSIC = "light", "standard", "forensic"
TILE: Final = "_tile"
"""Behind the name of a stage: a tile of it."""
ANSWER: Final = "mask_final"
"""The stage whose digest is recorded even at light."""


def array_trace(stage: str, array: NDArray, counts: NDArray[np.int64], level: str, threads: int = 1) -> dict[str, Any]:
    """Return the data of an ARRAY_TRACE.

    Parameters
    ----------
    stage : str
        What the array is.
    array : numpy.ndarray of bool, uint8, uint16 or int16, (z, y, x)
    counts : numpy.ndarray of int64
        Its exact histogram, from the lowest code of the dtype.
    level : {"light", "standard", "forensic"}
    threads : int
        Slices hashed at once.
    """
    data = {"stage": stage, **exact_statistics(array, counts), "digest": None, "rss": rss_bytes()}
    if level == LIGHT and stage != ANSWER:
        return data
    leaves = slice_hashes(array, threads)
    data["digest"] = tree_root(leaves).hex()
    if level != LIGHT:
        data["slices"] = [leaf.hex() for leaf in leaves]
    return data


def tile_trace(stage: str, array: NDArray, counts: NDArray[np.int64], start: Sequence[int]) -> dict[str, Any]:
    """Return the data of an ARRAY_TRACE of one tile.

    Parameters
    ----------
    stage : str
        What the whole array is.
    array : numpy.ndarray of uint8, uint16 or int16, (z, y, x)
        The tile's core.
    counts : numpy.ndarray of int64
        Its exact histogram, from the lowest code of the dtype.
    start : sequence of int
        Where it begins in the whole array.

    Returns
    -------
    dict
        As of a whole array, with `tile`; the digest is the hash of one leaf, the tile's bytes.
    """
    tile = [[first, first + length] for first, length in zip(start, array.shape, strict=True)]
    told = {"stage": stage + TILE, "tile": tile, **exact_statistics(array, counts)}
    return {**told, "digest": slice_hashes(array[None])[0].hex(), "rss": rss_bytes()}


def exact_statistics(array: NDArray, counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return shape, dtype, exact minimum, maximum, sum, mean, set and clear bits of an array.

    Parameters
    ----------
    array : numpy.ndarray of bool, uint8, uint16 or int16
    counts : numpy.ndarray of int64
        Its exact histogram, from the lowest code of the dtype.
    """
    low = 0 if array.dtype == np.bool_ else int(np.iinfo(array.dtype).min)
    present = np.flatnonzero(counts)
    codes, often = low + present, counts[present].astype(np.int64)
    # Sums of integers below 2^63: 16 bits a code, of less than 2^47 voxels.
    n, total = int(often.sum()), int((codes * often).sum())
    bits = np.unpackbits(codes.astype("<i8").view(np.uint8).reshape(-1, 8)[:, : array.dtype.itemsize], axis=1)
    ones = int((bits.sum(axis=1, dtype=np.int64) * often).sum())
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "bytes": array.nbytes,
        "min": int(codes[0]) if n else None,
        "max": int(codes[-1]) if n else None,
        "sum": total,
        "mean": total / n if n else None,
        "one_bits": ones,
        "zero_bits": 8 * array.nbytes - ones,
    }
