"""Masks and labels on the disk: which are there, and their voxels, each refused for itself where it cannot be used."""

from __future__ import annotations

import csv
import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47._tiff import LIMIT_BYTES, decode, inspect
from gpu_nx47.errors import DamagedInputError, InputError, NotAVolumeError, UsageError
from gpu_nx47.hardware import usable_processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, int, int]

SUFFIXES: Final = (".tif", ".tiff")
SUBMISSION: Final = "submission.zip"
HIGHEST_LABEL: Final = 2
ZIP_ERRORS: Final = (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, RuntimeError, zlib.error)
"""What zipfile raises on damaged, encrypted or unknown members."""


@dataclass(frozen=True)
class MaskFile:
    """One TIFF, by itself or in a zip."""

    path: Path
    """The TIFF, or the zip."""
    member: str | None = None
    """Its name in the zip."""

    @property
    def id(self) -> str:
        """The volume it belongs to: its name without folder and suffix."""
        return PurePath(self.member or self.path.name).stem

    @property
    def name(self) -> str:
        """As the user would name it."""
        return str(self.path) if self.member is None else f"{self.path}, {self.member}"

    def read(self, limit: int) -> bytes:
        """Return its bytes; a member of a zip that unpacks to more than `limit` bytes is refused.

        Raises
        ------
        DamagedInputError
            It cannot be read, or is too large.
        """
        try:
            if self.member is None:
                return self.path.read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                info = archive.getinfo(self.member)
                if info.file_size <= limit:
                    return archive.read(info)
                found = f"{info.file_size} bytes"
        except ZIP_ERRORS as error:
            found = str(error)
        raise DamagedInputError(
            self.name,
            "the file cannot be read",
            expected=f"a readable file of at most {limit} bytes",
            found=found,
            advice="Write or copy it again.",
        )


def find_masks(path: Path, what: str) -> dict[str, MaskFile]:
    """Return the masks at a path, by volume id.

    Parameters
    ----------
    path : Path
        A TIFF, a folder of TIFFs, a zip of them, or the folder of a run, whose submission.zip is taken.
    what : str
        How to name the argument in an error.

    Raises
    ------
    UsageError
        Nothing there, or two masks of one id.
    """
    if path.is_dir() and (path / SUBMISSION).is_file():
        path = path / SUBMISSION
    if path.is_dir():
        found = [MaskFile(file) for file in sorted(path.iterdir()) if _is_tiff(file) and file.is_file()]
    elif not path.is_file():
        raise UsageError(f"{what}: {path} does not exist; expected a TIFF, a folder of TIFFs, or a submission.zip")
    elif _is_tiff(path):
        found = [MaskFile(path)]
    else:
        found = [MaskFile(path, member) for member in _members(path, what) if _is_tiff(PurePath(member))]
    masks = {mask.id: mask for mask in found}
    if not found:
        raise UsageError(f"{what}: no TIFF in {path}; expected one mask for each volume, named <id>.tif")
    if len(masks) < len(found):
        twice = next(a for a, b in zip(found, masks.values(), strict=False) if a != b)
        raise UsageError(f"{what}: {path} holds two masks of the volume {twice.id}; keep one")
    return masks


def find_labels(path: Path) -> dict[str, MaskFile]:
    """Return the labels at a path: of a competition root, those in its train_labels/."""
    inner = path / "train_labels"
    return find_masks(inner if inner.is_dir() else path, "LABELS")


@dataclass(frozen=True)
class Pairing:
    """Which masks belong to which labels."""

    labels: dict[str, MaskFile]
    """To be scored, by id."""
    masks: dict[str, MaskFile]
    """The masks of them that are there."""
    extra: tuple[MaskFile, ...]
    """Masks without a label."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of the labels without a mask."""
        return tuple(id_ for id_ in self.labels if id_ not in self.masks)


def pair(pred: Path, labels: Path) -> Pairing:
    """Pair masks with labels by their ids; two files by being given together.

    Parameters
    ----------
    pred : Path
        One mask, which is then the only volume scored; a folder of masks, or a submission.zip.
    labels : Path
        One label volume, or a folder of them.

    Raises
    ------
    UsageError
        Nothing there, two files of one id, or no mask that has a label.
    """
    masks, truths = find_masks(pred, "PRED"), find_labels(labels)
    if _is_file(pred) and _is_file(labels):
        return Pairing(truths, dict(zip(truths, masks.values(), strict=True)), ())
    if _is_file(pred):
        truths = {id_: file for id_, file in truths.items() if id_ in masks}
    both = {id_: file for id_, file in masks.items() if id_ in truths}
    if not both:
        raise UsageError(
            f"no mask of {pred} has a label of its name in {labels}: masks {_some(masks)}; labels {_some(truths)}"
        )
    return Pairing(truths, both, tuple(file for id_, file in masks.items() if id_ not in truths))


def _is_file(path: Path) -> bool:
    return path.is_file() and _is_tiff(path)


def _some(files: dict[str, MaskFile]) -> str:
    return ", ".join(list(files)[:3]) + (" ..." if len(files) > 3 else "") if files else "none"


def find_scrolls(labels: Path, table: Path | None) -> dict[str, str]:
    """Return the scroll of each volume, from a table with the columns id and scroll_id.

    Parameters
    ----------
    labels : Path
        The labels; a train.csv in their folder or beside it is taken.
    table : Path, optional
        The table; None: the one beside the labels, and no scrolls where there is none.

    Raises
    ------
    UsageError
        The table cannot be read, or lacks a column.
    """
    if table is None:
        folder = labels if labels.is_dir() else labels.parent
        places = [place / "train.csv" for place in (folder, folder.absolute().parent)]
        table = next((place for place in places if place.is_file()), None)
        if table is None:
            return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if not {"id", "scroll_id"} <= set(rows.fieldnames or ()):
                raise UsageError(f"{table}: expected the columns id and scroll_id, found {rows.fieldnames}")
            return {row["id"]: row["scroll_id"] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: cannot be read as a table: {error}") from error


def read_label(file: MaskFile) -> NDArray[np.uint8]:
    """Return a label volume (z, y, x) of 0, 1, 2; InputError where it is none."""
    return _labels(file, file.read(LIMIT_BYTES))


def read_label_at(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Return the labels of a TIFF as `read_label` does, and the SHA-256 of its bytes, in hex."""
    file = MaskFile(path)
    data = file.read(LIMIT_BYTES)
    return _labels(file, data), hashlib.sha256(data).hexdigest()


def _labels(file: MaskFile, data: bytes) -> NDArray[np.uint8]:
    label = _voxels(file, data, None)
    for z, page in enumerate(label):
        if (highest := int(page.max())) > HIGHEST_LABEL:
            raise NotAVolumeError(
                file.name,
                "a value is no label",
                expected="0 background, 1 surface, 2 ignore",
                found=f"{highest}",
                advice="Give the competition's labels; 0 and 255 must become 0 and 1.",
                page=z,
                shape=label.shape,
            )
    return label


def read_mask(file: MaskFile, shape: Shape) -> NDArray[np.uint8]:
    """Return a predicted mask of the shape (z, y, x); InputError where it cannot be one."""
    # LZW makes noise longer by half at most; page headers and descriptions take little beside that.
    limit = 2 * shape[0] * shape[1] * shape[2] + 4096 * (shape[0] + 1)
    return _voxels(file, file.read(limit), shape)


def _voxels(file: MaskFile, data: bytes, shape: Shape | None) -> NDArray[np.uint8]:
    info = inspect(data, file.name, single=shape is not None and shape[0] == 1)
    if shape is not None and info.shape != shape:
        raise InputError(
            file.name,
            "the mask does not fit its label",
            expected=f"the label's shape {shape}",
            found=f"{info.shape}",
            advice="Check that the files of one name belong together, and the order of the axes.",
            shape=info.shape,
        )
    if info.dtype != np.uint8:
        raise NotAVolumeError(
            file.name,
            "the type is no mask's",
            expected="uint8",
            found=info.dtype.name,
            advice="A probability must be cut at a threshold first; save 0 and 1 as uint8.",
            shape=info.shape,
        )
    return decode(data, info, threads=usable_processors())


def _is_tiff(path: PurePath) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _members(path: Path, what: str) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(archive.namelist())
    except ZIP_ERRORS as error:
        raise UsageError(f"{what}: {path} is neither a TIFF nor a zip that can be read: {error}") from error
