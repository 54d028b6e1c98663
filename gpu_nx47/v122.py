"""The old program's own definitions, kept readable beside ours: most are fixed by construction, and say so."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_QUANTILE: Final = 0.9999
ANOMALY_QUANTILE: Final = 0.9995
UNKNOWN_PROBABILITY: Final = 0.9995


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
    bend = np.abs(laplacian(probability))
    operations = y * x * (12 * features + 200)
    return {
        "golden_nonce_detected": _entry(
            int(np.count_nonzero(_above_quantile(probability, GOLDEN_QUANTILE) & mask)),
            "voxels with p above their own 99.99th percentile, within the mask",
            True,
        ),
        "unknown_discoveries": _entry(
            int(np.count_nonzero(probability > UNKNOWN_PROBABILITY * one)), "voxels with p > 0.9995", False
        ),
        "anomalies_detected": _entry(
            int(np.count_nonzero(_above_quantile(bend, ANOMALY_QUANTILE))),
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


def _above_quantile(values: NDArray, quantile: float) -> NDArray[np.bool_]:
    """Return where values exceed their quantile, interpolated as np.quantile does, by exact ranks."""
    position = quantile * (values.size - 1)
    rank = floor(position)
    ranks = [rank, min(rank + 1, values.size - 1)]
    if values.dtype.kind == "f":
        low, high = np.partition(values.reshape(-1), ranks)[ranks]
    else:  # codes, never negative: their histogram is quicker
        low, high = np.searchsorted(np.cumsum(np.bincount(values.reshape(-1))), ranks, side="right")
    if position > rank and high > low:
        return values >= high
    return values > low
