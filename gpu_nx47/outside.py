"""Another program's probabilities, from TIFF or nnU-Net's NPZ, as codes of ours, several of them averaged exactly."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from gpu_nx47 import tables
from gpu_nx47._tiff import LIMIT_BYTES, decode, inspect
from gpu_nx47.errors import DamagedInputError, InputError, NotAVolumeError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, int, int]
SUFFIXES: Final = (".tif", ".tiff", ".npz")
KEYS: Final = ("probabilities", "softmax")
"""Arrays of nnU-Net's NPZ, of its second and its first version: (class, z, y, x)."""
SURFACE_CLASS: Final = 1
MOST_PARTS: Final = 10**6
_ADVICE: Final = "Save the probability of surface at each voxel: float 0 to 1, uint8 0 to 255, or uint16 0 to 65535."


@dataclass(frozen=True)
class Folder:
    """A folder of probabilities, <id>.tif or <id>.npz, and what they weigh."""

    path: Path
    weight: Fraction

    @classmethod
    def parse(cls, text: str) -> Folder:
        """Return the folder that DIR or DIR=WEIGHT names.

        Raises
        ------
        UsageError
            No such folder, or a weight that is none.
        """
        path, equals, tail = text.rpartition("=")
        if not equals or Path(text).is_dir():
            path, tail = text, "1"
        try:
            weight = Fraction(tail)
        except (ValueError, ZeroDivisionError):
            weight = Fraction(0)
        if not 0 < weight <= MOST_PARTS or weight.denominator > MOST_PARTS:
            raise UsageError(f"--probability {text}: expected a weight above 0 such as 0.7, got {tail!r}")
        if not Path(path).is_dir():
            raise UsageError(f"--probability {text}: expected a folder of TIFFs or NPZs, found none at {path}")
        return cls(Path(path), weight)

    def has(self, name: str) -> bool:
        """Return whether there is a file of a volume."""
        return any((self.path / f"{name}{suffix}").is_file() for suffix in SUFFIXES)

    def file(self, name: str) -> Path:
        """Return the file of a volume; InputError where there is none, or more than one."""
        found = [path for suffix in SUFFIXES if (path := self.path / f"{name}{suffix}").is_file()]
        if len(found) == 1:
            return found[0]
        raise InputError(
            str(self.path / name),
            "the folder holds no probability of this volume" if not found else "several files are of this volume",
            expected=f"one of {', '.join(name + suffix for suffix in SUFFIXES)}",
            found=", ".join(path.name for path in found) or "none",
            advice=_ADVICE,
        )


@dataclass(frozen=True)
class Read:
    """The probability of one volume."""

    codes: NDArray[np.uint16]
    """(z, y, x), step 1/65535."""
    sources: list[dict[str, Any]]
    """Path, SHA-256 and weight of each file."""


def folders(texts: Sequence[str]) -> tuple[Folder, ...]:
    """Return the folders that the user named; raises as `Folder.parse` does."""
    return tuple(map(Folder.parse, texts))


def read(places: Sequence[Folder], name: str, shape: Shape) -> Read:
    """Read a volume's probability from each folder and average them by their weights.

    Parameters
    ----------
    places : sequence of Folder
    name : str
        Id of the volume.
    shape : (z, y, x)
        Of the volume.

    Raises
    ------
    InputError
        A file is missing, damaged, of another shape, or holds what is no probability.

    Notes
    -----
    code = floor((2 sum w c + W) / (2 W)) with the weights as integers and W their sum: exact, so the order of the
    folders does not matter.
    """
    parts, sources = [], []
    for place in places:
        path = place.file(name)
        data = _bytes(path)
        parts.append(_npz(data, path, shape) if path.suffix == ".npz" else _tiff(data, path, shape))
        told = {"path": str(path), "sha256": hashlib.sha256(data).hexdigest(), "weight": str(place.weight)}
        sources.append(told)
    if len(parts) == 1:
        return Read(parts[0], sources)
    common = math.lcm(*(place.weight.denominator for place in places))
    weights = [int(place.weight * common) for place in places]
    total = sum(weights)
    mean = np.empty(shape, np.uint16)
    for z in range(shape[0]):
        added = sum(weight * part[z].astype(np.int64) for weight, part in zip(weights, parts, strict=True))
        mean[z] = (2 * added + total) // (2 * total)
    return Read(mean, sources)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size <= LIMIT_BYTES:
            return path.read_bytes()
        found = f"{path.stat().st_size} bytes"
    except OSError as error:
        found = str(error)
    raise DamagedInputError(
        str(path),
        "the file cannot be read",
        expected=f"a readable file of at most {LIMIT_BYTES} bytes",
        found=found,
        advice="Write or copy it again.",
    )


def _tiff(data: bytes, path: Path, shape: Shape) -> NDArray[np.uint16]:
    info = inspect(data, str(path), single=shape[0] == 1)
    if info.shape != shape:
        _refuse(path, "the probability does not fit the volume", f"its shape {shape}", f"{info.shape}")
    return _codes(iter(decode(data, info)), info.dtype.newbyteorder("="), path, shape)


def _npz(data: bytes, path: Path, shape: Shape) -> NDArray[np.uint16]:
    """Return the codes of the surface class of an NPZ, one slice at a time: the whole array is never in memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            member = next((f"{key}.npy" for key in KEYS if f"{key}.npy" in names), None)
            if member is None:
                _refuse(path, "the NPZ holds no probabilities", f"an array {' or '.join(KEYS)}", ", ".join(names))
            with archive.open(member) as stream:
                return _npy(stream, path, shape)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise DamagedInputError(
            str(path),
            "the NPZ cannot be read",
            expected="an NPZ as nnU-Net and numpy.savez write it",
            found=str(error),
            advice="Write or copy it again.",
        ) from error


def _npy(stream: Any, path: Path, shape: Shape) -> NDArray[np.uint16]:
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"version {version} of the NPY format")
    found, fortran, dtype = header(stream)
    if dtype.kind not in "fu" or dtype.itemsize > 8 or fortran:
        _refuse(path, "the type is no probability's", "float or uint8, in C order", f"{dtype}, {found}")
    classes = found[0] if len(found) == 4 else 1
    if len(found) not in (3, 4) or tuple(found[-3:]) != shape or classes < 1:
        expected = f"{shape}, or (classes, {', '.join(map(str, shape))})"
        _refuse(path, "the probability does not fit the volume", expected, f"{found}")
    size = shape[1] * shape[2] * dtype.itemsize

    def plane() -> bytes:
        part: bytes = stream.read(size)
        if len(part) != size:
            raise ValueError("the array is cut short")
        return part

    for _ in range(min(SURFACE_CLASS, classes - 1) * shape[0]):
        plane()
    planes = (np.frombuffer(plane(), dtype).reshape(shape[1:]) for _ in range(shape[0]))
    return _codes(planes, dtype.newbyteorder("="), path, shape)


def _codes(planes: Iterator[NDArray[Any]], dtype: np.dtype[Any], path: Path, shape: Shape) -> NDArray[np.uint16]:
    """Return planes as codes: floats rounded half to even, bytes times 257, 16 bits as they are."""
    if dtype.kind != "f" and dtype not in (np.uint8, np.uint16):
        _refuse(path, "the type is no probability's", "float, uint8 or uint16", dtype.name)
    codes = np.empty(shape, np.uint16)
    highest: float = 0
    for z, plane in enumerate(planes):
        low, high = float(plane.min()), float(plane.max())
        highest = max(highest, high)
        if dtype.kind == "f":
            if not (low >= 0 and high <= 1):  # nor does either hold for a NaN
                _refuse(path, "a value is no probability", "numbers from 0 to 1", f"values from {low} to {high}", z)
            codes[z] = np.rint(plane.astype(np.float64) * tables.PROBABILITY_ONE)
        else:
            codes[z] = plane.astype(np.uint16) * np.uint16(257) if dtype == np.uint8 else plane
    if dtype.kind == "u" and 0 < highest <= 2:
        found = f"integers up to {highest:g}: a mask or labels"
        _refuse(path, "the values are no probabilities", f"integers up to {np.iinfo(dtype).max}", found)
    return codes


def _refuse(path: Path, what: str, expected: str, found: str, page: int | None = None) -> NoReturn:
    raise NotAVolumeError(str(path), what, expected=expected, found=found, advice=_ADVICE, page=page)
