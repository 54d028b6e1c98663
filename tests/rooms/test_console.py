"""The console is short, its last words are GLOBAL_STATS, and errors are heard whatever was asked for."""

import io
import json
import threading

import pytest

from gpu_nx47.cli import console as console_module
from gpu_nx47.cli.block import MOST_LINES, number, stats_block
from gpu_nx47.cli.console import KEEP, Console, ErrorLines, EventLines
from gpu_nx47.events import EVENT_NAMES, Event
from gpu_nx47.journal import Dispatcher

STATS = {
    "files_processed": 2,
    "pixels_processed": 32_768_000,
    "active_ratio_final": 0.0312345678,
    "unknown_discoveries": None,
    "materials_by_class": {"air": 5, "papyrus": 7},
    "golden_nonce_points_topk": [{"z": 1, "y": 2, "x": 3, "p": 0.99}],
    "hardware": {"cpu_count": 2, "gpu": [], "gpu_reason": "no driver"},
}


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now, self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def alert(code="ANCHOR_WEAK", severity="warning", file="a"):
    facts = {"value": 0.01, "limit": 0.1, "sentence": "Few are anchored.", "advice": "Lower segment.strong."}
    return Event("ALERT", {"code": code, "severity": severity, "file": file, **facts})


def tell(emit, clock=None, seconds=60.0, updates=400):
    """A run of one 320-cube and one damaged file, with its stages told often."""
    emit(Event("BOOT", {"version": "0.1", "backend": "cpu", "backend_reason": "no GPU"}))
    found = {"root": "/in", "file_count": 2, "total_assets": 1615, "suffix_stats": {".csv": 2, ".tif": 1613}}
    emit(Event("DATASET_DISCOVERY", found))
    emit(Event("FILE_START", {"file": "1407735", "index": 1, "total": 2, "shape": [320, 320, 320]}))
    for stage in ("load", "features", "train", "segment"):
        emit(Event("STEP", {"name": f"{stage}_start", "file": "1407735"}))
        for done in range(updates // 4):
            if clock:
                clock.now += int(seconds / updates * 1e9)
            emit(Event("PROGRESS_UPDATE", {"file": "1407735", "stage": stage, "done": done, "total": updates // 4}))
            emit(Event("HEARTBEAT", {}))
    for _ in range(3):
        emit(alert(file="1407735"))
    emit(Event("NX47_METRICS", {"file": "1407735", "selected_features": ["a", "b"]}))
    done = {"file": "1407735", "active_ratio": 0.03, "calc_per_sec": 2.5e9, "elapsed_s": 41.25}
    emit(Event("FILE_DONE", done))
    damage = {"what": "cut short", "expected": "320 pages", "found": "7", "advice": "Copy it again.", "page": 7}
    emit(Event("FILE_FAILED", {"file": "b", "error": "DamagedInputError", **damage}))
    emit(Event("GLOBAL_STATS", STATS))
    emit(Event("SUBMISSION_VALIDATED", {"ok": True, "problems": [], "members": 2}))
    emit(Event("EXEC_COMPLETE", {"submission": "/out/submission.zip", "exit_code": 3}))


def watched(kind, *streams, clock=None, **options):
    observer = kind(*streams, **options)
    clock = clock or Clock()
    dispatcher = Dispatcher([observer], clock=clock)
    tell(dispatcher.emit, clock)
    dispatcher.close()
    return [stream.getvalue() for stream in streams]


def test_the_block_comes_last_after_what_happened_later():
    out, errors = watched(Console, io.StringIO(), io.StringIO())
    lines = out.splitlines()
    start = lines.index("GLOBAL_STATS")
    assert lines[start:] == stats_block(STATS)
    assert lines[start - 2 : start] == [
        "The submission is acceptable; masks re-read page by page: 2.",
        "Submission: /out/submission.zip",
    ]
    assert out.count("GLOBAL_STATS") == 1
    assert errors == "FAILED b, page 7: cut short; expected 320 pages; found 7. Copy it again.\n"


def test_a_file_and_an_alert_are_one_line_each():
    out, _ = watched(Console, io.StringIO(), io.StringIO())
    (done,) = [line for line in out.splitlines() if line.startswith("[")]
    assert done == "[1/2] 1407735  320 x 320 x 320  2 features  3 % active  41.2 s  2.5e+09 calc/s"
    (warning,) = [line for line in out.splitlines() if line.startswith("ALERT")]  # said three times, shown once
    assert warning == ("ALERT ANCHOR_WEAK 1407735: Few are anchored. (value 0.01, limit 0.1) -> Lower segment.strong.")
    assert "/in: 2 volumes to do among 1,615 files (2 .csv, 1613 .tif)" in out


@pytest.mark.parametrize(("seconds", "most"), [(60, 30), (9 * 3600, 110)])
def test_a_run_stays_short_on_a_plain_stream(seconds, most):
    clock = Clock()
    stream = io.StringIO()
    dispatcher = Dispatcher([Console(stream, io.StringIO())], clock=clock)
    tell(dispatcher.emit, clock, seconds, updates=20_000)
    dispatcher.close()
    lines = stream.getvalue().splitlines()
    assert sum(line.startswith("  ") and " % 1/2 1407735 " in line for line in lines) >= 3
    assert len(lines) <= most


def test_every_alert_there_is_stays_under_two_hundred_lines():
    stream = io.StringIO()
    dispatcher = Dispatcher([Console(stream, io.StringIO())])
    for n in range(500):
        dispatcher.emit(alert(code=f"CODE_{n}"))
    dispatcher.emit(Event("FILE_DONE", {"file": "a"}))
    dispatcher.emit(Event("GLOBAL_STATS", {f"key_{n}": n for n in range(400)}))
    dispatcher.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) < 200
    assert "(480 further alerts are in the record)" in stream.getvalue()
    assert lines[-1] == f"  ... {400 - MOST_LINES} further lines are in the record"


def test_on_a_terminal_a_bar_moves_and_leaves():
    out, bar = watched(Console, io.StringIO(), Terminal())
    assert "1/2 1407735 features" in bar
    assert " % 1/2" not in out  # the bar replaces the plain lines
    assert out.splitlines()[-1] == stats_block(STATS)[-1]


def test_a_damaged_file_is_told_once_whoever_watches():
    for kind in ("usual", "quiet", "json"):
        stream, errors = io.StringIO(), io.StringIO()
        dispatcher = Dispatcher([observers_of(stream, errors)[kind]])
        dispatcher.emit(alert(code="INPUT_DAMAGED", severity="error", file="b"))
        dispatcher.emit(Event("FILE_FAILED", {"file": "b", "what": "cut short"}))
        dispatcher.close()
        assert errors.getvalue() == "FAILED b: cut short.\n"
        assert "ALERT" not in stream.getvalue() or kind == "json"


def test_quiet_shows_errors_alone():
    (errors,) = watched(ErrorLines, io.StringIO())
    assert errors.splitlines() == ["FAILED b, page 7: cut short; expected 320 pages; found 7. Copy it again."]
    stream = io.StringIO()
    dispatcher = Dispatcher([ErrorLines(stream)])
    dispatcher.emit(alert(severity="error", code="NO_LEARNING"))
    dispatcher.emit(alert(severity="warning"))
    assert [line.split()[:2] for line in stream.getvalue().splitlines()] == [["ALERT", "NO_LEARNING"]]


def test_json_shows_each_event_as_one_line_and_nothing_else():
    stream, errors = io.StringIO(), io.StringIO()
    kept = []

    class Keep:
        def __call__(self, stamped):
            kept.append(stamped)

        def close(self):
            pass

    dispatcher = Dispatcher([EventLines(stream, errors), Keep()])
    tell(dispatcher.emit, updates=8)
    dispatcher.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(x["seq"], x["event"], x["data"]) for x in lines] == [(k.seq, k.event.name, k.event.data) for k in kept]
    assert all(isinstance(x["ts_ns"], str) for x in lines)
    assert errors.getvalue().startswith("FAILED b")


def test_ultra_shows_each_event_flat_as_v122_did_and_the_block_last():
    stream = io.StringIO()
    dispatcher = Dispatcher([Console(stream, io.StringIO(), every_event=True)])
    tell(dispatcher.emit, updates=8)
    dispatcher.close()
    lines = stream.getvalue().splitlines()
    block = len(stats_block(STATS))
    events = [json.loads(line) for line in lines[:-block]]
    assert [e["event"] for e in events][-3:] == ["GLOBAL_STATS", "SUBMISSION_VALIDATED", "EXEC_COMPLETE"]
    assert events[0]["version"] == "0.1"
    assert isinstance(events[0]["ts_ns"], int)
    assert lines[-block:] == stats_block(STATS)


def observers_of(stream, errors, **options):
    return {
        "usual": Console(stream, errors, **options),
        "ultra": Console(stream, errors, every_event=True, **options),
        "quiet": ErrorLines(errors, **options),
        "json": EventLines(stream, errors, **options),
    }


@pytest.mark.parametrize("kind", ["usual", "ultra", "quiet", "json"])
def test_whoever_watches_is_told_the_last_checkpoint_once(kind):
    stream, errors = io.StringIO(), io.StringIO()
    observer = observers_of(stream, errors)[kind]
    observer.checkpoint("origin\n1\nearlier\n")
    observer.checkpoint("origin\n2\nroot\n\n— origin signature\n")
    observer.close()
    observer.close()
    told, other = (errors, stream) if kind in ("quiet", "json") else (stream, errors)
    assert told.getvalue() == f"{KEEP}\norigin\n2\nroot\n\n— origin signature\n\n"
    assert other.getvalue() == ""


@pytest.mark.parametrize("kind", ["usual", "ultra", "quiet", "json"])
@pytest.mark.parametrize("options", [{}, {"go_on": "another command goes on."}])
def test_a_run_that_was_cut_short_says_what_goes_on_and_no_other_does(kind, options):
    for reason, times in (({"reason": "KeyboardInterrupt"}, 1), ({"reason": None}, 0), ({}, 0)):
        stream, errors = io.StringIO(), io.StringIO()
        dispatcher = Dispatcher([observers_of(stream, errors, **options)[kind]])
        dispatcher.emit(Event("EXEC_COMPLETE", {"submission": None, "exit_code": 130, **reason}))
        dispatcher.close()
        told = errors if kind in ("quiet", "json") else stream
        line = f"Not finished (KeyboardInterrupt): {options.get('go_on', 'the same command goes on from here.')}"
        assert told.getvalue().splitlines().count(line) == times
        assert stream.getvalue().count("Not finished") + errors.getvalue().count("Not finished") == times


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
@pytest.mark.parametrize("every_event", [False, True])
def test_an_event_without_data_stops_nobody(name, every_event):
    stream = io.StringIO()
    observers = [
        Console(stream, io.StringIO(), every_event=every_event), EventLines(stream, stream), ErrorLines(stream)
    ]  # fmt: skip
    dispatcher = Dispatcher(observers)
    dispatcher.emit(Event(name, {}))
    dispatcher.close()


def test_a_name_that_is_no_text_is_shown_escaped():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    dispatcher = Dispatcher([Console(stream, io.StringIO())])
    dispatcher.emit(Event("FILE_DONE", {"file": "é\udcff"}))
    dispatcher.close()
    assert b"\\xe9\\udcff" in raw.getvalue()


def test_the_block_is_aligned_and_says_unknown_for_null():
    lines = stats_block(STATS)
    assert lines[0] == "GLOBAL_STATS"
    columns = {line.index(value) for line, value in zip(lines[1:4], ("2", "32,768,000", "0.0312346"), strict=True)}
    assert len(columns) == 1
    assert any(line.split() == ["unknown_discoveries", "unknown"] for line in lines)
    assert any(line.split()[1:] == ["z", "1,", "y", "2,", "x", "3,", "p", "0.99"] for line in lines)
    assert any(line.split() == ["gpu", "none"] for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (True, "yes"), (1234567, "1,234,567"), (0.125, "0.125"), (2.5e9, "2,500,000,000"), ("x", "x")],
)
def test_figures_are_readable(value, text):
    assert number(value) == text


def test_volumes_too_large_for_the_memory_are_told_before_the_first_is_read():
    stream = io.StringIO()
    dispatcher = Dispatcher([Console(stream, io.StringIO())])
    plan = {"name": "memory_planned", "file": None, "limit_bytes": 4 * 10**9, "limit_source": "--memory"}
    dispatcher.emit(Event("STEP", {**plan, "too_large": []}))
    dispatcher.emit(Event("STEP", {**plan, "too_large": [str(k) for k in range(12)]}))
    dispatcher.close()
    named = ", ".join(map(str, range(10)))
    assert stream.getvalue().splitlines() == [
        f"Planned to need more than 4,000 MB (--memory): {named} and 2 more. They will be refused, the others done."
    ]


def test_a_count_stands_beside_what_chance_gives_on_one_line():
    family = {"mean": 17.0, "deviation": 6.5, "low": 0.0, "high": 38.7, "verdict": "above"}
    told = {
        "value": 1288,
        "isotropic": family,
        "directional": family,
        "low": 0.0,
        "high": 52.683761,
        "verdict": "above",
    }
    lines = stats_block({"expected_by_chance": {"a": {**told, "unit": "volume"}, "b": {**told, "unit": "corner cube"}}})
    assert lines[2:] == [
        "    a  1,288; chance gives 0 to 52.6838: above",
        "    b  1,288 a corner cube; chance gives 0 to 52.6838: above",
    ]


@pytest.mark.parametrize("slow", [True, False])
def test_a_reader_is_told_why_nothing_is_said_yet(monkeypatch, slow):
    monkeypatch.setattr(console_module, "PATIENCE_S", 0.01 if slow else 60)
    stream = io.StringIO()
    shown = Console(stream, io.StringIO())
    shown.wait()
    if slow:
        shown._waiting.join()
    dispatcher = Dispatcher([shown])
    dispatcher.emit(Event("BOOT", {"version": "1", "backend": "cpu", "reason": "so"}))
    dispatcher.close()
    assert stream.getvalue().splitlines()[: 1 + slow] == [console_module.FIRST_TIME] * slow + ["nx47 1 on cpu: so"]
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
