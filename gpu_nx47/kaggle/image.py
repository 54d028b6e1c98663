"""Kaggle's image: what is installed there, and what of our needs it lacks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PYTHON: Final = (3, 12)
GLIBC: Final = (2, 35)
OLDEST_GLIBC: Final = (2, 17)
"""manylinux2014: below it no wheel of today is built."""


@dataclass(frozen=True)
class Image:
    """A machine that wheels are to be installed on without the internet."""

    pins: Mapping[NormalizedName, Version]
    """What is installed there. A package not named counts as lacking."""
    python: tuple[int, int] = PYTHON
    glibc: tuple[int, int] = GLIBC

    @property
    def platforms(self) -> list[str]:
        """Platform tags of the wheels it takes, the newest first (x86-64)."""
        major, newest = self.glibc
        tags = [f"manylinux_{major}_{minor}_x86_64" for minor in range(newest, OLDEST_GLIBC[1] - 1, -1)]
        return [*tags, "manylinux2014_x86_64", "linux_x86_64"]

    @property
    def tags(self) -> frozenset[Tag]:
        """Tags of the wheels it takes."""
        own = cpython_tags(self.python, platforms=self.platforms)
        pure = compatible_tags(self.python, f"cp{self.python[0]}{self.python[1]}", self.platforms)
        return frozenset(itertools.chain(own, pure))

    @property
    def markers(self) -> dict[str, str]:
        """What environment markers of a requirement evaluate to there, no extra asked for."""
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "x86_64",
            "extra": "",
        }


@dataclass(frozen=True)
class Comparison:
    """What an image says to a list of requirements."""

    lacking: tuple[Requirement, ...]
    """Not installed there."""
    unfit: tuple[Requirement, ...]
    """Installed there in a version that will not do: nothing there may be changed, so this cannot be mended."""


def compare(requirements: Iterable[str], image: Image) -> Comparison:
    """Compare requirements with what an image holds.

    Parameters
    ----------
    requirements : iterable of str
        As in a wheel's `Requires-Dist`; one whose marker does not hold on the image, or of an extra, is left out.
    image : Image
    """
    lacking, unfit = [], []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(image.markers):
            continue
        there = image.pins.get(canonicalize_name(requirement.name))
        if there is None:
            lacking.append(requirement)
        elif not requirement.specifier.contains(there, prereleases=True):
            unfit.append(requirement)
    return Comparison(tuple(lacking), tuple(unfit))


def read_pins(text: str) -> dict[NormalizedName, Version]:
    """Read a constraints file of lines `name==version`.

    Raises
    ------
    ValueError
        A line says anything else.
    """
    pins: dict[NormalizedName, Version] = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        try:
            requirement = Requirement(bare)
        except InvalidRequirement as error:
            raise ValueError(f"line {number}: expected name==version, got {bare!r}") from error
        (specifier,) = requirement.specifier if len(requirement.specifier) == 1 else (None,)
        if specifier is None or specifier.operator != "==" or specifier.version.endswith("*"):
            raise ValueError(f"line {number}: expected name==version, got {bare!r}")
        pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    return pins


def kaggle_image() -> Image:
    """Return Kaggle's GPU image as image.txt beside this file states it."""
    return Image(read_pins(_text("image.txt")))


def brought_pins() -> dict[NormalizedName, Version]:
    """Return the versions that the bundle brings of packages the image lacks (brought.txt)."""
    return read_pins(_text("brought.txt"))


def _text(name: str) -> str:
    return files("gpu_nx47.kaggle").joinpath(name).read_text(encoding="utf-8")
