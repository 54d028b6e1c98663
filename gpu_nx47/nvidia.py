"""What NVIDIA's driver says, through NVML (the module pynvml of nvidia-ml-py): no other GPU library is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

Load = Callable[[str], Any]
"""Returns a module by its name: `importlib.import_module`, or what a test puts in its place."""


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's driver says of itself and of its GPUs."""

    version: str
    cuda: tuple[int, int] | None
    """Newest CUDA it serves; None where it does not tell."""
    gpus: tuple[dict[str, Any], ...]
    """Each as in the hardware block."""


@dataclass(frozen=True)
class NoDriver:
    """Why NVML, the library that asks NVIDIA's driver, does not answer."""

    reason: str
    code: int | None = None
    """NVML's error code; None where nvidia-ml-py itself is missing."""


class NvmlUnavailableError(Exception):
    """NVML does not answer; never leaves this package."""

    def __init__(self, said: NoDriver) -> None:
        super().__init__(said.reason)
        self.said = said


@contextmanager
def nvml(load: Load = import_module) -> Iterator[Any]:
    """Give the module pynvml, initialised; NVML counts, so sessions may overlap.

    Parameters
    ----------
    load : callable
        Returns a module by its name.

    Raises
    ------
    NvmlUnavailableError
        There is no NVML here.
    """
    try:
        pynvml = load("pynvml")
    except ImportError as error:
        raise NvmlUnavailableError(NoDriver("the package nvidia-ml-py is not installed")) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        said = NoDriver(f"no NVIDIA driver answers: {error}", getattr(error, "value", None))
        raise NvmlUnavailableError(said) from error
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):  # a GPU lost on the way fails here too, and no run may end by it
            pynvml.nvmlShutdown()


def driver(load: Load = import_module) -> Driver | NoDriver:
    """Ask NVIDIA's driver for its version and its GPUs; where it does not answer, say why."""
    try:
        with nvml(load) as pynvml:
            try:
                version = text(pynvml.nvmlSystemGetDriverVersion())
                gpus = [_gpu(pynvml, index, version) for index in range(pynvml.nvmlDeviceGetCount())]
                return Driver(version, _cuda(pynvml), tuple(gpus))
            except pynvml.NVMLError as error:
                code = getattr(error, "value", None)
                return NoDriver(f"the NVIDIA driver does not tell its GPUs: {error}", code)
    except NvmlUnavailableError as error:
        return error.said


def _gpu(pynvml: Any, index: int, driver: str) -> dict[str, Any]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "name": text(pynvml.nvmlDeviceGetName(handle)),
        "memory": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        "driver": driver,
        "compute_capability": f"{major}.{minor}",
    }


def _cuda(pynvml: Any) -> tuple[int, int] | None:
    try:
        code = int(pynvml.nvmlSystemGetCudaDriverVersion())
    except (AttributeError, pynvml.NVMLError):  # drivers before CUDA 9.2
        return None
    return code // 1000, code % 1000 // 10


def text(value: str | bytes) -> str:
    """Return what NVML says as text: old versions of nvidia-ml-py answer bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
