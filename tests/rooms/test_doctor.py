"""Every way a GPU can be dead is provoked, and told with what to do; a wrong kernel is named."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fake_nvml import LIBRARY_NOT_FOUND, TRACE, FakeNvml

from cpu_fallback import law
from gpu_nx47.cli import agreement, checks, gpu_checks
from gpu_nx47.cli.gpu_checks import GpuFacts, Machine, diagnose, gather
from gpu_nx47.errors import BackendUnavailableError
from gpu_nx47.nvidia import Driver, NoDriver

T4, _, P100 = TRACE["devices"]
CUPY12, CUPY13 = {"cupy-cuda12x": "14.0.1"}, {"cupy-cuda13x": "14.0.1"}


class Kernels:
    """A room of kernels on a device that is the host: the law's, but for those that are spoilt."""

    NAME = "gpu"
    NOT_ON_GPU_YET = ()

    def __init__(self, spoilt=None, owed=(), refuses=None):
        self.spoilt = spoilt or {}
        self.NOT_ON_GPU_YET = owed
        self.refuses = refuses

    def probe(self):
        if self.refuses:
            raise self.refuses

    def to_device(self, array):
        return array

    def to_host(self, array):
        return array

    def __getattr__(self, name):
        kernel = getattr(law, name)
        return lambda *arrays, **parameters: self.spoilt.get(name, lambda x: x)(kernel(*arrays, **parameters))


def machine(nvml, wheels=CUPY12, computes=None, kernels=None, environ=None):
    def load(name):
        if name == "gpu_nx47.kernels":
            assert kernels is not None, "asked for kernels without a usable device"
            return kernels
        if nvml is None:
            raise ImportError(name)
        return nvml.load(name)

    def compute():
        assert kernels is not None or computes is not None, "CuPy was asked without a usable device"
        return computes

    return Machine(load=load, version=wheels.get, compute=compute, environ=environ or {})


def told(*arguments, **keywords):
    return {check.name: check for check in diagnose(gather(machine(*arguments, **keywords)))}


def test_nothing_is_wrong():
    found = told(FakeNvml([T4, T4]), kernels=Kernels())
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(("GPU", "CuPy", "GPU kernels"), "ok")
    assert found["GPU"].found == "Tesla T4 (15 GiB, sm_75), Tesla T4 (15 GiB, sm_75)"
    assert found["CuPy"].found == "cupy-cuda12x 14.0.1 computes on the device"
    assert not any(check.advice for check in found.values())


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (LIBRARY_NOT_FOUND, "NVML Shared Library Not Found", "install its driver"),
        (9, "Driver Not Loaded", "modprobe nvidia"),
        (18, "version mismatch", "boot again"),
        (4, "Insufficient Permissions", "--gpus all"),
    ],
)
def test_no_driver(code, reason, advice):
    found = told(FakeNvml(init_error=code))
    assert found["GPU"].verdict == "note"
    assert reason in found["GPU"].found
    assert advice in found["GPU"].advice
    assert set(found) == {"GPU", "CuPy"}


def test_no_nvml_package():
    found = told(None, wheels={})
    assert found["GPU"].found == "none: the package nvidia-ml-py is not installed"
    assert found["GPU"].advice == "pip install nvidia-ml-py"
    assert found["CuPy"].advice == "With an NVIDIA GPU: pip install 'gpu-nx47[cuda12]'"


def test_no_device():
    found = told(FakeNvml([]))
    assert found["GPU"].found == "none: the NVIDIA driver 570.86 shows no GPU"
    assert "On Kaggle choose a GPU" in found["GPU"].advice
    assert found["CuPy"].found == "cupy-cuda12x 14.0.1"  # and it does not claim to compute


@pytest.mark.parametrize(("value", "hidden"), [("", True), ("-1", True), ("0", False), ("GPU-3a", False)])
def test_a_hidden_device(value, hidden):
    found = told(FakeNvml([T4]), kernels=Kernels(), environ={"CUDA_VISIBLE_DEVICES": value})
    assert (found["GPU"].verdict == "note") == hidden
    assert found["GPU"].advice == ("unset CUDA_VISIBLE_DEVICES" if hidden else "")
    assert ("GPU kernels" in found) != hidden


@pytest.mark.parametrize(("cuda", "old"), [(11080, True), (12000, False)])
def test_an_old_driver(cuda, old):
    found = told(FakeNvml([T4], driver="470.82", cuda=cuda), kernels=Kernels())
    assert (found["GPU"].verdict == "note") == old
    if old:
        assert "Tesla T4" in found["GPU"].found
        assert "the driver 470.82 serves CUDA 11.8 at most" in found["GPU"].found
        assert "CUDA 12.0 is needed: update the driver to 525.60.13" in found["GPU"].advice
        assert "GPU kernels" not in found


def test_a_p100_with_a_wheel_of_cuda_13():
    found = told(FakeNvml([T4, P100], cuda=13000), wheels=CUPY13, computes="no kernel image is available")
    assert found["GPU"].verdict == "ok"
    assert found["CuPy"].verdict == "note"
    assert found["CuPy"].found.endswith("CUDA 13 no longer serves the Tesla P100-PCIE-16GB (16 GiB, sm_60)")
    assert found["CuPy"].advice.startswith("pip uninstall cupy-cuda13x; pip install 'gpu-nx47[cuda12]'")
    assert "GPU kernels" not in found
    assert told(FakeNvml([P100], cuda=13000), kernels=Kernels())["CuPy"].verdict == "ok"


@pytest.mark.parametrize(("cuda", "old"), [(12080, True), (13000, False)])
def test_a_wheel_of_cuda_13_with_a_driver_of_cuda_12(cuda, old):
    failure = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
    found = told(FakeNvml([T4], cuda=cuda), wheels=CUPY13, computes=failure if old else None, kernels=Kernels())
    assert (found["CuPy"].verdict == "note") == old
    if old:
        assert "serves CUDA 12.8 at most" in found["CuPy"].found
        assert found["CuPy"].advice.startswith("Update the driver to 580.65.06, or pip uninstall cupy-cuda13x;")


@pytest.mark.parametrize(
    ("device", "cuda", "extra"), [(T4, 13000, "cuda13"), (T4, 12080, "cuda12"), (P100, 13000, "cuda12")]
)
def test_cupy_is_missing(device, cuda, extra):
    found = told(FakeNvml([device], cuda=cuda), wheels={})
    assert (found["GPU"].verdict, found["CuPy"].found) == ("ok", "not installed")
    assert found["CuPy"].advice == f"pip install 'gpu-nx47[{extra}]'"


def test_two_cupys():
    found = told(FakeNvml([T4]), wheels=CUPY12 | CUPY13)
    assert found["CuPy"].found == "installed more than once: cupy-cuda12x 14.0.1, cupy-cuda13x 14.0.1"
    assert found["CuPy"].advice.startswith("pip uninstall cupy-cuda12x cupy-cuda13x; pip install")


def test_cupy_that_cannot_compute():
    found = told(FakeNvml([T4]), computes="ImportError: libnvrtc.so.12: cannot open shared object file")
    assert found["CuPy"].verdict == "note"
    assert "cannot compute on the device: ImportError: libnvrtc.so.12" in found["CuPy"].found
    assert "GPU kernels" not in found


def test_a_probe_that_breaks_is_told():
    found = told(FakeNvml([T4]), kernels=Kernels(refuses=RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")))["GPU kernels"]
    assert (found.verdict, found.found) == ("note", "RuntimeError: CUDA_ERROR_ILLEGAL_ADDRESS")


def test_a_probe_that_refuses():
    found = told(
        FakeNvml([T4]), kernels=Kernels(refuses=BackendUnavailableError("the compiled gaussian gives other bits"))
    )
    assert (found["GPU kernels"].verdict, found["GPU kernels"].found) == (
        "note",
        "the compiled gaussian gives other bits",
    )


def test_ports_that_are_not_written_are_no_fault():
    room = Kernels(owed=("label", "opening"), spoilt={"label": lambda x: None})
    found = told(FakeNvml([T4]), kernels=room)
    assert (found["GPU kernels"].verdict, found["GPU kernels"].found) == (
        "note", "not ported in this version: label, opening",
    )  # fmt: skip


def one_bit(result):
    spoilt = result.copy()
    spoilt.reshape(-1)[-1] ^= 1
    return spoilt


def raises(result):
    raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")


def test_wrong_bits_name_the_kernel_and_ask_for_a_report():
    spoilt = {
        "local_entropy": one_bit,
        "gaussian": raises,
        "count": lambda n: n + 1,
        "label": lambda pair: (*pair[:1], 0),
    }
    found = told(FakeNvml([T4]), kernels=Kernels(spoilt))["GPU kernels"]
    assert found.verdict == "no"
    for name in ("local_entropy", "count", "label"):
        assert f"{name}: other bits than the law" in found.found
    assert "gaussian: RuntimeError: CUDA_ERROR_LAUNCH_FAILED" in found.found
    assert found.found.count(":") == 1 + len(spoilt) + 1
    assert found.advice.startswith("Please report this")
    assert "--backend cpu" in found.advice


def test_every_kernel_of_the_law_is_compared_and_says_something():
    names = {name for name in law.__all__ if callable(getattr(law, name))} - {"probe", "to_device", "to_host"}
    assert set(agreement.calls()) == names
    for kernel, (arrays, parameters) in agreement.calls().items():
        result = getattr(law, kernel)(*arrays, **parameters)
        voxels = result[0] if isinstance(result, tuple) else result
        assert len(np.unique(voxels)) > 1 or (kernel == "count" and 0 < voxels < arrays[0].size), kernel
    assert agreement.differing(law) == {}


@pytest.mark.parametrize("kernel", sorted(agreement.calls()))
def test_each_kernel_is_told_apart_from_a_wrong_one(kernel):
    def other(result):
        if isinstance(result, tuple):
            return (one_bit(np.asarray(result[0], copy=True)), *result[1:])
        if isinstance(result, np.ndarray):
            return ~result if result.dtype == bool else one_bit(result)
        return result + 1

    assert set(agreement.differing(Kernels({kernel: other}))) == {kernel}


def test_other_types_and_shapes_are_not_equal():
    room = Kernels({"gaussian": lambda codes: codes.astype(np.int32), "erosion": lambda mask: mask[None]})
    assert set(agreement.differing(room)) == {"gaussian", "erosion"}


@pytest.mark.parametrize(
    ("module", "failure"),
    [
        ("class Array:\n    def sum(self): return 28\ndef arange(n): return Array()", None),
        ("class Array:\n    def sum(self): return 0\ndef arange(n): return Array()", "AssertionError: CuPy adds"),
        ("def arange(n): raise RuntimeError('cudaErrorNoDevice')", "RuntimeError: cudaErrorNoDevice"),
        ("raise ImportError('libcuda.so.1')", "ImportError: libcuda.so.1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the process ended with -9"),
    ],
)
def test_cupy_is_asked_in_another_process(tmp_path, monkeypatch, module, failure):
    (tmp_path / "cupy.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = gpu_checks.cupy_failure()
    assert found is None if failure is None else found.startswith(failure)
    assert "cupy" not in sys.modules


def test_the_diagnosis_is_a_function_of_the_facts():
    gpu = {"name": "Tesla T4", "memory": 15 * 2**30, "driver": "1", "compute_capability": "7.5"}
    facts = GpuFacts(Driver("1", None, (gpu,)), wheels={"cupy": "14.0"})  # conda's: it does not tell its CUDA
    assert [check.verdict for check in diagnose(facts)] == ["ok", "ok", "ok"]
    assert diagnose(facts) == diagnose(facts)
    assert diagnose(GpuFacts(NoDriver("x", 99)))[0].advice == ""


def test_the_doctor_shows_the_diagnosis(monkeypatch, tmp_path):
    wrong = machine(FakeNvml([T4]), kernels=Kernels({"count": lambda n: n + 1}))
    monkeypatch.setattr(checks, "Machine", lambda: wrong)
    monkeypatch.setattr(checks, "_backend", lambda: SimpleNamespace(name="backend", verdict="ok", found="", advice=""))
    lines = checks.report(checks.examine(tmp_path)).splitlines()
    assert any(line.startswith("no    GPU kernels") for line in lines)
    assert lines[-1].startswith("`nx47 run` would not work here")
