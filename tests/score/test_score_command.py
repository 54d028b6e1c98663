"""`nx47 score` on files, folders and zips: the right pairs, every fault named, the rest scored."""

import json
import zipfile

import numpy as np
import pytest
import tifffile

from gpu_nx47.cli import main
from gpu_nx47.cli.exits import ALL_DONE, NO_ZIP, SOME_FAILED, USAGE
from gpu_nx47.score import _compare, _official, score_volume
from gpu_nx47.submission import encode_mask

SHAPE = (20, 24, 22)


@pytest.fixture(autouse=True)
def without_the_official_package(monkeypatch):
    monkeypatch.setattr(_official, "missing", lambda: "not in this test")


def drawn(seed, shape=SHAPE):
    z, y = np.indices(shape)[:2]
    return ((y + z // 6 + seed) % 9 < 3).astype(np.uint8)


def write(path, volume):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, volume, photometric="minisblack", compression="lzw")


@pytest.fixture
def root(tmp_path):
    """Three labels of two scrolls in the competition's layout, and the masks of the first two, one voxel off."""
    for k, id_ in enumerate("abc"):
        label = drawn(k)
        label[15:] = 2
        write(tmp_path / "train_labels" / f"{id_}.tif", label)
    for k, id_ in enumerate("ab"):
        write(tmp_path / "pred" / f"{id_}.tif", np.roll(drawn(k), 1, 1))
    (tmp_path / "train.csv").write_text("id,scroll_id\na,7\nb,7\nc,8\n")
    return tmp_path


def scored(*arguments, root, code):
    out = root / "out.json"
    assert main(["score", *map(str, arguments), "--json", str(out)]) == code
    return json.loads(out.read_text())


def test_a_folder_is_scored_by_volume_scroll_and_mean(root, capsys):
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    a, b, c = found["volumes"]
    label = tifffile.imread(root / "train_labels" / "a.tif")
    expected = score_volume(tifffile.imread(root / "pred" / "a.tif"), label)
    assert (a["surface_dice"], a["voi_score"]) == (expected.surface_dice, expected.voi_score)
    assert a["betti"]["label"] == [list(octant) for octant in expected.topology.label]
    assert (a["topo_bound"], a["topo"], a["total"]) == (expected.topology.bound.value, None, None)
    assert c["mean"] == 0  # missing
    assert found["missing"] == ["c"]
    assert found["scrolls"]["7"]["mean"] == pytest.approx((a["mean"] + b["mean"]) / 2)
    assert found["all"]["mean"] == pytest.approx((a["mean"] + b["mean"]) / 3)
    assert found["all"]["total"] is None
    shown = capsys.readouterr()
    assert "c: no prediction; it counts 0" in shown.err
    assert "an upper bound, in no total: not in this test" in shown.out
    assert f"{a['surface_dice']:8.4f}" in shown.out


def test_a_zip_scores_as_its_folder(root):
    (root / "out").mkdir()
    with zipfile.ZipFile(root / "out" / "submission.zip", "w") as archive:
        for id_ in "ab":
            archive.writestr(f"{id_}.tif", encode_mask(tifffile.imread(root / "pred" / f"{id_}.tif")))
    folder = scored(root / "pred", root / "train_labels", root=root, code=SOME_FAILED)
    for place in (root / "out", root / "out" / "submission.zip"):  # a run's folder, and its zip
        packed = scored(place, root / "train_labels", root=root, code=SOME_FAILED)
        assert [v["mean"] for v in packed["volumes"]] == [v["mean"] for v in folder["volumes"]]


def test_two_files_belong_together_whatever_their_names(root):
    found = scored(root / "pred" / "a.tif", root / "train_labels" / "b.tif", root=root, code=ALL_DONE)
    assert [v["id"] for v in found["volumes"]] == ["b"]


def test_one_mask_is_compared_with_its_label_alone(root):
    found = scored(root / "pred" / "b.tif", root / "train_labels", root=root, code=ALL_DONE)
    assert [v["id"] for v in found["volumes"]] == ["b"]
    assert found["missing"] == []


def test_an_extra_mask_is_named(root, capsys):
    write(root / "pred" / "zz.tif", drawn(1))
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    assert [name.endswith("zz.tif") for name in found["extra"]] == [True]
    assert "zz.tif: no label of that name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("volume", "sentence"),
    [
        (drawn(0, (20, 24, 21)), "expected the label's shape (20, 24, 22), found (20, 24, 21)"),
        (drawn(0).astype(np.float32), "expected uint8, found float32"),
    ],
)
def test_a_mask_that_does_not_fit_counts_zero_and_the_rest_is_scored(root, capsys, volume, sentence):
    write(root / "pred" / "a.tif", volume)
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    a, b, _ = found["volumes"]
    assert (a["mean"], a["counts"]) == (0, True)
    assert b["mean"] > 0
    assert sentence in capsys.readouterr().err


def test_a_damaged_mask_counts_zero(root, capsys):
    path = root / "pred" / "a.tif"
    path.write_bytes(path.read_bytes()[:1500])
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    assert found["volumes"][0]["mean"] == 0
    assert "It counts 0" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [255, 3])
def test_a_label_of_other_values_is_left_out_of_the_means(root, capsys, bad):
    label = drawn(0)
    label[4, 5, 6] = bad
    write(root / "train_labels" / "a.tif", label)
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    a, b, _ = found["volumes"]
    assert (a["mean"], a["counts"]) == (None, False)
    assert found["all"]["mean"] == pytest.approx(b["mean"] / 2)
    assert f"page 4: a value is no label; expected 0 background, 1 surface, 2 ignore, found {bad}" in (
        capsys.readouterr().err
    )


def test_a_predicted_two_counts_and_is_said(root, capsys):
    twos = 2 * tifffile.imread(root / "pred" / "a.tif")
    one = scored(root / "pred", root, root=root, code=SOME_FAILED)
    write(root / "pred" / "a.tif", twos)
    two = scored(root / "pred", root, root=root, code=SOME_FAILED)
    assert one["volumes"][0]["mean"] == two["volumes"][0]["mean"]
    assert "the value 2 occurs" in capsys.readouterr().err


def test_the_nulls_are_another_mask_and_a_moved_one(root):
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    null = found["volumes"][0]["null"]
    label = tifffile.imread(root / "train_labels" / "a.tif")
    other = score_volume(tifffile.imread(root / "pred" / "b.tif"), label)
    assert null["other_id"] == "b"
    assert null["other"]["mean"] == other.mean
    assert null["pitch"] == pytest.approx(9, rel=0.05)
    assert null["moved"]["mean"] < found["volumes"][0]["mean"]
    bare = scored(root / "pred", root, "--no-null", root=root, code=SOME_FAILED)
    assert "null" not in bare["volumes"][0]


def test_another_volumes_mask_must_have_the_shape(root):
    write(root / "pred" / "b.tif", drawn(1, (8, 8, 8)))
    found = scored(root / "pred", root, root=root, code=SOME_FAILED)
    assert found["volumes"][0]["null"]["other"] is None


def test_the_official_score_makes_a_total(root, monkeypatch, capsys):
    monkeypatch.setattr(_official, "missing", lambda: None)
    monkeypatch.setattr(_official, "toposcore", lambda pred, label: 0.5)
    found = scored(root / "pred" / "a.tif", root, root=root, code=ALL_DONE)
    a = found["volumes"][0]
    assert a["total"] == pytest.approx(0.3 * 0.5 + 0.35 * a["surface_dice"] + 0.35 * a["voi_score"], abs=1e-15)
    shown = capsys.readouterr().out
    assert f"{a['total']:8.4f}" in shown
    assert "Topo<=" not in shown
    none = scored(root / "pred" / "a.tif", root, "--no-topo", root=root, code=ALL_DONE)
    assert none["all"]["total"] is None


@pytest.mark.parametrize(
    ("pred", "labels", "sentence"),
    [
        ("nowhere", "train_labels", "does not exist"),
        ("pred", "pred_too", "does not exist"),
        ("empty", "train_labels", "no TIFF in"),
        ("train.csv", "train_labels", "neither a TIFF nor a zip"),
        ("others", "train_labels", "no mask of"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(root, capsys, pred, labels, sentence):
    (root / "empty").mkdir()
    write(root / "others" / "q.tif", drawn(0))
    assert main(["score", str(root / pred), str(root / labels)]) == USAGE
    assert sentence in capsys.readouterr().err


def test_two_masks_of_one_volume_are_refused(root, capsys):
    write(root / "pred" / "a.tiff", drawn(0))
    assert main(["score", str(root / "pred"), str(root)]) == USAGE
    assert "two masks of the volume a" in capsys.readouterr().err


def test_a_table_without_its_columns_is_refused(root, capsys):
    (root / "train.csv").write_text("name,scroll\na,7\n")
    assert main(["score", str(root / "pred"), str(root)]) == USAGE
    assert "expected the columns id and scroll_id" in capsys.readouterr().err


def test_a_table_elsewhere_is_taken_where_it_is_named(root):
    (root / "other.csv").write_text("\ufeffid,scroll_id\na,99\n", encoding="utf-8")
    found = scored(root / "pred" / "a.tif", root, "--scrolls", root / "other.csv", root=root, code=ALL_DONE)
    assert set(found["scrolls"]) == {"99"}


def test_nothing_scored_is_said_by_the_exit_code(root):
    (root / "train_labels" / "a.tif").write_bytes(b"no tiff")
    assert main(["score", str(root / "pred" / "a.tif"), str(root / "train_labels")]) == NO_ZIP


def test_a_zip_member_too_large_is_refused_unread(root, capsys):
    with zipfile.ZipFile(root / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.tif", bytes(2_000_000))
    found = scored(root / "bomb.zip", root, root=root, code=NO_ZIP)
    assert found["all"]["mean"] == 0
    assert "found 2000000 bytes" in capsys.readouterr().err


def test_measures_have_one_name_each():
    empty = _compare.Result("a", None, None, True, None, ())
    assert set(empty.measures()) == set(_compare.MEASURES)
