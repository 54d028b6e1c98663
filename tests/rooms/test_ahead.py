"""Reading ahead changes when a volume is read and nothing else: events, errors, masks and the limit of memory hold."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import gpu_nx47
from cpu_fallback import law
from gpu_nx47 import budget, hardware, load, phantom, plan, source
from gpu_nx47.ahead import Ahead
from gpu_nx47.errors import InputError
from gpu_nx47.plan import MB
from gpu_nx47.settings import LoadSettings, NeuronSettings, Settings

QUICK = Settings(neuron=NeuronSettings(samples=1024, l1=(1e-3,), l2=(1e-3,), steps=5), overlays=0, threads=2)
TIMED = {
    "memory_plan",
    "rss",
    "seconds",
    "elapsed_s",
    "calc_per_sec",
    "voxels_per_sec",
    "bytes_per_sec",
    "read_ahead_s",
}
"""What no two runs have alike."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ahead") / "root"
    phantom.write_phantom_root(folder, size=32, seeds=[1, 2, 3], train_seeds=[])
    return folder


def sources(root):
    return source.discover(root).sources


def events_of(out):
    return [json.loads(line) for line in (out / "v122_ultra_authentic_360_merkle.jsonl").read_bytes().splitlines()]


def data_of(out, name):
    return [e["data"] for e in events_of(out) if e["event"] == name]


def lasting(out):
    """Return the events of the work on files, in order, without what is timed or measured of the machine."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in TIMED}
        return value

    names = ("STEP", "FILE_START", "ARRAY_TRACE", "FILE_FAILED", "ALERT", "GOLDEN_NONCE_FOUND", "NX47_METRICS")
    found = [(e["event"], plain(e["data"])) for e in events_of(out) if e["event"] in (*names, "PROGRESS_UPDATE")]
    return [one for one in found if one[1].get("name") != "memory_planned"]


def both(root, tmp_path, monkeypatch):
    """Run with and without reading ahead; return the folders."""
    results = [gpu_nx47.run(root, tmp_path / "ahead", QUICK)]
    monkeypatch.setattr(budget.Budget, "with_next", lambda *_, **__: None)
    results.append(gpu_nx47.run(root, tmp_path / "in turn", QUICK))
    assert results[0].exit_code == results[1].exit_code
    assert results[0].submission.read_bytes() == results[1].submission.read_bytes()
    return tmp_path / "ahead", tmp_path / "in turn"


@pytest.mark.same_bits
def test_events_and_masks_are_the_same_and_the_time_is_told(root, tmp_path, monkeypatch):
    ahead, in_turn = both(root, tmp_path, monkeypatch)
    assert lasting(ahead) == lasting(in_turn)
    first, *others = (data["read_ahead_s"] for data in data_of(ahead, "FILE_START"))
    assert first is None
    assert len(others) == 2
    assert all(0 < seconds < 60 for seconds in others)
    assert [data["read_ahead_s"] for data in data_of(in_turn, "FILE_START")] == [None] * 3


@pytest.mark.same_bits
@pytest.mark.parametrize("harm", ["half", "headers", "gone"])
def test_a_file_that_fails_ahead_fails_in_its_turn_with_the_same_words(root, tmp_path, monkeypatch, harm):
    mine = tmp_path / "root"
    shutil.copytree(root, mine)
    victim = sorted((mine / "test_images").iterdir())[1]
    raw = victim.read_bytes()
    if harm == "gone":
        from gpu_nx47 import schedule

        do = schedule.do

        def later(*arguments):  # it is there while the folder is listed
            victim.unlink()
            do(*arguments)
            victim.write_bytes(raw)

        monkeypatch.setattr(schedule, "do", later)
    else:
        spoilt = bytearray(raw[: len(raw) // 2 if harm == "half" else 8])
        victim.write_bytes(bytes(spoilt))
    ahead, in_turn = both(mine, tmp_path, monkeypatch)
    assert lasting(ahead) == lasting(in_turn)
    assert [data["file"] for data in data_of(ahead, "FILE_FAILED")] == [victim.stem]


def test_what_was_read_is_what_load_gives(root):
    first, second, _ = sources(root)
    ahead = Ahead()
    ahead.begin(first, LoadSettings(), load.LIMIT_BYTES)
    found, expected = ahead.take(first), load.load(first, LoadSettings())
    assert np.array_equal(found.grey, expected.grey)
    assert (found.box, found.sha256, found.window) == (expected.box, expected.sha256, expected.window)
    assert ahead.seconds > 0
    assert ahead.take(first) is None, "it is handed out once"
    assert ahead.seconds is None
    ahead.begin(first, LoadSettings(), load.LIMIT_BYTES)
    assert ahead.take(second) is None, "another one is not taken for it"
    assert ahead.take(first) is None


def test_a_limit_of_reading_holds_ahead_too(root):
    first = sources(root)[0]
    ahead = Ahead()
    ahead.begin(first, LoadSettings(), 1000)
    assert ahead.take(first) is None
    with pytest.raises(InputError):
        load.load(first, LoadSettings(), limit_bytes=1000)


@pytest.fixture
def still(monkeypatch):
    """A process that takes 100 MB, on a machine with a terabyte left."""
    monkeypatch.setattr(hardware, "rss_bytes", lambda: 100 * MB)
    monkeypatch.setattr(hardware, "available_bytes", lambda: 10**12)
    monkeypatch.setattr(hardware, "return_arrays_at_once", lambda: None)


def test_both_volumes_are_in_the_plan_or_none_is_read_ahead(root, still):
    first, second, _ = sources(root)
    free = budget.Budget(QUICK, law, 2)
    alone = free.plan(first, others=True)
    together = free.with_next(alone, second, others=True)
    assert together.bytes > alone.bytes
    stages = {stage.name: {item.name for item in stage.items} for stage in together.stages}
    line = "the next volume, read ahead"
    assert [name for name, items in stages.items() if line not in items] == ["load"]
    for limit, fits in ((together.bytes, True), (together.bytes - 1, False)):
        free.limit = limit
        found = free.plan(first, others=True)
        assert found.bytes == alone.bytes
        assert (free.with_next(found, second, others=True) is not None) == fits


def test_where_memory_is_tight_nothing_is_read_ahead(root, still):
    first, second, _ = sources(root)
    free = budget.Budget(QUICK, law, 2)
    job = free._job(first, others=True)
    tight = plan.plan(job, free.base, QUICK.tile, tight=True)
    assert free.with_next(tight, second, others=True) is None


def test_what_is_held_already_is_not_planned_twice(root, monkeypatch, still):
    first = sources(root)[0]
    free = budget.Budget(QUICK, law, 2)
    alone = free.plan(first, others=True).bytes
    monkeypatch.setattr(hardware, "rss_bytes", lambda: free.base + 50 * MB)
    assert free.plan(first, others=True).bytes == alone + 50 * MB
    assert free.plan(first, others=True, held=50 * MB).bytes == alone


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_run_that_ends_waits_for_no_file_it_will_not_need(tmp_path):
    """Reading a pipe that nobody writes never comes back."""
    os.mkfifo(tmp_path / "1.tif")
    code = (
        "import sys; from pathlib import Path; from gpu_nx47.ahead import Ahead; from gpu_nx47.volume import Source\n"
        "from gpu_nx47.settings import LoadSettings\n"
        "path = Path(sys.argv[1]); ahead = Ahead()\n"
        "ahead.begin(Source('1', path, (path,)), LoadSettings(), 10**9); ahead.forget(); print('left')"
    )
    began = time.monotonic()
    command = [sys.executable, "-c", code, str(tmp_path / "1.tif")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("left\n", "")
    assert time.monotonic() - began < 30


def test_behind_the_deadline_nothing_is_read(root, tmp_path):
    settings = Settings(neuron=QUICK.neuron, overlays=0, threads=2, time_budget=1e-6)
    assert gpu_nx47.run(root, tmp_path, settings).exit_code == 3
    assert data_of(tmp_path, "FILE_START") == []
