"""What is written for Kaggle's command line is what that program accepts; the rules are those of its source code."""

import hashlib
import json
import re

import pytest

from gpu_nx47._version import __version__
from gpu_nx47.cli import main
from gpu_nx47.errors import OutputError, UsageError
from gpu_nx47.kaggle import write_bundle
from gpu_nx47.kaggle.image import brought_pins

NAMES = {"competition": "vesuvius-challenge-surface-detection", "owner": "someone"}
PIN = f"imagecodecs=={brought_pins()['imagecodecs']}"


@pytest.fixture
def store(tmp_path, fake_wheel):
    """Return a folder with the wheel that Kaggle lacks."""
    name, version = PIN.split("==")
    tag = "cp311-abi3-manylinux_2_28_x86_64"
    fake_wheel(tmp_path / "store", name, version, ["numpy>=2.0", "matplotlib; extra == 'all'"], tag, "BSD-3-Clause")
    return tmp_path / "store"


@pytest.fixture
def bundle(tmp_path, store):
    return write_bundle(tmp_path / "out", wheels=store, **NAMES)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_data_set_holds_the_wheels_and_their_sums_flat(bundle):
    names = sorted(path.name for path in bundle.dataset.iterdir())
    wheels = [
        f"gpu_nx47-{__version__}-py3-none-any.whl",
        f"imagecodecs-{PIN[13:]}-cp311-abi3-manylinux_2_28_x86_64.whl",
    ]
    # Flat: Kaggle's command line leaves folders out.
    assert names == sorted([*wheels, "SHA256SUMS", "dataset-metadata.json"])
    lines = (bundle.dataset / "SHA256SUMS").read_text().splitlines()
    expected = [f"{hashlib.sha256((bundle.dataset / name).read_bytes()).hexdigest()}  {name}" for name in wheels]
    assert lines == expected
    assert [wheel.path for wheel in bundle.wheels] == [bundle.dataset / name for name in wheels]


def test_the_data_sets_description_is_acceptable(bundle):
    about = read(bundle.dataset / "dataset-metadata.json")
    owner, slug = about["id"].split("/")
    assert owner == "someone"
    assert 6 <= len(slug) <= 50
    assert 6 <= len(about["title"]) <= 50
    assert about["title"].replace(" ", "-") == slug
    assert 20 <= len(about["subtitle"]) <= 80
    assert about["licenses"] == [{"name": "other"}]
    assert f"gpu-nx47=={__version__}: Apache-2.0; {PIN}: BSD-3-Clause" in about["description"]


def test_the_notebooks_description_asks_for_a_t4_and_no_internet(bundle):
    about = read(bundle.kernel / "kernel-metadata.json")
    dataset = read(bundle.dataset / "dataset-metadata.json")["id"]
    assert about["machine_shape"] == "NvidiaTeslaT4"
    assert about["enable_gpu"] is True
    assert about["enable_internet"] is False
    assert about["dataset_sources"] == [dataset]
    assert about["competition_sources"] == ["vesuvius-challenge-surface-detection"]
    assert (about["language"], about["kernel_type"]) == ("python", "notebook")
    assert about["id"] == f"someone/{about['title'].replace(' ', '-')}"
    assert len(about["title"]) >= 5
    assert (bundle.kernel / about["code_file"]).is_file()


def test_the_commands_name_what_was_written_in_order(bundle):
    commands = [command for _, command in bundle.commands]
    assert [" ".join(command.split()[:3]) for command in commands] == [
        "kaggle datasets create", "kaggle datasets version", "kaggle datasets status", "kaggle kernels push",
        "kaggle kernels status", "kaggle kernels output", "kaggle competitions submit",
    ]  # fmt: skip
    assert commands[0].endswith(f"-p {bundle.dataset}")
    assert commands[3].endswith(f"-p {bundle.kernel}")
    assert read(bundle.dataset / "dataset-metadata.json")["id"] in commands[2]
    assert read(bundle.kernel / "kernel-metadata.json")["id"] in commands[4]
    assert all("submission.zip" in command for command in commands[-1:])


def test_an_earlier_bundle_is_replaced_whole(bundle, tmp_path, store):
    (bundle.dataset / "gpu_nx47-0.0.1-py3-none-any.whl").write_bytes(b"old")
    before = {path.name: path.read_bytes() for path in bundle.dataset.iterdir() if "0.0.1" not in path.name}
    write_bundle(tmp_path / "out", wheels=store, **NAMES)
    assert {path.name: path.read_bytes() for path in bundle.dataset.iterdir()} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset", "kernel"]


@pytest.mark.parametrize("name", ["dataset", "kernel"])
def test_a_folder_of_someone_else_stays(tmp_path, store, name):
    mine = tmp_path / "out" / name / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("only copy")
    with pytest.raises(UsageError, match="holds files that are no bundle's"):
        write_bundle(tmp_path / "out", wheels=store, **NAMES)
    assert mine.read_text() == "only copy"


def test_a_wheel_that_cannot_be_had_leaves_the_earlier_bundle(bundle, tmp_path):
    (tmp_path / "none").mkdir()
    before = sorted(path.name for path in bundle.dataset.iterdir())
    with pytest.raises(OutputError, match=PIN):
        write_bundle(tmp_path / "out", wheels=tmp_path / "none", **NAMES)
    assert sorted(path.name for path in bundle.dataset.iterdir()) == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset", "kernel"]


@pytest.mark.parametrize("bad", ["", "Some One", "https://www.kaggle.com/someone", "a/b", "-x", 'a"b', "$x"])
@pytest.mark.parametrize("option", ["competition", "owner"])
def test_a_slug_that_is_none_is_refused(tmp_path, store, option, bad):
    with pytest.raises(UsageError, match=f"--{option}: expected the last part of the address"):
        write_bundle(tmp_path / "out", wheels=store, **{**NAMES, option: bad})
    assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path, store, capsys):
    words = ["kaggle", str(tmp_path / "o"), "--competition", "a-b", "--owner", "me", "--backend", "gpu"]
    assert main([*words, "--wheels", str(store)]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^(\d)\. ", shown, re.MULTILINE) == list("1234567")
    assert f"kaggle datasets create -p {tmp_path / 'o' / 'dataset'}" in shown
    assert "gpu_nx47-" in shown
    assert 'BACKEND = "gpu"' in "".join(read(tmp_path / "o" / "kernel" / "nx47-surface.ipynb")["cells"][1]["source"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--wheels", "nowhere"], 2, "--wheels: expected a folder of wheels"),
        (["--wheels", ".", "--backend", "tpu"], 2, "--backend: expected one of auto, gpu, cpu, law, got 'tpu'"),
        (["--wheels", "."], 4, f"expected a wheel of {PIN}"),
    ],
)
def test_the_command_line_says_what_is_wrong(tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(tmp_path)
    assert main(["kaggle", "o", "--competition", "a-b", "--owner", "me", *words]) == code
    assert said in capsys.readouterr().err


def test_a_model_goes_into_the_data_set_and_the_notebook_runs_with_it(tmp_path, store):
    made = write_bundle(tmp_path / "out", wheels=store, model=b"{}", **NAMES)
    source = "".join("".join(cell["source"]) for cell in read(made.kernel / "nx47-surface.ipynb")["cells"])
    assert (made.dataset / "model.json").read_bytes() == b"{}"
    assert f"{hashlib.sha256(b'{}').hexdigest()}  model.json" in (made.dataset / "SHA256SUMS").read_text().splitlines()
    assert 'MODEL = "model.json"' in source
    assert "TRAIN = False" in source


def test_a_file_that_is_no_model_is_refused_before_it_is_uploaded(tmp_path, store, capsys):
    (tmp_path / "model.json").write_text("{}")
    words = ["--competition", NAMES["competition"], "--owner", "someone", "--wheels", str(store)]
    code = main(["kaggle", str(tmp_path / "out"), *words, "--model", str(tmp_path / "model.json")])
    assert code == 2
    assert "nx47-model/1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
