"""The notebook, executed in a fresh environment, without the internet, against inputs mounted as Kaggle mounts them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from gpu_nx47 import phantom
from gpu_nx47._version import __version__
from gpu_nx47.kaggle import write_bundle
from gpu_nx47.kaggle.image import brought_pins, kaggle_image
from gpu_nx47.kaggle.notebook import notebook
from gpu_nx47.submission import check_submission

COMPETITION, OWNER, DATASET = "vesuvius-challenge-surface-detection", "someone", "nx47-wheels"
# Where Kaggle mounts (competition, data set).
LAYOUTS = {
    "plain": (COMPETITION, DATASET),
    "competitions": (f"competitions/{COMPETITION}", f"datasets/{OWNER}/{DATASET}"),
    "datasets": (f"datasets/another/{COMPETITION}", f"datasets/{OWNER}/{DATASET}"),
}
QUICK = 'SETTINGS = ["neuron.samples=1024", "neuron.steps=5", "overlays=1"]'
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def filled():
    return notebook(owner=OWNER, dataset=DATASET, competition=COMPETITION, pins=["gpu-nx47==1", "b==2"], backend="law")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a competition's root with one small volume."""
    folder = tmp_path_factory.mktemp("competition") / "root"
    phantom.write_phantom_root(folder, size=32, seeds=[5], train_seeds=[])
    return folder


def code_cells(filled):
    return ["".join(cell["source"]) for cell in filled["cells"] if cell["cell_type"] == "code"]


def mounted(tmp_path, layout, root, wheels):
    """Lay a competition and a data set out as Kaggle does; return the environment that points there."""
    competition, dataset = (tmp_path / "input" / place for place in LAYOUTS[layout])
    shutil.copytree(root, competition)
    shutil.copytree(wheels, dataset)
    (tmp_path / "working").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    places = {"NX47_KAGGLE_INPUT": str(tmp_path / "input"), "NX47_KAGGLE_WORKING": str(tmp_path / "working")}
    # No index: what the wheels do not hold cannot be had.
    return kept | places | {"PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def execute(python, path, environment, cwd):
    command = [str(python), str(HERE / "run_notebook.py"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd, timeout=900)


def versions(python):
    command = [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {entry["name"]: entry["version"] for entry in listed}


def test_it_is_a_notebook_without_outputs_and_without_magics(filled):
    assert (filled["nbformat"], filled["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in filled["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in ids)
    for cell in filled["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        assert set(cell) == (keys if cell["cell_type"] == "markdown" else keys | {"execution_count", "outputs"})
        assert "".join(cell["source"]).strip()
        assert all(line.endswith("\n") for line in cell["source"][:-1])
    for source in code_cells(filled):
        ast.parse(source)
        assert "${" not in source
    nbformat = sys.modules.get("nbformat")
    if nbformat:
        nbformat.validate(filled)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_inputs_are_found_in_each_layout(filled, layout, tmp_path, monkeypatch):
    for place in LAYOUTS[layout]:
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setenv("NX47_KAGGLE_INPUT", str(tmp_path))
    space = {}
    exec(code_cells(filled)[0], space)
    assert (space["ROOT"], space["WHEELS"]) == tuple(tmp_path / place for place in LAYOUTS[layout])


def test_an_input_that_is_not_attached_is_named(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("NX47_KAGGLE_INPUT", str(tmp_path))
    (tmp_path / DATASET).mkdir()
    with pytest.raises(FileNotFoundError, match=rf"competition's data is not attached: .*{COMPETITION}.*Add input"):
        exec(code_cells(filled)[0], {})


def test_a_damaged_wheel_is_not_installed(filled, tmp_path):
    (tmp_path / "a.whl").write_bytes(b"cut")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.whl\n")
    with pytest.raises(RuntimeError, match=r"a.whl is damaged"):
        exec(code_cells(filled)[1], {"WHEELS": tmp_path})


def test_a_run_that_fails_fails_the_notebook(filled, tmp_path):
    doctor, run, check = code_cells(filled)[2:5]
    names = {
        "ROOT": tmp_path / "none",
        "WORKING": tmp_path,
        "BACKEND": "law",
        "TIME_BUDGET": "1h",
        "SETTINGS": [],
        "TRAIN": False,
        "MODEL": "",
    }
    space = {**names, **{name: __import__(name) for name in ("subprocess", "sys", "time")}}
    exec(doctor.replace('"doctor", "--output", WORKING', '"--version"'), space)
    with pytest.raises(RuntimeError, match="nx47 run ended with exit code 2"):
        exec(run, space)
    with pytest.raises(RuntimeError, match="the submission would not be accepted"):
        exec(check, space)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the Python of a new environment that sees every package of this one but ours."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", symlinks=True)
    linked = folder / "linked"
    linked.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("gpu_nx47", "_editable_impl_gpu_nx47", "__pycache__")):
            (linked / path.name).symlink_to(path)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "linked.pth").write_text(str(linked))
    return folder / "venv" / "bin" / "python"


@pytest.mark.skipif(os.name != "posix", reason="Kaggle is Linux")
def test_it_runs_from_start_to_end(python, root, tmp_path, fake_wheel):
    version = str(brought_pins()["imagecodecs"])
    fake_wheel(tmp_path / "store", "imagecodecs", version, ["numpy>=2"])
    bundle = write_bundle(
        tmp_path / "out", competition=COMPETITION, owner=OWNER, wheels=tmp_path / "store", backend="law"
    )
    path = bundle.kernel / "nx47-surface.ipynb"
    path.write_text(path.read_text().replace("SETTINGS = []  #", json.dumps(f"{QUICK}  #")[1:-1]))
    environment = mounted(tmp_path, "datasets", root, bundle.dataset)
    before = versions(python)
    assert "gpu-nx47" not in before
    done = execute(python, path, environment, tmp_path / "working")
    assert done.returncode == 0, done.stdout + done.stderr
    here = f"gpu-nx47=={__version__}" + ("" if "imagecodecs" in before else f", imagecodecs=={version}")
    assert re.search(rf"^installed in [\d.]+ s: {re.escape(here)}; changed: nothing$", done.stdout, re.MULTILINE)
    after = versions(python)
    assert {name: after[name] for name in before} == before
    check_whole(done.stdout, tmp_path / "working", root)


def test_our_wheel_is_laid_anew_and_what_else_was_here_must_stay(filled, tmp_path, monkeypatch):
    (tmp_path / "SHA256SUMS").write_text("")
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    known = [{"gpu-nx47": "0.9", "b": "1", "c": "5"}, {"gpu-nx47": "1", "b": "1", "c": "5"}]
    source = code_cells(filled)[1].replace("before = installed()", "before = KNOWN.pop(0)")
    source = source.replace("after = installed()", "after = KNOWN.pop(0)")
    exec(source, {"WHEELS": tmp_path, "KNOWN": list(known)})
    assert asked[0][-2:] == ["--force-reinstall", "gpu-nx47==1"]  # b is here, in another version than the data set's
    assert {"--no-index", "--no-deps"} <= set(asked[0])
    with pytest.raises(RuntimeError, match=r"changed what was here: \{'c': \('5', '6'\)\}"):
        exec(source, {"WHEELS": tmp_path, "KNOWN": [known[0], {**known[1], "c": "6"}]})


def check_whole(shown, working, root):
    """Assert what a notebook that ran through has shown and left."""
    report = check_submission(working / "submission.zip", root / "test_images")
    assert report.ok, report.problems
    with zipfile.ZipFile(working / "submission.zip") as archive:
        assert len(archive.namelist()) == len(list((root / "test_images").iterdir()))
    lines = shown.splitlines()
    assert lines.count("GLOBAL_STATS") == 2  # of the run, and in a cell of its own
    assert f"yes: {working / 'submission.zip'} is acceptable." in lines
    assert "`nx47 run` would work here." in lines
    assert re.search(r"^first line after [\d.]+ s, end after [\d.]+ s, exit code 0$", shown, re.MULTILINE)
    pictures = sorted((working / "overlays_v122").glob("*.png"))
    assert pictures
    for picture, line in zip(pictures, lines[-len(pictures) :], strict=True):
        assert picture.name in line  # its path, or what IPython shows in place of a picture


def kaggles_python():
    """Return a Python 3.12, of NX47_KAGGLE_PYTHON or of the path; None where there is none: then this one serves."""
    code = f"import sys; sys.exit(sys.version_info[:2] != {kaggle_image().python})"
    for name in (os.environ.get("NX47_KAGGLE_PYTHON"), "python3.12"):
        if name and shutil.which(name) and subprocess.run([name, "-c", code], check=False).returncode == 0:
            return name
    return None


@pytest.mark.long
def test_it_runs_with_kaggles_own_packages_in_each_layout(root, tmp_path):
    """Needs the internet, to make the environment; the notebook itself has none."""
    folder, image = tmp_path / "venv", HERE.parents[1] / "gpu_nx47" / "kaggle" / "image.txt"
    version = kaggles_python()
    subprocess.run([version or sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    wanted = [line for line in image.read_text().splitlines() if line[:1].isalpha()]
    # GPU packages are hundreds of megabytes, and without a device nothing imports them.
    wanted = [pin for pin in wanted if not pin.startswith(("cucim", "cupy", "nvidia-cuda-nvrtc", "cuda-"))]
    if version is None:  # tifffile's last release for Python 3.11 is older
        wanted = [pin.replace("==", "<=") if pin.startswith("tifffile") else pin for pin in wanted]
    subprocess.run([*pip, *wanted], check=True)
    bundle = write_bundle(tmp_path / "out", competition=COMPETITION, owner=OWNER)
    path = bundle.kernel / "nx47-surface.ipynb"
    before = versions(python)
    for layout in LAYOUTS:
        place = tmp_path / layout
        environment = mounted(place, layout, root, bundle.dataset)
        done = execute(python, path, environment, place / "working")
        assert done.returncode == 0, done.stdout + done.stderr
        pins = ", ".join(wheel.pin for wheel in bundle.wheels)
        assert f" s: {pins}; changed: nothing\n" in done.stdout
        after = versions(python)
        assert {name: after.pop(name) for name in before} == before
        assert sorted(after) == ["gpu-nx47", "imagecodecs"]
        check_whole(done.stdout, place / "working", root)
        command = [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "gpu-nx47", "imagecodecs"]
        subprocess.run(command, check=True)
