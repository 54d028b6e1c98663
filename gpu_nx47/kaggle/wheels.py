"""The wheels of the bundle: our own, and those of what Kaggle's image lacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename

from gpu_nx47.errors import OutputError, UsageError
from gpu_nx47.kaggle.image import Image, compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.version import Version

DOWNLOAD_SECONDS: Final = 600
Fetch = Callable[[Requirement, Image, Path], None]
"""Puts a wheel that satisfies a requirement, and that the image takes, into a folder."""


@dataclass(frozen=True)
class Wheel:
    """A wheel file and what its metadata say."""

    path: Path
    name: NormalizedName
    version: Version
    requires: tuple[str, ...]
    licence: str

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"


def read_wheel(path: Path) -> Wheel:
    """Read a wheel's name and its METADATA.

    Raises
    ------
    UsageError
        It is no wheel.
    """
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            (member,) = [m for m in archive.namelist() if m.count("/") == 1 and m.endswith(".dist-info/METADATA")]
            metadata = BytesParser().parsebytes(archive.read(member), headersonly=True)
    except (InvalidWheelFilename, zipfile.BadZipFile, ValueError, OSError) as error:
        raise UsageError(f"{path}: expected a wheel, which it is not: {error}") from error
    return Wheel(path, name, version, tuple(metadata.get_all("Requires-Dist") or ()), _licence(metadata))


def gather(folder: Path, own: Path, image: Image, pins: Mapping[NormalizedName, Version], fetch: Fetch) -> list[Wheel]:
    """Put beside our wheel those of all it needs that the image lacks, what these need included.

    Parameters
    ----------
    folder : Path
        Where the wheels come to lie.
    own : Path
        Our wheel, in it.
    image : Image
    pins : mapping
        The version to take of a package that is brought; without one, what `fetch` thinks newest.
    fetch : Fetch

    Returns
    -------
    list of Wheel
        Ours first.

    Raises
    ------
    UsageError
        Something needs another version of what the image holds; nothing there may be changed.
    OutputError
        A wheel cannot be had.
    """
    wheels = [read_wheel(own)]
    for wheel in wheels:  # grows while it is gone through
        found = compare(wheel.requires, image)
        if found.unfit:
            held = ", ".join(f"{r} (there: {image.pins[canonicalize_name(r.name)]})" for r in found.unfit)
            raise UsageError(
                f"{wheel.pin} needs what Kaggle's image holds in another version: {held}. Pin one that fits."
            )
        for requirement in found.lacking:
            name = canonicalize_name(requirement.name)
            if all(name != brought.name for brought in wheels):
                wheels.append(_brought(requirement, pins.get(name), image, folder, fetch))
    return wheels


def _brought(requirement: Requirement, pin: Version | None, image: Image, folder: Path, fetch: Fetch) -> Wheel:
    """Fetch one wheel, at its pinned version where there is one."""
    if pin is not None and not requirement.specifier.contains(pin, prereleases=True):
        raise UsageError(f"{requirement} is asked for, but the version pinned for Kaggle is {pin}")
    wanted = Requirement(f"{requirement.name}{requirement.specifier if pin is None else f'=={pin}'}")
    before = set(folder.glob("*.whl"))
    fetch(wanted, image, folder)
    (path,) = set(folder.glob("*.whl")) - before
    return read_wheel(path)


def from_folder(source: Path) -> Fetch:
    """Return a `Fetch` that copies from a local folder of wheels: the newest that fits."""

    def fetch(wanted: Requirement, image: Image, folder: Path) -> None:
        tags, fitting = image.tags, []
        for path in source.glob("*.whl"):
            try:
                name, version, _, own_tags = parse_wheel_filename(path.name)
            except InvalidWheelFilename:
                continue
            named = name == canonicalize_name(wanted.name) and wanted.specifier.contains(version, prereleases=True)
            if named and not tags.isdisjoint(own_tags):
                fitting.append((version, path))
        if not fitting:
            raise OutputError(
                f"{source}: expected a wheel of {wanted} for Python {_dotted(image.python)} on Linux x86-64, found "
                "none. Put one there, or leave --wheels out to have pip download it."
            )
        _, newest = max(fitting)
        shutil.copyfile(newest, folder / newest.name)

    return fetch


def from_index(wanted: Requirement, image: Image, folder: Path) -> None:
    """Have pip download a wheel from its index (a `Fetch`).

    Raises
    ------
    OutputError
        pip is missing, or it could not: no internet, no such wheel.
    """
    command = download_command(wanted, image, folder)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        said = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except subprocess.TimeoutExpired:
        said = [f"no answer within {DOWNLOAD_SECONDS} s"]
    if said is not None:
        raise OutputError(
            f"{wanted}: pip cannot download a wheel for Python {_dotted(image.python)} on Linux x86-64: "
            f"{''.join(said) or 'it does not say why'}. Give a folder that holds it with --wheels DIR, or the internet."
        )


def download_command(wanted: Requirement, image: Image, folder: Path) -> list[str]:
    """Return the command by which pip downloads one wheel for another machine, and nothing that it needs."""
    platforms = [word for tag in image.platforms for word in ("--platform", tag)]  # pip takes each word for word
    return [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", _dotted(image.python), *platforms,
        "--dest", str(folder), str(wanted),
    ]  # fmt: skip


def _licence(metadata: Message) -> str:
    """Return a licence in a few words: the expression, or the first line of the free text."""
    said = metadata.get("License-Expression") or metadata.get("License") or "see its metadata"
    return str(said).strip().splitlines()[0]


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
