"""The old program's own definitions, kept readable beside ours: most are fixed by construction, and say so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.engine import slabs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    Part = Callable[[float | None], NDArray]
    """Returns some values: all that are above a number, and perhaps others; all for None."""

GOLDEN_QUANTILE: Final = 0.9999
ANOMALY_QUANTILE: Final = 0.9995
UNKNOWN_PROBABILITY: Final = 0.9995
SHIFT: Final = 4
"""The least with which the kernel `laplacian` reaches every bend of a code: it gives them in sixteenths, rounded."""


@dataclass(frozen=True)
class Counts:
    """What the old definitions find in a volume."""

    golden: int
    unknown: int
    anomalies: int
    active: int
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        probability: NDArray,
        mask: NDArray[np.bool_],
        one: float,
        counts: NDArray[np.int64] | None = None,
        kernel: Callable[[NDArray], NDArray] | None = None,
    ) -> Counts:
        """Count.

        Parameters
        ----------
        probability : numpy.ndarray, shape (z, y, x)
            Probabilities, as codes or floats.
        mask : numpy.ndarray of bool, same shape
            The final mask.
        one : float
            The value that stands for probability 1.
        counts : numpy.ndarray of int64, optional
            The exact histogram of the codes, where it is known.
        kernel : callable, optional
            The kernel `laplacian` with SHIFT, for codes and on arrays of the host.
        """
        z, y, x = probability.shape
        parts = list(slabs(probability.shape))
        if counts is None:
            values = (partial(lambda part, _: probability[part], part) for part in parts)
            golden, _ = _above_quantile(values, z * y * x, GOLDEN_QUANTILE)
        else:
            golden = _code_above_quantile(counts, GOLDEN_QUANTILE)
        _, bent = _above_quantile(_bends(probability, kernel), z * y * x, ANOMALY_QUANTILE)
        certain = UNKNOWN_PROBABILITY * one
        if probability.dtype.kind != "f":
            certain = floor(certain)  # compared as integers: beside a float each code would become one
        return cls(
            sum(int(np.count_nonzero((probability[part] >= golden) & mask[part])) for part in parts),
            sum(int(np.count_nonzero(probability[part] > certain)) for part in parts)
            if counts is None
            else int(counts[int(certain) + 1 :].sum()),
            bent,
            int(np.count_nonzero(mask)),
            (z, y, x),
        )


def block(counts: Counts, *, materials: int, features: int, elapsed_s: float) -> dict[str, Any]:
    """Return V122's counters, each with its formula and whether the data can change it.

    Parameters
    ----------
    counts : Counts
    materials : int
        Components of the final mask.
    features : int
        Selected features, k of the formula.
    elapsed_s : float
        Seconds of this volume.
    """
    z, y, x = counts.shape
    operations = y * x * (12 * features + 200)
    return {
        "golden_nonce_detected": _entry(
            counts.golden, "voxels with p above their own 99.99th percentile, within the mask", True
        ),
        "unknown_discoveries": _entry(counts.unknown, "voxels with p > 0.9995", False),
        "anomalies_detected": _entry(
            counts.anomalies, "voxels with |Laplacian of p| above its own 99.95th percentile", True
        ),
        "patterns_detected": _entry(materials, "equal to materials_detected", False),
        "calc_ops_estimated": _entry(operations, "H W (12 k + 200), k features", True),
        "calc_per_sec": _entry(operations / elapsed_s if elapsed_s > 0 else 0.0, "calc_ops_estimated / elapsed", False),
        "active_pixels": _entry(counts.active, "voxels of the final mask", False),
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


def _bends(values: NDArray, kernel: Callable[[NDArray], NDArray] | None = None) -> Iterator[Part]:
    """Yield the sizes of the Laplacian, a few slices at a time: whole, it would take four times the memory of codes.

    Where the kernel tells which they may be, those above a number are computed alone.
    """
    for part in slabs(values.shape):
        first = max(0, part.start - 1)
        around, core = values[first : part.stop + 1], slice(part.start - first, part.stop - first)

        def sizes(above: float | None, around: NDArray = around, core: slice = core) -> NDArray:
            if kernel is None or above is None:
                return np.abs(laplacian(around)[core])
            # Sixteenths are rounded half up: those of a size from above + 1 on are no less than that less half of one.
            likely = np.flatnonzero(np.abs(kernel(around)[core]) >= (int(above) - 7) >> SHIFT)
            return np.abs(_laplacian_at(around, likely + core.start * around[0].size))

        yield sizes


def _laplacian_at(codes: NDArray, index: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return `laplacian` at flat indices of its voxels."""
    flat, step = codes.reshape(-1), 1
    found = -6 * flat[index].astype(np.int32)
    for length in codes.shape[::-1]:
        place = index // step % length
        found += flat[index - step * (place > 0)]
        found += flat[index + step * (place < length - 1)]
        step *= length
    return found


def _code_above_quantile(counts: NDArray[np.int64], quantile: float) -> int:
    """Return the lowest code that exceeds a quantile, as `_above_quantile` does, from a histogram of codes."""
    until = np.cumsum(counts)
    position = quantile * (int(until[-1]) - 1)
    rank = floor(position)
    low, high = (int(np.searchsorted(until, k, side="right")) for k in (rank, min(rank + 1, int(until[-1]) - 1)))
    return high if position > rank and high > low else low + 1


def _above_quantile(parts: Iterable[Part], size: int, quantile: float) -> tuple[float, int]:
    """Return the lowest value that exceeds a quantile, interpolated as np.quantile does, and how many values do.

    Parameters
    ----------
    parts : iterable of callable
        The values.
    size : int
        Number of values in all parts.
    quantile : float
        0..1.

    Notes
    -----
    Only the values from the quantile's rank up are kept, so what is far below them is compared once and forgotten.
    """
    position = quantile * (size - 1)
    rank = floor(position)
    kept = size - rank
    top: NDArray | None = None
    for part in parts:
        above = None if top is None or len(top) < kept else top[0]
        values = part(above).reshape(-1)
        if top is not None:
            values = np.concatenate([top, values if above is None else values[values > above]])
        if len(values) > kept:
            values = np.partition(values, -kept)[-kept:]
        top = np.partition(values, [0, min(1, len(values) - 1)])
    if top is None:
        raise ValueError("a quantile of no values")
    low, high = top[0], top[min(1, kept - 1)]
    if top.dtype.kind == "f":
        limit = high if position > rank and high > low else np.nextafter(low, np.inf)
        return float(limit), int(np.count_nonzero(top >= limit))
    limit = int(high) if position > rank and high > low else int(low) + 1
    return limit, int(np.count_nonzero(top >= limit))
