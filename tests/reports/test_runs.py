"""The registry finds every run, says what changed, and compares masks of runs on the same inputs only."""

import json

import numpy as np
import pytest
from old_logs import V121_FACTS, write_lines, write_list
from records import CONFIG, DIGEST, START_NS, events, record, write_zip

from gpu_nx47 import runs
from gpu_nx47.cli import main
from gpu_nx47.errors import UsageError
from gpu_nx47.journal import LOGS_NAME, RECORD_NAME

SHAPE = (5, 20, 21)


def mask(seed, share=0.2, shape=SHAPE):
    return np.random.default_rng([99, seed]).random(shape) < share


def add(root, name, *, at=0, masks=None, told=None, **changes):
    """Write a run into a folder of its own: record, and the zip that it names."""
    folder = root / name
    folder.mkdir(parents=True)
    digest = write_zip(folder / "submission.zip", masks if masks is not None else {"100": mask(1)})
    told = events(zip_digest=digest, **changes) if told is None else told
    (folder / RECORD_NAME).write_bytes(record(told, START_NS + at * 10**12))
    return folder


def config(**segment):
    return {**CONFIG, "segment": {**CONFIG["segment"], **segment}}


def test_runs_are_listed_by_time_with_what_they_are(tmp_path):
    add(tmp_path, "b/late", at=2)
    add(tmp_path, "a", at=1)
    first, second = runs.registry(tmp_path)
    assert (first.log.parent.name, second.log.parent.name) == ("a", "late")
    assert (first.kind, first.version, first.backend, first.end) == ("record", "0.1.0", "cpu", "0")
    assert (first.done, first.failed, first.inputs) == (1, 0, {"100": DIGEST})
    last = (tmp_path / "a" / RECORD_NAME).read_bytes().splitlines()[-1]
    assert first.last_digest == runs.hashlib.sha256(last).hexdigest()
    assert first.root is None
    assert first.settings["segment.dust"] == 100


def test_the_mask_delta_is_exact_against_the_run_before_on_the_same_inputs(tmp_path):
    add(tmp_path, "a", at=1, masks={"100": mask(1)})
    add(tmp_path, "other", at=2, sha="cd" * 32, masks={"100": mask(2)})
    add(tmp_path, "b", at=3, masks={"100": mask(3)}, config=config(ratio=0.05, dust=30))
    a, other, b = runs.registry(tmp_path)
    one, two = mask(1), mask(3)
    assert (a.before, a.delta, other.before, other.delta, b.before) == (None, None, None, None, 0)
    assert "not compared" in a.note
    assert "different inputs are not compared" in other.note
    assert b.delta.xor == (one ^ two).sum()
    assert b.delta.dice == 2 * (one & two).sum() / (one.sum() + two.sum())
    assert b.delta.iou == (one & two).sum() / (one | two).sum()
    assert b.delta.voxels == one.size
    assert b.changes == {"segment.ratio": [None, 0.05], "segment.dust": [100, 30]}


def test_several_files_are_one_delta(tmp_path):
    pair = [event for name in ("x", "y") for event in events(file=name)[2:6]]
    for k, seeds in enumerate([(1, 2), (3, 4)]):
        masks = {"x": mask(seeds[0]), "y": mask(seeds[1], shape=(7, 9, 9))}
        add(tmp_path, f"run{k}", at=k, masks=masks, told=[])
        folder = tmp_path / f"run{k}"
        digest = runs.hashlib.sha256((folder / "submission.zip").read_bytes()).hexdigest()
        whole = events(zip_digest=digest)
        (folder / RECORD_NAME).write_bytes(record([*whole[:2], *pair, *whole[6:]], START_NS + k * 10**12))
    _, second = runs.registry(tmp_path)
    assert second.done == 2
    assert second.delta.xor == (mask(1) ^ mask(3)).sum() + (mask(2, shape=(7, 9, 9)) ^ mask(4, shape=(7, 9, 9))).sum()


def test_other_bytes_of_one_name_are_other_inputs(tmp_path):
    add(tmp_path, "a", at=1)
    add(tmp_path, "b", at=2, sha="cd" * 32)
    add(tmp_path, "c", at=3, file="101")
    assert [run.before for run in runs.registry(tmp_path)] == [None, None, None]


def test_a_zip_that_the_record_does_not_name_is_not_compared(tmp_path):
    add(tmp_path, "a", at=1)
    folder = add(tmp_path, "b", at=2)
    write_zip(folder / "submission.zip", {"100": mask(9)})
    _, b = runs.registry(tmp_path)
    assert b.before == 0
    assert b.delta is None
    assert b.note == "the submission.zip beside the log is not the one it names"
    (folder / "submission.zip").unlink()
    assert runs.registry(tmp_path)[1].note == "its submission.zip is not beside the log"


def test_an_unfinished_run_says_so_and_is_not_the_one_compared_with(tmp_path):
    add(tmp_path, "a", at=1)
    add(tmp_path, "cut", at=2, told=events()[:6])
    add(tmp_path, "b", at=3, masks={"100": mask(1)})
    a, cut, b = runs.registry(tmp_path)
    assert (a.end, cut.end, cut.exit_code) == ("0", "unfinished", None)
    assert cut.note == "the run names no submission.zip"
    assert b.before == 0
    assert (b.delta.xor, b.delta.dice, b.delta.iou) == (0, 1.0, 1.0)


def test_old_logs_are_listed_as_unsigned_and_compared_with_nothing(tmp_path, capsys):
    hashed = [(event, {**data, "sha256": DIGEST} if event == "FILE_START" else data) for event, data in V121_FACTS]
    for name in ("old1", "old2"):
        (tmp_path / name).mkdir()
        write_list(tmp_path / name / "v121_execution_logs.json", hashed)
        write_zip(tmp_path / name / "submission.zip", {"1407735": mask(1)})
    write_lines(tmp_path / "old2" / RECORD_NAME)  # V122 gave its lines the name that ours have
    write_list(tmp_path / "old2" / LOGS_NAME)
    found = runs.registry(tmp_path)
    assert [(run.kind, run.log.name) for run in found] == [
        ("old", "v121_execution_logs.json"), ("old", "v121_execution_logs.json"), ("old", RECORD_NAME),
    ]  # fmt: skip
    assert all(run.before is None and run.delta is None and "old log" in run.note for run in found)
    add(tmp_path, "ours", at=1, file="1407735.tif")
    last = runs.registry(tmp_path)[-1]
    assert (last.kind, last.before) == ("record", None)
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("old log: unsigned, not replayable; files done: 1; not compared") == 3


def test_a_score_beside_a_run_is_shown(tmp_path):
    add(tmp_path, "a", at=1)
    for text, score in (
        ('{"mean": {"total": 0.625}}', 0.625),
        ('{"all": {"total": 0.5}}', 0.5),
        ('{"mean": {"total": null}}', None),
        ('{"mean": 3}', None),
        ("nonsense", None),
    ):
        (tmp_path / "a" / "score.json").write_text(text)
        assert runs.registry(tmp_path)[0].score == score


def test_a_log_that_cannot_be_read_is_listed(tmp_path):
    add(tmp_path, "a")
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / RECORD_NAME).write_bytes(b"")
    _, dead = runs.registry(tmp_path)
    assert dead.kind == "unreadable"
    assert "this is no log" in dead.problem
    assert "cannot be read" in runs.table([dead])


def test_a_record_goes_before_its_views_and_hidden_folders_are_passed(tmp_path):
    folder = add(tmp_path, "a")
    (folder / LOGS_NAME).write_text("[]")
    add(tmp_path, ".hidden")
    (run,) = runs.registry(tmp_path)
    assert run.log.name == RECORD_NAME


def test_text_and_json_say_the_same(tmp_path, capsys):
    add(tmp_path, "a", at=1)
    add(tmp_path, "b", at=2, masks={"100": mask(2)}, config=config(ratio=0.05))
    assert main(["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert main(["runs", str(tmp_path), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["delta"] is None
    assert second["changes"] == {"segment.ratio": [None, 0.05]}
    assert "settings against #1: segment.ratio none -> 0.05" in shown
    delta = second["delta"]
    assert f"Dice {delta['dice']:.4f}, IoU {delta['iou']:.4f}, XOR {delta['xor']:,} of 2,100 voxels" in shown
    assert "no earlier run on the same inputs, and runs on different inputs are not compared" in shown


@pytest.mark.parametrize("words", [["runs", "none"], ["runs", "."]])
def test_no_folder_and_no_runs_are_2(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "expected" in capsys.readouterr().err
    with pytest.raises(UsageError):
        runs.registry(tmp_path / "none")
