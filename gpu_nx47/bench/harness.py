"""Measures what was asked for, in order: the machine's limits, kernels, whole runs, fresh processes."""

from __future__ import annotations

import datetime
import importlib.util
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gpu_nx47
from gpu_nx47 import backend, hardware
from gpu_nx47.backend import Meter
from gpu_nx47.bench import clock, cold, kernels, stages
from gpu_nx47.bench.cases import cases
from gpu_nx47.engine import Engine
from gpu_nx47.errors import BackendUnavailableError
from gpu_nx47.model import read_model
from gpu_nx47.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA: Final = 1
"""Of the JSON; raised when a key changes its meaning."""
PARTS: Final = ("kernels", "run", "start")
ROOT: Final = Path(gpu_nx47.__file__).resolve().parents[1]
PEERS: Final = ROOT / "bench" / "peers" / "__init__.py"
LAW_UP_TO: Final = 128
"""Voxels a side up to which the law is measured where nobody asked for it: it is the definition, not the quick way."""
COLD_SIZE: Final = 96
COLD_ROUNDS: Final = 3


@dataclass(frozen=True)
class Wanted:
    """What to measure."""

    sizes: tuple[int, ...] = (64, 320)
    """Voxels a side; peers are measured at the largest."""
    backends: tuple[str, ...] = ()
    """Empty: each that this machine has."""
    parts: tuple[str, ...] = PARTS
    case: str = ""
    """Only cases whose name holds this text."""
    rounds: int = 9
    """Calls of each kernel and peer, and starts of each kind of process."""
    runs: int = 5
    """Whole runs, beside a first one that is not counted."""
    files: int = 2
    """Volumes of a whole run."""
    model: str = ""
    """Of the whole runs, as `Settings.model`; or `stages.FOUND`, the neuron that a run finds itself."""
    peers: bool = True
    threads: int | None = None


def measure(wanted: Wanted, tell: Callable[[str], Any] = lambda _: None) -> dict[str, Any]:
    """Measure, and return everything as JSON has it.

    Parameters
    ----------
    wanted : Wanted
    tell : callable
        Called with a sentence whenever something begins.

    Raises
    ------
    BackendUnavailableError
        A backend asked for by name cannot run here.
    UsageError
        The model cannot be read.
    """
    if wanted.model not in ("", stages.FOUND):
        read_model(Path(wanted.model))  # told now, not behind the kernels
    threads = wanted.threads or hardware.usable_processors()
    present, missing = _backends(wanted)
    peers, reason = _peers() if wanted.peers else (None, "not asked for")
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": machine() | {"threads": threads},
        "wanted": asdict(wanted),
        "absent": {**missing, **({} if peers else {"peers": reason})},
        "limits": {},
        "kernels": [],
        "transfer": {},
        "runs": [],
    }
    for room in present:
        if "kernels" in wanted.parts:
            _kernels(room, wanted, threads, peers, found, tell)
        if "run" in wanted.parts:
            for size in _sizes(room, wanted):
                tell(f"{room.NAME}: {wanted.runs} runs of {wanted.files} volumes, {size}^3")
                asked = Settings(backend=room.NAME, threads=threads, model=wanted.model)
                found["runs"].append({"backend": room.NAME, **stages.runs(size, wanted.files, wanted.runs, asked)})
    if "start" in wanted.parts:
        tell("fresh processes")
        found["starts"] = cold.starts(wanted.rounds)
        quick = next((room.NAME for room in present if room.NAME != "law"), None)
        if quick is not None:
            found["first_runs"] = {"backend": quick, **cold.first_runs(COLD_SIZE, COLD_ROUNDS, quick)}
    found["growth"] = growth(found)
    found["machine"]["load_after"] = list(os.getloadavg())
    return found


def _kernels(
    room: Any, wanted: Wanted, threads: int, peers: Any, found: dict[str, Any], tell: Callable[[str], Any]
) -> None:
    tell(f"{room.NAME}: what the machine can do")
    limits = found["limits"][room.NAME] = clock.limits(room, threads)
    for size in _sizes(room, wanted):
        beside = peers if size == max(wanted.sizes) and room.NAME != "law" else None
        for case in cases(size, lambda name: wanted.case in name):
            tell(f"{room.NAME}: {case.name}, {size}^3")
            engine = Engine(Meter(room), Settings().tile, threads)
            row = kernels.measured(case, engine, wanted.rounds, limits, beside)
            found["kernels"].append({"size": size, **row})
    moved = kernels.transfer(room, max(_sizes(room, wanted)), wanted.rounds)
    found["transfer"][room.NAME] = moved or "the host is the device"


def _sizes(room: Any, wanted: Wanted) -> list[int]:
    small = room.NAME == "law" and "law" not in wanted.backends
    return [size for size in wanted.sizes if not small or size <= LAW_UP_TO] or [min(wanted.sizes)]


def _backends(wanted: Wanted) -> tuple[list[Any], dict[str, str]]:
    """Return the backends to measure, and why others are absent."""
    present, missing = [], {}
    for name in wanted.backends or ("gpu", "cpu", "law"):
        try:
            room, reason = backend.select(name)
        except BackendUnavailableError as error:
            if wanted.backends:
                raise
            missing[name] = str(error)
            continue
        if name != room.NAME:  # no Numba: the law serves as the CPU's
            missing[name] = reason
        elif room not in present:
            present.append(room)
    return present, missing


def _peers() -> tuple[Any, str]:
    """Return what names the peers of a case, or why there is nothing."""
    if not PEERS.is_file():
        return None, "they live in the repository's bench/peers, and this is an installed package"
    name = "nx47_bench_peers"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PEERS, submodule_search_locations=[str(PEERS.parent)])
        if spec is None or spec.loader is None:
            return None, f"{PEERS} cannot be imported"
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name].peers, ""


def machine() -> dict[str, Any]:
    """Return what the figures belong to: hardware, packages, commit, date, and how busy the machine is."""
    extra = ("scipy", "scikit-image", "opencv-python-headless", "torch", "connected-components-3d")
    versions = {name: hardware.version_of(name) for name in extra}
    return {
        **hardware.hardware(),
        "packages": hardware.packages() | {name: v for name, v in versions.items() if v is not None},
        "version": gpu_nx47.__version__,
        "commit": _git("rev-parse", "HEAD") or "not a checkout",
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_before": list(os.getloadavg()),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def growth(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return, for each kernel and the run, its Mvoxel/s at each size and at the largest over that at the middle one.

    `over_middle` compares with the largest size that is at most half the largest; null where there is none.
    """
    rates: dict[tuple[str, str], dict[int, float]] = {}
    for row in found["kernels"]:
        rates.setdefault((row["backend"], row["case"]), {})[row["size"]] = row["mvoxel_per_s"]
    for run in found["runs"]:
        rates.setdefault((run["backend"], "whole run"), {})[run["size"]] = run["mvoxel_per_s"]
    told = []
    for (room, case), by_size in rates.items():
        largest = max(by_size)
        middle = max((size for size in by_size if 2 * size <= largest), default=None)
        over = None if middle is None else by_size[largest] / by_size[middle]
        sizes = {str(size): rate for size, rate in sorted(by_size.items())}
        told.append({"backend": room, "case": case, "mvoxel_per_s": sizes, "over_middle": over})
    return told
