"""nvidia-ml-py's module on a machine that has no GPU: answers from a trace, or as a broken driver would."""

import json
from pathlib import Path
from types import SimpleNamespace

TRACE = json.loads((Path(__file__).parent / "nvml_trace.json").read_text())
NOT_SUPPORTED, LIBRARY_NOT_FOUND, GPU_IS_LOST = 3, 12, 15
SENTENCES = {3: "Not Supported", 4: "Insufficient Permissions", 9: "Driver Not Loaded",
             12: "NVML Shared Library Not Found", 15: "GPU is lost",
             18: "RM has detected an NVML/RM version mismatch."}  # fmt: skip


class FakeNvml:
    """The part of pynvml that we use.

    Parameters
    ----------
    devices : list of dict
        As in the trace.
    init_error : int, optional
        What nvmlInit raises.
    """

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        def __init__(self, value):
            super().__init__(SENTENCES[value])
            self.value = value

    def __init__(self, devices=None, *, driver=TRACE["driver"], cuda=TRACE["cuda"], init_error=None):
        self.devices = TRACE["devices"] if devices is None else devices
        self.driver, self.cuda, self.init_error = driver, cuda, init_error
        self.at = 0  # which sample of the trace is now
        self.open = 0  # sessions
        self.lost = False
        self.reads = 0

    def load(self, name):
        """Stand in for importlib.import_module."""
        assert name == "pynvml"
        return self

    def _now(self, device, key):
        self.reads += 1
        assert self.open > 0, "asked outside of a session"
        if self.lost:
            raise self.NVMLError(GPU_IS_LOST)
        value = device["samples"][min(self.at, len(device["samples"]) - 1)][key]
        if value is None:
            raise self.NVMLError(NOT_SUPPORTED)
        return value

    def nvmlInit(self):
        if self.init_error is not None:
            raise self.NVMLError(self.init_error)
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self):
        return self.cuda

    def nvmlDeviceGetCount(self):
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.devices[index]

    def nvmlDeviceGetName(self, device):
        return device["name"].encode()  # as old versions answer

    def nvmlDeviceGetCudaComputeCapability(self, device):
        return tuple(device["compute_capability"])

    def nvmlDeviceGetUtilizationRates(self, device):
        return SimpleNamespace(gpu=self._now(device, "utilisation_pct"))

    def nvmlDeviceGetMemoryInfo(self, device):
        total = device["memory_total_bytes"]
        used = self._now(device, "memory_used_bytes") if "samples" in device else 0
        return SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetPowerUsage(self, device):
        return self._now(device, "power_mw")

    def nvmlDeviceGetTemperature(self, device, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self._now(device, "temperature_c")

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        return self._now(device, "energy_mj")
