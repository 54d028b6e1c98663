"""A run computed again elsewhere is equal; a difference is found in its slice; nothing is copied from the record."""

import importlib.util
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tifffile

import gpu_nx47
from gpu_nx47 import cli, journal, phantom
from gpu_nx47.audit import replay
from gpu_nx47.audit.verify import verify
from gpu_nx47.events import Event
from gpu_nx47.journal import RECORD_NAME
from gpu_nx47.settings import FIRST_SIX, FeatureSettings, NeuronSettings, Settings
from gpu_nx47.submission import encode_mask

SIZE = 32
QUICK = Settings(
    features=FeatureSettings(bank=FIRST_SIX, top_k=3),
    neuron=NeuronSettings(samples=1024, steps=12, l1=(1e-3,), l2=(1e-3,)),
    overlays=1,
    threads=1,
    backend="cpu",
)
NUMBA = importlib.util.find_spec("numba") is not None


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay") / "root"
    phantom.write_phantom_root(folder, size=SIZE, seeds=[3, 4], train_seeds=[])
    return folder


@pytest.fixture(scope="module")
def done(root):
    """The folder of a run."""
    output = root.parent / "out"
    assert gpu_nx47.run(root, output, QUICK).exit_code == 0
    return output


@pytest.fixture
def copy(done, tmp_path):
    return shutil.copytree(done, tmp_path / "copy")


def again(folder, root, machine=None, names=None):
    """Replay; return the code and what was said."""
    said = []
    machine = machine or replay.Machine("law", threads=1)
    code = replay.replay_record(folder, root, machine, lambda every: names or every, said.append)
    return code, said


def traces(folder):
    lines = (folder / RECORD_NAME).read_text().splitlines()
    return [e["data"] for e in map(json.loads, lines) if e["event"] == "ARRAY_TRACE" and "tile" not in e["data"]]


def sign_anew(folder, change):
    """Write the record of a folder again with another key, its events changed: what a forger can always do."""
    events = [json.loads(line) for line in (folder / RECORD_NAME).read_text().splitlines()]
    observers = journal.open_observers(folder, None)
    for number, fields in enumerate(events):
        data = fields["data"] | ({**observers.keys, "output": str(folder)} if number == 0 else {})
        change(fields["event"], data)
        observers.emit(Event(fields["event"], data))
    observers.close()


@pytest.mark.parametrize(
    "machine",
    [
        replay.Machine("law", (32, 32, 32), 1),
        replay.Machine("law", (15, 20, 32), 2),
        pytest.param(
            replay.Machine("cpu", (16, 32, 11), 2),
            marks=pytest.mark.skipif(not NUMBA, reason="Numba is not installed: the twin cannot replay"),
        ),
    ],
    ids=["law", "law-tiles-threads", "twin-tiles-threads"],
)
def test_a_run_is_equal_on_another_backend_tile_and_thread_count(done, root, machine):
    assert verify(done).code == 0
    code, said = again(done, root, machine)
    assert (code, said[-1]) == (0, "equal: 2 of 2 volumes computed again")
    assert all(line.endswith("equal (6 arrays, mask)") for line in said[1:-1])


def test_a_flipped_voxel_of_an_input_is_found_in_its_slice(done, root, tmp_path):
    other = shutil.copytree(root, tmp_path / "root")
    path = sorted((other / "test_images").iterdir())[1]
    image = tifffile.imread(path)
    image[11, 20, 20] ^= 1
    tifffile.imwrite(path, image, compression="lzw", photometric="minisblack")
    code, said = again(done, other, names=[path.stem])
    assert code == 1
    assert f"{path.stem} volume: differs in 1 of {SIZE} slices, z = 11" in said
    assert any("the input's bytes are not those of the run" in line for line in said)


def test_an_input_packed_otherwise_is_told_and_equal(done, root, tmp_path):
    other = shutil.copytree(root, tmp_path / "root")
    path = sorted((other / "test_images").iterdir())[0]
    tifffile.imwrite(path, tifffile.imread(path), photometric="minisblack")
    code, said = again(done, other, names=[path.stem])
    assert code == 0
    assert any("the input's bytes are not those of the run" in line for line in said)


def test_a_flipped_voxel_of_a_mask_is_found_in_its_slice(copy, root):
    with zipfile.ZipFile(copy / "submission.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[0]
    path = copy / "mask.tif"
    path.write_bytes(members[name])
    mask = tifffile.imread(path).astype(bool)
    mask[7, 3, 3] ^= True
    members[name] = encode_mask(mask)
    with zipfile.ZipFile(copy / "submission.zip", "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    found = verify(copy)
    assert (found.code, found.where) == (1, "submission.zip")
    code, said = again(copy, root, names=[name.removesuffix(".tif")])
    assert code == 1
    (line,) = [line for line in said if "mask:" in line]
    assert line.endswith(f"in 1 of {SIZE} slices, first z = 7")


@pytest.mark.parametrize("stage", ["probability_map", "features_selected", "mask_calibrated"])
def test_a_digest_that_the_record_invents_is_not_repeated(copy, root, stage):
    """The forger signs the whole record anew, so it verifies; what is computed does not follow him."""
    name = traces(copy)[0]["file"]

    def change(event, data):
        if event == "ARRAY_TRACE" and (data["file"], data["stage"]) == (name, stage):
            data["digest"] = "00" * 32

    sign_anew(copy, change)
    assert verify(copy).code == 0
    code, said = again(copy, root, names=[name])
    assert code == 1
    assert any(line.startswith(f"{name} {stage}: ") for line in said)
    assert not any(line.startswith(f"{name} mask_final") for line in said)


def test_leaves_that_do_not_give_their_digest_are_no_evidence():
    trace = {"stage": "volume", "digest": "00" * 32, "slices": ["11" * 32, "22" * 32]}
    assert replay.compare("volume", trace, trace) == ["volume: the record's slices do not give its digest"]


def test_a_mask_packed_anew_is_not_the_one_of_the_run(copy, root):
    with zipfile.ZipFile(copy / "submission.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[0]
    with zipfile.ZipFile(copy / "submission.zip", "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data + b"\0" * (member == name))
    code, said = again(copy, root, names=[name.removesuffix(".tif")])
    assert code == 1
    assert any("is not the one that the record names" in line and "z =" not in line for line in said)


def test_a_slice_that_the_record_invents_is_found(copy, root):
    from gpu_nx47.journal.merkle import tree_root

    name = traces(copy)[0]["file"]

    def change(event, data):
        if event == "ARRAY_TRACE" and (data["file"], data["stage"]) == (name, "probability_map"):
            data["slices"][5] = "11" * 32
            data["digest"] = tree_root([bytes.fromhex(leaf) for leaf in data["slices"]]).hex()

    sign_anew(copy, change)
    code, said = again(copy, root, names=[name])
    assert code == 1
    assert any(line.startswith(f"{name} probability_map: differs in 1 of ") and line.endswith("z = 5") for line in said)


def test_a_changed_kernel_is_noticed(done, root, monkeypatch):
    """A replay that took anything from the record would be equal here too."""
    from cpu_fallback import law

    real = law.hysteresis

    def wrong(*arrays, **parameters):
        mask = real(*arrays, **parameters).copy()
        mask.reshape(-1)[0] ^= True
        return mask

    monkeypatch.setattr(law, "hysteresis", wrong)
    code, said = again(done, root)
    assert code == 1
    assert sum("mask_hysteresis: differs in 1 of" in line and line.endswith("z = 0") for line in said) == 2
    assert not any("probability_map" in line for line in said)


def test_other_settings_in_the_record_give_other_arrays(copy, root):
    name = traces(copy)[0]["file"]

    def change(event, data):
        if event == "BOOT":
            data["config"]["seed"] = 48

    sign_anew(copy, change)
    code, said = again(copy, root, names=[name])
    assert code == 1
    assert any(f"{name} probability_map: differs" in line for line in said)


@pytest.mark.parametrize("level", ["light", "forensic"])
def test_each_level_of_recording_is_replayed(root, tmp_path, level):
    only = sorted((root / "test_images").iterdir())[0]
    result = gpu_nx47.run(only, tmp_path / "out", replace(QUICK, record=level))
    found = {t["stage"]: t for t in traces(tmp_path / "out")}
    if level == "light":
        assert {stage for stage, t in found.items() if t["digest"] and "of" not in str(t.get("digest_of"))} == {
            "mask_final"
        }
        assert not any("slices" in t for t in found.values())
    else:
        chosen = result.files[0]["selected_features"]
        assert {f"feature_{name}" for name in chosen} <= found.keys()
        assert all(len(t["slices"]) == t["shape"][0] for stage, t in found.items() if stage != "features_selected")
    assert again(tmp_path / "out", only)[0] == 0


def test_what_had_no_time_or_could_not_be_read_is_replayed_as_such(root, tmp_path, monkeypatch):
    from gpu_nx47 import schedule

    monkeypatch.setattr(schedule, "LEAST_KEPT_S", 1e9)  # time is up behind the first cheap mask
    inputs = shutil.copytree(root, tmp_path / "root")
    good, damaged = sorted((inputs / "test_images").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:900])
    never = shutil.copy(good, good.with_name("never.tif"))
    gpu_nx47.run(inputs, tmp_path / "out", replace(QUICK, time_budget=3600.0))
    code, said = again(tmp_path / "out", inputs)
    assert f"{never.stem}: the run did not come to it" in said
    assert code == 2
    code, said = again(tmp_path / "out", inputs, names=[good.stem, damaged.stem])
    assert any(line.startswith(f"{damaged.stem}: refused again") for line in said)
    assert f"{good.stem}: equal (0 arrays, mask)" in said
    assert code == 0
    code, said = again(tmp_path / "out", root, names=[damaged.stem])  # it is whole here
    assert (code, said[1]) == (1, f"{damaged.stem}: can be read here, the run could not (DamagedInputError)")


def test_inputs_that_are_not_here_cannot_be_checked(done, root, tmp_path):
    other = shutil.copytree(root, tmp_path / "root")
    sorted((other / "test_images").iterdir())[0].unlink()
    code, said = again(done, other)
    assert (code, said[-1]) == (3, "cannot be checked: inputs are missing")


def test_a_sample_is_drawn_at_random_in_the_runs_order_and_never_empty():
    names = [f"v{n}" for n in range(40)]
    drawn = {tuple(replay.draw(names, 0.05)) for _ in range(60)}
    assert all(len(some) == 2 and list(some) == sorted(some, key=names.index) for some in drawn)
    assert len(drawn) > 20
    assert len(replay.draw(names, 1e-9)) == 1
    assert replay.draw(names, 1.0) == names


def test_the_command_says_verdict_and_result(done, root, capsys):
    assert cli.main(["log", "replay", str(done), "--input", str(root), "--backend", "law", "--sample", "50%"]) == 0
    said = capsys.readouterr().out
    assert "complete: " in said
    assert "equal: 1 of 2 volumes computed again" in said
    for sample in ("0%", "150%", "much"):
        assert cli.main(["log", "replay", str(done), "--input", str(root), "--sample", sample]) == 3


def test_the_mask_in_the_submission_is_compared_by_voxels(done, root, monkeypatch):
    """Another libtiff may pack the same voxels otherwise."""
    from gpu_nx47.audit import masks

    monkeypatch.setattr(masks, "encode_mask", lambda mask: encode_mask(mask) + b"\0")
    assert again(done, root, names=[traces(done)[0]["file"]])[0] == 0


def test_arrays_are_numbers_of_their_slices(done, root):
    """The leaves are as documented: SHA-256 of 0x00 and the slice's bytes, little-endian, in C order."""
    import hashlib

    (volume,) = [t for t in traces(done) if t["stage"] == "volume"][:1]
    image = tifffile.imread(root / "test_images" / f"{volume['file']}.tif")
    leaves = [hashlib.sha256(b"\0" + np.ascontiguousarray(part).tobytes()).hexdigest() for part in image]
    assert volume["slices"] == leaves
