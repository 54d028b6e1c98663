"""The old program's own definitions, kept readable beside ours: most are fixed by construction, and say so."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.engine import slabs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

GOLDEN_QUANTILE: Final = 0.9999
ANOMALY_QUANTILE: Final = 0.9995
UNKNOWN_PROBABILITY: Final = 0.9995
_HIGHEST_BEND: Final = 6 * 65_535


def block(
    probability: NDArray,
    mask: NDArray[np.bool_],
    *,
    one: float,
    materials: int,
    features: int,
    elapsed_s: float,
) -> dict[str, Any]:
    """Return V122's counters, each with its formula and whether the data can change it.

    Parameters
    ----------
    probability : numpy.ndarray, shape (z, y, x)
        Probabilities, as codes or floats.
    mask : numpy.ndarray of bool, same shape
        The final mask.
    one : float
        The value that stands for probability 1.
    materials : int
        Components of the final mask.
    features : int
        Selected features, k of the formula.
    elapsed_s : float
        Seconds of this volume.
    """
    z, y, x = probability.shape
    golden, _ = _above_quantile((probability[part] for part in slabs(probability.shape)), z * y * x, GOLDEN_QUANTILE)
    _, bent = _above_quantile(_bends(probability), z * y * x, ANOMALY_QUANTILE)
    operations = y * x * (12 * features + 200)
    return {
        "golden_nonce_detected": _entry(
            int(np.count_nonzero((probability >= golden) & mask)),
            "voxels with p above their own 99.99th percentile, within the mask",
            True,
        ),
        "unknown_discoveries": _entry(
            int(np.count_nonzero(probability > UNKNOWN_PROBABILITY * one)), "voxels with p > 0.9995", False
        ),
        "anomalies_detected": _entry(
            bent,
            "voxels with |Laplacian of p| above its own 99.95th percentile",
            True,
        ),
        "patterns_detected": _entry(materials, "equal to materials_detected", False),
        "calc_ops_estimated": _entry(operations, "H W (12 k + 200), k features", True),
        "calc_per_sec": _entry(operations / elapsed_s if elapsed_s > 0 else 0.0, "calc_ops_estimated / elapsed", False),
        "active_pixels": _entry(int(np.count_nonzero(mask)), "voxels of the final mask", False),
        "shape": [z, y, x],
    }


def _entry(value: float, formula: str, fixed: bool) -> dict[str, Any]:
    return {"value": value, "formula": formula, "fixed_by_construction": fixed}


def laplacian(values: NDArray) -> NDArray:
    """Return the 7-point Laplacian with symmetric border; on one slice it is V122's 5-point one."""
    v = values.astype(np.float64 if values.dtype.kind == "f" else np.int32)
    result: NDArray = -6 * v
    for axis in range(3):
        total, part = np.moveaxis(result, axis, 0), np.moveaxis(v, axis, 0)
        total[1:] += part[:-1]
        total[:-1] += part[1:]
        total[0] += part[0]
        total[-1] += part[-1]
    return result


def _bends(values: NDArray) -> Iterator[NDArray]:
    """Yield the sizes of the Laplacian, a few slices at a time: whole, it would take four times the memory of codes."""
    for part in slabs(values.shape):
        first = max(0, part.start - 1)
        yield np.abs(laplacian(values[first : part.stop + 1])[part.start - first :][: part.stop - part.start])


def _above_quantile(parts: Iterable[NDArray], size: int, quantile: float) -> tuple[float, int]:
    """Return the lowest value that exceeds a quantile, interpolated as np.quantile does, and how many values do.

    Parameters
    ----------
    parts : iterable of numpy.ndarray
        The values: floats, or codes from 0 to 393,210.
    size : int
        Number of values in all parts.
    quantile : float
        0..1.
    """
    position = quantile * (size - 1)
    rank = floor(position)
    ranks = [rank, min(rank + 1, size - 1)]
    counts = np.zeros(_HIGHEST_BEND + 2, np.int64)
    floats: list[NDArray] = []
    for part in parts:
        if part.dtype.kind == "f":
            floats.append(part.reshape(-1))
        else:  # the histogram of codes is quicker, and small
            found = np.bincount(part.reshape(-1))
            counts[: len(found)] += found
    if floats:
        values = np.concatenate(floats)
        low, high = np.partition(values, ranks)[ranks]
        limit = high if position > rank and high > low else np.nextafter(low, np.inf)
        return float(limit), int(np.count_nonzero(values >= limit))
    low, high = np.searchsorted(np.cumsum(counts), ranks, side="right")
    limit = high if position > rank and high > low else low + 1
    return int(limit), int(counts[limit:].sum())
