"""From probability to mask: anchors, their company, calibrated voxels, cleaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import loops, rescue, tables, topology
from gpu_nx47.betti_tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gpu_nx47.backend import Backend, Meter
    from gpu_nx47.settings import SegmentSettings
    from gpu_nx47.stats import Histogram

    Step = Callable[[NDArray[np.bool_]], tuple[NDArray[np.bool_], dict[str, Any]]]
    """A step of the cleaning: from a mask to a mask and what was changed."""

STRONG_SHARE: Final = 1 / 3
"""Of the voxels at or above the calibrated threshold, the share that anchors where no strong threshold is given."""

UNCHANGED: Final[dict[str, tuple[str, ...]]] = {"pinholes": ("components",), "loops": ("components", "cavities")}
"""Betti numbers that a step leaves as they are, by its own rule: they need not be counted again."""


@dataclass(frozen=True)
class Thresholds:
    """Probability codes that decide the hysteresis."""

    weak: int
    strong: int
    source: str


@dataclass(frozen=True)
class Masks:
    """The masks of a volume, on the device."""

    hysteresis: Any
    calibrated: Any
    final: Any


def thresholds(histogram: Histogram, settings: SegmentSettings, calibrated: int) -> Thresholds:
    """Return the weak and strong codes: as set, or measured from the probabilities.

    Parameters
    ----------
    histogram : Histogram
        Of the probability codes.
    settings : SegmentSettings
    calibrated : int
        The calibrated threshold, a code.

    Notes
    -----
    Measured: weak is the calibrated threshold, or 1/2 where that is higher: what an anchor carries is more likely
    surface than not. Strong is the code that a third of the voxels at or above the calibrated threshold reach. A given
    value wins.
    """
    top = tables.PROBABILITY_ONE
    reached = histogram.at_least(calibrated)
    weak = min(max(calibrated, tables.probability_code(0.5)), top)
    strong = max(weak, histogram.highest_reaching(STRONG_SHARE * reached)) if reached else top
    source = "measured"
    if settings.weak is not None:
        weak, source = tables.probability_code(settings.weak), "given"
    if settings.strong is not None:
        strong, source = tables.probability_code(settings.strong), "given"
    return Thresholds(weak, max(weak, strong), source)


def segment(
    backend: Meter,
    probability: Any,
    limits: Thresholds,
    calibrated: int,
    settings: SegmentSettings,
    told: list[dict[str, Any]] | None = None,
) -> Masks:
    """Return hysteresis, calibrated and final mask of a volume.

    Parameters
    ----------
    backend : Meter
    probability : device array of uint16
        Codes in the valid box.
    limits : Thresholds
    calibrated : int
        Lowest active code.
    settings : SegmentSettings
    told : list, optional
        As `clean` takes it.

    Notes
    -----
    final = clean(hysteresis OR calibrated).
    """
    anchored = backend.hysteresis(probability, weak=limits.weak, strong=limits.strong)
    mask = clean(backend, anchored | (probability >= calibrated), settings, told)
    return Masks(anchored, probability >= calibrated, mask)  # compared again: kept, it would stand beside the cleaning


def cutter(
    backend: Meter,
    limits: Thresholds,
    calibrated: int,
    settings: SegmentSettings,
    told: list[dict[str, Any]] | None = None,
) -> Callable[[NDArray[np.uint16]], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return what makes the hysteresis, calibrated and final mask of a probability, all on the host.

    Parameters
    ----------
    backend : Meter
    limits : Thresholds
    calibrated : int
        Lowest active code.
    settings : SegmentSettings
    told : list, optional
        Holds, after a cut, what the steps of its cleaning changed.
    """

    def cut(probability: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], ...]:
        if told is not None:
            told.clear()  # work that failed is begun again
        masks = segment(backend, backend.to_device(probability), limits, calibrated, settings, told)
        there = (masks.hysteresis, masks.calibrated, masks.final)
        return tuple(np.ascontiguousarray(backend.to_host(mask)) for mask in there)

    def whole(probability: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        hysteresis, active, final = rescue.whole(backend, "the masks", lambda: cut(probability))
        return hysteresis, active, final

    return whole


def clean(
    backend: Backend | Meter, mask: Any, settings: SegmentSettings, told: list[dict[str, Any]] | None = None
) -> Any:
    """Return a mask cleaned as far as the settings ask.

    In this order: closing, opening, bridges cut, dust removed, pinholes plugged, loops and cavities filled, the frame
    cleared.

    Parameters
    ----------
    backend : Backend or Meter
    mask : device array of bool
    settings : SegmentSettings
    told : list, optional
        Gets, of each step on the host that was asked for, what it changed, Betti numbers (`Tally`) included.
    """
    if any(settings.closing):
        mask = backend.closing(mask, radius=settings.closing, shape="box")
    if any(settings.opening):
        mask = backend.opening(mask, radius=settings.opening, shape="box")
    if settings.bridges:
        mask = _mended(backend, mask, [lambda here: loops.cut_bridges(backend, here, settings.bridges)], told)
    if settings.dust > 1:
        mask = backend.remove_small(mask, min_size=settings.dust, connectivity=settings.dust_connectivity)
    steps: list[Step] = []
    if settings.pinholes:
        steps.append(lambda here: topology.plug_pinholes(backend, here, settings.pinholes))
    if settings.loops:
        steps.append(lambda here: loops.fill_loops(backend, here, settings.loops))
    if settings.cavities:
        steps.append(lambda here: topology.fill_cavities(backend, here))
    if settings.frame:
        steps.append(lambda here: topology.clear_frame(here, settings.frame))
    return _mended(backend, mask, steps, told) if steps else mask


def _mended(backend: Backend | Meter, mask: Any, steps: list[Step], told: list[dict[str, Any]] | None) -> Any:
    """Return what steps on the host make of a mask, one after the other."""
    here = np.ascontiguousarray(backend.to_host(mask))
    del mask  # with the first step there is another
    tally = None if told is None else Tally(backend, here)
    for step in steps:
        after, what = step(here)
        if told is not None and tally is not None:
            told.append({**what, **tally.after(here, after, UNCHANGED.get(what["step"], ()))})
        here = after
    return backend.to_device(here)
