"""What Kaggle lacks follows from its list of packages and our metadata alone."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.version import Version

from gpu_nx47.kaggle.image import Image, brought_pins, compare, kaggle_image, read_pins

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
IMAGE = Image({"numpy": Version("2.0.2"), "a-b": Version("3.0rc1")})


def test_what_is_there_is_not_lacking():
    found = compare(["numpy>=2.0", "A_b>=3.0rc1", "zarr>=3.0"], IMAGE)
    assert found.lacking == (Requirement("zarr>=3.0"),)
    assert found.unfit == ()


def test_what_is_there_in_a_version_that_will_not_do_is_unfit():
    found = compare(["numpy>=2.1", "a-b<=3", "a-b<3"], IMAGE)
    assert found.unfit == (Requirement("numpy>=2.1"), Requirement("a-b<3"))  # 3.0rc1 comes before 3, yet is no 2
    assert found.lacking == ()


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("extra == 'cuda12'", False),
        ("sys_platform == 'win32'", False),
        ("sys_platform == 'linux' and platform_machine == 'x86_64'", True),
        ("python_version < '3.12'", False),
        ("python_version >= '3.12'", True),
        ("python_full_version >= '3.12.0'", True),
        ("implementation_name == 'pypy'", False),
        ("os_name == 'posix' and platform_system == 'Linux'", True),
    ],
)
def test_a_marker_is_judged_on_kaggle_not_here(marker, holds):
    assert len(compare([f"zarr; {marker}"], IMAGE).lacking) == holds


def test_pins_are_read():
    text = "# note\nNumPy==2.0.2  # why\n\ntyping_extensions == 4.15.0\n"
    assert read_pins(text) == {"numpy": Version("2.0.2"), "typing-extensions": Version("4.15.0")}


@pytest.mark.parametrize(
    "line", ["numpy>=2", "numpy", "numpy==2.*", "numpy @ https://x/y.whl", "numpy==2,==2", "==2", "-c x"]
)
def test_a_line_that_pins_nothing_is_refused(line):
    with pytest.raises(ValueError, match="line 2: expected name==version"):
        read_pins(f"a==1\n{line}\n")


def test_kaggle_lacks_imagecodecs_alone():
    needs = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    found = compare(needs, kaggle_image())
    assert found.unfit == ()
    assert [requirement.name for requirement in found.lacking] == ["imagecodecs"]
    for requirement in found.lacking:
        assert brought_pins()[requirement.name] in requirement.specifier
    assert set(brought_pins()).isdisjoint(kaggle_image().pins)


def test_the_image_says_where_it_is_from():
    text = (PYPROJECT.parent / "gpu_nx47" / "kaggle" / "image.txt").read_text()
    assert "Kaggle/docker-python" in text
    assert "2026-08-12" in text
    assert f"Python {kaggle_image().python[0]}.{kaggle_image().python[1]}" in text
    assert kaggle_image().pins["numpy"] == Version("2.0.2")


@pytest.mark.parametrize(
    ("tag", "takes"),
    [
        (("py3", "none", "any"), True),
        (("cp312", "cp312", "manylinux_2_17_x86_64"), True),
        (("cp311", "abi3", "manylinux_2_28_x86_64"), True),
        (("cp312", "cp312", "manylinux_2_35_x86_64"), True),
        (("cp312", "cp312", "manylinux_2_36_x86_64"), False),
        (("cp312", "cp312", "manylinux_2_28_aarch64"), False),
        (("cp311", "cp311", "manylinux_2_28_x86_64"), False),
        (("cp313", "abi3", "manylinux_2_28_x86_64"), False),
        (("cp312", "cp312", "win_amd64"), False),
        (("cp312", "cp312", "musllinux_1_2_x86_64"), False),
    ],
)
def test_the_wheels_it_takes(tag, takes):
    assert (Tag(*tag) in kaggle_image().tags) == takes


def test_the_wheel_that_is_brought_fits_the_next_image_too():
    # Colab's of 2026-08-19: Python 3.13, numpy 2.1.3.
    assert Tag("cp311", "abi3", "manylinux_2_28_x86_64") in replace(kaggle_image(), python=(3, 13)).tags
