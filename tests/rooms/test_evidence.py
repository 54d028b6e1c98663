"""The evidence block holds what was measured, each figure worked out by hand, and never a zero in place of a gap."""

import threading
import time
from itertools import count

import pytest
from fake_nvml import LIBRARY_NOT_FOUND, TRACE, FakeNvml

from cpu_fallback import law
from gpu_nx47.backend import Meter
from gpu_nx47.events import Event
from gpu_nx47.evidence import GPU, KEYS, Evidence
from gpu_nx47.journal import Dispatcher
from gpu_nx47.journal.encoding import plain

T4 = TRACE["devices"][:2]
P100 = TRACE["devices"][2:]
PATIENCE_S = 20.0


class Room:
    """A backend that says it is the GPU, with a clock of its own."""

    NAME = GPU

    def __init__(self):
        self.seconds = 40.0  # earlier runs of this process

    def device_seconds(self):
        return self.seconds


class Untimed:
    NAME = GPU


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Run:
    """A run whose every clock stands still until it is moved."""

    def __init__(self, devices=None, room=None, **nvml):
        self.room = Room() if room is None else room
        self.meter = Meter(self.room)
        self.meter.executed["gaussian"] = 500.0  # before the run began
        self.nvml = FakeNvml(devices, **nvml)
        self.clock = Clock()
        self.told = []
        self.evidence = Evidence(self.meter, "a GPU is here", load=self.nvml.load, interval_s=3600.0, clock=self.clock)
        self.evidence.start(self.told.append)

    def play(self):
        """Go through the trace: half a second each, three quarters of it on the device."""
        for at in range(1, 4):
            self.work(0.5, 0.375, 1_000_000)
            self.nvml.at = at
            self.evidence.sample()
        self.work(0.5, 0.375, 1_000_000)
        self.nvml.at = 4
        self.evidence.stop()

    def work(self, wall_s, device_s, operations):
        self.clock.now += wall_s
        self.room.seconds += device_s
        self.meter.executed["gaussian"] += operations

    def see(self, **data):
        Dispatcher([self.evidence]).emit(Event("GPU_FALLBACK_DETECTED", data))


def test_a_trace_gives_the_block():
    run = Run(T4)
    run.play()
    block = run.evidence.block()
    assert block["gpu_reason"] is None
    assert block["gpu_unknown"] == {}
    assert block["gpu_time_ratio"] == 1.5 / 2.0
    assert block["gpu_device_s"] == 1.5
    assert block["gpu_phase_coverage_pct"] == 100.0
    assert block["cpu_fallback_count"] == 0
    assert block["gpu_joules"] == 113.5 + 113.8
    assert block["gpu_memory_used_bytes_max"] == 3_758_096_384
    assert block["gpu_samples"] == 5
    first, second = block["gpu_devices"]
    assert (first["index"], second["index"]) == (0, 1)
    assert first["name"] == second["name"] == "Tesla T4"
    assert first["utilisation_pct_mean"] == (0 + 97 + 100 + 84 + 3) / 5
    assert first["utilisation_pct_max"] == 100
    assert first["power_w_mean"] == pytest.approx((9.8 + 68.3 + 70.1 + 61.0 + 27.6) / 5, rel=1e-12)
    assert first["power_w_max"] == 70.1
    assert first["temperature_c_max"] == 58
    assert first["memory_used_bytes_max"] == 3_758_096_384
    assert (first["joules"], second["joules"]) == (113.5, 113.8)
    assert second["utilisation_pct_mean"] == (0 + 91 + 99 + 88 + 0) / 5
    assert second["memory_used_bytes_max"] == 3_489_660_928
    assert first["refused"] == {}
    odd = []
    assert plain(block, odd) == block
    assert odd == []


def test_what_nvml_does_not_count_is_null_with_the_reason():
    run = Run(P100)
    run.play()
    block = run.evidence.block()
    assert block["gpu_joules"] is None
    assert block["gpu_unknown"] == {"gpu_joules": "Tesla P100-PCIE-16GB: Not Supported"}
    (device,) = block["gpu_devices"]
    assert device["joules"] is None
    assert device["utilisation_pct_mean"] == (0 + 80 + 60 + 0) / 4  # one sample of the five was refused
    assert device["refused"] == {"utilisation_pct": "Not Supported", "joules": "Not Supported"}
    assert device["power_w_max"] == 142.5
    assert block["gpu_time_ratio"] == 0.75


def test_joules_of_two_devices_of_which_one_counts_are_no_sum():
    run = Run()
    run.play()
    assert [device["joules"] for device in run.evidence.block()["gpu_devices"]] == [113.5, 113.8, None]
    assert run.evidence.block()["gpu_joules"] is None


@pytest.mark.parametrize("name", ["law", "cpu"])
def test_a_run_on_the_cpu_has_no_figures_and_asks_nothing(name):
    def load(module):
        raise AssertionError(f"{module} was asked for")

    class Cpu:
        NAME = name

    before = set(threading.enumerate())
    told = []
    evidence = Evidence(Meter(law if name == "law" else Cpu()), "no GPU (none is here)", load=load)
    evidence.start(told.append)
    with evidence.phase("train"):
        pass
    assert set(threading.enumerate()) == before
    evidence.stop()
    block = evidence.block()
    assert block == {"gpu_reason": "no GPU (none is here)", **dict.fromkeys(KEYS), "gpu_unknown": {}}
    assert told == []


def test_without_nvml_the_gpus_own_figures_stay():
    run = Run(init_error=LIBRARY_NOT_FOUND)
    run.play()
    block = run.evidence.block()
    assert (block["gpu_time_ratio"], block["gpu_phase_coverage_pct"], block["cpu_fallback_count"]) == (0.75, 100.0, 0)
    sampled = ("gpu_joules", "gpu_memory_used_bytes_max", "gpu_samples", "gpu_devices")
    assert [block[key] for key in sampled] == [None] * 4
    reason = "no NVIDIA driver answers: NVML Shared Library Not Found"
    assert block["gpu_unknown"] == dict.fromkeys(sampled, reason)


def test_a_driver_that_shows_no_gpu_is_a_reason():
    run = Run([])
    assert not [t for t in threading.enumerate() if t.name == "nx47-gpu-evidence"]
    run.play()
    assert run.evidence.block()["gpu_unknown"]["gpu_devices"] == "the NVIDIA driver shows no GPU"
    assert run.nvml.open == 0


def test_a_gpu_lost_on_the_way_keeps_what_was_read():
    run = Run(T4[:1])
    run.nvml.at = 1
    run.evidence.sample()
    run.nvml.lost = True
    run.evidence.sample()
    run.evidence.stop()
    (device,) = run.evidence.block()["gpu_devices"]
    assert device["utilisation_pct_mean"] == 97 / 2
    assert device["joules"] == 34.15
    assert set(device["refused"].values()) == {"GPU is lost"}


def test_a_gpu_lost_after_the_first_sample_has_no_joules():
    run = Run(T4[:1])
    run.nvml.lost = True
    run.evidence.stop()
    block = run.evidence.block()
    assert block["gpu_devices"][0]["temperature_c_max"] == 38
    assert block["gpu_unknown"]["gpu_joules"] == "Tesla T4: GPU is lost"


def test_a_backend_without_a_clock_gives_no_ratio():
    run = Run(T4, room=Untimed())
    with run.evidence.phase("train"):
        run.clock.now += 2.0
    assert run.told[1].data["device_s"] is run.told[1].data["gpu_time_ratio"] is None
    run.evidence.stop()
    block = run.evidence.block()
    assert block["gpu_time_ratio"] is block["gpu_device_s"] is None
    assert block["gpu_unknown"]["gpu_time_ratio"] == "the backend does not time its work"
    assert block["gpu_unknown"]["gpu_phase_coverage_pct"] == "nothing was computed"


def test_work_that_went_to_the_cpu_is_counted_out():
    run = Run(T4)
    run.see(action="free")
    run.see(action="halve")
    run.see(action="cpu", calc_ops_executed=300_000)
    run.see(calc_ops_executed=100_000)
    run.play()
    block = run.evidence.block()
    assert block["cpu_fallback_count"] == 2
    assert block["gpu_phase_coverage_pct"] == 90.0


def test_a_fallback_of_unknown_size_leaves_no_coverage():
    run = Run(T4)
    run.see(reason="out of memory")
    run.see(action="cpu", calc_ops_executed=1)
    run.play()
    block = run.evidence.block()
    assert block["cpu_fallback_count"] == 2
    assert block["gpu_phase_coverage_pct"] is None
    assert block["gpu_unknown"] == {"gpu_phase_coverage_pct": "a fallback did not tell how much it computed"}


def test_a_phase_is_told_from_begin_to_end_even_if_it_fails():
    run = Run(T4)
    with run.evidence.phase("features", "a"):
        run.nvml.at = 2
        run.work(2.0, 0.5, 7_000)
    with pytest.raises(MemoryError), run.evidence.phase("null"):
        raise MemoryError
    here = {"phase": "features", "file": "a"}
    assert [event.name for event in run.told] == ["GPU_PHASE_START", "GPU_PHASE_END", "GPU_MEMORY_SNAPSHOT"] * 2
    start, end, memory = (event.data for event in run.told[:3])
    assert start == here
    timed = {"wall_s": 2.0, "device_s": 0.5, "gpu_time_ratio": 0.25, "calc_ops_executed": 7_000}
    assert end == {**here, **timed}
    total = 16_106_127_360
    used = (3_758_096_384, 3_489_660_928)
    expected = [
        {"index": i, "used_bytes": u, "free_bytes": total - u, "total_bytes": total} for i, u in enumerate(used)
    ]
    assert memory == {**here, "devices": expected}
    assert run.told[4].data["gpu_time_ratio"] is None  # no time has passed
    run.evidence.stop()


def test_the_thread_samples_until_it_is_stopped():
    nvml, clocks = FakeNvml(T4), count()
    evidence = Evidence(Meter(Room()), "", load=nvml.load, interval_s=0.001, clock=lambda: float(next(clocks)))
    evidence.start(lambda event: None)
    end = time.monotonic() + PATIENCE_S
    while nvml.reads < 100:
        assert time.monotonic() < end, "the thread does not sample"
        time.sleep(0.001)
    assert nvml.open == 1
    evidence.stop()
    reads = nvml.reads
    assert nvml.open == 0
    evidence.stop()
    evidence.close()
    evidence.sample()
    time.sleep(0.02)
    assert nvml.reads == reads
    assert nvml.open == 0
    assert not [t for t in threading.enumerate() if t.name == "nx47-gpu-evidence"]
    assert evidence.block()["gpu_samples"] == reads / 10  # two devices, five questions
