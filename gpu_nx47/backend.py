"""Which machine computes: the contract of a backend, the choice of one, and the count of what it did.

A backend is a module: `NAME`, `probe()`, `to_device(a)`, `to_host(a)` and the kernels of cpu_fallback/DESIGN.md, each
with the law's bits.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from gpu_nx47.errors import BackendUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHOICES: Final = ("auto", "gpu", "cpu", "law")


class Backend(Protocol):
    """What the engine and the stages may ask of a backend; kernels are looked up by name."""

    NAME: str

    def probe(self) -> None:
        """Compute something and compare it with the law; raise with the reason if this machine cannot."""

    def to_device(self, array: Any, /) -> Any:
        """Return the array where the kernels want it."""

    def to_host(self, array: Any, /) -> Any:
        """Return the array as NumPy's."""

    def __getattr__(self, name: str) -> Any:
        """Return a kernel."""


def select(choice: str = "auto") -> tuple[Backend, str]:
    """Return the backend asked for and the reason for it, a sentence.

    Parameters
    ----------
    choice : {"auto", "gpu", "cpu", "law"}
        "gpu" never yields the CPU; "cpu" is the law, slower and with the same bits, where Numba is missing.

    Raises
    ------
    BackendUnavailableError
        The backend asked for cannot run on this machine.
    UsageError
        No such choice.
    """
    if choice not in CHOICES:
        raise UsageError(f"backend: expected one of {', '.join(CHOICES)}, got {choice!r}")
    if choice == "law":
        return _load("cpu_fallback.law"), "the NumPy law was asked for"
    if choice == "gpu":
        gpu = _load("gpu_nx47.kernels")
        gpu.probe()
        return gpu, "the GPU was asked for and its probe equals the law"
    if choice == "cpu":
        return _cpu("the CPU was asked for")
    try:
        gpu = _load("gpu_nx47.kernels")
        gpu.probe()
    except BackendUnavailableError as error:
        return _cpu(f"no GPU ({error.args[0].split('. ')[0]})")
    return gpu, "a GPU is here and its probe equals the law"


def _cpu(reason: str) -> tuple[Backend, str]:
    try:
        twin = _load("cpu_fallback.twin")
    except ImportError as error:
        return _load("cpu_fallback.law"), (
            f"{reason}; Numba is missing ({error}), so the NumPy law serves: slower, same bits. pip install numba"
        )
    try:
        twin.probe()
    except (RuntimeError, ImportError) as error:
        raise BackendUnavailableError(f"the compiled CPU path failed its probe: {error}. Use --backend law.") from error
    return twin, f"{reason}; compiled with Numba"


def _load(module: str) -> Any:
    return import_module(module)


class Meter:
    """A backend that counts: passes each kernel call on and adds up the law's operations.

    `asked` counts output voxels asked for, so it is equal on all backends and tilings; `executed` counts what was
    computed, halos included.
    """

    def __init__(self, backend: Backend) -> None:
        self._chosen = backend
        self.NAME = backend.NAME
        self._lock = threading.Lock()
        self._local = _Thread()
        self.asked: dict[str, float] = defaultdict(float)
        self.executed: dict[str, float] = defaultdict(float)
        self.tell: Callable[[dict[str, Any]], None] = lambda _: None
        """Called with the data of GPU_FALLBACK_DETECTED, from any thread."""

    @property
    def backend(self) -> Backend:
        """The backend of this thread: the one chosen, or the CPU's within `on_cpu`."""
        return self._local.instead or self._chosen

    @contextmanager
    def on_cpu(self) -> Iterator[Callable[[], int]]:
        """Within it, this thread's calls go to the CPU; yields what returns the operations computed there so far."""
        self._local.instead, self._local.there = _cpu("")[0], 0.0
        try:
            yield lambda: round(self._local.there)
        finally:
            self._local.instead = None

    def free_memory(self) -> None:
        """Let the device give back what it holds and does not use; nothing where the host is the device."""
        getattr(self._chosen, "free_memory", lambda: None)()

    def free_bytes(self) -> int | None:
        """Return what the devices have free, bytes; None where the host is the device."""
        free: int | None = getattr(self._chosen, "free_bytes", lambda: None)()
        return free

    def enter_thread(self) -> None:
        """Prepare a thread that is to work on tiles: of several devices it gets one."""
        getattr(self._chosen, "enter_thread", lambda: None)()

    def to_device(self, array: Any, /) -> Any:
        """Pass on."""
        return self.backend.to_device(array)

    def to_host(self, array: Any, /) -> Any:
        """Pass on."""
        return self.backend.to_host(array)

    def probe(self) -> None:
        """Pass on."""
        self.backend.probe()

    @contextmanager
    def asking(self, voxels: int | None = None) -> Iterator[None]:
        """Within it, this thread's kernel calls are asked for `voxels` output voxels, however many they compute.

        None: for what they compute. What work that fails had asked for does not count: it will be asked for again.
        """
        here, asked = self._local, defaultdict[str, float](float)
        before = here.voxels, here.asked
        here.voxels, here.asked = voxels, asked
        try:
            yield
        finally:
            here.voxels, here.asked = before
        total = self.asked if here.asked is None else here.asked
        with self._lock:
            for name, operations in asked.items():
                total[name] += operations

    def __getattr__(self, name: str) -> Any:
        getattr(self._chosen, name)  # an unknown kernel is told here
        from cpu_fallback.costs import operations

        def counted(*arrays: Any, **parameters: Any) -> Any:
            result = getattr(self.backend, name)(*arrays, **parameters)
            per_voxel = operations(name, **parameters)
            computed = _elements(arrays, parameters.get("window"))
            here = self._local
            here.there += per_voxel * computed if here.instead else 0.0
            with self._lock:
                self.executed[name] += per_voxel * computed
                asked = self.asked if here.asked is None else here.asked
                asked[name] += per_voxel * (computed if here.voxels is None else here.voxels)
            return result

        counted.__name__ = name
        self.__dict__[name] = counted
        return counted

    def exact_total(self) -> tuple[float, float]:
        """Return (asked, executed) operations so far; costs a voxel are eighths, so their sums are exact."""
        with self._lock:
            return sum(self.asked.values()), sum(self.executed.values())

    def total(self) -> tuple[int, int]:
        """Return (asked, executed) operations so far, to the nearest whole number."""
        asked, executed = self.exact_total()
        return round(asked), round(executed)


class _Thread(threading.local):
    """What a meter knows of each thread."""

    voxels: int | None = None
    """Output voxels asked for by each call; None: as many as it computes."""
    asked: dict[str, float] | None = None
    """Operations asked for by work that has not succeeded yet."""
    instead: Backend | None = None
    """The CPU, where this thread was sent there."""
    there: float = 0.0
    """Operations computed there."""


def _elements(arrays: tuple[Any, ...], window: Any) -> int:
    """Voxels a call works on: of its window or its first array; samples, for a training set (K, n)."""
    if isinstance(window, tuple):
        return math.prod(part.stop - part.start for part in window)
    first = arrays[0]
    if isinstance(first, tuple):
        first = first[0]
    return int(first.shape[-1] if first.ndim == 2 else first.size)
