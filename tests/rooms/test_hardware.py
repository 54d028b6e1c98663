"""The hardware block says what the machine says, and a missing GPU is a reason, not an error."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_nvml import GPU_IS_LOST, NOT_SUPPORTED, TRACE, FakeNvml

from gpu_nx47 import hardware as room
from gpu_nx47 import nvidia


def test_the_block_has_every_key_and_real_figures():
    block = room.hardware()
    assert list(block)[:8] == [
        "python", "platform", "cpu_count", "usable_processors", "cpu_model", "mem_total_kb", "mem_available_kb", "gpu",
    ]  # fmt: skip
    assert platform.python_version() in block["python"]
    assert block["cpu_count"] == os.cpu_count()
    assert block["mem_total_kb"] == psutil.virtual_memory().total // 1024
    assert 0 < block["mem_available_kb"] <= block["mem_total_kb"]
    assert block["cpu_model"]
    assert bool(block["gpu"]) != ("gpu_reason" in block)


T4 = TRACE["devices"][0]


def test_a_gpu_is_named_whole(monkeypatch):
    fake = FakeNvml([T4], driver=b"550.90")  # old versions answer bytes
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    block = room.hardware()
    expected = {"name": "Tesla T4", "memory": 15 * 2**30, "driver": "550.90", "compute_capability": "7.5"}
    assert block["gpu"] == [expected]
    assert "gpu_reason" not in block
    assert fake.open == 0


def test_a_missing_driver_or_package_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(init_error=9))
    assert room.hardware()["gpu_reason"] == "no NVIDIA driver answers: Driver Not Loaded"
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([]))
    assert room.hardware()["gpu_reason"] == "the NVIDIA driver shows no GPU"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert room.hardware()["gpu"] == []
    assert "not installed" in room.hardware()["gpu_reason"]


def test_the_driver_tells_its_version_and_its_newest_cuda():
    found = nvidia.driver(FakeNvml([T4], driver="580.65", cuda=13010).load)
    assert (found.version, found.cuda, len(found.gpus)) == ("580.65", (13, 1), 1)


def test_a_driver_that_fails_in_the_middle_is_a_reason_and_is_let_go():
    fake = FakeNvml([T4])
    fake.lost = True
    found = nvidia.driver(fake.load)
    assert found == nvidia.NoDriver("the NVIDIA driver does not tell its GPUs: GPU is lost", GPU_IS_LOST)
    assert fake.open == 0


def test_a_driver_that_does_not_tell_its_cuda_is_still_one():
    class Old(FakeNvml):
        def nvmlSystemGetCudaDriverVersion(self):
            raise self.NVMLError(NOT_SUPPORTED)

    assert nvidia.driver(Old([T4]).load).cuda is None


def test_packages_are_told_without_loading_them():
    code = (
        "import sys; from gpu_nx47.hardware import packages, hardware; p = packages(); hardware();"
        "print(p['numpy'], sorted({'numpy', 'numba', 'cupy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{np.__version__} []"


def test_a_missing_core_package_is_none_and_a_missing_extra_is_absent(monkeypatch):
    class Found:
        version = "1.0"

        @staticmethod
        def read_text(name):
            """Return nothing: it was not installed by a wheel."""

    def distribution(name):
        if name in ("numba", "cupy-cuda12x"):
            raise room.importlib.metadata.PackageNotFoundError(name)
        return Found

    monkeypatch.setattr(room.importlib.metadata, "distribution", distribution)
    found = room.packages()
    assert found["numba"] is None
    assert "cupy-cuda12x" not in found
    assert found["cupy-cuda13x"] == "1.0"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_processors_follow_the_affinity():
    mine = os.sched_getaffinity(0)
    code = (
        f"import os; os.sched_setaffinity(0, {{{min(mine)}}});"
        "from gpu_nx47.hardware import usable_processors; print(usable_processors())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 4.0),
        ({"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "200000 100000\n"}, "0::/a/b\n", 2.0),
        ({"a/cpu.max": "100000 100000\n"}, "0::/c\n", None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu,cpuacct:/\n", 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", None),
        ({"cpu/x/cpu.cfs_quota_us": "50000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, "1:cpu:/x\n", 0.5),
        ({}, "", None),
    ],
)
def test_the_quota_of_a_control_group(tmp_path, files, membership, expected):
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "self").write_text(membership)
    assert room._cgroup_quota(root, tmp_path / "self") == expected


def test_a_quota_limits_the_processors(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("50000 100000")
    monkeypatch.setattr(room, "_CGROUP", Path(tmp_path))
    assert room.usable_processors() == 1


def test_memory_is_in_bytes_and_the_peak_stays():
    code = (
        "from gpu_nx47.hardware import rss_bytes, peak_rss_bytes; a = bytearray(b'x') * (200 << 20);"
        "held = rss_bytes(); del a; print(held, rss_bytes(), peak_rss_bytes())"
    )
    held, after, peak = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert 200 << 20 < held < 400 << 20
    assert after < held - (150 << 20)
    assert peak >= held - (4 << 20)
    assert room.peak_rss_bytes(children=True) >= 200 << 20  # the child just ended


@pytest.mark.skipif(sys.platform != "linux", reason="others note no such peak")
def test_the_peak_is_not_that_of_the_process_that_started_this_one():
    held = bytearray(400 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    code = "from gpu_nx47 import hardware; print(hardware.peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10 << 20 < int(done.stdout) < len(held)


def test_a_status_without_the_peak_is_no_peak(tmp_path):
    assert room._high_water_mark(tmp_path / "none") is None
    (tmp_path / "status").write_text("Name:\tx\n")
    assert room._high_water_mark(tmp_path / "status") is None
    (tmp_path / "status").write_text("VmPeak:\t9 kB\nVmHWM:\t    1234 kB\n")
    assert room._high_water_mark(tmp_path / "status") == 1234 * 1024


PAGES = """
import contextlib, ctypes, resource, sys
import numpy as np
from gpu_nx47 import hardware
state = lambda: ctypes.CDLL(None).prctl(42, *map(ctypes.c_ulong, (0, 0, 0, 0)))
found, way = state(), contextlib.nullcontext()
if sys.argv[1] == "kept":
    hardware.share_one_pool()
    way = hardware.keep_pages()
faults = []
way.__enter__()
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(10_000_000, np.uint8) for _ in range(8)]
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
held = hardware.rss_bytes()
hardware.release_memory()
inside = state()
way.__exit__(None, None, None)
print(max(faults[1:]), held - hardware.rss_bytes(), inside, state() - found)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_arrays_are_taken_again_without_new_pages_until_all_are_given_back():
    """In a process of its own: it is told once and for all."""
    if room._glibc() is None:
        pytest.skip("another C library")

    def child(way):
        done = subprocess.run([sys.executable, "-c", PAGES, way], capture_output=True, text=True, check=True)
        return map(int, done.stdout.split())

    faults, given_back, usual, changed = child("kept")
    assert faults < 1000, "80 MB are 20,000 pages"
    assert given_back > 60_000_000
    assert (usual, changed) == (1, 0)
    assert list(child("left alone"))[3] == 0


PLENTY = """
import sys
import numpy as np
from gpu_nx47 import hardware
hardware.share_one_pool()
with hardware.keep_pages():
    for way in sys.argv[1:]:
        hardware.keep_freed(way == "plenty")
        volumes = [np.ones(40_000_000, np.uint8) for _ in range(3)]
        held = hardware.rss_bytes()
        del volumes
        hardware.release_between()
        print(held - hardware.rss_bytes())
        held = hardware.rss_bytes()
        hardware.release_memory()
        print(held - hardware.rss_bytes())
    hardware.keep_freed(True)
    volume = np.ones(40_000_000, np.uint8)
    del volume
    held = hardware.rss_bytes()
print(held - hardware.rss_bytes())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_with_plenty_of_memory_volumes_stay_too_until_all_is_given_back():
    if room._glibc() is None:
        pytest.skip("another C library")
    command = [sys.executable, "-c", PLENTY, "plenty", "usual"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plenty, then, usual, rest, end = map(int, done.stdout.split())
    assert plenty < 10**6 < 10**8 < then
    assert rest < 10**7 < 10**8 < usual
    assert end > 3 * 10**7


def test_versions_are_those_that_the_packages_state():
    import importlib.metadata

    stated = {found.name: found.version for found in importlib.metadata.distributions()}
    assert len(stated) > 5
    for name, version in stated.items():
        assert room.version_of(name) == version
    assert room.version_of("no-such-package") is None
