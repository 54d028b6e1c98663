"""Proof that the GPU worked: how long, how much of the work, at what power; on a machine without one, why not.

Three sources, none of which stands in for another: the backend's own device clock, the meter's count of operations, and
what NVIDIA's driver says when it is asked every half a second. What no source tells is null, with the reason beside it.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.events import Event
from gpu_nx47.nvidia import Load, NvmlUnavailableError, nvml, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_nx47.backend import Meter
    from gpu_nx47.events import Emit
    from gpu_nx47.journal import Stamped

INTERVAL_S: Final = 0.5
GPU: Final = "gpu"
"""NAME of the backend that has something to prove."""
KEYS: Final = (
    "gpu_time_ratio", "gpu_phase_coverage_pct", "cpu_fallback_count", "gpu_device_s", "gpu_joules",
    "gpu_memory_used_bytes_max", "gpu_samples", "gpu_devices",
)  # fmt: skip
"""Of the block, beside `gpu_reason` and `gpu_unknown`."""
READINGS: Final = ("utilisation_pct", "memory_used_bytes", "power_w", "temperature_c")


@dataclass
class _Reading:
    """The readings of one quantity: how many, their sum and the largest."""

    count: int = 0
    total: float = 0.0
    largest: float | None = None

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.largest = value if self.largest is None else max(self.largest, value)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass
class _Device:
    """One GPU, as the driver shows it: everything that runs on it counts, ours and others'."""

    index: int
    handle: Any
    name: str
    readings: dict[str, _Reading] = field(default_factory=lambda: {name: _Reading() for name in READINGS})
    millijoules: list[int] = field(default_factory=list)
    """The energy counter at the first and at the last reading."""
    refusals: dict[str, str] = field(default_factory=dict)
    """The last thing NVML said where it did not give a quantity."""

    def read(self, pynvml: Any) -> None:
        """Read every quantity once; one that is refused costs no other."""
        for name, ask in _QUESTIONS.items():
            try:
                self.readings[name].add(ask(pynvml, self.handle))
            except pynvml.NVMLError as error:
                self.refusals[name] = str(error)
        try:
            counted = int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except pynvml.NVMLError as error:
            self.refusals["joules"] = str(error)
        else:
            self.millijoules = [*self.millijoules[:1], counted]

    @property
    def joules(self) -> float | None:
        """Energy between the first and the last reading; None where NVML does not count it."""
        return (self.millijoules[-1] - self.millijoules[0]) / 1000 if len(self.millijoules) == 2 else None

    def told(self) -> dict[str, Any]:
        """Return the device as an entry of the block."""
        entry: dict[str, Any] = {"index": self.index, "name": self.name}
        for name in ("utilisation_pct", "power_w"):
            entry[f"{name}_mean"] = self.readings[name].mean
        for name in READINGS:
            entry[f"{name}_max"] = self.readings[name].largest
        return {**entry, "joules": self.joules, "refused": dict(self.refusals)}


_QUESTIONS: Final[dict[str, Callable[[Any, Any], float]]] = {
    "utilisation_pct": lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    "memory_used_bytes": lambda nvml, handle: nvml.nvmlDeviceGetMemoryInfo(handle).used,
    "power_w": lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    "temperature_c": lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
}


class Evidence:
    """Observer of a run that samples the GPU on a thread, and tells at the end what the GPU did.

    Where the run does not compute on the GPU it starts no thread and asks nothing.

    Parameters
    ----------
    meter : Meter
        Whose backend's NAME says whether this is a GPU run. `device_seconds()`, where the backend has it, returns the
        seconds that the devices worked so far by their own events, all devices added up.
    reason : str
        Why this backend was chosen.
    load : callable
        Gives the module pynvml.
    interval_s : float
        Between two samples.
    clock : callable
        Monotonic, seconds.

    Notes
    -----
    Of the events it looks at GPU_FALLBACK_DETECTED: `action` is ``"cpu"`` where work went to the CPU (so it is taken
    where it is missing; a halved tile or a freed pool is no fallback to the CPU), and `calc_ops_executed` tells how
    much was computed there, which the meter has counted too. The thread only reads: no bit of an answer depends on it.
    """

    def __init__(
        self,
        meter: Meter,
        reason: str,
        *,
        load: Load = import_module,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter = meter
        self._used = meter.NAME == GPU
        self._reason = reason
        self._load = load
        self._interval_s = interval_s
        self._clock = clock
        self._device_seconds: Callable[[], float] | None = getattr(meter.backend, "device_seconds", None)
        self._emit: Emit | None = None
        self._pynvml: Any = None
        self._devices: list[_Device] = []
        self._samples = 0
        self._no_sampling: str | None = None
        self._fallbacks = 0
        self._on_cpu: int | None = 0
        self._began = self._ended = clock()
        self._began_device_s = 0.0
        self._began_ops = 0
        self._lock = threading.Lock()
        self._session = ExitStack()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, stamped: Stamped) -> None:
        """Count a fallback."""
        event = stamped.event
        if event.name != "GPU_FALLBACK_DETECTED" or event.data.get("action", "cpu") != "cpu":
            return
        self._fallbacks += 1
        there = event.data.get("calc_ops_executed")
        self._on_cpu = None if there is None or self._on_cpu is None else self._on_cpu + int(there)

    def start(self, emit: Emit) -> None:
        """Take the first sample and begin to take more; `emit` is for the events of phases."""
        self._emit = emit
        self._began = self._clock()
        self._began_ops = self._meter.total()[1]
        if not self._used:
            return
        self._began_device_s = self._device_s() or 0.0
        try:
            self._pynvml = self._session.enter_context(nvml(self._load))
            self._find_devices()
        except NvmlUnavailableError as error:
            self._no_sampling = str(error)
        if not self._devices:
            return
        self.sample()
        self._thread = threading.Thread(target=self._go_on, name="nx47-gpu-evidence", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample and end the sampling. A second call does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self.sample()
        self._ended = self._clock()
        with self._lock:
            self._pynvml = None
            self._session.close()

    def close(self) -> None:
        """Stop, where nobody has: the driver is let go."""
        self.stop()

    def sample(self) -> None:
        """Read every device once."""
        with self._lock:
            if self._pynvml is None:
                return
            for device in self._devices:
                device.read(self._pynvml)
            self._samples += 1

    @contextmanager
    def phase(self, name: str, file: str | None = None) -> Iterator[None]:
        """Tell, as events, that a part of the run begins and ends, what the GPU did in it, and the memory at its end.

        Parameters
        ----------
        name : str
            Of the stage.
        file : str, optional
            The volume in work.
        """
        emit = self._emit
        if emit is None or not self._used:
            yield
            return
        here = {"phase": name, "file": file}
        began, began_device_s, began_ops = self._clock(), self._device_s(), self._meter.total()[1]
        emit(Event("GPU_PHASE_START", here))
        try:
            yield
        finally:
            wall_s, device_s = self._clock() - began, self._device_s()
            spent = None if device_s is None or began_device_s is None else device_s - began_device_s
            told = {"wall_s": wall_s, "device_s": spent, "gpu_time_ratio": _ratio(spent, wall_s)}
            executed = self._meter.total()[1] - began_ops
            emit(Event("GPU_PHASE_END", {**here, **told, "calc_ops_executed": executed}))
            emit(Event("GPU_MEMORY_SNAPSHOT", {**here, "devices": self._memory()}))

    def block(self) -> dict[str, Any]:
        """Return what GLOBAL_STATS says of the GPU, to be asked for after `stop`.

        Returns
        -------
        dict
            gpu_reason: null, or why no figure is given: the run did not compute on a GPU. gpu_time_ratio: seconds of
            the device over those of the wall (above 1 where devices or streams worked side by side).
            gpu_phase_coverage_pct: share of `calc_ops_executed` computed on the device, 0 to 100. cpu_fallback_count.
            gpu_device_s. gpu_joules: of all devices shown, by their own counters. gpu_memory_used_bytes_max: of the
            fullest device. gpu_samples. gpu_devices: a list, means over the samples. gpu_unknown: for each null, why.
        """
        if not self._used:
            return {"gpu_reason": self._reason, **dict.fromkeys(KEYS), "gpu_unknown": {}}
        device_s = self._device_s()
        device_s = None if device_s is None else device_s - self._began_device_s
        executed = self._meter.total()[1] - self._began_ops
        joules = [device.joules for device in self._devices]
        fullest = [device.readings["memory_used_bytes"].largest for device in self._devices]
        figures: dict[str, Any] = {
            "gpu_time_ratio": _ratio(device_s, self._ended - self._began),
            "gpu_phase_coverage_pct": _coverage(executed, self._on_cpu),
            "cpu_fallback_count": self._fallbacks,
            "gpu_device_s": device_s,
            "gpu_joules": sum(j for j in joules if j is not None) if joules and None not in joules else None,
            "gpu_memory_used_bytes_max": max((int(b) for b in fullest if b is not None), default=None),
            "gpu_samples": self._samples if self._devices else None,
            "gpu_devices": [device.told() for device in self._devices] or None,
        }
        unknown = {key: self._why(key) for key, value in figures.items() if value is None}
        return {"gpu_reason": None, **figures, "gpu_unknown": unknown}

    def _why(self, key: str) -> str:
        """Return why a figure of a run on the GPU is not known."""
        if key in ("gpu_time_ratio", "gpu_device_s"):
            return "the backend does not time its work" if self._device_seconds is None else "no time has passed"
        if key == "gpu_phase_coverage_pct":
            return (
                "nothing was computed" if self._on_cpu is not None else "a fallback did not tell how much it computed"
            )
        if self._no_sampling is not None:
            return self._no_sampling
        if not self._devices:
            return "the NVIDIA driver shows no GPU"
        quantity = "joules" if key == "gpu_joules" else "memory_used_bytes"
        said = [f"{d.name}: {d.refusals[quantity]}" for d in self._devices if quantity in d.refusals]
        return "; ".join(said) or "it was read once only"

    def _find_devices(self) -> None:
        pynvml = self._pynvml
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                self._devices.append(_Device(index, handle, text(pynvml.nvmlDeviceGetName(handle))))
        except pynvml.NVMLError as error:
            self._no_sampling = f"the NVIDIA driver does not tell its GPUs: {error}"

    def _go_on(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.sample()

    def _device_s(self) -> float | None:
        return None if self._device_seconds is None else float(self._device_seconds())

    def _memory(self) -> list[dict[str, int]]:
        """Return the memory of each device now, in bytes; without those that do not tell."""
        told = []
        with self._lock:
            for device in self._devices if self._pynvml is not None else ():
                try:
                    info = self._pynvml.nvmlDeviceGetMemoryInfo(device.handle)
                except self._pynvml.NVMLError:
                    continue
                figures = {f"{name}_bytes": int(getattr(info, name)) for name in ("used", "free", "total")}
                told.append({"index": device.index, **figures})
        return told


def _ratio(part: float | None, whole: float) -> float | None:
    return None if part is None or whole <= 0 else part / whole


def _coverage(executed: int, on_cpu: int | None) -> float | None:
    """Return the share of operations computed on the device, percent; `executed` counts those on the CPU too."""
    return None if on_cpu is None or executed <= 0 else 100.0 * (executed - on_cpu) / executed
