"""Whenever the end is asked for: the record says so, the views are whole, and no zip stands that nobody vouches for."""

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import gpu_nx47
from gpu_nx47 import interrupt, phantom, pipeline
from gpu_nx47.cli.console import KEEP
from gpu_nx47.errors import OutputError, Terminated
from gpu_nx47.events import Event
from gpu_nx47.interrupt import Interruptions
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.submission import check_submission

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")

EVENTS = 45
"""About as many as the run below has."""
MOMENTS = [(signal.SIGTERM, (2 * k + 1) / 16) for k in range(8)] + [(signal.SIGINT, k / 4) for k in range(1, 4)]
LATER = [(signal.SIGTERM, k / 20) for k in range(20)]
QUICK = Settings(neuron=NeuronSettings(samples=1024, steps=5), overlays=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupt") / "root"
    phantom.write_phantom_root(folder, size=32, seeds=[5], train_seeds=[])
    return folder


def record_of(out):
    """Return the events of the record; each line whole, and naming the one before."""
    raw = (out / "v122_ultra_authentic_360_merkle.jsonl").read_bytes()
    assert raw.endswith(b"\n")
    prev, events = "0" * 64, []
    for line in raw.split(b"\n")[:-1]:
        events.append(json.loads(line))
        assert events[-1]["prev"] == prev
        prev = hashlib.sha256(line).hexdigest()
    return events


def check_left(out, code):
    """Check all that an ended run leaves; return whether it came to its zip."""
    events = record_of(out)
    assert [e["event"] for e in events].count("EXEC_COMPLETE") == 1
    last = events[-1]
    assert (last["event"], last["data"]["exit_code"]) == ("EXEC_COMPLETE", code)
    for view in ("execution_logs", "memory_tracker", "execution_metadata", "roadmap_realtime"):
        assert json.loads((out / f"v122_{view}.json").read_bytes()) is not None
    assert len(json.loads((out / "v122_execution_logs.json").read_bytes())) == len(events)
    hidden = [p.name for p in out.iterdir() if p.name.startswith(".") or p.suffix == ".tmp"]
    assert set(hidden) <= {".submission.zip.masks"}  # for a run that goes on
    assert (out / "submission.zip.earlier").read_bytes() == b"of an earlier run"
    path = out / "submission.zip"
    assert path.exists() == (last["data"]["submission"] is not None)
    return path.exists()


@pytest.mark.parametrize(
    ("number", "moment"), MOMENTS + [pytest.param(*case, marks=pytest.mark.long) for case in LATER]
)
def test_a_signal_at_any_moment_leaves_a_whole_record_and_a_whole_zip_or_none(root, tmp_path, number, moment):
    out = tmp_path / "out"
    out.mkdir()
    (out / "submission.zip").write_bytes(b"of an earlier run")
    command = [sys.executable, "-m", "gpu_nx47", "run", str(root), "--output", str(out), "--json"]
    settings = ["--set", "neuron.steps=5", "--set", "neuron.samples=1024", "--tile", "10,20,32", "--threads", "2"]
    with subprocess.Popen(command + settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(1 + int(moment * EVENTS)):
            assert process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert "Exception" not in said
    if check_left(out, process.returncode):
        assert process.returncode == 0
        assert moment > 0.7, "the run took no note of the signal"
        assert check_submission(out / "submission.zip", root).ok
    else:
        assert process.returncode == 128 + number
        terminated = number == signal.SIGTERM
        reason, word = ("Terminated", "terminated") if terminated else ("KeyboardInterrupt", "interrupted")
        first, *rest = said.splitlines()
        assert first == f"Not finished ({reason}): the same command goes on from here."
        assert rest[0] == KEEP or len(rest) == 1  # where nobody can sign there is no checkpoint
        assert rest[-1] == f"nx47: {word}; {LEFT}"


LEFT = "what was finished is in the output folder, submission.zip is not."


class Kill:
    """Stands for a console: sends a signal to its own process when the n-th event of a name is shown."""

    def __init__(self, number, name, after=1):
        self.number, self.name, self.left = number, name, after

    def __call__(self, stamped):
        self.left -= stamped.event.name == self.name
        if not self.left:
            self.left = -1
            os.kill(os.getpid(), self.number)

    def close(self):
        pass


@pytest.mark.parametrize("name", ["BOOT", "PROGRESS_UPDATE", "GLOBAL_STATS", "SUBMISSION_VALIDATED"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_event_at_hand_is_recorded_before_the_end_and_threads_stop(root, tmp_path, number, name):
    (tmp_path / "submission.zip").write_bytes(b"of an earlier run")
    (tmp_path / ".submission.zip.1-0.tmp").write_bytes(b"of a killed one")
    before = [signal.getsignal(n) for n in interrupt.SIGNALS]
    with pytest.raises(KeyboardInterrupt) as caught:
        pipeline.run(root, tmp_path, QUICK, Kill(number, name))
    assert (type(caught.value) is Terminated) == (number == signal.SIGTERM)
    assert [signal.getsignal(n) for n in interrupt.SIGNALS] == before
    assert not check_left(tmp_path, 128 + number)
    assert [e["event"] for e in record_of(tmp_path)[-2:]] == [name, "EXEC_COMPLETE"]
    assert not [t for t in threading.enumerate() if t.name.startswith("nx47")]


def test_a_signal_after_the_last_event_changes_nothing(root, tmp_path):
    (tmp_path / "submission.zip").write_bytes(b"of an earlier run")
    result = pipeline.run(root, tmp_path, QUICK, Kill(signal.SIGTERM, "EXEC_COMPLETE"))
    assert result.exit_code == 0
    assert check_left(tmp_path, 0)


@pytest.mark.parametrize(("error", "code"), [(OutputError("no room"), 4), (ZeroDivisionError("oops"), 1)])
def test_an_error_too_is_the_end_of_the_record(root, tmp_path, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pipeline.submission, "check_submission", fail)
    (tmp_path / "submission.zip").write_bytes(b"of an earlier run")
    with pytest.raises(type(error)):
        gpu_nx47.run(root, tmp_path, QUICK)
    assert not check_left(tmp_path, code)
    assert record_of(tmp_path)[-1]["data"]["reason"] == type(error).__name__


# Interruptions alone


def come(number=signal.SIGTERM):
    """Send a signal to ourselves and wait until Python has looked at it."""
    os.kill(os.getpid(), number)
    time.sleep(0)


def test_a_signal_waits_outside_of_what_may_be_interrupted():
    seen = []
    with Interruptions() as signals:
        emit = signals.shielded(seen.append)
        come()
        emit(Event("BOOT"))
        with pytest.raises(Terminated), signals.allowed():
            emit(Event("STEP"))
        emit(Event("EXEC_COMPLETE"))
        come()
    assert [e.name for e in seen] == ["BOOT", "STEP", "EXEC_COMPLETE"]


def test_inside_it_comes_at_once_and_only_once():
    def work():
        try:
            come(signal.SIGINT)
            pytest.fail("nothing came")
        finally:
            come()
            come()

    with Interruptions() as signals:
        with pytest.raises(KeyboardInterrupt), signals.allowed():
            work()
        come()


def test_an_emit_is_never_cut_in_two():
    whole = []

    def slow(event):
        come()
        whole.append(event)

    with Interruptions() as signals, pytest.raises(Terminated), signals.allowed():
        signals.shielded(slow)(Event("STEP"))
    assert len(whole) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_python_swallowed_comes_again():
    class Grave:
        def __del__(self):
            come()

    def work(emit):
        grave = Grave()
        del grave
        gc.collect()
        emit(Event("STEP"))

    with Interruptions() as signals, pytest.raises(Terminated), signals.allowed():
        work(signals.shielded(lambda event: None))


def test_a_handler_of_ones_own_stays_and_another_thread_installs_none(monkeypatch):
    def mine(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with Interruptions():
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    found = []

    def work():
        with Interruptions():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_a_second_one_much_later_leaves_at_once(monkeypatch):
    left = []
    monkeypatch.setattr(interrupt.os, "_exit", left.append)
    with Interruptions():
        come()
        come()
        assert left == []
        monkeypatch.setattr(interrupt, "PATIENCE_S", -1.0)
        come()
    assert left == [143]
