"""Scanning the cleaning: each figure is the score of the mask that a run with those settings would write."""

import io
import json
import shutil
import tomllib
import zipfile

import numpy as np
import pytest
import tifffile
from labelled import QUICK

import gpu_nx47
from gpu_nx47 import backend, phantom, score
from gpu_nx47.cli import main
from gpu_nx47.configure import from_mapping
from gpu_nx47.engine import Engine
from gpu_nx47.settings import SegmentSettings
from gpu_nx47.train import tuning
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
    assert {one.stage for one in told} >= {"start", "threshold", "ratio", "hysteresis", "dust", "closing and opening"}
    assert {one.segment.get("votes") for one in told} == {None, *tuning.VOTES}


def test_votes_are_tried_only_where_an_image_tells_directions(given, tmp_path):
    for folder in ("p", "labels"):
        (tmp_path / folder).mkdir()
    shutil.copy(given / "p" / f"{NAME}.tif", tmp_path / "p")
    shutil.copy(given / "root" / "train_labels" / f"{NAME}.tif", tmp_path / "labels")
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), 1)
    found = tune(tmp_path / "p", tmp_path / "labels", engine, SegmentSettings(), 4, lambda _: None)
    assert not any("votes" in one.segment for one in found.tried)


def test_among_finalists_the_total_chooses(given, monkeypatch):
    """Where TopoScore says the contrary of the mean, the last finalist by the mean wins."""
    asked = []

    def topo(volume, engine, settings):
        asked.append(settings)
        return len(asked) / 9

    monkeypatch.setattr(tuning.Volume, "topo", topo)
    found = scan(given, official=True)
    finalists = [one for one in found.tried if one.stage == "official"]
    assert len(asked) == len(finalists) == 3 * tuning.FINALISTS
    assert [one.topo for one in finalists] == [k / 9 for k in range(1, 10)]
    best = max(finalists, key=lambda one: 0.3 * one.topo + 0.35 * (one.surface_dice + one.voi_score))
    assert found.best == best
    assert found.best.mean < max(one.mean for one in found.tried)


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
    whole = tuning.segmentation.clean
    monkeypatch.setattr(tuning.segmentation, "clean", lambda *a: calls.append(1) or whole(*a))
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
