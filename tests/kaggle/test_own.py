"""Our wheel is what is installed: complete, with true hashes, the same bytes each time; or it is refused."""

import base64
import csv
import hashlib
import importlib.metadata
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gpu_nx47._version import __version__
from gpu_nx47.errors import UsageError
from gpu_nx47.kaggle import own
from gpu_nx47.kaggle.wheels import read_wheel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return own.pack_own_wheel(tmp_path_factory.mktemp("own"))


def members(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def digest(data):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def test_it_holds_both_packages_whole(wheel):
    held = members(wheel)
    for package in own.PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix != ".pyc" and not path.name.endswith((".nbi", ".nbc")):
                name = path.relative_to(ROOT).as_posix()
                assert held[name] == path.read_bytes(), name
    assert not [name for name in held if "__pycache__" in name or name.startswith(("tests/", "bench/"))]


def test_its_record_is_true(wheel):
    held = members(wheel)
    stem = f"gpu_nx47-{__version__}.dist-info"
    assert wheel.name == f"gpu_nx47-{__version__}-py3-none-any.whl"
    assert list(held)[-1] == f"{stem}/RECORD"
    rows = list(csv.reader(io.StringIO(held[f"{stem}/RECORD"].decode())))
    assert rows[-1] == [f"{stem}/RECORD", "", ""]
    assert {name: (hashed, size) for name, hashed, size in rows[:-1]} == {
        name: (digest(data), str(len(data))) for name, data in held.items() if not name.endswith("/RECORD")
    }
    assert {name.split("/", 1)[1] for name in held if name.startswith(stem)} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip
    assert read_wheel(wheel).pin == f"gpu-nx47=={__version__}"
    assert read_wheel(wheel).licence == "Apache-2.0"


def test_the_same_code_gives_the_same_bytes(wheel, tmp_path):
    assert own.pack_own_wheel(tmp_path).read_bytes() == wheel.read_bytes()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return a folder that pip installed the wheel into."""
    site = tmp_path_factory.mktemp("installed") / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", "--target", str(site), str(wheel)], check=True)
    return site


@pytest.fixture
def site(installed, tmp_path, monkeypatch):
    """Return a copy of it, which importlib.metadata takes for the installation of this process."""
    site = Path(shutil.copytree(installed, tmp_path / "site"))
    monkeypatch.setattr(own.importlib.metadata, "distribution", lambda name: plain(site))
    return site


def test_a_wheel_packed_from_an_installation_is_the_one_installed(wheel, installed, tmp_path):
    code = (
        "import pathlib; from gpu_nx47.kaggle import own; print(own.__file__);"
        f"own.pack_own_wheel(pathlib.Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.strip().startswith(str(installed))
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def plain(site):
    """Return the installation under a folder, as importlib.metadata finds it."""
    (found,) = importlib.metadata.distributions(path=[str(site)])
    return found


def test_a_changed_or_missing_file_is_refused(wheel, site, tmp_path):
    changed = site / "cpu_fallback" / "costs.py"
    text = changed.read_bytes()
    changed.write_bytes(text + b"#")
    with pytest.raises(UsageError, match=r"cpu_fallback/costs.py: differs from what was installed"):
        own.pack_own_wheel(tmp_path)
    changed.unlink()
    with pytest.raises(UsageError, match=r"cpu_fallback/costs.py: installed, but it cannot be read"):
        own.pack_own_wheel(tmp_path)
    changed.write_bytes(text)
    assert own.pack_own_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_a_checkout_with_other_dependencies_than_installed_is_refused(wheel, site, tmp_path, monkeypatch):
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    (info,) = site.glob("*.dist-info")
    (info / "direct_url.json").write_text(json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}}))
    same = (ROOT / "pyproject.toml").read_text()
    (checkout / "pyproject.toml").write_text(same)
    assert own.pack_own_wheel(tmp_path).read_bytes() == wheel.read_bytes()
    (checkout / "pyproject.toml").write_text(same.replace("dependencies = [", 'dependencies = ["attrs>=20",', 1))
    with pytest.raises(UsageError, match=r"other metadata than it has now \(attrs>=20\)"):
        own.pack_own_wheel(tmp_path)
    monkeypatch.setattr("gpu_nx47._version.__version__", "99")
    (checkout / "pyproject.toml").write_text(same)
    with pytest.raises(UsageError, match="99 in the checkout"):
        own.pack_own_wheel(tmp_path)


def test_not_installed_is_said(monkeypatch, tmp_path):
    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(own.importlib.metadata, "distribution", none)
    with pytest.raises(UsageError, match="no wheel can be made"):
        own.pack_own_wheel(tmp_path)


@pytest.mark.long
def test_it_is_the_wheel_that_pip_builds(wheel, tmp_path):
    """Needs the internet: pip fetches the build tool."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True)
    built, packed = members(tmp_path / wheel.name), members(wheel)
    assert sorted(built) == sorted(packed)
    assert [name for name in built if built[name] != packed[name] and not name.endswith("/RECORD")] == []
