"""Another program's probabilities: read exactly, refused by name, cut as our own are."""

import json
from fractions import Fraction

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as drawing
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from labelled import QUICK, interrupted

import gpu_nx47
from gpu_nx47 import outside, phantom
from gpu_nx47.audit.replay import Machine, replay_record
from gpu_nx47.errors import InputError, UsageError

SHAPE = (5, 6, 7)


@pytest.fixture
def drawn():
    return np.random.default_rng(3).random(SHAPE).astype(np.float32)


def tiff(folder, array, name="a"):
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / f"{name}.tif", array, photometric="minisblack")
    return outside.folders([str(folder)])


def npz(folder, name="a", **arrays):
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    return outside.folders([str(folder)])


def both(p):
    return np.stack([1 - p, p])


@pytest.mark.parametrize("key", ["probabilities", "softmax"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_second_class_of_an_npz_is_the_surface(tmp_path, drawn, key, dtype):
    given = both(drawn).astype(dtype)
    read = outside.read(npz(tmp_path / "p", **{key: given}), "a", SHAPE)
    assert (read.codes == np.rint(given[1].astype(np.float64) * 65535)).all()
    assert read.codes.dtype == np.uint16


def test_one_array_without_classes_is_the_surface_too(tmp_path, drawn):
    for k, array in enumerate((drawn, drawn[None])):
        read = outside.read(npz(tmp_path / f"{k}", probabilities=array), "a", SHAPE)
        assert (read.codes == np.rint(drawn.astype(np.float64) * 65535)).all()


def test_bytes_words_and_floats_of_a_tiff_mean_the_same(tmp_path):
    grey = np.arange(210, dtype=np.uint8).reshape(SHAPE)
    codes = [
        outside.read(tiff(tmp_path / name, array), "a", SHAPE).codes
        for name, array in (
            ("u8", grey),
            ("u16", grey.astype(np.uint16) * 257),
            ("f32", (grey / 255).astype(np.float32)),
        )
    ]
    assert (codes[0] == codes[1]).all()
    assert (codes[0] == codes[2]).all()


@given(
    hnp.arrays(np.uint16, (3, *SHAPE)),
    st.lists(st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=1000), min_size=3, max_size=3),
)
def test_the_mean_is_exact_and_has_no_order(tmp_path_factory, arrays, weights):
    folder = tmp_path_factory.mktemp("weights")
    arrays[:, 0, 0, 0] = 9  # else a drawn array of 0, 1 and 2 is taken for labels
    places = []
    for k, array in enumerate(arrays):
        tiff(folder / f"{k}", array)
        places.append(outside.Folder(folder / f"{k}", weights[k]))
    read = outside.read(places, "a", SHAPE)
    total = sum(weights)
    for at in ((0, 0, 0), (2, 3, 4), (4, 5, 6)):
        exact = sum((w * int(a[at]) for w, a in zip(weights, arrays, strict=True)), Fraction(0)) / total
        assert int(read.codes[at]) == (exact + Fraction(1, 2)).__floor__()
    assert (outside.read(places[::-1], "a", SHAPE).codes == read.codes).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder, p: tiff(folder, p[1:]), "does not fit the volume"),
        (lambda folder, p: npz(folder, probabilities=both(p)[:, :, 1:]), "does not fit the volume"),
        (lambda folder, p: npz(folder, probabilities=both(p)[None]), "does not fit the volume"),
        (lambda folder, p: tiff(folder, p * 2), "numbers from 0 to 1"),
        (lambda folder, p: npz(folder, probabilities=both(p) - 0.5), "numbers from 0 to 1"),
        (lambda folder, p: npz(folder, probabilities=both(np.where(p > 0.5, np.nan, p))), "numbers from 0 to 1"),
        (lambda folder, p: tiff(folder, (p > 0.5).astype(np.uint8)), "mask or labels"),
        (lambda folder, p: npz(folder, other=p), "probabilities or softmax"),
        (lambda folder, p: npz(folder, probabilities=both(p).astype(np.int32)), "no probability's"),
        (lambda folder, p: npz(folder, probabilities=np.array([None, p], object)), "no probability's"),
        (lambda folder, p: tiff(folder, p, name="b"), "no probability of this volume"),
    ],
)
def test_what_is_no_probability_is_refused_by_name(tmp_path, drawn, make, says):
    places = make(tmp_path / "p", drawn)
    with pytest.raises(InputError, match=says) as told:
        outside.read(places, "a", SHAPE)
    assert str(tmp_path / "p") in str(told.value)


def test_two_files_of_one_volume_are_refused(tmp_path, drawn):
    tiff(tmp_path / "p", drawn)
    places = npz(tmp_path / "p", probabilities=both(drawn))
    with pytest.raises(InputError, match="several files"):
        outside.read(places, "a", SHAPE)


@drawing(deadline=None)
@given(st.data())
def test_a_hurt_npz_is_refused_or_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("hurt")
    places = npz(folder, probabilities=both(np.full(SHAPE, 0.25, np.float32)))
    file = folder / "a.npz"
    hurt = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(hurt) - 1))
    if data.draw(st.booleans()):
        del hurt[place:]
    else:
        hurt[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(hurt)
    try:
        read = outside.read(places, "a", SHAPE)
    except InputError as error:
        said = str(error)
    else:
        said, shape = "a.npz", read.codes.shape
        assert shape == SHAPE
    assert "a.npz" in said


@pytest.mark.parametrize("text", ["none", "{}=0", "{}=-1", "{}=x", "{}=1e9"])
def test_a_folder_or_weight_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(UsageError, match="--probability"):
        outside.folders([text.format(tmp_path)])


def test_a_weight_is_a_decimal_and_a_folder_may_have_an_equals_sign(tmp_path):
    (tmp_path / "a=1").mkdir()
    (one,) = outside.folders([f"{tmp_path}=0.7"])
    (two,) = outside.folders([str(tmp_path / "a=1")])
    assert one.weight == Fraction(7, 10)
    assert (two.path, two.weight) == (tmp_path / "a=1", 1)


@pytest.fixture(scope="module")
def given_root(tmp_path_factory):
    """Two volumes and two programs' probabilities of them."""
    folder = tmp_path_factory.mktemp("given")
    phantom.write_phantom_root(folder / "root", size=40, seeds=[1, 2])
    draw = np.random.default_rng(5)
    for seed in (1, 2):
        label = phantom.make_phantom(40, seed).label
        p = np.clip((label == 1) * 0.6 + draw.random(label.shape) * 0.35, 0, 1).astype(np.float32)
        tiff(folder / "one", (p * 255).astype(np.uint8), phantom.phantom_id(seed))
        npz(folder / "two", phantom.phantom_id(seed), probabilities=both(p).astype(np.float16))
    return folder


def settings(folder, **more):
    small = {"segment.dust": 1000}  # sheets in these cubes are smaller than the dust of real volumes
    return {**QUICK, "probability": [f"{folder / 'one'}=0.25", f"{folder / 'two'}=0.75"], **small, **more}


def events(output, name):
    lines = (output / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    return [e["data"] for e in map(json.loads, lines) if e["event"] == name]


@pytest.fixture(scope="module")
def done(given_root, tmp_path_factory):
    output = tmp_path_factory.mktemp("outside") / "out"
    return gpu_nx47.run(given_root / "root", output, settings(given_root)), output


def test_two_weighted_programs_through_our_cleaning(done, given_root):
    result, output = done
    assert result.exit_code == 0
    for entry, started in zip(result.files, events(output, "FILE_START"), strict=True):
        assert (entry["train_mode"], entry["train_info"], entry["selected_features"]) == ("outside", None, [])
        assert entry["expected_by_chance"] == {}
        assert entry["golden_nonce_detected"] is None
        assert [one["weight"] for one in started["probability"]] == ["1/4", "3/4"]
        assert 0 < entry["pixels_active_final"] < entry["valid_voxels"]
    codes = {alert["code"] for alert in events(output, "ALERT")}
    assert codes.isdisjoint({"NO_LEARNING", "RECTO_UNKNOWN", "NO_SURFACE"})


@pytest.mark.parametrize("how", [{"backend": "law"}, {"tile": [16, 24, 40], "threads": 2}], ids=["law", "tiles"])
def test_a_given_probability_has_one_answer(done, given_root, tmp_path, how):
    result = gpu_nx47.run(given_root / "root", tmp_path / "out", settings(given_root, **how))
    assert result.submission.read_bytes() == done[0].submission.read_bytes()


def test_it_is_replayed_from_the_same_folders(done, given_root):
    said = []
    assert replay_record(done[1], given_root / "root", Machine(threads=1), list, said.append) == 0
    assert sum("equal (5 arrays, mask)" in line for line in said) == 2


def test_a_volume_without_a_probability_costs_only_itself(given_root, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    first = phantom.phantom_id(1)
    (part / f"{first}.tif").symlink_to(given_root / "one" / f"{first}.tif")
    result = gpu_nx47.run(given_root / "root", tmp_path / "out", {**QUICK, "probability": [str(part)]})
    assert result.exit_code == 3
    assert [entry["file"] for entry in result.files] == [first]


def test_a_run_does_not_go_on_with_other_probabilities(given_root, tmp_path):
    output = tmp_path / "out"
    changed = tmp_path / "one"
    changed.mkdir()
    for path in (given_root / "one").iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    wanted = {**QUICK, "probability": [str(changed)]}
    interrupted(given_root / "root", output, wanted)
    file = changed / f"{phantom.phantom_id(1)}.tif"
    tifffile.imwrite(file, 255 - tifffile.imread(file), photometric="minisblack")
    with pytest.raises(UsageError, match="has changed"):
        gpu_nx47.run(given_root / "root", output, wanted)


def test_model_and_probability_exclude_one_another(given_root, tmp_path):
    with pytest.raises(UsageError, match="no probability where train is given"):
        gpu_nx47.run(given_root / "root", tmp_path / "out", settings(given_root, train=True))
