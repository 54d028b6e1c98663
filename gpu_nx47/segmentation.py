"""From probability to mask: anchors, their company, calibrated voxels, cleaning."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import components, loops, rescue, tables, topology
from gpu_nx47.betti_tally import Tally
from gpu_nx47.bits import Packed
from gpu_nx47.engine import slabs
from gpu_nx47.spread import begun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
class Cut:
    """The masks of a volume, on the host; the calibrated one is where the probability reaches its threshold."""

    anchored: Packed
    """The hysteresis mask."""
    final: NDArray[np.bool_]
    voxels: Mapping[str, int]
    """Before cleaning: `anchored`, `calibrated`, `either`."""
    alone: Mapping[str, int]
    """Voxels of the final mask, were it made of one mask: `anchored`, `calibrated`."""
    cleaning: tuple[dict[str, Any], ...] = ()
    """What each step on the host changed."""


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


def cut_volume(
    backend: Meter,
    probability: NDArray[np.uint16],
    limits: Thresholds,
    calibrated: int,
    settings: SegmentSettings,
    aside: Executor | None = None,
) -> Cut:
    """Return the masks of a volume, and what the cleaning would have made of either alone.

    Parameters
    ----------
    backend : Meter
    probability : numpy.ndarray of uint16
        Codes in the valid box.
    limits : Thresholds
    calibrated : int
        Lowest active code.
    settings : SegmentSettings
    aside : Executor, optional
        As `clean` takes it; a mask alone is cleaned there, too.

    Notes
    -----
    final = clean(hysteresis OR calibrated).
    """

    def cut() -> Cut:
        there = backend.hysteresis(backend.to_device(probability), weak=limits.weak, strong=limits.strong)
        anchored = Packed.of(np.ascontiguousarray(backend.to_host(there)))
        del there  # kept as bits: where they are asked for again, masks are made again

        either, voxels = _joined(probability, anchored, calibrated)
        held = [either] if aside else []  # one after the other, masks need not all live at once: it is made again
        del either

        def mask_of(name: str) -> Any:
            return anchored.mask() if name == "anchored" else probability >= calibrated

        def alone(name: str) -> int:
            """Not metered: a mask that is asked about is no step of the answer."""
            plain = backend.backend
            # No name here for the mask: it would live as long as all that the cleaning makes of it.
            return int(np.count_nonzero(plain.to_host(clean(plain, plain.to_device(mask_of(name)), settings))))

        others = [name for name in ("anchored", "calibrated") if voxels[name] < voxels["either"]]
        asked = {name: begun(aside, partial(alone, name)) for name in others}
        told: list[dict[str, Any]] = []
        either = held.pop() if held else _joined(probability, anchored, calibrated)[0]
        held.append(backend.to_device(either))
        del either  # a step of the cleaning lets go of it
        made = clean(backend, held.pop(), settings, told, aside)
        final = np.ascontiguousarray(backend.to_host(made))
        by_one = dict.fromkeys(("anchored", "calibrated"), int(np.count_nonzero(final)))
        by_one |= {name: count() for name, count in asked.items()}
        return Cut(anchored, final, voxels, by_one, tuple(told))

    done: Cut = rescue.whole(backend, "the masks", cut)
    return done


def _joined(
    probability: NDArray[np.uint16], anchored: Packed, calibrated: int
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return the union of the anchored and the calibrated mask, and the voxels of all three."""
    either, counted = np.empty(probability.shape, np.bool_), Counter(calibrated=0)
    for rows in slabs(probability.shape):
        reached = np.greater_equal(probability[rows], calibrated, out=either[rows])
        counted["calibrated"] += int(np.count_nonzero(reached))
        reached |= anchored.rows(rows)
        counted["either"] += int(np.count_nonzero(reached))
    return either, {"anchored": anchored.count(), **counted}


def cutter(
    backend: Meter, limits: Thresholds, calibrated: int, settings: SegmentSettings
) -> Callable[[NDArray[np.uint16]], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return what makes the hysteresis, calibrated and final mask of a small probability, all on the host.

    Parameters
    ----------
    backend : Meter
    limits : Thresholds
    calibrated : int
        Lowest active code.
    settings : SegmentSettings
    """

    def cut(probability: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], ...]:
        p = backend.to_device(probability)
        anchored, reached = backend.hysteresis(p, weak=limits.weak, strong=limits.strong), p >= calibrated
        there = anchored, reached, clean(backend, anchored | reached, settings)
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

    In this order: closing and opening (or the other way round), bridges cut, dust removed, pinholes plugged, loops and
    cavities filled, the frame cleared.

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
    own = False
    for step in ("opening", "closing") if settings.opening_first else ("closing", "opening"):
        radius = getattr(settings, step)
        if any(radius):
            mask, own = getattr(backend, step)(mask, radius=radius, shape=settings.element), True
    if settings.bridges:
        cut: Step = "bridges", lambda here: loops.cut_bridges(backend, here, settings.bridges)
        mask, own = _mended(backend, mask, [cut], told, aside, own=own), True
    if settings.dust > 1:
        mask = backend.remove_small(mask, min_size=settings.dust, connectivity=settings.dust_connectivity)
        own = True
    steps: list[Step] = []
    fill = topology.Fill(backend)
    if settings.pinholes:
        steps.append(("pinholes", lambda here: topology.plug_pinholes(backend, here, settings.pinholes, own=True)))
    if settings.loops:
        steps.append(("loops", lambda here: loops.fill_loops(backend, here, settings.loops, fill, own=True)))
    if settings.cavities:
        steps.append(("cavities", fill))
    if settings.frame:
        steps.append(("frame", lambda here: topology.clear_frame(here, settings.frame)))
    return _mended(backend, mask, steps, told, aside, own=own) if steps else mask


def _mended(
    backend: Backend | Meter,
    mask: Any,
    steps: list[Step],
    told: list[dict[str, Any]] | None,
    aside: Executor | None,
    *,
    own: bool,
) -> Any:
    """Return what steps on the host make of a mask, one after the other; `own`: it may be written to."""
    here = np.ascontiguousarray(backend.to_host(mask))
    here = here if own else here.copy()
    del mask
    if told is None:
        for _, step in steps:
            here, _ = step(here)
        return backend.to_device(here)
    names = [name for name, _ in steps]
    tally = Tally(components.host_label(backend), names, partial(begun, aside), beside=bool(aside))
    tally.look(here)
    changes = []
    for _, step in steps:
        here, what = step(here)
        tally.look(here, same=what["voxels"] == 0)
        changes.append(what)
    told.extend(tally.result(changes))
    return backend.to_device(here)
