"""The record is whole and chained, the views are V122's, and one failing observer loses nothing of the others."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gpu_nx47 import journal
from gpu_nx47.errors import OutputError
from gpu_nx47.events import Event
from gpu_nx47.journal import Dispatcher, Record
from gpu_nx47.journal.dispatch import read_clock
from gpu_nx47.journal.files import LineFile, ListFile
from gpu_nx47.journal.roadmap import STEPS


class Memory:
    """Keeps what it is told."""

    def __init__(self):
        self.seen = []
        self.closed = 0

    def __call__(self, stamped):
        self.seen.append(stamped)

    def close(self):
        self.closed += 1


class Failing(Memory):
    def __call__(self, stamped):
        super().__call__(stamped)
        raise OSError("disk full")


class Hand:
    """A clock that moves when told to."""

    def __init__(self):
        self.now = 1_000_000_000

    def __call__(self):
        return 1_700_000_000_000_000_000 + self.now, self.now


def chain_holds(raw):
    """Check `prev` from raw bytes alone, as a stranger would; return the parsed lines."""
    assert raw.endswith(b"\n")
    lines = raw.split(b"\n")[:-1]
    prev = "0" * 64
    for number, line in enumerate(lines):
        parsed = json.loads(line)
        assert parsed["prev"] == prev, f"line {number}"
        prev = hashlib.sha256(line).hexdigest()
    return [json.loads(line) for line in lines]


def example_run(emit, clock=None):
    """Emit what a run of two files, one of them damaged, says."""

    def later(name, data=None):
        emit(Event(name, data or {}))
        if clock:
            clock.now += 500_000_000

    hardware = {"cpu_count": 2, "gpu": []}
    later("BOOT", {"version": "1", "root": "/in", "config": {"seed": 47}, "hardware": hardware})
    later("DATASET_DISCOVERY", {"root": "/in", "file_count": 2, "total_assets": 3, "folders": ["test_images"]})
    later("STEP", {"name": "load_start", "file": "a"})
    later("FILE_START", {"file": "a", "index": 1, "total": 2, "shape": [4, 5, 6]})
    trace = {"stage": "volume", "shape": [4, 5, 6], "dtype": "uint8", "bytes": 120, "min": 0, "max": 9, "mean": 4.5}
    later("ARRAY_TRACE", {"file": "a", **trace, "digest": "ab", "slices": ["cd"], "rss": 2 << 20})
    later("STEP", {"name": "features_extract_start", "file": "a"})
    later("PROGRESS_UPDATE", {"file": "a", "stage": "features", "done": 1, "total": 2})
    later("STEP", {"name": "train_start", "file": "a"})
    later("STEP", {"name": "segment_start", "file": "a"})
    later("NX47_METRICS", {"file": "a", "selected_features": ["grad_mag"]})
    later("FILE_DONE", {"file": "a", "active_ratio": 0.03, "calc_per_sec": 1e6, "elapsed_s": 2.0, "stages": {}})
    later("FILE_FAILED", {"file": "b", "error": "DamagedInputError", "what": "cut short"})
    later("GLOBAL_STATS", {"files_processed": 1, "hardware": {**hardware, "peak_rss_bytes": 5}})
    later("SUBMISSION_VALIDATED", {"ok": True, "problems": [], "members": 2})
    later("EXEC_COMPLETE", {"submission": "/out/submission.zip", "digests": {}, "exit_code": 3})


def read(folder, name):
    return json.loads((folder / name).read_bytes())


# The dispatcher


def test_each_event_is_stamped_and_reaches_every_observer_in_order():
    one, two, clock = Memory(), Memory(), Hand()
    dispatcher = Dispatcher([one, two], clock=clock)
    for name in ("BOOT", "STEP", "STEP"):
        dispatcher.emit(Event(name, {}))
        clock.now += 5
    assert one.seen == two.seen
    assert [s.seq for s in one.seen] == [0, 1, 2]
    assert [s.mono_ns for s in one.seen] == [1_000_000_000, 1_000_000_005, 1_000_000_010]
    assert one.seen[0].ts_ns == 1_700_000_001_000_000_000


def test_a_failing_observer_surfaces_after_all_others_saw_the_event():
    before, after = Memory(), Memory()
    dispatcher = Dispatcher([before, Failing(), after])
    with pytest.raises(OutputError, match="Failing failed: OSError: disk full"):
        dispatcher.emit(Event("BOOT", {}))
    with pytest.raises(OutputError):
        dispatcher.emit(Event("STEP", {}))
    assert [s.seq for s in before.seen] == [s.seq for s in after.seen] == [0, 1]


def test_closing_closes_all_once_and_a_later_event_is_refused():
    class Stuck(Memory):
        def close(self):
            super().close()
            raise OSError("gone")

    stuck, other = Stuck(), Memory()
    dispatcher = Dispatcher([stuck, other])
    with pytest.raises(OutputError, match="gone"):
        dispatcher.close()
    dispatcher.close()
    assert (stuck.closed, other.closed) == (1, 1)
    with pytest.raises(OutputError, match="after the record was closed"):
        dispatcher.emit(Event("STEP", {}))
    assert other.seen == []


def test_an_observer_may_emit_and_its_event_is_the_next_for_all():
    after = Memory()

    class Critic(Memory):
        def __call__(self, stamped):
            super().__call__(stamped)
            if stamped.event.name == "BOOT":
                dispatcher.emit(Event("ALERT", {"code": "STALL"}))

    critic = Critic()
    dispatcher = Dispatcher([critic, after])
    dispatcher.emit(Event("BOOT", {}))
    assert [s.event.name for s in after.seen] == ["BOOT", "ALERT"]
    assert critic.seen == after.seen


def test_what_the_sender_changes_later_is_not_in_the_record():
    memory = Memory()
    data = {"points": [1, 2]}
    Dispatcher([memory]).emit(Event("BOOT", data))
    data["points"].append(3)
    assert memory.seen[0].event.data == {"points": [1, 2]}


def test_threads_emitting_at_once_keep_the_order_and_the_chain(tmp_path):
    memory = Memory()
    late = []

    def slow():
        time.sleep(1e-5)  # lets the other threads in
        return read_clock()

    dispatcher = Dispatcher([Record(tmp_path / "r"), memory], clock=slow)

    def work(thread):
        for number in range(200):
            data = {"thread": thread, "done": number}
            dispatcher.emit(Event("PROGRESS_UPDATE", data))
            if all(s.event.data != data for s in memory.seen[-20:]):
                late.append(data)  # emit came back before its event was recorded

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dispatcher.close()
    assert late == []
    lines = chain_holds((tmp_path / "r").read_bytes())
    assert [line["seq"] for line in lines] == list(range(1600))
    assert [s.seq for s in memory.seen] == list(range(1600))
    clocks = [int(line["mono_ns"]) for line in lines]
    assert clocks == sorted(clocks)
    for thread in range(8):
        own = [line["data"]["done"] for line in lines if line["data"]["thread"] == thread]
        assert own == list(range(200))


# What events may hold


@pytest.mark.parametrize("value", [object(), {"a": lambda: 0}, np.zeros(5000), {(1, 2): 3}])
def test_what_json_cannot_say_is_refused_at_the_sender(value):
    memory = Memory()
    with pytest.raises(TypeError, match="no place in an event"):
        Dispatcher([memory]).emit(Event("STEP", {"x": value}))
    assert memory.seen == []


def test_not_a_number_is_a_string_and_one_alert(tmp_path):
    dispatcher = Dispatcher([Record(tmp_path / "r")])
    for _ in range(3):
        dispatcher.emit(Event("NX47_METRICS", {"file": "a", "deep": [1.0, {"rate": float("nan")}]}))
    dispatcher.close()
    raw = (tmp_path / "r").read_bytes()
    lines = chain_holds(raw)
    assert [line["event"] for line in lines] == ["NX47_METRICS", "ALERT", "NX47_METRICS", "NX47_METRICS"]
    assert lines[0]["data"]["deep"][1]["rate"] == "NaN"
    assert lines[1]["data"]["code"] == "NON_FINITE"
    assert "deep.1.rate" in lines[1]["data"]["sentence"]


# The record


def test_the_record_is_compact_ascii_with_its_fields_in_order(tmp_path):
    record = Record(tmp_path / "r")
    Dispatcher([record], clock=Hand()).emit(Event("STEP", {"name": "é\ud800"}))
    line = (tmp_path / "r").read_bytes()
    assert line == (
        b'{"seq":0,"ts_ns":"1700000001000000000","mono_ns":"1000000000","event":"STEP",'
        b'"data":{"name":"\\u00e9\\ud800"},"prev":"' + b"0" * 64 + b'"}\n'
    )
    record.close()


def test_a_line_is_on_disk_before_emit_returns(tmp_path):
    dispatcher = Dispatcher([Record(tmp_path / "r")])
    for count in range(1, 4):
        dispatcher.emit(Event("HEARTBEAT", {}))
        assert len(chain_holds((tmp_path / "r").read_bytes())) == count


def test_a_line_half_written_is_taken_back_and_the_chain_goes_on(tmp_path, monkeypatch):
    from gpu_nx47.journal import files

    dispatcher = Dispatcher([Record(tmp_path / "r")])
    dispatcher.emit(Event("BOOT", {}))
    real = files.os.write
    monkeypatch.setattr(files.os, "write", lambda handle, data: real(handle, data[:10]))
    with pytest.raises(OutputError, match="only a part"):
        dispatcher.emit(Event("STEP", {"name": "lost"}))
    monkeypatch.setattr(files.os, "write", real)
    dispatcher.emit(Event("STEP", {"name": "next"}))
    dispatcher.close()
    lines = chain_holds((tmp_path / "r").read_bytes())
    assert [line["seq"] for line in lines] == [0, 1]  # what the record does not hold has not happened


def test_an_observer_that_ends_the_run_leaves_no_number_used_twice(tmp_path):
    class Ending(Memory):
        def __call__(self, stamped):
            if stamped.event.name == "STEP":
                raise KeyboardInterrupt

    dispatcher = Dispatcher([Record(tmp_path / "r"), Ending()])
    dispatcher.emit(Event("BOOT", {}))
    with pytest.raises(KeyboardInterrupt):
        dispatcher.emit(Event("STEP", {"name": "last"}))
    dispatcher.emit(Event("EXEC_COMPLETE", {}))
    assert [line["seq"] for line in chain_holds((tmp_path / "r").read_bytes())] == [0, 1, 2]


# The views


def test_the_views_of_a_whole_run(tmp_path):
    clock = Hand()
    dispatcher = journal.open_observers(tmp_path / "out", None)
    dispatcher._clock = clock
    example_run(dispatcher.emit, clock)
    dispatcher.close()
    out = tmp_path / "out"
    record = chain_holds((out / journal.RECORD_NAME).read_bytes())
    logs = read(out, journal.LOGS_NAME)
    assert [e["event"] for e in logs] == [line["event"] for line in record]
    assert logs[-1]["event"] == "EXEC_COMPLETE"
    assert logs[-1]["submission"] == "/out/submission.zip"
    assert [e["ts_ns"] for e in logs] == [int(line["ts_ns"]) for line in record]
    assert {k: v for k, v in logs[3].items() if k not in ("ts_ns", "event")} == record[3]["data"]
    (trace,) = read(out, journal.MEMORY_NAME)
    assert set(trace) == {"ts_ns", "stage", "shape", "dtype", "bytes", "min", "max", "mean", "digest", "rss"}
    assert (trace["stage"], trace["mean"], trace["rss"] > 1e6) == ("volume", 4.5, True)
    known = read(out, journal.METADATA_NAME)
    assert (out / journal.CHECKPOINT_NAME).read_text().endswith(known.pop("checkpoint"))
    assert known == {
        "version": "1",
        "root": "/in",
        "input_dir": "/in/test_images",
        "submission_zip": "/out/submission.zip",
        "log_count": len(record),
        "ultra_log": str(out / journal.RECORD_NAME),
        "hardware": {"cpu_count": 2, "gpu": [], "peak_rss_bytes": 5},
        "global_stats": record[12]["data"],
        "config": {"seed": 47},
    }
    roadmap = read(out, journal.ROADMAP_NAME)
    assert [step["name"] for step in roadmap["roadmap"]] == list(STEPS)
    assert all(s["progress_percent"] == 100.0 and s["done"] for s in roadmap["roadmap"])
    assert roadmap["overall_progress_percent"] == 100.0
    assert not list(out.glob("*.tmp"))


def test_every_json_view_is_valid_after_every_event(tmp_path):
    dispatcher = journal.open_observers(tmp_path, None)
    names = (journal.LOGS_NAME, journal.MEMORY_NAME, journal.METADATA_NAME, journal.ROADMAP_NAME)
    for name in names:
        read(tmp_path, name)
    sent = []

    def emit(event):
        dispatcher.emit(event)
        sent.append(event.name)
        assert [e["event"] for e in read(tmp_path, journal.LOGS_NAME)] == sent
        for name in names:
            read(tmp_path, name)
        if event.name == "FILE_DONE":
            assert read(tmp_path, journal.METADATA_NAME)["log_count"] == len(sent)
            assert read(tmp_path, journal.ROADMAP_NAME)["roadmap"][1]["progress_percent"] == 50.0

    example_run(emit)


def test_a_killed_run_leaves_valid_files(tmp_path):
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from gpu_nx47 import journal; from gpu_nx47.events import Event\n"
        "d = journal.open_observers(Path(sys.argv[1]), None)\n"
        "for n in range(50): d.emit(Event('FILE_DONE', {'file': str(n)}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    home = str(Path(journal.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), home], check=False)
    assert done.returncode == -9
    assert len(chain_holds((tmp_path / journal.RECORD_NAME).read_bytes())) == 50
    assert len(read(tmp_path, journal.LOGS_NAME)) == 50
    assert read(tmp_path, journal.METADATA_NAME)["log_count"] == 50
    assert read(tmp_path, journal.METADATA_NAME)["submission_zip"] is None
    read(tmp_path, journal.ROADMAP_NAME)


def test_an_earlier_run_in_the_folder_leaves_nothing_behind(tmp_path):
    first = journal.open_observers(tmp_path, None)
    example_run(first.emit)
    first.close()
    journal.open_observers(tmp_path, None).close()
    assert (tmp_path / journal.RECORD_NAME).read_bytes() == b""
    assert read(tmp_path, journal.LOGS_NAME) == []
    assert read(tmp_path, journal.METADATA_NAME)["submission_zip"] is None


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--output"):
        journal.open_observers(tmp_path / "file", None)


def test_a_list_file_keeps_its_bracket_when_the_disk_is_full(tmp_path, monkeypatch):
    from gpu_nx47.journal import files

    listed = ListFile(tmp_path / "l")
    assert json.loads((tmp_path / "l").read_bytes()) == []
    listed.append({"a": 1})
    real, calls = files.os.write, []

    def short(handle, data):
        calls.append(data)
        return real(handle, data[:8]) if len(calls) == 1 else real(handle, data)

    monkeypatch.setattr(files.os, "write", short)
    with pytest.raises(OSError, match="only a part"):
        listed.append({"b": "a long entry"})
    assert json.loads((tmp_path / "l").read_bytes()) == [{"a": 1}]
    listed.append({"c": 3})
    listed.close()
    assert json.loads((tmp_path / "l").read_bytes()) == [{"a": 1}, {"c": 3}]


def test_a_closed_file_takes_no_more(tmp_path):
    lines = LineFile(tmp_path / "x")
    lines.close()
    lines.close()
    with pytest.raises(OSError, match="closed"):
        lines.append(b"x")
