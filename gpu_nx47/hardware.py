"""What machine this is: processors, memory, GPUs, package versions. No GPU library but NVML is loaded."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

import psutil

CORE_PACKAGES: Final = (
    "numpy", "numba", "tifffile", "imagecodecs", "pillow", "psutil", "nvidia-ml-py", "cryptography", "typer", "tqdm",
)  # fmt: skip
"""Named in BOOT even where they are missing."""
EXTRA_PACKAGES: Final = (
    "llvmlite", "scipy", "connected-components-3d", "cupy-cuda12x", "cupy-cuda13x", "cucim-cu12", "cucim-cu13",
    "nvidia-cuda-nvrtc-cu12", "zarr", "dask",
)  # fmt: skip
"""Named in BOOT where they are installed."""

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
    found: dict[str, str | None] = {name: _version(name) for name in CORE_PACKAGES}
    extras = {name: _version(name) for name in EXTRA_PACKAGES}
    return found | {name: version for name, version in extras.items() if version is not None}


def usable_processors() -> int:
    """Return how many processors this process may use: its affinity, and the quota of its control group, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(_CGROUP, _MEMBERSHIP)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def rss_bytes() -> int:
    """Return the memory this process holds now, in bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes(*, children: bool = False) -> int:
    """Return the most memory this process has held, in bytes.

    Parameters
    ----------
    children : bool
        Ask for the largest single child that has ended instead: the system does not add them up.
    """
    try:
        import resource
    except ImportError:  # Windows
        return 0 if children else int(psutil.Process().memory_info().peak_wset)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    peak = int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)  # kilobytes everywhere but on macOS
    return peak if children else max(peak, rss_bytes())  # Linux notes the peak late


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


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
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    folders = {root, root / "cpu"}  # a container often sees its own group as the root
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        top = root if not controllers else root / "cpu" if "cpu" in controllers.split(",") else None
        if top is not None:
            own = top / path.strip("/")
            folders.update(folder for folder in (own, *own.parents) if folder.is_relative_to(top))
    granted = [quota for quota in map(_folder_quota, folders) if quota is not None]
    return min(granted, default=None)


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
    try:
        import pynvml
    except ImportError:
        return [], "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no NVIDIA driver answers: {error}"
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        gpus = [_gpu(pynvml, index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return [], f"the NVIDIA driver does not tell its GPUs: {error}"
    finally:
        pynvml.nvmlShutdown()
    return gpus, None if gpus else "the NVIDIA driver shows no GPU"


def _gpu(pynvml: Any, index: int, driver: str) -> dict[str, Any]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "name": _text(pynvml.nvmlDeviceGetName(handle)),
        "memory": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        "driver": driver,
        "compute_capability": f"{major}.{minor}",
    }


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
