"""The wheels that are brought: those that are missing, what these need, and nothing that is there."""

import itertools

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from gpu_nx47.errors import OutputError, UsageError
from gpu_nx47.kaggle.image import Image
from gpu_nx47.kaggle.wheels import download_command, from_folder, from_index, gather, read_wheel

IMAGE = Image({"numpy": Version("2.0.2")})


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_what_is_brought_brings_what_it_needs(store, out, fake_wheel):
    own = fake_wheel(out, "own", "1.0", ["numpy>=2", "codecs>=1", "zarr; extra == 'scale'"])
    fake_wheel(store, "codecs", "1.5", ["numpy>=2", "inner", "own"])
    fake_wheel(store, "inner", "0.3", ["codecs"])
    wheels = gather(out, own, IMAGE, {}, from_folder(store))
    assert [wheel.pin for wheel in wheels] == ["own==1.0", "codecs==1.5", "inner==0.3"]
    assert sorted(path.name for path in out.iterdir()) == sorted(wheel.path.name for wheel in wheels)
    assert wheels[1].path.read_bytes() == next(store.glob("codecs*")).read_bytes()


def test_a_pin_decides_the_version_and_the_newest_fits_else(store, out, fake_wheel):
    own = fake_wheel(out, "own", "1.0", ["codecs>=1,<4", "other"])
    for version in ("0.9", "1.5", "2.0", "10.0"):
        fake_wheel(store, "codecs", version)
        fake_wheel(store, "other", version)
    wheels = gather(out, own, IMAGE, {"codecs": Version("1.5")}, from_folder(store))
    assert [wheel.pin for wheel in wheels[1:]] == ["codecs==1.5", "other==10.0"]
    with pytest.raises(UsageError, match=r"the version pinned for Kaggle is 10\.0"):
        gather(out, own, IMAGE, {"codecs": Version("10.0")}, from_folder(store))


def test_a_wheel_that_needs_another_version_of_what_is_there_is_refused(store, out, fake_wheel):
    own = fake_wheel(out, "own", "1.0", ["codecs"])
    fake_wheel(store, "codecs", "2.0", ["numpy>=2.1"])
    with pytest.raises(UsageError, match=r"codecs==2.0 needs .* numpy>=2.1 \(there: 2.0.2\)"):
        gather(out, own, IMAGE, {}, from_folder(store))


def test_wheels_of_other_machines_are_passed_over(store, out, fake_wheel):
    for number, tag in enumerate(
        ("cp312-cp312-win_amd64", "cp313-cp313-manylinux_2_28_x86_64", "cp311-cp311-linux_x86_64")
    ):
        fake_wheel(store, "codecs", f"9.{number}", tag=tag)
    (store / "notes.whl").write_text("")
    with pytest.raises(OutputError, match=r"expected a wheel of codecs>=1 for Python 3.12 on Linux x86-64, found none"):
        from_folder(store)(Requirement("codecs>=1"), IMAGE, out)
    fake_wheel(store, "codecs", "1.0", tag="cp311-abi3-manylinux_2_28_x86_64")
    from_folder(store)(Requirement("codecs>=1"), IMAGE, out)
    assert [path.name for path in out.iterdir()] == ["codecs-1.0-cp311-abi3-manylinux_2_28_x86_64.whl"]


def test_what_is_no_wheel_is_refused(tmp_path):
    path = tmp_path / "codecs-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(UsageError, match="expected a wheel"):
        read_wheel(path)


def test_pip_is_asked_for_another_machine_and_for_nothing_else(out):
    command = download_command(Requirement("codecs==1.5"), IMAGE, out)
    assert command[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert command[command.index("--python-version") + 1] == "3.12"
    platforms = [after for word, after in itertools.pairwise(command) if word == "--platform"]
    assert platforms[0] == "manylinux_2_35_x86_64"
    assert {"manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"} <= set(platforms)
    assert command[-3:] == ["--dest", str(out), "codecs==1.5"]


def test_a_download_that_fails_says_what_to_do(out, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(OutputError, match=r"codecs==1.5: pip cannot download .* --wheels DIR, or the internet"):
        from_index(Requirement("codecs==1.5"), IMAGE, out)
    assert list(out.iterdir()) == []


def test_a_download_takes_the_wheel_of_the_other_machine(out, store, fake_wheel, monkeypatch):
    fake_wheel(store, "codecs", "1.5", tag="cp311-abi3-manylinux_2_28_x86_64")
    fake_wheel(store, "codecs", "1.6", tag="cp313-cp313-manylinux_2_28_x86_64")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(store))
    from_index(Requirement("codecs"), IMAGE, out)
    assert [path.name for path in out.iterdir()] == ["codecs-1.5-cp311-abi3-manylinux_2_28_x86_64.whl"]
