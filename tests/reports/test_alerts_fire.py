"""Every alert that a run can raise fires on its own case, and not on a good one."""

from contextlib import suppress

import numpy as np
import pytest
import tifffile

import gpu_nx47
from gpu_nx47 import alerts, phantom, pipeline, submission
from gpu_nx47.errors import OutputError
from gpu_nx47.explain import tell
from gpu_nx47.filework import FileWork
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.submission import CheckReport

QUICK = Settings(neuron=NeuronSettings(l1=(1e-3,), l2=(1e-3,), samples=1024, steps=5), overlays=0)
BY_FIGURES = {
    "ANCHOR_WEAK", "CALIBRATION_CARRIES", "NO_LEARNING", "OUT_OF_DISTRIBUTION", "RECTO_UNKNOWN", "FRAME_ARTIFACT",
    "TIES_SATURATE",
}  # fmt: skip
"""Judged on figures: tests/rooms/test_alerts.py fires each and holds that a good volume fires none."""
BY_THE_NULL = {"NO_SURFACE"}
"""tests/rooms/test_chance.py."""
BY_THE_CLOCK = {"STALL"}
"""tests/rooms/test_heartbeat.py."""
BY_LABELS = {"LABELS_MISPLACED", "LABELS_ODD"}
"""tests/train/test_train.py."""
FLAT = np.full((4, 20, 20), 9, np.uint8)


def put(root, name, image, **options):
    path = root / "test_images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, photometric="minisblack", **options)


def run(root, output, **settings):
    """Run, and return the codes of the alerts in its record."""
    with suppress(OutputError):
        gpu_nx47.run(root, output, {"overlays": 0, "backend": "law", "threads": 1, **settings})
    return set(tell(output).alerts)


def constant(root, output):
    put(root, "a.tif", FLAT)
    return run(root, output)


def other_scale(root, output):
    for name, size in (("a.tif", 8.0), ("b.tif", 13.0)):
        put(
            root,
            name,
            FLAT,
            imagej=True,
            resolution=(1000 / size, 1000 / size),
            metadata={"spacing": size / 1000, "unit": "mm"},
        )
    return run(root, output)


def labels(root, output):
    put(root, "a.tif", FLAT)
    for folder in ("train_images", "train_labels"):
        (root / folder).mkdir()
        tifffile.imwrite(root / folder / "t.tif", FLAT // 9, photometric="minisblack")
    return run(root, output)


def not_finite(root, output):
    image = FLAT.astype(np.float32)
    image[1, 2, 3] = np.nan
    put(root, "a.tif", image)
    return run(root, output)


def damaged(root, output):
    put(root, "a.tif", FLAT)
    path = root / "test_images" / "a.tif"
    path.write_bytes(path.read_bytes()[:700])
    return run(root, output)


def fewer_pages(root, output):
    for name, depth in (("a", 4), ("b", 4), ("c", 3)):
        path = root / "test_images" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, FLAT[:depth], photometric="minisblack", metadata=None)
    return run(root, output)


def no_time(root, output):
    put(root, "a.tif", np.arange(8000, dtype=np.uint16).reshape(20, 20, 20).astype(np.uint8))
    return run(root, output, time_budget=1e-3)


CASES = {
    "CONSTANT_VOLUME": constant,
    "SCALE_MISMATCH": other_scale,
    "LABELS_UNUSED": labels,
    "SHAPE_DIFFERS": fewer_pages,
    "NON_FINITE": not_finite,
    "INPUT_DAMAGED": damaged,
    "TIME_BUDGET": no_time,
}


@pytest.mark.parametrize("code", CASES)
def test_it_fires_on_its_own_case(code, tmp_path):
    fired = CASES[code](tmp_path / "root", tmp_path / "out")
    assert code in fired
    assert fired <= {code, "CONSTANT_VOLUME"}  # flat volumes are what these runs are quick with


def test_an_invalid_submission_fires(tmp_path, monkeypatch):
    bad = CheckReport(False, ("a.tif is missing",), 0, 0, 0)
    monkeypatch.setattr(submission, "check_submission", lambda *_, **__: bad)
    assert pipeline.submission is submission
    assert "SUBMISSION_INVALID" in constant(tmp_path / "root", tmp_path / "out")


@pytest.mark.parametrize(("action", "fires"), [("free", False), ("halve", False), ("cpu", True)])
def test_work_that_goes_to_the_cpu_fires_once(tmp_path, monkeypatch, action, fires):
    whole = FileWork.full

    def full(work, *item):
        for _ in range(2):
            work.engine.backend.tell({"action": action, "reason": "no memory", "calc_ops_executed": 0})
        return whole(work, *item)

    monkeypatch.setattr(FileWork, "full", full)
    constant(tmp_path / "root", tmp_path / "out")
    told = tell(tmp_path / "out").alerts
    assert ("GPU_FALLBACK" in told) == fires
    assert not fires or told["GPU_FALLBACK"].count == 1


def test_a_good_run_fires_none_of_them(tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=32, seeds=[1])
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", QUICK)
    assert result.exit_code == 0
    assert set(tell(tmp_path / "out").alerts) <= BY_FIGURES | BY_THE_NULL


def test_no_alert_is_without_a_test():
    raised = {code for code, kind in alerts.KINDS.items() if kind.raised}
    elsewhere = {*BY_FIGURES, *BY_THE_NULL, *BY_THE_CLOCK, *BY_LABELS, "SUBMISSION_INVALID", "GPU_FALLBACK"}
    assert raised == {*CASES, *elsewhere}
