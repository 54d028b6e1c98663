"""Scanning the cleaning: each figure is the score of the mask that a run with those settings would write."""

import io
import itertools
import json
import shutil
import tomllib
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from labelled import QUICK

import gpu_nx47
from gpu_nx47 import backend, phantom, score, segmentation
from gpu_nx47.cli import main
from gpu_nx47.configure import from_mapping
from gpu_nx47.engine import Engine
from gpu_nx47.settings import SegmentSettings
from gpu_nx47.train import scanning, tuning
from gpu_nx47.train.tune import tune

NAME = phantom.phantom_id(3)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A labelled volume with a probability."""
    folder = tmp_path_factory.mktemp("tune")
    phantom.write_phantom_root(folder / "root", size=48, seeds=[3], train_seeds=[3])  # the frame has noise in it too
    label = tifffile.imread(folder / "root" / "train_labels" / f"{NAME}.tif")
    noise = np.random.default_rng(1).random(label.shape)
    (folder / "p").mkdir()
    p = np.clip((label == 1) * 0.5 + noise * 0.6 - 0.05, 0, 1)
    tifffile.imwrite(folder / "p" / f"{NAME}.tif", (p * 65535).astype(np.uint16), photometric="minisblack")
    return folder


def scan(given, told=None, official=False, **how):
    wanted = {"backend": "cpu", "threads": 1, **how}
    engine = Engine(backend.Meter(backend.select(wanted["backend"])[0]), (64, 512, 512), wanted["threads"])
    tell = (lambda _: None) if told is None else told.append
    return tune(given / "p", given / "root", engine, SegmentSettings(), 4, tell, official=official)


@pytest.fixture(scope="module")
def tuned(given):
    told = []
    return scan(given, told), told


def test_the_best_is_the_highest_of_all_that_was_told(tuned):
    found, told = tuned
    assert list(found.tried) == told
    assert len(told) >= 40
    assert found.best.mean == max(one.mean for one in told)
    assert found.best.mean > told[0].mean
    assert {one.segment.get("votes") for one in told} == {None, *scanning.VOTES}
    assert all(one.topo_bound is None and one.total is None for one in told)


@pytest.mark.parametrize(
    ("stage", "keys"),
    [
        ("threshold", {"threshold"}),
        ("ratio", {"ratio"}),
        ("hysteresis", {"weak", "strong"}),
        ("closing and opening", {"closing", "opening"}),
        ("dust", {"dust", "dust_connectivity"}),
        ("bridges", {"bridges"}),
        ("loops", {"loops"}),
        ("pinholes", {"pinholes"}),
        ("once more", {"weak", "strong"}),
    ],
)
def test_each_setting_that_matters_has_a_stage(tuned, stage, keys):
    there = [one.segment for one in tuned[1] if one.stage == stage]
    assert {key for segment in there for key in segment} >= keys


def test_a_brief_scan_leaves_out_what_changes_topology_alone(given, tuned):
    label = tifffile.imread(given / "root" / "train_labels" / f"{NAME}.tif")
    codes = tifffile.imread(given / "p" / f"{NAME}.tif")
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    volume = tuning.Volume(codes, tuning.piece_histogram(codes), label)
    tuner = scanning.Tuner(engine, [volume], SegmentSettings(), brief=True)
    best = tuner.run(lambda _: None)
    whole = [one for one in tuner.tried if one.stage in ("start", "all steps")]
    assert best == max(whole, key=lambda one: one.mean)
    assert all("loops" not in one.segment for one in whole)
    assert all(one.segment["loops"] == 0 for one in tuner.tried if one not in whole)
    assert 1 < len(whole) <= 1 + scanning.MENDED
    voted = {"votes and threshold"}  # there are no directions here
    assert {one.stage for one in tuned[1]} - {one.stage for one in tuner.tried} == {*scanning.TOPOLOGICAL, *voted}


def test_votes_are_tried_only_where_an_image_tells_directions(given, tmp_path):
    for folder in ("p", "labels"):
        (tmp_path / folder).mkdir()
    shutil.copy(given / "p" / f"{NAME}.tif", tmp_path / "p")
    shutil.copy(given / "root" / "train_labels" / f"{NAME}.tif", tmp_path / "labels")
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    found = tune(tmp_path / "p", tmp_path / "labels", engine, SegmentSettings(), 4, lambda _: None)
    assert not any("votes" in one.segment for one in found.tried)


def test_among_finalists_the_total_chooses(given, monkeypatch):
    """Where TopoScore says the contrary of what the scan climbed by, the last finalist wins."""
    asked = []

    def topo(volume, engine, settings):
        asked.append(settings)
        return len(asked) / 10

    monkeypatch.setattr(tuning.Volume, "topo", topo)
    found = scan(given, official=True)
    finalists = [one for one in found.tried if one.stage == "official"]
    assert 3 <= len(asked) == len(finalists) <= scanning.FINALISTS
    assert [one.topo for one in finalists] == [k / 10 for k in range(1, len(asked) + 1)]
    best = max(finalists, key=lambda one: 0.3 * one.topo + 0.35 * (one.surface_dice + one.voi_score))
    assert found.best == best
    assert found.best.promise < max(one.promise for one in found.tried)
    assert all(one.topo_bound is not None for one in found.tried)


def tried(dice, bound, topo=None):
    return scanning.Tried("some", {"dust": round(dice * 1e6)}, dice, 0.5, 0.1, bound, topo)


def test_the_bound_orders_settings_and_enters_no_score():
    better, worse = tried(0.5, 0.9), tried(0.51, 0.0)
    assert scanning.shortlist([worse, better])[0] is better
    assert better.mean == 0.5
    assert better.total is None
    assert tried(0.5, 0.9, 0.2).total == tried(0.5, 0.0, 0.2).total == score.total(0.2, 0.5, 0.5)


def test_settings_that_score_alike_are_one_finalist():
    some = [tried(0.5 + 1e-4 * k, 0.3) for k in range(300)]
    chosen = scanning.shortlist(some)
    assert chosen[0] is some[-1]
    assert len(chosen) == scanning.FINALISTS
    gaps = [a.surface_dice - b.surface_dice for a, b in itertools.pairwise(chosen)]
    assert min(gaps) > scanning.ALIKE


@pytest.mark.parametrize("pick", [0, 5, 20, 24, 28, -6, -2, "best"])
def test_a_figure_is_the_score_of_the_runs_own_mask(given, tuned, tmp_path, pick):
    one = tuned[0].best if pick == "best" else tuned[1][pick]
    wanted = {**QUICK, "probability": [str(given / "p")], "segment": one.segment}
    result = gpu_nx47.run(given / "root", tmp_path / "out", wanted)
    label = tifffile.imread(given / "root" / "train_labels" / f"{NAME}.tif")
    with zipfile.ZipFile(result.submission) as archive:
        mask = tifffile.imread(io.BytesIO(archive.read(f"{NAME}.tif")))
    told = score.score_volume(mask, label, topology=False)
    assert (told.surface_dice, told.voi_score) == (one.surface_dice, one.voi_score)
    assert int(np.count_nonzero(mask)) / mask.size == one.share


@pytest.mark.parametrize("how", [{"backend": "law"}, {"threads": 3}], ids=["law", "threads"])
def test_a_scan_has_one_answer(given, tuned, how):
    assert scan(given, **how).tried == tuned[0].tried


def test_what_settings_share_is_computed_once(given, tuned, monkeypatch):
    calls = []
    whole = segmentation.clean
    monkeypatch.setattr(segmentation, "clean", lambda *a: calls.append(1) or whole(*a))
    volume = tuning.Volume(
        np.full((8, 8, 8), 9, np.uint16), tuning.piece_histogram(np.full((8, 8, 8), 9, np.uint16)),
        np.ones((8, 8, 8), np.uint8),
    )  # fmt: skip
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    settings = SegmentSettings(threshold=0.5)
    first = volume.score(engine, settings)
    before = len(calls)
    assert volume.score(engine, settings) == first
    assert len(calls) == before > 0


STEPWISE = {
    "dust alone": {"dust": 8, "dust_connectivity": 26, "pinholes": 0, "loops": 0, "cavities": False},
    "all": {
        "closing": (1, 0, 1),
        "opening": (0, 1, 0),
        "bridges": 9,
        "dust": 5,
        "pinholes": 9,
        "loops": 30,
        "frame": 2,
    },
    "nothing": {"dust": 0, "pinholes": 0, "loops": 0, "cavities": False},
    "bridges": {"bridges": 64, "dust": 30, "loops": 0},
}


@pytest.mark.parametrize("how", STEPWISE)
def test_a_cleaning_by_steps_is_the_cleaning(how):
    rng = np.random.default_rng(6)
    codes = (rng.random((20, 22, 24)) * 65535).astype(np.uint16)
    volume = tuning.Volume(codes, tuning.piece_histogram(codes), np.ones(codes.shape, np.uint8))
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    settings = SegmentSettings(threshold=0.8, weak=0.8, strong=0.8, **STEPWISE[how])
    whole = segmentation.clean(engine.backend, codes >= round(0.8 * 65535), settings)
    for _ in range(2):  # the second time from what is kept
        assert np.array_equal(volume._mask(engine, settings), whole)


def test_settings_that_differ_behind_a_step_share_those_before_it(monkeypatch):
    codes = (np.random.default_rng(6).random((20, 22, 24)) * 65535).astype(np.uint16)
    volume = tuning.Volume(codes, tuning.piece_histogram(codes), np.ones(codes.shape, np.uint8))
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    settings = SegmentSettings(threshold=0.8, opening=(0, 0, 1), bridges=4, dust=5, pinholes=2, loops=9)
    volume.score(engine, settings)
    done, whole = [], segmentation.clean
    monkeypatch.setattr(segmentation, "clean", lambda meter, mask, step: done.append(step) or whole(meter, mask, step))
    volume.score(engine, replace(settings, loops=8))
    assert [(step.loops, step.dust, step.pinholes) for step in done] == [(8, 0, 0)]
    volume.score(engine, replace(settings, dust=6))
    assert [step.dust for step in done[1:]] == [6, 0, 0]


def test_a_mask_that_several_settings_give_is_scored_once(monkeypatch):
    codes = np.zeros((12, 12, 12), np.uint16)
    codes[3:6, 3:9, 3:9] = 60_000  # one piece of 108 voxels
    volume = tuning.Volume(codes, tuning.piece_histogram(codes), (codes > 0).astype(np.uint8))
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    scored, whole = [], volume.reference.score
    monkeypatch.setattr(volume.reference, "score", lambda mask: scored.append(1) or whole(mask))
    found = [volume.score(engine, SegmentSettings(threshold=0.5, dust=dust)) for dust in (10, 100, 109)]
    assert found[0] == found[1] != found[2]
    assert len(scored) == 2


def test_the_command_writes_settings_that_a_run_takes(given, tuned, tmp_path, capsys):
    toml, figures = tmp_path / "best.toml", tmp_path / "all.json"
    words = ["--threads", "1", "-o", str(toml), "--json", str(figures)]
    assert main(["tune", str(given / "p"), str(given / "root"), *words]) == 0
    assert "Best:" in capsys.readouterr().out
    document = json.loads(figures.read_text())
    assert document["best"]["mean"] == tuned[0].best.mean
    assert len(document["tried"]) == len(tuned[0].tried)
    read = from_mapping(tomllib.loads(toml.read_text()))
    for key, value in tuned[0].best.segment.items():
        assert getattr(read.segment, key) == value


@pytest.mark.parametrize(
    ("prob", "labels", "code", "says"),
    [
        ("none", "root", 2, "expected a folder"),
        ("p", "none", 2, "does not exist"),
        ("root/test_images", "empty", 2, "no TIFF"),
        ("root/train_labels", "root", 4, "mask or labels"),
    ],
)
def test_what_cannot_be_scanned_is_refused(given, capsys, prob, labels, code, says):
    (given / "empty").mkdir(exist_ok=True)
    assert main(["tune", str(given / prob), str(given / labels)]) == code
    assert says in capsys.readouterr().err
