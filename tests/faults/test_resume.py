"""A run that was cut off goes on where it was: the same bytes as one that was not, and nothing believed unseen."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from unfinished import (
    OPTIONS,
    QUICK,
    RECORD,
    DieAt,
    answer,
    check_whole,
    command,
    events_of,
    finish,
    make_root,
)

from gpu_nx47 import pipeline
from gpu_nx47.audit.verify import verify
from gpu_nx47.cli import main
from gpu_nx47.errors import OutputError, UsageError

pytest.importorskip("numba", reason="what a run is cut off by has nothing to do with the backend; laws take minutes")

KILLS = 4
MORE_KILLS = 100


class StopError(BaseException):
    """Nobody catches this: what a bug, or a Ctrl-C, looks like to the run."""


def stop():
    raise StopError


class AtThirdFile(DieAt):
    def __call__(self, stamped):
        if stamped.event.name == "FILE_START" and stamped.event.data["index"] == 3:
            self.act()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("resume") / "root")


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """What an uninterrupted run leaves, and how many events it has."""
    out = tmp_path_factory.mktemp("whole")
    assert pipeline.run(root, out, QUICK).exit_code == 0
    return answer(out), len(events_of(out)), out


def cut_off(root, out, seq):
    with pytest.raises(StopError):
        pipeline.run(root, out, QUICK, DieAt(seq, stop))


def place_of(whole, name, number):
    """Return the number of the `number`-th event of a name in the whole run."""
    return [e["seq"] for e in events_of(whole[2]) if e["event"] == name][number]


def test_a_run_cut_off_after_two_files_does_one(root, whole, tmp_path):
    cut_off(root, tmp_path, place_of(whole, "FILE_DONE", 1) + 1)
    assert pipeline.run(root, tmp_path, QUICK).exit_code == 0
    events = events_of(tmp_path)
    begun = [e["data"]["file"] for e in events if e["event"] == "FILE_START"]
    assert begun == [*whole[0]["metrics"]]
    recovered = next(e["data"] for e in events if e["event"] == "RECOVERED")
    assert recovered["files_kept"] == dict.fromkeys(begun[:2], "full")
    assert answer(tmp_path) == whole[0]
    logs = json.loads((tmp_path / "v122_execution_logs.json").read_bytes())
    assert [e["event"] for e in logs] == [e["event"] for e in events]
    assert json.loads((tmp_path / "v122_execution_metadata.json").read_bytes())["log_count"] == len(events)
    assert not (tmp_path / ".submission.zip.masks").exists()


def test_a_run_cut_off_again_and_again_comes_to_the_same_answer(root, whole, tmp_path):
    first = whole[1] // 4
    cut_off(root, tmp_path, first)
    for _ in range(3):
        cut_off(root, tmp_path, len(events_of(tmp_path)) + first)
    assert pipeline.run(root, tmp_path, QUICK).exit_code == 0
    assert answer(tmp_path) == whole[0]
    assert sum(e["event"] == "RECOVERED" for e in events_of(tmp_path)) == 4


def test_another_tile_and_thread_number_go_on_with_it(root, whole, tmp_path):
    cut_off(root, tmp_path, whole[1] // 2)
    assert main(["run", str(root), "--output", str(tmp_path), "--quiet", *OPTIONS, "--tile", "16,20,40"]) == 0
    found = answer(tmp_path)
    for one in (found, expected := json.loads(json.dumps({k: v for k, v in whole[0].items() if k != "zip"}))):
        for entry in [*one["metrics"].values(), one["stats"]]:
            entry.pop("calc_ops_executed")  # halos belong to a tiling
    assert found.pop("zip") == whole[0]["zip"]
    assert json.loads(json.dumps(found)) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "segment.dust=7"], "segment.dust was 2000, is 7"),
        (["--set", "seed=48"], "seed was 47, is 48"),
        (["--save", "features"], "save was ['probability'], is ['features']"),
    ],
)
def test_other_settings_are_refused_by_name(root, whole, tmp_path, capsys, options, said):
    cut_off(root, tmp_path, whole[1] // 2)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert main(["run", str(root), "--output", str(tmp_path), "--quiet", *OPTIONS, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "--fresh" in error
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_other_inputs_are_refused_by_name(root, whole, tmp_path):
    mine, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(root, mine)
    cut_off(mine, out, place_of(whole, "FILE_DONE", 0) + 1)
    first, *_, last = sorted((mine / "test_images").iterdir())
    bytes_before = first.read_bytes()
    first.write_bytes(last.read_bytes())
    with pytest.raises(UsageError, match=rf"{first.name} has changed .sha256 was"):
        pipeline.run(mine, out, QUICK)
    first.write_bytes(bytes_before)
    last.rename(last.with_name("another.tif"))
    with pytest.raises(UsageError, match=rf"{last.stem} gone, another new"):
        pipeline.run(mine, out, QUICK)
    first.unlink()
    last.with_name("another.tif").rename(last)
    with pytest.raises(UsageError, match="the volumes differ"):
        pipeline.run(mine, out, QUICK)


def test_fresh_begins_anew(root, whole, tmp_path):
    cut_off(root, tmp_path, place_of(whole, "FILE_DONE", 1) + 1)
    assert main(["run", str(root), "--output", str(tmp_path), "--quiet", *OPTIONS, "--set", "seed=5", "--fresh"]) == 0
    events = events_of(tmp_path)
    assert [e["event"] for e in events if e["event"] in ("BOOT", "RECOVERED")] == ["BOOT"]
    assert sum(e["event"] == "FILE_DONE" for e in events) == 3


def test_a_finished_run_is_not_gone_on_with(root, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole[2], out)
    assert pipeline.run(root, out, QUICK).exit_code == 0
    assert [e["event"] for e in events_of(out) if e["event"] in ("BOOT", "RECOVERED")] == ["BOOT"]
    assert answer(out) == whole[0]


@pytest.mark.parametrize("place", ["mask", "overlay", "saved", "reference"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_an_output_that_is_not_what_the_record_says_is_made_again(root, whole, tmp_path, place, how):
    cut_off(root, tmp_path, place_of(whole, "FILE_DONE", 1) + 1)
    pattern = {
        "mask": ".submission.zip.masks/*.tif",
        "overlay": "overlays_v122/*",
        "saved": "saved/*",
        "reference": ".submission.zip.masks/*.npz",
    }
    victim = sorted(tmp_path.glob(pattern[place]))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.unlink() if how == "gone" else victim.write_bytes(data)
    assert pipeline.run(root, tmp_path, QUICK).exit_code == 0
    recovered = next(e["data"] for e in events_of(tmp_path) if e["event"] == "RECOVERED")
    assert recovered["files_kept"] == {}  # the one behind it was told against it
    assert answer(tmp_path) == whole[0]


def test_a_torn_line_is_kept_beside_the_record(root, whole, tmp_path):
    cut_off(root, tmp_path, place_of(whole, "FILE_DONE", 0) + 1)
    record = tmp_path / RECORD
    size = record.stat().st_size
    with record.open("ab") as stream:
        stream.write(b'{"seq":')
    assert pipeline.run(root, tmp_path, QUICK).exit_code == 0
    assert [p.read_bytes() for p in tmp_path.glob("*.torn")] == [b'{"seq":']
    assert (tmp_path / f"{RECORD}.{size}.torn").exists()
    assert answer(tmp_path) == whole[0]


def test_a_record_that_was_changed_is_refused_and_left(root, whole, tmp_path):
    cut_off(root, tmp_path, whole[1] // 2)
    record = tmp_path / RECORD
    changed = record.read_bytes().replace(b'"layout":"competition"', b'"layout":"Competition"')
    record.write_bytes(changed)
    with pytest.raises(OutputError, match=r"line 3: expected the line that follows .* --fresh"):
        pipeline.run(root, tmp_path, QUICK)
    assert record.read_bytes() == changed


def test_a_file_that_failed_is_tried_again(root, tmp_path):
    mine, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(root, mine)
    victim = sorted((mine / "test_images").iterdir())[1]
    good = victim.read_bytes()
    victim.write_bytes(good[: len(good) // 2])
    with pytest.raises(StopError):
        pipeline.run(mine, out, QUICK, AtThirdFile(0, stop))
    victim.write_bytes(good)
    result = pipeline.run(mine, out, QUICK)
    assert (result.exit_code, result.stats["files_failed"], len(result.files)) == (0, 0, 3)


def kill_at(root, out, share, duration_s):
    """Kill -9 at a share of the time that a run takes."""
    with subprocess.Popen(command(root, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(share * duration_s)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
@pytest.mark.parametrize("kills", [KILLS, pytest.param(MORE_KILLS, marks=pytest.mark.long)])
def test_kill_at_random_moments_then_go_on(root, whole, tmp_path, kills):
    drawn = random.Random(47)
    started = time.monotonic()
    assert finish(root, tmp_path / "timed")[0] == 0
    duration_s = time.monotonic() - started
    number = done = 0
    while number < kills:
        out = tmp_path / f"out{done}"
        out.mkdir(exist_ok=True)
        kill_at(root, out, drawn.random(), duration_s)
        number += 1
        check_whole(out, root)
        if (out / RECORD).exists():
            ended = [e["event"] for e in events_of(out)][-1:] == ["EXEC_COMPLETE"]
            assert verify(out).code in ((0, 2) if ended else (2, 3))  # never called changed, whole only at its end
        if drawn.random() < 0.5:  # else the run that goes on is killed too
            continue
        code, said = finish(root, out)
        assert code == 0, said
        assert answer(out) == whole[0]
        assert verify(out).code == 0
        shutil.rmtree(out)
        done += 1
    assert done or kills < 10
