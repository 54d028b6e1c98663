"""Each kernel on one backend: through the engine on all threads as a run does it, alone on one, beside its peers."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.backend import Meter
from gpu_nx47.bench import clock
from gpu_nx47.bench.cases import Case, put
from gpu_nx47.engine import Engine, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Peers = Callable[[Case, str, int], tuple[Mapping[str, Callable[[], Any]], Mapping[str, str], str | None]]

ONE: Final = "nx47, one thread"
ALL: Final = "nx47, all threads"
REFERENCE: Final = "reference"
GUARD_SHORT_S: Final = 0.02
GUARD_ROUNDS: Final = 15


def waiting(backend: Any, work: Callable[[], Any]) -> Callable[[], Any]:
    """Return `work` that ends when its device has."""
    wait = getattr(backend, "device_seconds", lambda: None)

    def done() -> Any:
        result = work()
        wait()
        return result

    return done


def by_slabs(case: Case, engine: Engine) -> list[Any]:
    """Do a case's work in slabs of slices, one for each thread, as a run does it in tiles.

    Returns
    -------
    list
        Of volumes the parts along z, a list of arrays (views where a halo was cut off): a run eats them tile by tile
        and never puts them together. Of counts, their sum.
    """
    depth, height, width = case.first.shape
    engine.tile = (-(-depth // engine.threads), height, width)
    backend = engine.backend
    below, above = case.halo

    def work(tile: Tile) -> list[Any]:
        low, high = max(0, tile.start[0] - below), min(depth, tile.stop[0] + above)
        inside = slice(tile.start[0] - low, tile.stop[0] - low)
        arrays = tuple(_slab(array, slice(low, high)) for array in case.arrays)
        with backend.asking(tile.voxels):
            found = case.run(backend, put(backend, arrays), slice(low, high), inside)
        cut = slice(None) if case.windowed else inside
        return [_host(backend, result[cut] if _is_volume(result) else result) for result in found]

    totals: list[Any] = []
    for _, found in engine.map(case.first.shape, work):
        for k, result in enumerate(found):
            if len(totals) == k:
                totals.append([] if _is_volume(result) else 0)
            totals[k] = totals[k] + ([result] if _is_volume(result) else result)
    return totals


def _slab(value: Any, z: slice) -> Any:
    return tuple(part[z] for part in value) if isinstance(value, tuple) else value[z]


def _is_volume(result: Any) -> bool:
    return getattr(result, "ndim", 0) == 3


def _host(backend: Any, result: Any) -> Any:
    return backend.to_host(result) if _is_volume(result) else result


def counted(case: Case, engine: Engine) -> tuple[int, int]:
    """Return the operations asked for and executed by one call."""
    meter = Meter(engine.backend.backend)
    _work(case, Engine(meter, engine.tile, engine.threads))()
    return meter.total()


def _work(case: Case, engine: Engine) -> Callable[[], Any]:
    if engine.threads == 1:
        arrays = put(engine.backend, case.arrays)
        return waiting(engine.backend.backend, lambda: case.run(engine.backend, arrays))
    return lambda: by_slabs(case, engine)


def measured(case: Case, engine: Engine, rounds: int, limits: Mapping[str, Any], peers: Peers | None) -> dict[str, Any]:
    """Return the row of a case: ours, on one thread, and its peers, all in the same rounds.

    Parameters
    ----------
    case : Case
    engine : Engine
    rounds : int
    limits : mapping
        From `clock.limits`.
    peers : callable or None
        (case, backend, threads) -> (peers by name, reasons of those that are absent by name, who does not belong).
    """
    alone = Engine(engine.backend, engine.tile, 1)
    rivals: dict[str, Callable[[], Any]] = {ONE: _work(case, alone)}
    if not case.whole and engine.backend.NAME != "gpu" and engine.threads > 1:
        rivals[ALL] = _work(case, engine)
    offered, absent, note = peers(case, engine.backend.NAME, engine.threads) if peers else ({}, {}, None)
    rivals[REFERENCE] = waiting(engine.backend.backend, clock.reference(engine.backend))
    times = clock.in_turns({**rivals, **offered}, rounds)
    # Our best way, as it is the peers': small volumes and light kernels are not worth the engine's threads.
    best = min((name for name in (ONE, ALL) if name in rivals), key=lambda name: times[name].median_s)
    threads = engine.threads if best == ALL else 1
    asked, executed = counted(case, engine if best == ALL else alone)
    ours = times[best]
    row = {
        "case": case.name,
        "kernels": [kernel for kernel, _ in case.calls],
        "backend": engine.backend.NAME,
        "shape": list(case.first.shape),
        "voxels": case.voxels,
        "threads": threads,
        "calc_ops": asked,
        "calc_ops_executed": executed,
        "bytes_floor": round(case.floor * case.voxels),
        "bytes_moved": _moved(case, engine.backend.NAME, executed / asked if asked else 1.0),
        **rates(ours.median_s, asked, case.floor * case.voxels, case.voxels, limits, threads),
        **_told(ours),
        "peak_bytes": _peak(engine.backend, rivals[best]),
        "guard": _guard(engine.backend.NAME, times, rivals),
        "one_thread": _told(times[ONE]),
        "all_threads": _told(times[ALL]) if ALL in times else None,
        "peers": [
            {
                "peer": name,
                **_told(times[name]),
                "times_ours": clock.ratio(ours.wall_s, times[name].wall_s),
                "times_ours_cpu": clock.ratio(ours.cpu_s, times[name].cpu_s),
            }
            for name in offered
        ],
        "absent": dict(absent),
    }
    return row if note is None else {**row, "note": note}


def _guard(backend: str, times: Mapping[str, clock.Times], rivals: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what `compare` reads: seconds of one thread's processor, or of a device, and of the reference.

    Short works are called some more: the shortest of a few calls is what others on the machine change least.
    """
    names = (ONE, REFERENCE)
    if times[ONE].median_s > GUARD_SHORT_S:
        seconds = [times[name].wall_s if backend == "gpu" else times[name].cpu_s for name in names]
    else:
        read = time.perf_counter if backend == "gpu" else time.thread_time
        rounds = [[clock.shortest(rivals[name], read) for name in names] for _ in range(GUARD_ROUNDS)]
        seconds = [list(column) for column in zip(*rounds, strict=True)]
    length = min(map(len, seconds))
    return {"seconds": seconds[0][:length], "reference_s": seconds[1][:length]}


def _moved(case: Case, backend: str, halo: float) -> int | None:
    """Return the bytes moved; None where they are not known: of the law's temporary arrays, of a device's caches."""
    return None if backend != "cpu" or case.twin is None else round(case.twin * case.voxels * halo)


def _told(times: clock.Times) -> dict[str, Any]:
    return {"median_s": times.median_s, "spread": times.spread, **asdict(times)}


def rates(
    seconds: float, operations: float, moved: float, voxels: int, limits: Mapping[str, Any], threads: int
) -> dict[str, Any]:
    """Return the rates of some work, and how near they come to what the machine can do.

    Notes
    -----
    Roofline: no work is done in less time than its bytes take at the copy bandwidth or its operations at the
    arithmetic rate; `of_roofline` is the longer of both over the time taken, `bound` the one it is.
    """
    copy, arithmetic = (limits[key].get(str(threads)) for key in ("copy_bytes_per_s", "arithmetic_per_s"))
    by_bytes, by_operations = moved / copy, operations / arithmetic
    return {
        "mvoxel_per_s": voxels / seconds / 1e6,
        "calc_per_sec": operations / seconds,
        "gb_per_s": moved / seconds / 1e9,
        "of_copy": by_bytes / seconds,
        "of_arithmetic": by_operations / seconds,
        "of_roofline": max(by_bytes, by_operations) / seconds,
        "bound": "bytes" if by_bytes >= by_operations else "arithmetic",
    }


def _peak(meter: Meter, work: Callable[[], Any]) -> int | None:
    """Return the most memory that the work takes beside its arguments, where the result lives."""
    if meter.NAME != "gpu":
        return clock.peak_bytes(work)
    with suppress(ImportError, AttributeError):
        pool = import_module("cupy").get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.used_bytes()
        result = work()
        peak = pool.total_bytes() - before
        del result
        return int(peak)
    return None


def transfer(backend: Any, size: int, rounds: int) -> dict[str, Any] | None:
    """Return the seconds that a grey volume takes to the device and back; None where the host is the device."""
    if backend.NAME != "gpu":
        return None
    grey = np.zeros((size, size, size), np.uint8)
    there = backend.to_device(grey)
    ways = {
        "to_device": waiting(backend, lambda: backend.to_device(grey)),
        "to_host": waiting(backend, lambda: backend.to_host(there)),
    }
    times = clock.in_turns(ways, rounds)
    return {name: {**_told(times[name]), "gb_per_s": grey.nbytes / times[name].median_s / 1e9} for name in ways}
