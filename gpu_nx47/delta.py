"""How far two submissions differ: exact voxel counts, a few pages of a mask in memory at a time."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47._tiff import decode, inspect
from gpu_nx47.errors import InputError, NotAVolumeError
from gpu_nx47.hardware import usable_processors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47._tiff import StackInfo

PAGES: Final = 32
"""Pages decoded at once."""
LARGEST_MEMBER: Final = 1 << 30
LARGEST_MASK: Final = 1 << 33
"""Bytes of a member of the zip, and of the mask in it: what is larger was not written by a run."""
READ_ERRORS: Final = (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class Delta:
    """Voxels of two masks, over all files."""

    before: int
    """Foreground voxels of the earlier masks."""
    after: int
    both: int
    voxels: int
    """All voxels of the volumes."""

    @property
    def xor(self) -> int:
        """Voxels that changed."""
        return self.before + self.after - 2 * self.both

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|); of two empty masks 1."""
        whole = self.before + self.after
        return 2 * self.both / whole if whole else 1.0

    @property
    def iou(self) -> float:
        """|A and B| / |A or B|; of two empty masks 1."""
        either = self.before + self.after - self.both
        return self.both / either if either else 1.0


def compare(before: Path, after: Path) -> Delta:
    """Compare two submissions that answer the same volumes.

    Parameters
    ----------
    before, after : Path
        Zips of masks, any value but 0 counting as foreground.

    Raises
    ------
    InputError
        A zip or a mask cannot be read, or the two do not hold masks of the same names and shapes.
    """
    try:
        with zipfile.ZipFile(before) as first, zipfile.ZipFile(after) as second:
            names = sorted(first.namelist())
            if names != sorted(second.namelist()):
                raise _unlike(after, f"the masks of {before}", "masks of other names")
            counted = np.zeros(4, np.int64)
            for name in names:
                counted += _mask(_pages(first, before, name), _pages(second, after, name), after, name)
    except READ_ERRORS as error:
        raise InputError(
            f"{before} and {after}",
            "two submissions cannot be compared",
            expected="two zips of masks",
            found=str(error)[:200],
            advice="Run again in the folder whose zip is damaged.",
        ) from error
    return Delta(*(int(count) for count in counted))


def _mask(
    first: Iterator[NDArray[np.uint8]], second: Iterator[NDArray[np.uint8]], after: Path, name: str
) -> NDArray[np.int64]:
    """Count the foreground of both masks, their common part, and all voxels."""
    counted = np.zeros(4, np.int64)
    while True:
        one, two = next(first, None), next(second, None)
        if one is None or two is None or one.shape != two.shape:
            if one is two:
                return counted
            shapes = [None if block is None else block.shape for block in (one, two)]
            raise _unlike(after, f"{name} with pages like the earlier one's ({shapes[0]})", f"{shapes[1]}")
        a, b = one != 0, two != 0
        counted += [np.count_nonzero(a), np.count_nonzero(b), np.count_nonzero(a & b), a.size]


def _pages(archive: zipfile.ZipFile, path: Path, name: str) -> Iterator[NDArray[np.uint8]]:
    """Yield a mask block by block, along z."""
    member = archive.getinfo(name)
    if member.file_size > LARGEST_MEMBER:
        raise _unlike(path, f"{name} of at most {LARGEST_MEMBER} bytes", f"{member.file_size} bytes")
    data = archive.read(member)
    info = _inspected(data, f"{path}: {name}")
    threads = usable_processors()
    if info.contiguous:
        yield decode(data, info, threads=threads)
        return
    for start in range(0, len(info.pages), PAGES):
        pages = info.pages[start : start + PAGES]
        yield decode(data, replace(info, pages=pages, shape=(len(pages), *info.shape[1:])), threads=threads)


def _inspected(data: bytes, name: str) -> StackInfo:
    try:
        return inspect(data, name, limit_bytes=LARGEST_MASK)
    except NotAVolumeError:  # a volume of one slice
        return inspect(data, name, single=True, limit_bytes=LARGEST_MASK)


def _unlike(path: Path, expected: str, found: str) -> InputError:
    return InputError(
        str(path),
        "the two submissions do not answer the same volumes",
        expected=expected,
        found=found,
        advice="Compare runs on the same inputs.",
    )
