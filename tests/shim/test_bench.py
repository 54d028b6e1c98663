"""The bench for a GPU works, so that the first machine that has one need not debug it; its times here mean nothing."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpu_nx47 import kernels
from gpu_nx47.kernels import _loader

PATH = Path(__file__).parents[2] / "bench" / "gpu.py"


@pytest.fixture
def bench(device, monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_gpu", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "bench_gpu", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    for name, value in (
        ("WARM_UP", 0),
        ("REPEATS", 1),
        ("BITS_SIZE", 32),
        ("COPY_BYTES", 1 << 12),
        ("DOWNLOAD_BYTES", 1 << 12),
    ):
        monkeypatch.setattr(module, name, value)
    return module


def test_the_table_holds_every_case(bench, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "whole_run", lambda size: {"gpu": 1.0, "cpu": 2.0})
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "compute-sanitizer" else which(tool))
    bench.main(["--size", "32", "--json", str(tmp_path / "gpu.json")])
    shown, found = capsys.readouterr().out, json.loads((tmp_path / "gpu.json").read_text())
    assert "bits: all equal to the law" in shown
    assert found["unequal"] == []
    assert [row["case"] for row in found["rows"]] == [case.name for case in bench.cases(32)]
    assert all(f"| {row['case']} |" in shown for row in found["rows"])
    assert set(found["compile_s"]) == set(_loader.files())
    assert found["machine"]["device"] == "shim"
    assert found["compute_sanitizer"] == "not installed"
    assert set(found["download_bytes_per_s"]) == {"to_host", "pageable"}


def test_the_kernels_of_the_table_are_nearly_all(bench):
    """Left out: what is called on a sample, on labels, or is the inverse of one that is there."""
    absent = {"component_moments", "erosion", "gather", "mask_moments", "neuron_sums", "opening"}
    assert {case.kernel for case in bench.cases(32)} | absent == set(kernels.__all__) - {
        "NAME", "device_seconds", "enter_thread", "free_bytes", "free_memory", "probe", "to_device", "to_host"
    }  # fmt: skip


def test_a_peer_that_numbers_otherwise_is_told(bench, device):
    """Which library may serve a kernel is decided by its bits first."""
    mask = kernels.to_device(np.random.default_rng(9).random((5, 6, 7)) < 0.3)
    labels, count = kernels.label(mask, connectivity=6)
    assert bench.equal_peer((labels, count), (labels.copy(), count))
    assert not bench.equal_peer((labels, count), (labels.copy(), count + 1))
    other = labels.copy()
    other._view[other._view > 0] = count + 1 - other._view[other._view > 0]
    assert not bench.equal_peer((labels, count), (other, count))


def test_other_bits_are_told(bench, device):
    device.mutations = [("_table", "mask[i] != 0", "mask[i] == 0")]
    with pytest.raises(SystemExit, match="count"):
        bench.main(["--bits"])


def test_equal_bits_end_well(bench):
    with pytest.raises(SystemExit) as end:
        bench.main(["--bits"])
    assert end.value.code == 0
