"""A hurt log costs only what is hurt: the rest is explained, what is unreadable is said. A file that is no log is 2."""

import json
import tracemalloc

import pytest
from old_logs import V121_FACTS, entries, write_lines, write_list
from records import events, record

from gpu_nx47.cli import main
from gpu_nx47.errors import UsageError
from gpu_nx47.explain import reading, tell, write
from gpu_nx47.explain.reading import Health, read_entries
from gpu_nx47.journal import RECORD_NAME

WHOLE = record(events())
LINES = WHOLE.splitlines(keepends=True)


def put(tmp_path, data, name=RECORD_NAME):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def names(path):
    health = Health()
    return [entry.name for entry in read_entries(path, health)], health


def test_a_whole_record_is_read_whole(tmp_path):
    found, health = names(put(tmp_path, WHOLE))
    assert found == [name for name, _ in events()]
    assert (health.unreadable, health.torn, health.broken, health.chained) == (0, False, [], len(LINES))


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_torn_last_line_is_said_and_the_rest_explained(tmp_path, cut):
    told = tell(put(tmp_path, WHOLE[:-cut]))
    assert told.health.torn == (cut > 1)  # without its newline alone the line is whole
    assert len(told.metrics) == 1
    shown = write(told, "en")
    assert ("cut off at its end" in shown) == (cut > 1)
    assert "120 anchored voxels" in shown


def test_a_record_cut_between_lines_has_no_end(tmp_path):
    told = tell(put(tmp_path, b"".join(LINES[:-1])))
    assert told.complete is None
    assert not told.health.torn
    assert "it was killed" in write(told, "en")


@pytest.mark.parametrize("number", [1, 4, 8])
def test_garbage_in_a_line_is_counted_and_the_chain_told(tmp_path, number):
    spoilt = [*LINES]
    spoilt[number - 1] = b"\xff\xfe{]" + spoilt[number - 1][4:]
    told = tell(put(tmp_path, b"".join(spoilt)))
    assert told.health.first_unreadable == [("line", number)]
    assert told.health.broken == [number + 1]
    shown = write(told, "en")
    assert f"the first at line {number}" in shown
    assert f"broken** at line {number + 1}" in shown


def test_a_changed_figure_breaks_the_chain_and_no_line(tmp_path):
    told = tell(put(tmp_path, WHOLE.replace(b'"pixels_anchor_detected":120', b'"pixels_anchor_detected":121', 1)))
    assert told.health.unreadable == 0
    assert len(told.health.broken) == 1


def test_a_removed_and_a_swapped_line_break_the_chain(tmp_path):
    assert tell(put(tmp_path, b"".join(LINES[:3] + LINES[4:]))).health.broken == [4]
    assert tell(put(tmp_path, b"".join([*LINES[:3], LINES[4], LINES[3], *LINES[5:]]))).health.broken == [4, 5, 6]


def test_carriage_returns_break_the_chain_and_are_read(tmp_path):
    found, health = names(put(tmp_path, WHOLE.replace(b"\n", b"\r\n")))
    assert len(found) == len(LINES)
    assert health.broken


def test_an_old_list_cut_anywhere_gives_what_was_whole(tmp_path):
    path = write_list(tmp_path / "v121_execution_logs.json")
    text = path.read_bytes()
    starts = [text.index(json.dumps(e["signature"]).encode()) for e in entries()]
    for cut in range(len(text) - 3, 0, -97):
        part = put(tmp_path, text[:cut], "v120_execution_logs.json")
        whole = sum(start + 134 < cut for start in starts)
        if whole == 0:
            with pytest.raises(UsageError, match="no log of nx47"):
                tell(part)
            continue
        told = tell(part)
        assert told.events == whole
        assert told.health.torn
        assert "cut off at its end" in write(told, "en")


def test_a_hurt_entry_of_a_list_costs_only_itself(tmp_path):
    text = json.dumps(entries(), indent=2)
    hurt = text.replace('"total_assets": 1615', '"total_assets": 16"15')
    told = tell(put(tmp_path, hurt.encode(), "v121_execution_logs.json"))
    assert told.events == len(V121_FACTS) - 1
    assert told.health.first_unreadable == [("entry", 2)]
    assert not told.health.torn
    assert told.discovery == {}
    assert "the first at entry 2" in write(told, "en")


def test_what_is_no_event_among_events_is_counted(tmp_path):
    text = json.dumps([1, "x", *entries(), {"ts_ns": 1}, [2]])
    told = tell(put(tmp_path, text.encode(), "v121_execution_logs.json"))
    assert told.health.unreadable == 4
    assert told.events == len(V121_FACTS)


def test_lines_and_a_list_say_the_same(tmp_path):
    as_list = tell(write_list(tmp_path / "v122_execution_logs.json"))
    as_lines = tell(write_lines(tmp_path / "v122_ultra.jsonl"))
    assert as_list.files == as_lines.files
    assert as_list.kind == as_lines.kind == "old"
    assert as_list.events == as_lines.events


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"[]",
        b"{}",
        b"[",
        b"null",
        b"II*\0\x08\0\0\0",
        b"PK\x03\x04",
        bytes(range(256)) * 40,
        b"[" * 100_000,
        b'{"a":' * 5000,
        b'{"event":"BOOT"}\n',
        b'{"ts_ns":1,"event":7}\n',
        b'[{"generated_at_ns": 1, "roadmap": []}]',
    ],
)
def test_a_file_that_is_no_log_is_2(tmp_path, capsys, data):
    path = put(tmp_path, data, "a.json")
    assert main(["explain", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{path}: this is no log of nx47; expected lines of JSON" in said.err


def test_no_file_and_an_empty_folder_are_2(tmp_path, capsys):
    assert main(["explain", str(tmp_path / "none.jsonl")]) == 2
    assert "found no file" in capsys.readouterr().err
    assert main(["explain", str(tmp_path)]) == 2
    assert "found a folder without one" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["lines", "list"])
def test_a_log_of_any_length_takes_little_memory(tmp_path, form):
    update = {"event": "PROGRESS_UPDATE", "stage": "train", "words": "x" * 4000}
    some = [json.dumps({"ts_ns": 10**18 + k, **update}) for k in range(3000)]
    text = "\n".join(some) if form == "lines" else "[" + ",\n".join(some) + "]"
    path = put(tmp_path, text.encode(), "v122_ultra.jsonl")
    del some
    size = len(text)
    del text
    tracemalloc.start()
    told = tell(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told.events == 3000
    assert peak < size / 2


def test_an_entry_longer_than_any_run_writes_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 1 << 16)
    monkeypatch.setattr(reading, "CHUNK", 1 << 12)
    before, after = (json.dumps(entry) for entry in entries()[:2])
    long = '{"ts_ns": 1, "event": "STEP", "name": "' + "x" * (1 << 18) + '"}'
    told = tell(put(tmp_path, f"[{before}, {long}, {after}]".encode(), "v121_execution_logs.json"))
    assert [told.events, told.health.unreadable] == [2, 1]
    told = tell(put(tmp_path, f"{before}\n{long}\n{after}\n".encode(), "v122_ultra.jsonl"))
    assert told.events == 2
    assert told.health.first_unreadable[0] == ("line", 2)
