"""The run as a user sees it: files in, a valid zip and a whole record out, whatever one file is like."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tifffile

import gpu_nx47
from gpu_nx47 import metrics, phantom, spread
from gpu_nx47.errors import UsageError
from gpu_nx47.settings import FIRST_SIX, NeuronSettings, SegmentSettings, Settings
from gpu_nx47.submission import check_submission

SMALL = Settings(neuron=NeuronSettings(samples=4096), overlays=1)


def events(output, name=None):
    lines = (output / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} in the record")) for line in lines]
    return [e["data"] for e in found if e["event"] == name] if name else found


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, compression="lzw", photometric="minisblack")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run over two phantoms, one constant volume, one empty one, and one that is damaged."""
    folder = tmp_path_factory.mktemp("run")
    root = folder / "root"
    phantom.write_phantom_root(root, size=48, seeds=[1, 2], train_seeds=[])
    images = root / "test_images"
    write(images / "300.tif", np.full((5, 40, 41), 77, np.uint8))
    write(images / "400.tif", np.zeros((6, 9, 10), np.uint8))
    whole = (images / "300.tif").read_bytes()
    (images / "500.tif").write_bytes(whole[: len(whole) // 2])
    result = gpu_nx47.run(root, folder / "out", SMALL)
    return root, folder / "out", result


def test_one_damaged_file_costs_only_itself(finished):
    root, output, result = finished
    assert result.exit_code == 3
    (failed,) = events(output, "FILE_FAILED")
    assert failed["file"] == "500"
    assert failed["expected"]
    assert failed["found"]
    assert failed["advice"]
    assert "INPUT_DAMAGED" in [a["code"] for a in events(output, "ALERT")]
    assert len(result.files) == 4
    shapes = {p.stem: None for p in (root / "test_images").iterdir()}
    if failed["shape"] is None:
        del shapes["500"]
    assert set(check_submission(result.submission, shapes).problems) == set()


def test_constant_and_empty_volumes_get_an_empty_mask_of_their_shape(finished):
    _, output, result = finished
    with zipfile.ZipFile(result.submission) as archive:
        masks = {n: tifffile.imread(io.BytesIO(archive.read(f"{n}.tif"))) for n in ("300", "400")}
    assert (masks["300"].shape, masks["400"].shape) == ((5, 40, 41), (6, 9, 10))
    assert not masks["300"].any()
    assert not masks["400"].any()
    codes = {(a["file"], a["code"]) for a in events(output, "ALERT")}
    assert {("300", "CONSTANT_VOLUME"), ("400", "CONSTANT_VOLUME")} <= codes
    flat = [f for f in result.files if f["file"] in {"300", "400"}]
    assert all(f["pixels_active_final"] == 0 and f["active_ratio_final"] == 0.0 for f in flat)


def test_global_stats_are_the_sums_of_the_files(finished):
    _, output, result = finished
    per_file = events(output, "NX47_METRICS")
    (stats,) = events(output, "GLOBAL_STATS")
    assert len(per_file) == 4
    for key in metrics.SUMMED:
        known = [m[key] for m in per_file if m[key] is not None]
        assert stats[key] == (sum(known) if known else None), key
    assert stats["files_failed"] == 1
    assert stats["active_ratio_final"] == pytest.approx(stats["pixels_active_final"] / stats["valid_voxels"])
    assert stats["calc_per_sec_global"] == pytest.approx(stats["calc_ops"] / stats["elapsed_total_s"])
    assert result.stats["calc_ops"] == stats["calc_ops"]


SEED_KEYS = [
    "files_processed",
    "slices_processed",
    "pixels_processed",
    "valid_voxels",
    "pixels_anchor_detected",
    "pixels_papyrus_without_anchor",
    "active_ratio_final",
    "active_ratio_hysteresis",
    "active_ratio_calibrated",
    "materials_detected",
    "materials_by_class",
    "patterns_detected",
    "golden_nonce_detected",
    "golden_nonce_points_topk",
    "unknown_discoveries",
    "anomalies_detected",
    "active_neurons_start",
    "active_neurons_mid",
    "active_neurons_end",
    "active_neurons_start_total",
    "active_neurons_end_total_all",
    "calc_ops",
    "calc_ops_executed",
    "calc_per_sec",
    "voxels_per_sec",
    "bytes_per_sec",
    "elapsed_s",
    "selected_features",
    "feature_scores",
    "train_info",
    "train_mode",
    "v122",
    "file",
]


def test_every_key_of_the_seed_is_there(finished):
    _, output, _ = finished
    solved = [m for m in events(output, "NX47_METRICS") if m["train_info"]]
    assert len(solved) == 2
    for entry in solved:
        assert set(SEED_KEYS) <= set(entry)
        info = entry["train_info"]
        assert {"selected_hyperparams", "trainings", "train_samples", "label_keep_ratio"} <= set(info)
        assert info["measured_slices"] == [[0, 42]], "all of a small volume's valid box"
        assert len(info["trainings"]) == 15
        for training in info["trainings"]:
            assert {"val_ce", "objective", "sparsity", "l1", "l2"} <= set(training)
            assert {f"active_neurons_{t}" for t in ("start", "mid", "end")} <= set(training)
        assert entry["active_neurons_end_total_all"] == sum(t["active_neurons_end"] for t in info["trainings"])
    (stats,) = events(output, "GLOBAL_STATS")
    assert {"calc_per_sec_global", "elapsed_total_s", "hardware"} <= set(stats)
    assert {"python", "platform", "cpu_count", "mem_total_kb", "gpu", "peak_rss_bytes"} <= set(stats["hardware"])


def test_events_come_in_the_order_of_the_record(finished):
    _, output, _ = finished
    names = [e["event"] for e in events(output)]
    assert names[:2] == ["BOOT", "DATASET_DISCOVERY"]
    assert names[-1] == "EXEC_COMPLETE"
    assert names.index("GLOBAL_STATS") < names.index("SUBMISSION_VALIDATED")
    assert names.count("FILE_DONE") == 4
    (done,) = events(output, "EXEC_COMPLETE")
    assert done["exit_code"] == 3
    steps = {s["name"] for s in events(output, "STEP")}
    assert {"load_start", "features_extract_start", "train_start", "segment_start"} <= steps
    traced = [t["stage"] for t in events(output, "ARRAY_TRACE") if t["file"] == "100000001"]
    expected = ["volume", "features_selected", "probability_map", "mask_hysteresis", "mask_calibrated", "mask_final"]
    assert traced == expected


def test_the_stage_table_accounts_for_the_time(finished):
    _, output, _ = finished
    for entry in events(output, "NX47_METRICS"):
        assert sum(s["seconds"] for s in entry["stages"].values()) <= entry["elapsed_s"]
        assert sum(s["calc_ops"] for s in entry["stages"].values()) == entry["calc_ops"]


def test_the_seeds_discovery(tmp_path):
    """1 file, 1615 assets, 2 tables and 1613 stacks: V121's run."""
    made = phantom.make_phantom(32, 1)
    write(tmp_path / "test_images" / "1407735.tif", made.image)
    for k in range(806):
        for folder in ("train_images", "train_labels"):
            path = tmp_path / folder / f"{k}.tif"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"II*\0\10\0\0\0")
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("id,scroll_id\n")
    output = tmp_path.parent / "discovery-out"
    assert gpu_nx47.run(tmp_path, output, SMALL).exit_code == 0
    (found,) = events(output, "DATASET_DISCOVERY")
    assert (found["file_count"], found["total_assets"]) == (1, 1615)
    assert found["suffix_stats"] == {".csv": 2, ".tif": 1613}
    assert found["folders"] == ["test_images", "train_images", "train_labels"]
    assert "LABELS_UNUSED" in [a["code"] for a in events(output, "ALERT")]


def test_preset_v121_keeps_its_features_and_thresholds(tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=40, seeds=[3], train_seeds=[])
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", {"preset": "v121", "neuron": {"samples": 2048}})
    (entry,) = result.files
    assert tuple(entry["selected_features"]) == FIRST_SIX
    assert entry["thresholds"]["strong"] == pytest.approx(0.85, abs=2e-5)
    assert entry["thresholds"]["weak"] == pytest.approx(0.45, abs=2e-5)
    assert entry["thresholds"]["target_ratio"] == 0.03
    assert entry["active_ratio_calibrated"] == pytest.approx(0.03, abs=0.002)


def test_nothing_usable_is_no_zip(tmp_path):
    (tmp_path / "root" / "test_images").mkdir(parents=True)
    (tmp_path / "root" / "test_images" / "1.tif").write_bytes(b"II*\0\10\0\0\0")
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", SMALL)
    assert result.exit_code == 4
    assert result.submission is None
    assert not (tmp_path / "out" / "submission.zip").exists()
    with pytest.raises(UsageError):
        gpu_nx47.run(tmp_path / "nowhere", tmp_path / "out", SMALL)


def test_saved_outputs_tell_their_scale(tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=40, seeds=[3], train_seeds=[])
    settings = replace(SMALL, save=("probability", "normals", "features"))
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", settings)
    saved = tmp_path / "out" / "saved"
    with tifffile.TiffFile(saved / "100000003_probability.tif") as tiff:
        said = json.loads(tiff.pages[0].description)
        codes = tiff.asarray()
    assert codes.shape == (40, 40, 40)
    assert said["step"] == pytest.approx(1 / 65_535)
    (entry,) = result.files
    reached = (codes[3:-3, 3:-3, 3:-3] >= entry["thresholds"]["calibrated"] * 65_535 - 0.5).sum()
    assert reached == entry["pixels_active_calibrated"]
    parts = [tifffile.imread(saved / f"100000003_normal_{a}.tif").astype(float) / 32_767 for a in "zyx"]
    length = np.sqrt(sum(p * p for p in parts))[3:-3, 3:-3, 3:-3]
    assert ((np.abs(length - 1) < 1e-3) | (length == 0)).all()
    names = {p.name for p in saved.iterdir()}
    assert {f"100000003_{n.replace('@', '_s')}.tif" for n in entry["selected_features"]} <= names


def test_full_probability_stays_a_full_mask():
    """p = 1 everywhere: every mask is full (the old program's closing emptied it)."""
    from cpu_fallback import law
    from gpu_nx47 import calibration, segmentation
    from gpu_nx47.backend import Meter
    from gpu_nx47.stats import Histogram

    p = np.full((3, 40, 40), 65_535, np.uint16)
    histogram = Histogram(np.bincount(p.reshape(-1), minlength=65_536))
    settings = SegmentSettings(strong=0.85, weak=0.45, ratio=0.03, closing=(3, 3, 3))
    cut = calibration.calibrate(histogram, 0.03, "given")
    limits = segmentation.thresholds(histogram, settings, cut.threshold)
    masks = segmentation.cut_volume(Meter(law), p, limits, cut.threshold, settings)
    assert masks.anchored.mask().all()
    assert masks.voxels == {"anchored": p.size, "calibrated": p.size, "either": p.size}
    assert masks.alone == {"anchored": p.size, "calibrated": p.size}
    assert masks.final.all()


def test_features_api_gives_codes_with_their_scale():
    grey = phantom.make_phantom(32, 1).image
    found = gpu_nx47.features(grey, ["grad_mag", "local_entropy"])
    assert list(found) == ["grad_mag", "local_entropy"]
    entropy = found["local_entropy"]
    assert entropy.unit == "bit"
    assert isinstance(entropy.codes, np.ndarray)
    assert entropy.values() == pytest.approx(entropy.codes * entropy.step + entropy.offset)
    assert 0 <= entropy.values().min() <= entropy.values().max() <= 4
    assert set(gpu_nx47.features(grey)) >= {"proj_max", "laplace", "bandpass_response"}
    with pytest.raises(TypeError, match="uint8"):
        gpu_nx47.features(grey.astype(float))


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 3, 4), (2, 40, 40), (40, 2, 40), (3, 200, 5)])
def test_tiny_and_thin_volumes_are_solved(tmp_path, shape):
    rng = np.random.default_rng(8)
    write(tmp_path / "root" / "thin.tif", np.maximum(1, rng.integers(0, 256, shape, dtype=np.uint8)))
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", replace(SMALL, overlays=0))
    assert result.exit_code == 0
    assert check_submission(result.submission, {"thin": shape}).ok
    for data in events(tmp_path / "out", "NX47_METRICS"):
        assert data["valid_voxels"] == np.prod(shape)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_shared_out_takes_the_runs_threads_and_changes_no_byte(finished, tmp_path, monkeypatch, threads):
    asked, real = {}, spread.ThreadPoolExecutor
    monkeypatch.setattr(spread, "ThreadPoolExecutor", lambda n, name: (asked.setdefault(name, n), real(n, name))[1])
    root, output, _ = finished
    before = next(done for done in events(output, "FILE_DONE") if done["active_ratio"])
    name = before["file"]
    gpu_nx47.run(root / "test_images" / f"{name}.tif", tmp_path, replace(SMALL, threads=threads, overlays=3))
    names = {f"nx47-{work}" for work in ("decode", "turn", "pictures", "check", "hash", "bends")}
    assert asked == (dict.fromkeys(names, 3) | {"nx47-digest": 1, "nx47-drawing": 1} if threads == 3 else {})
    (now,) = events(tmp_path, "FILE_DONE")
    assert now["mask_sha256"] == before["mask_sha256"]
    picture = f"overlays_v122/{name}_z0024.png"
    assert (tmp_path / picture).read_bytes() == (output / picture).read_bytes()
