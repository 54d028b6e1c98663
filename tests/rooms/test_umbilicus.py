"""An umbilicus that somebody drew: read in each form others publish, followed slice by slice, kept in the record."""

import json
from dataclasses import replace

import numpy as np
import pytest

import gpu_nx47
from gpu_nx47 import phantom
from gpu_nx47.audit import replay
from gpu_nx47.errors import SettingsError, UsageError
from gpu_nx47.journal import RECORD_NAME
from gpu_nx47.settings import NO_SIDE, NeuronSettings, Settings
from gpu_nx47.umbilicus import Given, Umbilicus, read
from gpu_nx47.volume import Box

POINTS = [[0, 10.5, 20], [40, 18, -7.25], [10, 11, 22]]
SORTED = ((0.0, 10.5, 20.0), (10.0, 11.0, 22.0), (40.0, 18.0, -7.25))
SIZE = 40
QUICK = Settings(neuron=NeuronSettings(samples=1024, steps=5), overlays=0, threads=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(POINTS)),
        ("a.json", json.dumps({"scan": "made up", "points": POINTS})),
        ("a.JSON", json.dumps([dict(zip("zyx", point, strict=True)) for point in POINTS])),
        ("a.txt", "# z, y, x\n0, 10.5, 20\n\n40,18,-7.25  # the last\n10 11 22\n"),
        ("points", "\ufeff" + "\r\n".join(",".join(map(str, point)) for point in POINTS)),
    ],
)
def test_every_form_gives_the_same_points(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / name).points == SORTED
    moved = read(tmp_path / name, (1, 2, 3)).points
    assert moved == tuple((z - 1, y - 2, x - 3) for z, y, x in SORTED)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "", "got none"),
        ("a.txt", "0, 1, 2\n3, 4", "line 2"),
        ("a.txt", "0, 1, 2, 3", "line 1"),
        ("a.txt", "0, hello, 3", "hello"),
        ("a.txt", "0, nan, 3", "nan"),
        ("a.txt", "0, 1, 2\n0, 1, 3", "z = 0"),
        ("a.txt", "0, 1e9, 2", "1048576"),
        ("a.json", "[[0, 1, 2]", "expected JSON"),
        ("a.json", "[" * 100_000, "expected JSON"),
        ("a.json", "5", "expected a list"),
        ("a.json", '{"points": {}}', "expected a list"),
        ("a.json", '[{"z": 1, "y": 2}]', "point 0"),
        ("a.json", "[[0, true, 2]]", "point 0"),
        ("a.json", '[[0, 1, 2], "x"]', "point 1"),
        ("a.json", "[[0, Infinity, 2]]", "Infinity|inf"),
        ("a.json", f"[[0, {10**400}, 2]]", "point 0|expected JSON"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder").mkdir()
    (tmp_path / "both").mkdir()
    for suffix in (".txt", ".json"):
        (tmp_path / "both" / f"a{suffix}").write_text("[[0, 1, 2]]")
    with pytest.raises(SettingsError, match=r"none\.txt: cannot be read"):
        Given(str(tmp_path / "none.txt"), (0, 0, 0), ["a"])
    with pytest.raises(SettingsError, match=r"bytes\.txt: expected text"):
        Given(str(tmp_path / "bytes.txt"), (0, 0, 0), ["a"])
    with pytest.raises(SettingsError, match=r"such as a\.json or a\.txt"):
        Given(str(tmp_path / "folder"), (0, 0, 0), ["a"])
    with pytest.raises(SettingsError, match="one file of a"):
        Given(str(tmp_path / "both"), (0, 0, 0), ["a"])


def test_a_folder_holds_one_for_some_volumes_and_the_digest_is_of_all_points(tmp_path):
    (tmp_path / "b.txt").write_text("0, 1, 2")
    given = Given(str(tmp_path), (0, 0, 0), ["a", "b"])
    assert given.of("a", 9) is None
    assert given.of("b", 9) == Umbilicus(((0.0, 1.0, 2.0),))
    (tmp_path / "b.txt").write_text("0, 1, 3")
    assert Given(str(tmp_path), (0, 0, 0), ["a", "b"]).digest not in (given.digest, None)
    assert Given(NO_SIDE, (0, 0, 0), ["a"]).digest is None


@pytest.mark.parametrize("count", [1, 2, 3, 17])
@pytest.mark.parametrize("start", [0, 7])
def test_it_is_straight_between_points_and_goes_on_along_z(count, start):
    rng = np.random.default_rng(count)
    z = np.sort(rng.choice(np.arange(-30, 90), count, replace=False)).astype(float)
    drawn = Umbilicus(tuple(zip(z.tolist(), *rng.uniform(-50, 90, (2, count)).tolist(), strict=True)))
    box = Box((start, 3, 5), (40, 60, 60))
    found = drawn.within(40).eighths(box)
    assert found.dtype == np.int32
    assert (found == drawn.eighths(box)).all()
    for column, first in ((0, 3), (1, 5)):
        line = np.interp(np.arange(start, 40), z, [point[1 + column] for point in drawn.points]) - first
        assert (np.abs(found[:, column] - 8 * line) <= 0.5 + 1e-9).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("umbilicus")
    phantom.write_phantom_root(place / "root", size=SIZE, seeds=[1], train_seeds=[])
    axis = phantom.make_phantom(SIZE, 1).axis
    lines = {"true": axis, "other": 2 * ((SIZE - 1) / 2) - axis}  # mirrored: the axis on the other side
    for name, line in lines.items():
        (place / f"{name}.txt").write_text("".join(f"{z}, {y:.3f}, {x:.3f}\n" for z, (y, x) in enumerate(line)))
    return place


def ran(folder, name, place):
    result = gpu_nx47.run(folder / "root", folder / name, replace(QUICK, umbilicus=str(place)))
    events = [json.loads(line) for line in (folder / name / RECORD_NAME).read_text().splitlines()]
    return result, {event["event"]: event["data"] for event in events}


@pytest.mark.same_bits
def test_a_run_follows_the_line_and_its_record_is_enough_to_replay_it(folder, tmp_path):
    result, told = ran(folder, "a", folder / "true.txt")
    axis = result.files[0]["axis"]
    assert (axis["source"], axis["confidence"], axis["used"]) == ("umbilicus", 1.0, True)
    assert len(told["FILE_START"]["umbilicus"]) == SIZE
    assert len(told["BOOT"]["umbilicus"]) == 64
    other, _ = ran(folder, "b", folder / "other.txt")
    assert other.files[0]["axis"]["y"] != axis["y"]
    (folder / "true.txt").rename(tmp_path / "gone.txt")
    machine = replay.Machine("law", tile=(16, 24, 40), threads=1)
    said = []
    try:
        assert replay.replay_record(folder / "a", folder / "root", machine, lambda names: names, said.append) == 0, said
    finally:
        (tmp_path / "gone.txt").rename(folder / "true.txt")
    marks = [(folder / name / "submission.zip").read_bytes() for name in "ab"]
    assert marks[0] != marks[1]


def test_no_side_is_taken_where_none_is_wanted(folder):
    result, told = ran(folder, "c", NO_SIDE)
    axis = result.files[0]["axis"]
    assert (axis["source"], axis["used"]) == ("not asked for", False)
    assert not {"grad_inward", "step_outward"} & set(result.files[0]["selected_features"])
    assert "umbilicus" not in told["BOOT"]
    assert "umbilicus" not in told["FILE_START"]


def test_a_run_does_not_go_on_with_another_line(folder, tmp_path):
    line = tmp_path / "line.txt"
    line.write_bytes((folder / "true.txt").read_bytes())
    ran(folder, "d", line)
    record = folder / "d" / RECORD_NAME
    lines = record.read_text().splitlines(keepends=True)
    cut = next(i for i, text in enumerate(lines) if '"FILE_DONE"' in text)
    record.write_text("".join(lines[:cut]))
    for path in (folder / "d").glob("*checkpoint*"):
        path.unlink()
    line.write_bytes((folder / "other.txt").read_bytes())
    with pytest.raises(UsageError, match="the umbilicus was"):
        ran(folder, "d", line)
