"""Findings: the features told are the run's, their parts make up the logit, and the marks lie where the finding is."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import gpu_nx47
from cpu_fallback import law
from gpu_nx47 import anomalies, bank, counters, findings, metrics, overlay, phantom, solve, tables
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.stats import Histogram
from gpu_nx47.volume import Box, Source, Volume

QUICK = Settings(backend="law", neuron=NeuronSettings(samples=4096))
SIZE = 40


@cache
def case():
    """Return a phantom's volume, with its frame, and what was found in it."""
    grey = phantom.make_phantom(SIZE, 2).image
    box = Box((3, 3, 3), (SIZE - 3,) * 3)
    engine = Engine(Meter(law), (64, 64, 64), 1)
    inside = grey[box.slices]
    found = solve.solve(inside, engine, QUICK, solve.Story("a", lambda _: None, engine), None)
    return Volume(Source("a", None, ()), grey, box, "uint8", None, None, "", grey.size), found, engine


def inside_of(volume):
    return volume.grey[volume.box.slices]


def test_few_voxels_and_many_have_the_runs_codes():
    volume, found, engine = case()
    grey, names = inside_of(volume), found.trained.unit.features
    bearing = found.scene.bearing
    index = np.random.default_rng(0).choice(grey.size, findings.ONE_BY_ONE + 5, replace=False).astype(np.int64)
    many = findings.feature_codes(engine, grey, names, bearing, index)
    few = findings.feature_codes(engine, grey, names, bearing, index[:9])
    measured = bank.measure(engine, grey, names, bearing, index).samples
    for name in names:
        assert many[name] == measured[name].tolist()
        assert few[name] == many[name][:9]


def test_the_parts_of_a_voxel_make_up_the_neurons_own_probability():
    volume, found, engine = case()
    grey, unit = inside_of(volume), found.trained.unit
    index = np.random.default_rng(1).choice(grey.size, 40, replace=False).astype(np.int64)
    codes = findings.feature_codes(engine, grey, unit.features, found.scene.bearing, index)
    kinds = {name: np.int16 if found.histograms[name].low else np.uint16 for name in unit.features}
    for k in range(len(index)):
        told = findings.contributions(unit, {name: codes[name][k] for name in unit.features})
        logit = sum(one["logit"] for one in told.values()) + float(unit.bias)
        own = unit.probability(engine.backend, tuple(np.array([[[codes[n][k]]]], kinds[n]) for n in unit.features))
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(int(own[0, 0, 0]) / tables.PROBABILITY_ONE, abs=2e-4)
        for name, one in told.items():
            assert one["value"] == pytest.approx(codes[name][k] * bank.feature(name).step)
            mean, deviation = found.histograms[name].mean_deviation()
            assert one["deviations"] == pytest.approx((codes[name][k] - mean) / deviation, rel=1e-5)


def test_what_is_clipped_adds_no_more():
    _, found, _ = case()
    unit = found.trained.unit
    name = unit.features[0]
    codes = dict.fromkeys(unit.features, 0)
    far = findings.contributions(unit, {**codes, name: 10**6})[name]
    assert far["deviations"] > findings.CLIP
    assert far["logit"] == pytest.approx(findings.CLIP * float(unit.weights[0]))


def test_rarity_is_the_share_as_far_out():
    histogram = Histogram(np.bincount([0] * 50 + [1] * 30 + [2] * 19 + [9]))
    flat = Histogram(np.bincount(np.arange(100)))
    told = findings.rarity({"grad_mag": histogram, "gaussian": flat}, {"grad_mag": 9, "gaussian": 4})
    assert [one["feature"] for one in told] == ["grad_mag", "gaussian"]
    assert [one["share"] for one in told] == [0.01, 0.05]
    assert told[0]["value"] == 9 / 64
    assert told[1]["median"] == 49 / 256
    assert findings.rarity({"grad_mag": histogram}, {"grad_mag": 1})[0]["share"] == 0.5


@pytest.mark.parametrize(("kind", "usual"), [(np.int16, -3), (np.int16, 4), (np.uint16, 0)])
def test_an_extent_is_that_of_all_of_its_voxels_whatever_the_parts(kind, usual, monkeypatch):
    rng, shape = np.random.default_rng(usual + 3), (7, 9, 11)
    index = np.flatnonzero(rng.random(shape) < 0.4)
    cluster = rng.integers(1, 4, index.size).astype(np.int32)
    strength = rng.integers(-9 if kind is np.int16 else 0, 9, index.size).astype(kind)  # with ties, on both sides
    odd = findings.Clusters("anomaly", index, cluster, strength, usual)
    monkeypatch.setattr(findings, "PART", 40)
    for number in (1, 2, 3):
        inside = np.flatnonzero(cluster == number)
        place = np.stack(np.unravel_index(index[inside], shape))
        far = np.abs(strength[inside].astype(int) - usual)
        peak, low, high = odd.extent(number, shape)
        assert peak == inside[np.argmax(far)]
        assert np.array_equal(low, place.min(axis=1))
        assert np.array_equal(high, place.max(axis=1))


def test_clusters_have_their_box_and_their_peak():
    volume, found, engine = case()
    grey = inside_of(volume)
    bends = anomalies.anomalies_of(engine, found.probability)
    labels, number = ndimage.label(np.isin(np.arange(grey.size), bends.index).reshape(grey.shape), np.ones((3, 3, 3)))
    assert number == bends.clusters > 1
    odd = findings.Clusters("anomaly", bends.index, bends.cluster, bends.bend, bends.limits.median, bends.limits.unit)
    told = findings.explained_clusters(engine, grey, found, odd, volume.box.start)
    sizes = np.sort(np.bincount(labels.reshape(-1))[1:])[::-1]
    assert [one["voxels"] for one in told] == sizes[: findings.CLUSTERS_TOLD].tolist()
    for one in told:
        peak = [one["peak"][axis] - 3 for axis in "zyx"]
        box = ndimage.find_objects(labels)[labels[tuple(peak)] - 1]
        assert [[s.start + 3, s.stop + 3] for s in box] == [
            list(e) for e in zip(one["start"], one["stop"], strict=True)
        ]
        assert abs(one["strength"]) > anomalies.ROBUST_Z
        inside = bends.cluster == bends.cluster[bends.index == np.ravel_multi_index(peak, grey.shape)]
        assert abs(one["strength"]) == np.abs(bends.bend[inside] - float(bends.limits.median)).max() * bends.limits.unit
        shares = [feature["share"] for feature in one["unusual"]]
        assert shares == sorted(shares)
        assert {feature["feature"] for feature in one["unusual"]} == set(found.trained.unit.features)


def test_a_picture_marks_what_was_found_and_only_then(tmp_path):
    volume, found, _ = case()
    point = {"z": 20, "y": 11, "x": 30}
    box = {"kind": "anomaly", "start": [18, 5, 6], "stop": [21, 9, 10], "peak": {"z": 20, "y": 6, "x": 7}}
    away = {**box, "kind": "discovery", "start": [33, 25, 26], "stop": [35, 28, 29]}
    (path,) = findings.write_picture(tmp_path / "new", volume, found, [point], [box, away])
    assert path.name == "a_findings_z0020.png"
    picture = np.asarray(Image.open(path))
    half = (picture.shape[1] - overlay.GAP) // 2
    scale = half // SIZE

    def has(colour, y, x, right=True):
        left = (half + overlay.GAP) * right
        area = picture[y * scale - 2 : (y + 1) * scale + 2, left + x * scale - 2 : left + (x + 1) * scale + 2]
        return (area == findings.MARKS[colour]).all(axis=2).any()

    assert has("golden", 11, 30)
    assert has("anomaly", 5, 6)
    assert has("anomaly", 8, 9)
    assert not has("golden", 11, 30, right=False)
    assert not has("anomaly", 5, 6, right=False)
    assert not (picture == findings.MARKS["discovery"]).all(axis=2).any(), "too far from the slice shown"
    assert findings.write_picture(tmp_path / "none", volume, found, [], []) == []
    assert not (tmp_path / "none").exists()


def test_discoveries_are_clusters_that_the_volumes_before_lack(monkeypatch):
    volume, found, engine = case()
    cells = np.zeros(found.probability.shape, np.uint16)
    rare = np.arange(cells.size).reshape(cells.shape) % 1000 < 40
    cells[rare] = 5
    strange = rare & found.hysteresis
    before = counters.References()
    before.add(found.selected.names, np.bincount([0] * 8, minlength=65_536))
    monkeypatch.setitem(found.__dict__, "cells", cells)
    counted, _ = metrics.volume_counters(volume, found, engine, QUICK, before)
    assert counted["unknown_discoveries"] == strange.sum() > 0
    told = [one for one in counted["findings"] if one["kind"] == "discovery"]
    labels, _ = ndimage.label(strange, np.ones((3, 3, 3)))
    assert told[0]["voxels"] == np.bincount(labels.reshape(-1))[1:].max()


def test_a_large_volume_is_counted_as_a_small_one_but_in_an_order_that_takes_less(monkeypatch):
    volume, found, engine = case()
    begun = []
    for room, name in ((metrics, "_components"), (metrics.anomalies, "listed")):
        work = getattr(room, name)
        monkeypatch.setattr(room, name, lambda *a, name=name, work=work: begun.append(name) or work(*a))

    def counted():
        begun.clear()
        return metrics.volume_counters(volume, found, engine, QUICK, None)

    small = counted()
    assert begun == ["listed", "_components"]
    monkeypatch.setattr(metrics, "ASIDE_VOXELS", found.final.size - 1)
    assert counted() == small
    assert begun == ["_components", "listed"]


def test_a_run_tells_them_in_its_record_and_in_its_folder(tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=32, seeds=(2,))
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", QUICK)
    (entry,) = result.files
    lines = (tmp_path / "out" / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    points = [event["data"] for event in events if event["event"] == "GOLDEN_NONCE_FOUND"]
    assert points == [{"file": entry["file"], **point} for point in entry["golden_nonce_points_topk"]]
    assert all(set(point["features"]) == set(entry["selected_features"]) for point in points)
    done = next(event["data"] for event in events if event["event"] == "FILE_DONE")
    table = f"slices/{entry['file']}.csv"
    assert table in done["outputs"]
    assert (Path(tmp_path) / "out" / table).is_file()
    pictures = [name for name in done["outputs"] if "_findings_z" in name]
    assert len(pictures) == bool(points or entry["findings"])
    assert entry["slices"]["final"] == [int(n) for n in entry["slices"]["final"]]
    assert sum(entry["slices"]["final"]) == entry["pixels_active_final"]
    stats = next(event["data"] for event in events if event["event"] == "GLOBAL_STATS")
    assert stats["expected_by_chance"]["pixels_active_final"]["value"] == entry["pixels_active_final"]
