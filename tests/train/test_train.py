"""Supervised training: one model whatever computes it, whole volumes held out, and the proof that it learned."""

import json

import numpy as np
import pytest
from labelled import codes, copy_root, learn, names, read, settings, steps, write

from gpu_nx47.errors import UsageError
from gpu_nx47.train import pairs
from gpu_nx47.train.proof import MOST_ABLATED


@pytest.mark.same_bits
@pytest.mark.parametrize(
    "how",
    [
        {"backend": "law"},
        {"tile": [16, 24, 40]},
        {"tile": [64, 64, 7], "threads": 2},
        {"threads": 3},
    ],
    ids=["law", "tiles", "thin tiles on threads", "threads"],
)
def test_a_model_has_the_same_bits_whatever_computes_it(root, trained, how):
    assert learn(root, **{"backend": "cpu", **how}).document() == trained[0].document()


def test_another_seed_gives_another_model(root, trained):
    assert learn(root, backend="cpu", seed=48).digest != trained[0].digest


def test_it_learns_and_shows_it(trained):
    model, told = trained
    (learned,) = steps(told, "learned")
    (proof,) = steps(told, "proof")
    assert "NO_LEARNING" not in codes(told)
    assert proof["learned"]
    assert learned["chosen"]["val_ce"] < 0.8 * learned["validation_prior_ce"]
    assert proof["gain"] == learned["validation_prior_ce"] - learned["chosen"]["val_ce"]
    assert proof["gain"] > 5 * max(abs(value) for value in proof["shuffled"])
    assert model.trained.chosen.active_neurons_end > 0
    assert model.trained.chosen.active_neurons_start <= model.trained.chosen.active_neurons_end


def test_the_learning_curve_falls(trained):
    (proof,) = steps(trained[1], "proof")
    for kind in ("train_ce", "val_ce"):
        curve = [point[kind] for point in proof["curve"]]
        assert len(curve) == 8
        assert curve == sorted(curve, reverse=True)
    assert proof["curve"][0]["step"] == 0


def test_what_a_feature_is_worth_is_measured_both_ways(trained):
    worth = steps(trained[1], "proof")[0]["features"]
    unused = [one for one in worth.values() if one["weight"] == 0]
    assert all(one["permuted"] == 0 for one in unused)
    assert max(one["permuted"] for one in worth.values()) > 0.01
    asked = [one for one in worth.values() if one["without"] is not None]
    assert max(one["without"] for one in asked) > 0.001
    assert len(asked) == min(MOST_ABLATED, len(worth) - len(unused))


def test_whole_scrolls_are_held_out_and_learned_from_by_none(root, trained):
    told = trained[1]
    found = pairs.audit(root)
    split = pairs.split(found.pairs, 0.2, settings().seed)
    assert "whole scrolls" in steps(told, "audit")[0]["validation"]
    assert {p.id for p in split.learned} | {p.id for p in split.held} == set(names())
    assert {p.scroll for p in split.learned}.isdisjoint({p.scroll for p in split.held})
    altered = {one["file"] for one in steps(told, "volume") if one["altered"]}
    assert altered
    assert altered.isdisjoint({p.id for p in split.held})


def test_every_volume_gives_as_much_background_as_surface(trained):
    for one in steps(trained[1], "volume"):
        assert 0.4 < one["surface_samples"] / one["samples"] < 0.6
        assert one["surface_samples"] < 0.5 * one["background"]


def test_volumes_of_one_scroll_stay_together(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    rows = zip(names(), "aabb", strict=True)
    (there / "train.csv").write_text("id,scroll_id\n" + "".join(f"{name},{scroll}\n" for name, scroll in rows))
    split = pairs.split(pairs.audit(there).pairs, 0.2, 47)
    assert (len(split.held), len({p.scroll for p in split.held})) == (2, 1)
    assert {p.scroll for p in split.learned}.isdisjoint({p.scroll for p in split.held})


def test_without_a_table_volumes_are_held_out(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    split = pairs.split(pairs.audit(there).pairs, 0.2, 47)
    assert (len(split.held), "whole volumes" in split.how) == (1, True)


def test_one_volume_holds_out_octants_of_itself(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    for name in names()[1:]:
        (there / "train_labels" / f"{name}.tif").unlink()
    told = []
    model = learn(there, told, backend="cpu", features={"bank": ["grad_mag", "laplace"]})
    assert "held out" in model.trained.validation
    assert model.facts["volumes_refused"] == 3
    assert model.segment == {}  # no volume to scan on


def test_every_image_and_label_is_accounted_for(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    first, second, third, _ = names()
    (there / "train_labels" / f"{first}.tif").unlink()
    (there / "train_images" / f"{second}.tif").unlink()
    write(there / "train_labels" / f"{third}.tif", read(root / "train_labels" / f"{third}.tif")[1:])
    found = pairs.audit(there)
    why = dict(found.refused)
    assert found.seen == 4
    assert [pair.id for pair in found.pairs] == names()[3:]
    assert "without labels" in why[first]
    assert "without an image" in why[second]
    assert "(64, 64, 64)" in why[third]
    assert "(63, 64, 64)" in why[third]


def test_labels_of_0_and_255_are_refused_with_what_to_do(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    path = there / "train_labels" / f"{names()[0]}.tif"
    label = read(path)
    write(path, (label == 1) * label.dtype.type(255))
    told = []
    model = learn(there, told, backend="cpu")
    (refused,) = steps(told, "refused")
    assert refused["file"] == names()[0]
    assert "0 and 255 must become 0 and 1" in refused["why"]
    assert model.facts["volumes_refused"] == 1


def test_labels_off_by_a_slice_are_told(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    path = there / "train_labels" / f"{names()[1]}.tif"
    label = read(path)
    label[1:] = label[:-1].copy()
    write(path, label)
    told = []
    learn(there, told, backend="cpu")
    alerts = [e.data for e in told if e.name == "ALERT" and e.data["code"] == "LABELS_MISPLACED"]
    assert [alert["file"] for alert in alerts] == [names()[1]]


def test_labels_of_another_volume_are_told(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    path = there / "train_labels" / f"{names()[0]}.tif"
    write(path, read(root / "train_labels" / f"{names()[3]}.tif"))
    told = []
    learn(there, told, backend="cpu")
    assert names()[0] in [e.data["file"] for e in told if e.name == "ALERT" and e.data["code"] == "LABELS_ODD"]


def test_shuffled_labels_teach_nothing_and_that_is_said(tmp_path, root):
    there = copy_root(root, tmp_path / "root")
    for number, name in enumerate(names()):
        path = there / "train_labels" / f"{name}.tif"
        label = read(path)
        inside = label[3:-3, 3:-3, 3:-3]
        inside[...] = np.random.default_rng(number).permutation(inside.reshape(-1)).reshape(inside.shape)
        write(path, label)
    told = []
    model = learn(there, told, backend="cpu")
    (learned,) = steps(told, "learned")
    assert "NO_LEARNING" in codes(told)
    assert learned["chosen"]["val_ce"] == pytest.approx(learned["validation_prior_ce"], abs=0.01)
    assert not model.facts["proof"]["learned"]
    assert model.segment == {}  # nothing is scanned for a model that learned nothing


def test_a_root_without_labels_is_refused(tmp_path):
    (tmp_path / "train_images").mkdir()
    with pytest.raises(UsageError, match="train_labels"):
        learn(tmp_path)


def test_the_record_holds_the_whole_model(trained):
    model, told = trained
    (last,) = steps(told, "model")
    assert last["digest"] == model.digest
    assert json.loads(json.dumps(last["document"])) == json.loads(json.dumps(model.document()))
