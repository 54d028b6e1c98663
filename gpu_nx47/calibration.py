"""Calibration: the probability threshold for a share of active voxels, exact, and honest about ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpu_nx47 import tables

if TYPE_CHECKING:
    from gpu_nx47.stats import Histogram

OVERSHOOT: Final = 1.5
"""Voxels of one probability cannot be parted: a tie that takes the share beyond this multiple of the target saturates.
"""


@dataclass(frozen=True)
class Calibration:
    """A threshold and what it does."""

    threshold: int
    """Lowest active probability code; 65536: none is active."""
    target: float
    """Share asked for."""
    source: str
    """Where the target came from."""
    share: float
    """Share reached."""
    ties_saturate: bool
    """A tie kept the share from the target."""


def expected_share(histogram: Histogram) -> float:
    """Return the share of surface that the probabilities themselves expect: their mean."""
    n, total, _ = histogram.sums()
    return total / (n * tables.PROBABILITY_ONE)


def calibrate(histogram: Histogram, target: float, source: str) -> Calibration:
    """Return the threshold whose share of active voxels is the target or, where voxels are tied, just above it.

    Parameters
    ----------
    histogram : Histogram
        Of the probability codes.
    target : float
        Share of active voxels, 0..1.
    source : str
        Where the target came from, for the record.

    Notes
    -----
    The threshold is the highest code that at least target * n voxels reach. If these are more than 1.5 times the
    target, a tie straddles it: the whole tie is active if its probability is at least 1/2 (p = 1 everywhere stays a
    full mask), and not otherwise (a flat low probability stays empty).
    """
    n = histogram.total
    need = target * n
    if need <= 0:
        return Calibration(tables.PROBABILITY_ONE + 1, target, source, 0.0, False)
    threshold = histogram.highest_reaching(need)
    saturated = histogram.at_least(threshold) > max(OVERSHOOT * need, need + 1)
    if saturated and threshold < tables.PROBABILITY_ONE / 2:
        threshold += 1
    return Calibration(threshold, target, source, histogram.at_least(threshold) / n, saturated)


def calibrate_at(histogram: Histogram, threshold: int) -> Calibration:
    """Return the calibration of a given threshold, a code: the share is what comes of it."""
    share = histogram.at_least(threshold) / histogram.total
    return Calibration(threshold, share, "given: the threshold", share, False)
