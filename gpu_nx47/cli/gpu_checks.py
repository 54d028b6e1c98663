"""Why a GPU does or does not compute here: facts from the machine, and a diagnosis that is a function of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from gpu_nx47 import hardware, nvidia
from gpu_nx47.cli.agreement import differing
from gpu_nx47.cli.check import Check

CUPY_NAMES: Final = ("cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy")
"""Distributions of the module cupy: each wheel is built for one CUDA."""
OLDEST_CUDA: Final = (12, 0)
OLDEST_DRIVER: Final = {12: "525.60.13", 13: "580.65.06"}
"""Driver for Linux that a CUDA needs (CUDA Toolkit Release Notes, table of minimum driver versions)."""
OLDEST_SM: Final = {13: (7, 5)}
"""Compute capability below which a CUDA compiles nothing: 13 left out Maxwell, Pascal and Volta."""
COMPUTE_SECONDS: Final = 120
_NO_LIBRARY, _NOT_LOADED, _MISMATCH, _NO_PERMISSION = 12, 9, 18, 4
_NVML_ADVICE: Final = {
    None: "pip install nvidia-ml-py",
    _NO_LIBRARY: "With an NVIDIA GPU: install its driver. On Kaggle choose a GPU in the notebook's settings.",
    _NOT_LOADED: "The driver is installed but not running: sudo modprobe nvidia, or boot again.",
    _MISMATCH: "The driver was updated while it ran: boot again.",
    _NO_PERMISSION: "This user may not use the GPU: in a container, start it with --gpus all.",
}


@dataclass(frozen=True)
class Machine:
    """What the facts are gathered from: the one place where a test puts another machine."""

    load: nvidia.Load = import_module
    """Gives the modules pynvml and gpu_nx47.kernels."""
    version: Callable[[str], str | None] = hardware.version_of
    """Gives the version of an installed distribution."""
    compute: Callable[[], str | None] = field(default_factory=lambda: cupy_failure)
    """Has CuPy compute something on the device; gives what it raised."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(frozen=True)
class GpuFacts:
    """What a machine says of its GPU, one fact a field."""

    driver: nvidia.Driver | nvidia.NoDriver
    hidden: bool = False
    """CUDA_VISIBLE_DEVICES names no device: programs see none of those that the driver shows."""
    wheels: Mapping[str, str] = field(default_factory=dict)
    """Installed distributions of CuPy, with their versions."""
    cupy: str | None = None
    """What CuPy raised when it was to compute on the device; None: it did, or was not asked."""
    owed: tuple[str, ...] = ()
    """Kernels that have no port in this version."""
    refused: str | None = None
    """Why the GPU backend's own probe refused; None: it did not, or was not asked."""
    wrong: Mapping[str, str] = field(default_factory=dict)
    """Kernels that did not give the law's bits on the device, and what was wrong with each."""

    @property
    def usable(self) -> bool:
        """A device that programs see is there, and one CuPy."""
        found = isinstance(self.driver, nvidia.Driver) and bool(self.driver.gpus) and not self.hidden
        return found and len(self.wheels) == 1


def gather(machine: Machine) -> GpuFacts:
    """Ask the machine; what needs a device is asked only where one is usable."""
    hidden = machine.environ.get("CUDA_VISIBLE_DEVICES")
    facts: dict[str, Any] = {
        "driver": nvidia.driver(machine.load),
        "hidden": hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"),
        "wheels": {name: version for name in CUPY_NAMES if (version := machine.version(name)) is not None},
    }
    if not GpuFacts(**facts).usable:
        return GpuFacts(**facts)
    facts["cupy"] = machine.compute()
    if facts["cupy"] is None:
        facts |= _kernel_facts(machine.load("gpu_nx47.kernels"))
    return GpuFacts(**facts)


def diagnose(facts: GpuFacts) -> list[Check]:
    """Say what the facts mean: device, CuPy, kernels. A pure function."""
    checks = [_device(facts), _cupy(facts)]
    if all(check.verdict == "ok" for check in checks):
        checks.append(_kernels(facts))
    return checks


def cupy_failure() -> str | None:
    """Have CuPy compute on the device in another process; return the last line of what it raised, None where it could.

    `import cupy` alone works without a GPU, and a broken CUDA may take the interpreter with it.
    """
    code = "import cupy; assert int(cupy.arange(8).sum()) == 28, 'CuPy adds 0 to 7 up to another number than 28'"
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPUTE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not answer within {COMPUTE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"the process ended with {done.returncode}"


def _kernel_facts(kernels: Any) -> dict[str, Any]:
    from gpu_nx47.errors import BackendUnavailableError

    owed = tuple(getattr(kernels, "NOT_ON_GPU_YET", ()))
    try:
        kernels.probe()
    except BackendUnavailableError as error:
        refused: str | None = str(error)
    except Exception as error:  # noqa: BLE001 - a broken device raises anything, and each is the finding
        refused = f"{type(error).__name__}: {error}"
    else:
        refused = None
    wrong = {name: what for name, what in differing(kernels).items() if name not in owed}
    return {"owed": owed, "refused": refused, "wrong": wrong}


def _device(facts: GpuFacts) -> Check:
    driver = facts.driver
    if isinstance(driver, nvidia.NoDriver):
        return Check("GPU", "note", f"none: {driver.reason}", _NVML_ADVICE.get(driver.code, ""))
    if not driver.gpus:
        return Check(
            "GPU", "note", f"none: the NVIDIA driver {driver.version} shows no GPU",
            "On Kaggle choose a GPU in the notebook's settings; in a container, start it with --gpus all.",
        )  # fmt: skip
    if facts.hidden:
        return Check("GPU", "note", f"{_names(driver)}: hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES")
    if driver.cuda is not None and driver.cuda < OLDEST_CUDA:
        return Check(
            "GPU", "note", f"{_names(driver)}: the driver {driver.version} serves CUDA {_dotted(driver.cuda)} at most",
            f"CUDA {_dotted(OLDEST_CUDA)} is needed: update the driver to {OLDEST_DRIVER[12]} or newer.",
        )  # fmt: skip
    return Check("GPU", "ok", _names(driver))


def _cupy(facts: GpuFacts) -> Check:
    fitting = _fitting(facts.driver)
    install = f"pip install 'gpu-nx47[cuda{fitting}]'"
    if not facts.wheels:
        advice = install if facts.usable or _device(facts).verdict == "ok" else f"With an NVIDIA GPU: {install}"
        return Check("CuPy", "note", "not installed", advice)
    named = ", ".join(f"{name} {version}" for name, version in facts.wheels.items())
    if len(facts.wheels) > 1:
        return Check("CuPy", "note", f"installed more than once: {named}", f"{_uninstall(facts)}; {install}")
    cuda = _cuda_of(next(iter(facts.wheels)))
    if isinstance(facts.driver, nvidia.Driver) and cuda is not None:
        old = [gpu for gpu in facts.driver.gpus if _capability(gpu) < OLDEST_SM.get(cuda, (0, 0))]
        if old:
            reason = f"{named}: CUDA {cuda} no longer serves the {_gpu(old[0])}"
            advice = f"{_uninstall(facts)}; {install}. On Kaggle, choosing the T4 does too."
            return Check("CuPy", "note", reason, advice)
        if facts.driver.cuda is not None and facts.driver.gpus and facts.driver.cuda < (cuda, 0):
            reason = f"{named}: the driver {facts.driver.version} serves CUDA {_dotted(facts.driver.cuda)} at most"
            advice = f"Update the driver to {OLDEST_DRIVER.get(cuda, 'a newer one')}, or {_uninstall(facts)}; {install}"
            return Check("CuPy", "note", reason, advice)
    if facts.cupy is not None:
        advice = "python -c 'import cupy; cupy.show_config(); cupy.arange(8).sum()' shows all of it."
        return Check("CuPy", "note", f"{named} cannot compute on the device: {facts.cupy}", advice)
    return Check("CuPy", "ok", f"{named} computes on the device" if facts.usable else named)


def _kernels(facts: GpuFacts) -> Check:
    if facts.wrong:
        told = "; ".join(f"{name}: {what}" for name, what in facts.wrong.items())
        return Check(
            "GPU kernels", "no", f"not the law's bits: {told}",
            "Please report this, with all lines above. Until then use --backend cpu: its bits are right.",
        )  # fmt: skip
    if facts.refused is not None:
        return Check("GPU kernels", "note", facts.refused)
    if facts.owed:
        return Check("GPU kernels", "note", f"not ported in this version: {', '.join(facts.owed)}")
    return Check("GPU kernels", "ok", "every kernel gives the law's bits on the device")


def _fitting(driver: nvidia.Driver | nvidia.NoDriver) -> int:
    """Return the newest CUDA that driver and GPUs take, 12 where nothing is known."""
    if not isinstance(driver, nvidia.Driver) or driver.cuda is None or driver.cuda < (13, 0):
        return 12
    return 13 if all(_capability(gpu) >= OLDEST_SM[13] for gpu in driver.gpus) else 12


def _cuda_of(wheel: str) -> int | None:
    digits = wheel.removeprefix("cupy-cuda").removesuffix("x")
    return int(digits) if digits.isdecimal() else None


def _uninstall(facts: GpuFacts) -> str:
    return f"pip uninstall {' '.join(facts.wheels)}"


def _names(driver: nvidia.Driver) -> str:
    return ", ".join(map(_gpu, driver.gpus))


def _gpu(gpu: Mapping[str, Any]) -> str:
    return f"{gpu['name']} ({gpu['memory'] / 2**30:.0f} GiB, sm_{gpu['compute_capability'].replace('.', '')})"


def _capability(gpu: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, gpu["compute_capability"].split(".")))


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
