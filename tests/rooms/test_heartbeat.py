"""A run that works long tells that it lives; one that hangs tells where; neither changes an answer."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest

import gpu_nx47
from gpu_nx47 import journal, phantom
from gpu_nx47.cli import main
from gpu_nx47.errors import OutputError
from gpu_nx47.events import Event
from gpu_nx47.journal import Dispatcher, Heartbeat
from gpu_nx47.settings import NeuronSettings, Settings

QUICK = Settings(neuron=NeuronSettings(samples=1024, steps=5), overlays=0)
PATIENCE_S = 20.0


class Memory:
    """Keeps what it is told."""

    def __init__(self):
        self.seen = []

    def __call__(self, stamped):
        self.seen.append(stamped)

    def close(self):
        pass

    def named(self, name):
        return [s.event.data for s in self.seen if s.event.name == name]


@pytest.fixture
def beating():
    """Return a maker of a dispatcher with a memory and a heartbeat that has begun."""
    begun = []

    def make(every_s, stall_s):
        memory, heart = Memory(), Heartbeat(every_s, stall_s)
        dispatcher = Dispatcher([memory, heart])
        heart.start(dispatcher.emit)
        begun.append(heart)
        return dispatcher, memory, heart

    yield make
    for heart in begun:
        heart.stop()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heart") / "root"
    phantom.write_phantom_root(folder, size=40, seeds=[5], train_seeds=[])
    return folder


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def hang_here(release):
    release.wait()


def test_it_beats_with_what_the_events_told(beating):
    dispatcher, memory, heart = beating(0.05, 60.0)
    dispatcher.emit(Event("STEP", {"file": "a", "name": "train_start"}))
    wait_for(lambda: len(memory.named("HEARTBEAT")) >= 4)
    heart.stop()
    count = len(memory.seen)
    beats = memory.named("HEARTBEAT")
    assert set(beats[0]) == {"elapsed_s", "rss_bytes", "stage", "file", "last_progress_s"}
    assert all((b["file"], b["stage"]) == ("a", "train") and b["rss_bytes"] > 1e6 for b in beats)
    elapsed = [b["elapsed_s"] for b in beats]
    assert all(later - former >= 0.048 for former, later in pairwise(elapsed))  # told in milliseconds
    ages = [b["last_progress_s"] for b in beats]  # a heartbeat is no progress
    assert ages == sorted(ages)
    assert ages[-1] >= 0.15
    time.sleep(0.15)
    assert len(memory.seen) == count
    assert memory.named("ALERT") == []


def test_a_stall_is_told_once_with_the_stack_and_again_after_progress(beating):
    dispatcher, memory, _ = beating(0.05, 0.2)
    dispatcher.emit(Event("STEP", {"file": "b", "name": "load_start"}))
    release = threading.Event()
    threading.Timer(0.5, lambda: (wait_for(lambda: memory.named("ALERT")), release.set())).start()
    hang_here(release)
    time.sleep(0.3)
    (alert,) = memory.named("ALERT")
    assert (alert["code"], alert["severity"], alert["file"], alert["limit"]) == ("STALL", "warning", "b", 0.2)
    assert 0.2 <= alert["value"] < PATIENCE_S
    assert alert["sentence"].endswith(".")
    assert alert["stack"][0] == f"thread {threading.main_thread().name}:"
    assert any("in hang_here" in line for line in alert["stack"])
    assert memory.named("HEARTBEAT")
    dispatcher.emit(Event("STEP", {"file": "b", "name": "train_start"}))
    wait_for(lambda: len(memory.named("ALERT")) == 2)


def test_steady_events_are_no_stall(beating):
    dispatcher, memory, _ = beating(10.0, 2.0)
    for done in range(30):
        dispatcher.emit(Event("PROGRESS_UPDATE", {"stage": "train", "done": done, "total": 30}))
        time.sleep(0.1)
    assert memory.named("ALERT") == []


def test_of_a_hanging_tile_both_stacks_are_shown(beating):
    _, memory, _ = beating(10.0, 0.1)
    release = threading.Event()
    with ThreadPoolExecutor(3, "nx47-tile") as pool:
        idle = [pool.submit(time.sleep, 0.02) for _ in range(2)]
        stuck = pool.submit(hang_here, release)
        wait_for(lambda: memory.named("ALERT"))
        release.set()
        stuck.result()
        assert all(i.done() for i in idle)
    stack = memory.named("ALERT")[0]["stack"]
    heads = [line for line in stack if line.startswith("thread ")]
    assert [head.startswith("thread nx47-tile") for head in heads] == [False, True]
    assert any("in hang_here" in line for line in stack[stack.index(heads[1]) :])


def test_a_disk_that_takes_nothing_neither_ends_nor_spins_it():
    tries = []

    def fail(event):
        tries.append(event)
        raise OutputError("disk full")

    heart = Heartbeat(0.1, 0.1)
    heart.start(fail)
    wait_for(lambda: len(tries) >= 3)
    time.sleep(0.5)
    heart.stop()
    heart.stop()
    assert [t.name for t in tries].count("ALERT") == 1
    assert len(tries) <= 12


def test_stopping_waits_for_the_beat_in_work():
    inside, done = threading.Event(), []

    def slow(event):
        inside.set()
        time.sleep(0.3)
        done.append(event)

    heart = Heartbeat(0.01, 60.0)
    heart.start(slow)
    assert inside.wait(PATIENCE_S)
    heart.stop()
    count = len(done)
    time.sleep(0.4)
    assert len(done) == count == 1


def test_closing_under_the_lock_waits_for_nothing(beating):
    dispatcher, _, heart = beating(0.001, 60.0)
    for _ in range(50):
        dispatcher.emit(Event("STEP", {"name": "x"}))
    dispatcher.close()
    heart.stop()


def test_it_never_keeps_the_process_alive():
    code = "from gpu_nx47.journal import Heartbeat; Heartbeat(0.01, 9.0).start(lambda event: None)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_a_run_beats_and_its_answer_stays(root, tmp_path, monkeypatch, capsys, option):
    calm = gpu_nx47.run(root, tmp_path / "calm", QUICK)
    monkeypatch.setattr(journal, "Heartbeat", partial(Heartbeat, 0.01, 0.02))
    settings = ["--set", "neuron.samples=1024", "--set", "neuron.steps=5", "--set", "overlays=0"]
    assert main(["run", str(root), "--output", str(tmp_path / "o"), option, *settings]) == 0
    assert (tmp_path / "o" / "submission.zip").read_bytes() == calm.submission.read_bytes()
    lines = (tmp_path / "o" / journal.RECORD_NAME).read_text().splitlines()
    names = [json.loads(line)["event"] for line in lines]
    assert names.count("HEARTBEAT") >= 5
    assert names[-1] == "EXEC_COMPLETE"
    codes = [json.loads(line)["data"].get("code") for line in lines]
    assert "STALL" in codes
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == (len(lines) if option == "--json" else 0)
    assert not [t for t in threading.enumerate() if t.name == "nx47-heartbeat"]


def test_the_intervals_are_those_of_the_specification():
    heart = Heartbeat()
    assert (heart._every_s, heart._stall_s) == (30.0, 180.0)
