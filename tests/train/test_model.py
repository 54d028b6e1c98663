"""The model file: exact, refused by name where it is not whole; what a run, its record and going on make of it."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import QUICK, interrupted, learn

import gpu_nx47
from gpu_nx47 import phantom
from gpu_nx47.audit.replay import Machine, replay_record
from gpu_nx47.configure import from_mapping
from gpu_nx47.errors import UsageError
from gpu_nx47.model import from_document, read_model
from gpu_nx47.source import discover
from gpu_nx47.teacher import Teacher


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.json"
    trained[0].write(path)
    return path


def events(output, name):
    lines = (output / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    return [e["data"] for e in map(json.loads, lines) if e["event"] == name]


def test_a_model_is_read_as_it_was_written(trained, file):
    found = read_model(file)
    assert found.digest == trained[0].digest
    assert found.unit.weights.tobytes() == trained[0].unit.weights.tobytes()
    assert found.unit.scaling.mean.tobytes() == trained[0].unit.scaling.mean.tobytes()
    assert found.trained.chosen == trained[0].trained.chosen


def test_the_same_model_has_the_same_bytes(trained, file, tmp_path):
    read_model(file).write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


def test_the_model_of_phantoms_comes_with_the_program_and_is_never_the_default():
    model = read_model(Path("phantoms"))
    assert model.facts["proof"]["learned"]
    assert from_mapping({}).model == ""


def test_memory_is_planned_for_the_features_of_a_given_model(root):
    model = read_model(Path("phantoms"))
    planned = Teacher(from_mapping({"model": "phantoms"}), discover(root)).planned
    assert planned.features.fixed == model.unit.features
    assert planned.segment.threshold == model.segment["threshold"]
    assert Teacher(from_mapping({}), discover(root)).planned == from_mapping({})


def put(document, path, value):
    *places, last = path
    for place in places:
        document = document[place]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["format"], "nx47-model/2", "nx47-model/1"),
        (["features"], [], "different names"),
        (["features", 0], "no_such_feature", "lacks a feature"),
        (["features", 0], "local_var", "different names"),
        (["scaling", "mean"], ["0x1p0"], "one for each feature"),
        (["scaling", "scale", 0], "nan", "float32"),
        (["neuron", "weights", 0], "0x1.0000001p0", "float32"),
        (["neuron", "weights", 0], 0.5, "float32"),
        (["neuron", "bias"], "0x1p400", "float32"),
        (["neuron"], None, "JSON object"),
        (["segment"], {"dust": -1}, "segment.dust"),
        (["segment"], {"glue": 1}, "glue"),
        (["train_info", "chosen"], 99, "place of a training"),
        (["train_info", "trainings", 0, "val_ce"], "low", "numbers"),
        (["train_info", "validation_prior_ce"], None, "a number"),
        (["facts"], [], "JSON object"),
    ],
)
def test_a_bad_model_is_refused_by_name(file, tmp_path, path, value, says):
    document = json.loads(file.read_text())
    put(document, path, value)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=says) as told:
        read_model(bad)
    assert "bad.json" in str(told.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"format": NaN}', "[" * 100_000, "\ufeff{}"])
def test_what_is_no_model_is_refused(tmp_path, text):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(UsageError, match=r"bad\.json"):
        read_model(bad)


def test_a_missing_model_is_refused_before_anything_is_written(root, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        gpu_nx47.run(root, tmp_path / "out", {"model": str(tmp_path / "none.json")})
    assert not (tmp_path / "out").exists()


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=3))


@given(st.data())
def test_no_hurt_model_is_more_than_refused(trained, data):
    document = json.loads(json.dumps(trained[0].document()))
    place = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(sorted(keys)))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    try:
        model = from_document(copy.deepcopy(document), "hurt")
    except UsageError:
        return
    assert len(model.unit.weights) == len(model.unit.features)


@pytest.fixture(scope="module")
def done(root, file, tmp_path_factory):
    output = tmp_path_factory.mktemp("done") / "out"
    return gpu_nx47.run(root, output, {**QUICK, "model": str(file)}), output


def test_a_run_with_a_model_trains_on_nothing(done, trained):
    result, output = done
    (entry,) = result.files
    assert result.exit_code == 0
    assert (entry["train_mode"], entry["model"]) == ("supervised", trained[0].digest)
    assert set(entry["selected_features"]) <= set(trained[0].unit.features)
    given = {"weak", "strong"} & {key for key, value in trained[0].segment.items() if value is not None}
    assert entry["thresholds"]["source"] == ("given" if given else "measured")
    assert events(output, "BOOT")[0]["model"]["digest"] == trained[0].digest
    assert "LABELS_UNUSED" not in [alert["code"] for alert in events(output, "ALERT")]


@pytest.mark.same_bits
def test_training_and_running_at_once_gives_the_same_mask(done, root, tmp_path):
    result = gpu_nx47.run(root, tmp_path / "out", {**QUICK, "train": True})
    assert result.submission.read_bytes() == done[0].submission.read_bytes()
    assert result.files[0]["model"] == done[0].files[0]["model"]


LONG = pytest.mark.long


@pytest.mark.same_bits
@pytest.mark.parametrize(
    "how",
    [pytest.param({"backend": "law"}, marks=LONG, id="law"), pytest.param({"tile": [16, 24, 40]}, id="tiles")],
)
def test_a_model_gives_one_answer(done, root, file, tmp_path, how):
    result = gpu_nx47.run(root, tmp_path / "out", {**QUICK, "model": str(file), **how})
    assert result.submission.read_bytes() == done[0].submission.read_bytes()


@pytest.mark.parametrize("way", ["model", pytest.param("train", marks=LONG)])
def test_the_record_alone_is_enough_to_replay_a_run_with_a_model(done, root, tmp_path, way):
    output = done[1]
    if way == "train":
        output = tmp_path / "out"
        gpu_nx47.run(root, output, {**QUICK, "train": True})
    said = []
    assert replay_record(output, root, Machine(threads=1), list, said.append) == 0
    assert any("equal (6 arrays, mask)" in line for line in said)


def test_the_users_cleaning_wins_over_the_models(trained):
    model = trained[0]
    assert model.segment
    model = replace(model, segment={**model.segment, "threshold": 0.4, "weak": 0.4, "strong": 0.4})
    mine = from_mapping({"segment": {"ratio": 0.07, "dust": 7}})
    merged = model.settings(mine).segment
    assert (merged.ratio, merged.threshold, merged.dust) == (0.07, None, 7)
    theirs = model.settings(from_mapping({})).segment
    assert {key: getattr(theirs, key) for key in model.segment} == dict(model.segment)


def test_features_that_need_a_side_are_left_out_where_none_is_known(trained):
    model = trained[0]
    odd = [name for name in model.unit.features if name.startswith("grad_inward")]
    assert odd
    part = model.unit_of([name for name in model.unit.features if name not in odd])
    assert len(part.weights) == len(model.unit.weights) - len(odd)
    assert part.bias == model.unit.bias


@pytest.fixture(scope="module")
def two(root, tmp_path_factory):
    """The labelled root with two volumes to be done."""
    folder = tmp_path_factory.mktemp("two") / "root"
    phantom.write_phantom_root(folder, size=40, seeds=[1, 2])
    for name in ("train_images", "train_labels"):
        (folder / name).rmdir()
        (folder / name).symlink_to(root / name)
    return folder


@pytest.mark.same_bits
def test_a_run_goes_on_with_the_same_model_only(two, file, trained, tmp_path):
    output, other = tmp_path / "out", tmp_path / "other.json"
    learn(two, backend="cpu", seed=48).write(other)
    interrupted(two, output, {**QUICK, "model": str(file)})
    with pytest.raises(UsageError, match="the model was"):
        gpu_nx47.run(two, output, {**QUICK, "model": str(other)})
    with pytest.raises(UsageError, match="the model was"):
        gpu_nx47.run(two, output, QUICK)
    elsewhere = tmp_path / "moved.json"
    elsewhere.write_bytes(file.read_bytes())
    result = gpu_nx47.run(two, output, {**QUICK, "model": str(elsewhere)})
    assert result.exit_code == 0
    assert len(events(output, "FILE_START")) == 2  # the first was kept


@pytest.mark.same_bits
def test_a_run_that_trained_goes_on_without_training_again(two, tmp_path):
    output = tmp_path / "out"
    interrupted(two, output, {**QUICK, "train": True})
    result = gpu_nx47.run(two, output, {**QUICK, "train": True})
    models = [data for data in events(output, "SUPERVISED_TRAIN") if data["step"] == "model"]
    assert result.exit_code == 0
    assert len(models) == 1
    whole = gpu_nx47.run(two, tmp_path / "whole", {**QUICK, "train": True})
    assert whole.submission.read_bytes() == result.submission.read_bytes()
