"""From probability to mask: anchors, their company, calibrated voxels, cleaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import loops, rescue, tables, topology
from gpu_nx47.betti_tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from gpu_nx47.backend import Backend, Meter
    from gpu_nx47.settings import SegmentSettings
    from gpu_nx47.stats import Histogram

    Step = tuple[str, Callable[[NDArray[np.bool_]], tuple[NDArray[np.bool_], dict[str, Any]]]]
    """A step of the cleaning: its name, and from a mask to a mask and what was changed."""

STRONG_SHARE: Final = 1 / 3
"""Of the voxels at or above the calibrated threshold, the share that anchors where no strong threshold is given."""


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
    aside: Executor | None = None,
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
    told, aside : optional
        As `clean` takes them.

    Notes
    -----
    final = clean(hysteresis OR calibrated).
    """
    anchored = backend.hysteresis(probability, weak=limits.weak, strong=limits.strong)
    mask = clean(backend, anchored | (probability >= calibrated), settings, told, aside)
    return Masks(anchored, probability >= calibrated, mask)  # compared again: kept, it would stand beside the cleaning


def cutter(
    backend: Meter,
    limits: Thresholds,
    calibrated: int,
    settings: SegmentSettings,
    told: list[dict[str, Any]] | None = None,
    aside: Executor | None = None,
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
    aside : Executor, optional
        As `clean` takes it.
    """

    def cut(probability: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], ...]:
        if told is not None:
            told.clear()  # work that failed is begun again
        masks = segment(backend, backend.to_device(probability), limits, calibrated, settings, told, aside)
        there = (masks.hysteresis, masks.calibrated, masks.final)
        return tuple(np.ascontiguousarray(backend.to_host(mask)) for mask in there)

    def whole(probability: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        hysteresis, active, final = rescue.whole(backend, "the masks", lambda: cut(probability))
        return hysteresis, active, final

    return whole


def clean(
    backend: Backend | Meter,
    mask: Any,
    settings: SegmentSettings,
    told: list[dict[str, Any]] | None = None,
    aside: Executor | None = None,
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
    aside : Executor, optional
        Of one thread, on which these are counted while the steps go on; else they are counted between them.
    """
    if any(settings.closing):
        mask = backend.closing(mask, radius=settings.closing, shape="box")
    if any(settings.opening):
        mask = backend.opening(mask, radius=settings.opening, shape="box")
    if settings.bridges:
        cut: Step = "bridges", lambda here: loops.cut_bridges(backend, here, settings.bridges)
        mask = _mended(backend, mask, [cut], told, aside)
    if settings.dust > 1:
        mask = backend.remove_small(mask, min_size=settings.dust, connectivity=settings.dust_connectivity)
    steps: list[Step] = []
    fill = topology.Fill(backend)
    if settings.pinholes:
        steps.append(("pinholes", lambda here: topology.plug_pinholes(backend, here, settings.pinholes)))
    if settings.loops:
        steps.append(("loops", lambda here: loops.fill_loops(backend, here, settings.loops, fill)))
    if settings.cavities:
        steps.append(("cavities", fill))
    if settings.frame:
        steps.append(("frame", lambda here: topology.clear_frame(here, settings.frame)))
    return _mended(backend, mask, steps, told, aside) if steps else mask


def _mended(
    backend: Backend | Meter,
    mask: Any,
    steps: list[Step],
    told: list[dict[str, Any]] | None,
    aside: Executor | None,
) -> Any:
    """Return what steps on the host make of a mask, one after the other."""
    here = np.ascontiguousarray(backend.to_host(mask))
    del mask  # with the first step there is another
    if told is None:
        for _, step in steps:
            here, _ = step(here)
        return backend.to_device(here)
    tally = Tally(topology.host_label(backend), [name for name, _ in steps], partial(_begun, aside))
    tally.look(here)
    changes = []
    for _, step in steps:
        here, what = step(here)
        tally.look(here)
        changes.append(what)
    told.extend(tally.result(changes))
    return backend.to_device(here)


def _begun(aside: Executor | None, work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin a work on the thread there is for it, in order, or do it; returns what gives its result."""
    if aside is not None:
        return aside.submit(work).result
    done = work()
    return lambda: done
