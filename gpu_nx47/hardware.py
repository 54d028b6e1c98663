"""What machine this is: processors, memory, GPUs, package versions. No GPU library but NVML is loaded."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_nx47.nvidia import NoDriver, driver

CORE_PACKAGES: Final = (
    "numpy", "numba", "tifffile", "imagecodecs", "pillow", "psutil", "nvidia-ml-py", "cryptography", "typer", "tqdm",
)  # fmt: skip
"""Named in BOOT even where they are missing."""
EXTRA_PACKAGES: Final = (
    "llvmlite", "scipy", "connected-components-3d", "cupy-cuda12x", "cupy-cuda13x", "cucim-cu12", "cucim-cu13",
    "nvidia-cuda-nvrtc-cu12", "zarr", "dask",
)  # fmt: skip
"""Named in BOOT where they are installed."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters of mallopt, from malloc.h."""
_MOST_IN_POOL: Final = 16 << 20
"""Bytes of an array from which on it has pages of its own, which go back with it: tiles are smaller, volumes larger."""
_MOST_UNUSED: Final = 128 << 20
"""Bytes at the pool's end from which on they go back to the system unasked."""
_NO_BOUND: Final = (1 << 31) - 1
"""The largest number that mallopt takes."""
_FREED: Final = {"stays": False}
"""What the allocator, of which a process has one, was last told of freed memory: whether it stays between two works."""
_PR_SET_THP_DISABLE: Final = 41
_PR_GET_THP_DISABLE: Final = 42
"""From linux/prctl.h."""
_CGROUP: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def hardware() -> dict[str, Any]:
    """Return SPEC's hardware block.

    Returns
    -------
    dict
        python, platform, cpu_count (logical), usable_processors, cpu_model, mem_total_kb, mem_available_kb, and gpu: a
        list of {name, memory (bytes), driver, compute_capability}; where the list is empty, `gpu_reason` says why.
    """
    memory = psutil.virtual_memory()
    gpus, reason = _gpus()
    block: dict[str, Any] = {
        "python": sys.version,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "usable_processors": usable_processors(),
        "cpu_model": _cpu_model(),
        "mem_total_kb": memory.total // 1024,
        "mem_available_kb": memory.available // 1024,
        "gpu": gpus,
    }
    if reason is not None:
        block["gpu_reason"] = reason
    return block


def packages() -> dict[str, str | None]:
    """Return the installed version of each package that can matter; None for a core package that is missing."""
    found: dict[str, str | None] = {name: version_of(name) for name in CORE_PACKAGES}
    extras = {name: version_of(name) for name in EXTRA_PACKAGES}
    return found | {name: version for name, version in extras.items() if version is not None}


def usable_processors() -> int:
    """Return how many processors this process may use: its affinity, and the quota of its control group, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(_CGROUP, _MEMBERSHIP)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def rss_bytes() -> int:
    """Return the memory this process holds now, in bytes."""
    return int(psutil.Process().memory_info().rss)


def available_bytes() -> int:
    """Return how much memory this process could still take: the machine's, and that of its control groups."""
    free = [int(psutil.virtual_memory().available)]
    for folder in _cgroup_folders(_CGROUP, _MEMBERSHIP, "memory"):
        left = _folder_memory(folder)
        if left is not None:
            free.append(left)
    return max(0, min(free))


def release_memory() -> None:
    """Give freed memory back to the system, where its allocator can be told to (glibc).

    Without it the pools of each thread keep what the tiles of a stage took, and the next stage is charged for it.
    """
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def release_between() -> None:
    """Give freed memory back between two works on a volume, unless it may stay (`keep_freed`)."""
    if not _FREED["stays"]:
        release_memory()


def keep_freed(plenty: bool) -> None:
    """Have all freed memory stay with the process until `release_memory`, where there is plenty of it (glibc).

    Else what `keep_pages` says holds: volumes go back at once, tiles between two works. The system clears each page
    that it gives out: measured on a 320-cube, a tenth of the run's time; without that, 5 % more memory is held.
    """
    if (library := _glibc()) is not None:
        _FREED["stays"] = plenty
        library.mallopt(_M_MMAP_THRESHOLD, _NO_BOUND if plenty else _MOST_IN_POOL)
        library.mallopt(_M_TRIM_THRESHOLD, _NO_BOUND if plenty else _MOST_UNUSED)


def share_one_pool() -> None:
    """Have all threads that begin from now on take memory from one pool (glibc).

    With a pool of its own each thread keeps what it frees, where `release_memory` does not reach it. Our threads ask
    for memory a few times a tile: they do not wait for one another.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_M_ARENA_MAX, 1)


@contextmanager
def keep_pages() -> Iterator[None]:
    """Have freed arrays stay with the process until `release_memory`, on usual pages meanwhile (Linux with glibc).

    Each tile takes and frees the same arrays. NumPy asks for huge pages for them, which the system has to find and to
    clear whole, and glibc gives much of them back between two tiles: measured on a 320-cube, a fifth of the processor
    time was the system's, half of that for nothing. With usual pages the work itself took as long.
    """
    if (library := _glibc()) is None:
        yield
        return

    def usual_pages(alone: int) -> None:
        library.prctl(_PR_SET_THP_DISABLE, *map(ctypes.c_ulong, (alone, 0, 0, 0)))

    before = int(library.prctl(_PR_GET_THP_DISABLE, *map(ctypes.c_ulong, (0, 0, 0, 0))))
    keep_freed(False)
    usual_pages(1)
    try:
        yield
    finally:
        keep_freed(False)
        release_memory()
        usual_pages(max(0, before))  # whoever called may want huge pages, and what it starts inherits this


def return_arrays_at_once() -> None:
    """Have freed arrays of 1 MB or more go back to the system at once (glibc), until `keep_freed`.

    New arrays then start on pages that the system must clear first: measured on a 320-cube, a fifth more processor
    time for an eighth less memory. So this is for volumes that leave little of it.
    """
    keep_freed(False)
    if (library := _glibc()) is not None:
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 20)


@cache
def _glibc() -> Any:
    """Return the C library where it is glibc, whose allocator these functions know; else None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.malloc_trim and library.mallopt else None
    except (OSError, AttributeError):  # another C library
        return None


def peak_rss_bytes(*, children: bool = False) -> int:
    """Return the most memory this process has held, in bytes.

    Parameters
    ----------
    children : bool
        Ask for the largest single child that has ended instead: the system does not add them up.
    """
    if not children and (peak := _high_water_mark()) is not None:
        return max(peak, rss_bytes())
    try:
        import resource
    except ImportError:  # Windows
        return 0 if children else int(psutil.Process().memory_info().peak_wset)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    peak = int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)  # kilobytes everywhere but on macOS
    return peak if children else max(peak, rss_bytes())  # Linux notes the peak late


def _high_water_mark(status: Path = Path("/proc/self/status")) -> int | None:
    """Return the peak that Linux notes for this program; its getrusage also has that of whoever started it."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution; None where it is missing."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    # Parsed whole, as an e-mail, the text takes five times as long.
    said = re.search(r"^Version: *(\S+)", found.read_text("METADATA") or "", re.MULTILINE)
    return said[1] if said else found.version


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cgroup_quota(root: Path, membership: Path) -> float | None:
    """Return the processors that the control groups of this process grant, the tightest counting; None: no limit.

    Parameters
    ----------
    root : Path
        Where the control groups are mounted.
    membership : Path
        The process's list of them: lines `number:controllers:path`.
    """
    granted = [quota for quota in map(_folder_quota, _cgroup_folders(root, membership, "cpu")) if quota is not None]
    return min(granted, default=None)


def _cgroup_folders(root: Path, membership: Path, controller: str) -> set[Path]:
    """Return the folders of the control groups that this process is in, up to the root, of either version."""
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    folders = {root, root / controller}  # a container often sees its own group as the root
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        top = root if not controllers else root / controller if controller in controllers.split(",") else None
        if top is not None:
            own = top / path.strip("/")
            folders.update(folder for folder in (own, *own.parents) if folder.is_relative_to(top))
    return folders


def _folder_memory(folder: Path) -> int | None:
    """Return what one control group has left of its memory, in bytes; None: no limit.

    Pages of files that nobody uses count as taken there, and are given up when memory runs short: they are left.
    """
    for most, taken, idle in (
        ("memory.max", "memory.current", "inactive_file"),  # version 2
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
    ):
        try:
            limit = int((folder / most).read_text(encoding="ascii"))
            used = int((folder / taken).read_text(encoding="ascii"))
            lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):  # version 2 says "max"
            continue
        counts = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
        return limit - used + int(counts.get(idle, 0))
    return None


def _folder_quota(folder: Path) -> float | None:
    """Return the quota of one control group, in processors."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()[:2]  # version 2
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")  # version 1
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        except OSError:
            return None
    try:
        granted = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # version 2 says "max"
        return None
    return granted if granted > 0 else None  # version 1 says -1


def _gpus() -> tuple[list[dict[str, Any]], str | None]:
    """Return the GPUs that NVIDIA's driver shows, and why there is none."""
    found = driver()
    if isinstance(found, NoDriver):
        return [], found.reason
    return list(found.gpus), None if found.gpus else "the NVIDIA driver shows no GPU"
