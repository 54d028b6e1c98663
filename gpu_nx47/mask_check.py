"""One mask's file, read as the competition would: page by page with Pillow, and held to what our own reader finds."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import mask_file
from gpu_nx47._tiff import decode, inspect
from gpu_nx47.errors import InputError
from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Shape = tuple[int, int, int]
MOST_UNKNOWN: Final = 1 << 30
"""Voxels of a mask whose image tells no shape."""
MOST_PAGES: Final = 1 << 14
"""Its pages."""


@dataclass(frozen=True)
class Checked:
    """A mask's file that was read whole, and is as it must be."""

    sha256: str
    """Of the file."""
    shape: Shape
    voxels: int
    foreground: int
    """Voxels of value 1."""


def check_file(path: Path, shape: Shape) -> tuple[str, ...]:
    """Re-read one mask that waits, as `check_submission` does in the zip; return its problems."""
    problems: list[str] = []
    with mask_file.any_size():
        _read_pages(path.read_bytes(), path.name, shape, problems)
    return tuple(problems)


def bounds(shape: Shape | None) -> tuple[int, int]:
    """Return the most voxels and pages that a mask may have."""
    return (MOST_UNKNOWN, MOST_PAGES) if shape is None else (math.prod(shape), shape[0])


def check_mask(
    data: bytes,
    name: str,
    shape: Shape | None,
    problems: list[str],
    threads: int = 1,
) -> tuple[int, int]:
    """Read the file of one mask; return its voxels and foreground voxels, or (0, 0) with the problem noted."""
    most, _ = bounds(shape)
    try:
        found = inspect(data, name, single=shape is not None and shape[0] == 1)
    except InputError as error:
        problems.append(str(error))
        return 0, 0
    if shape not in (None, found.shape):
        problems.append(f"{name} has the shape {found.shape}; expected {shape}, as its image")
        return 0, 0
    if math.prod(found.shape) > most:
        problems.append(f"{name} has the shape {found.shape}; expected at most {most} voxels")
        return 0, 0
    try:
        # Pillow reads a damaged page without a word.
        whole = decode(data, found, threads=threads)
        with mask_file.any_size():
            return _read_pages(data, name, shape, problems, whole, threads)
    except InputError as error:
        problems.append(str(error))
        return 0, 0
    except mask_file.ERRORS as error:
        problems.append(f"{name} cannot be read with Pillow: {error}")
        return 0, 0


def _read_pages(
    data: bytes,
    name: str,
    shape: Shape | None,
    problems: list[str],
    whole: NDArray[Any] | None = None,
    threads: int = 1,
) -> tuple[int, int]:
    """Read every page with Pillow; note the first page of each kind of problem, and of voxels unlike `whole`."""
    # Not asked of Pillow: it takes a third of the time to say how many there are, and then goes through them again.
    likely = len(whole) if whole is not None else shape[0] if shape is not None else 1
    noted: dict[str, str] = {}
    pages = voxels = foreground = 0

    def some(run: range) -> tuple[dict[str, str], int, int, int]:
        return _read_some(data, run.start, None if run.stop == likely else run.stop, name, shape, whole)

    for found in spread(likely, some, threads, "nx47-check", runs=1):
        for kind, problem in found[0].items():
            noted.setdefault(kind, problem)
        pages, voxels, foreground = pages + found[1], voxels + found[2], foreground + found[3]
    if shape is not None and pages != shape[0]:
        noted["pages"] = f"{name} has {pages} pages; expected {shape[0]}, as its image"
    problems.extend(noted.values())
    return voxels, foreground


def _read_some(
    data: bytes, start: int, stop: int | None, name: str, shape: Shape | None, whole: NDArray[Any] | None
) -> tuple[dict[str, str], int, int, int]:
    """Read pages from `start` to before `stop`, or to the last one there is.

    Returns
    -------
    tuple
        The first of each kind of problem, in the order they were found; pages, voxels and foreground voxels read.
    """
    from PIL import Image

    noted: dict[str, str] = {}
    pages = voxels = foreground = 0
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        for z in itertools.count(start) if stop is None else range(start, stop):
            try:
                image.seek(z)
            except EOFError:  # there is no such page
                break
            pages += 1
            if image.mode != "L":
                noted.setdefault("mode", f"{name}, page {z}: the mode is {image.mode}; expected L (uint8)")
                continue
            if image.info.get("compression") != "tiff_lzw":
                found = image.info.get("compression")
                noted.setdefault("codec", f"{name}, page {z}: the compression is {found}; expected LZW")
            if shape is not None and image.size != (shape[2], shape[1]):
                size = image.size[::-1]
                noted.setdefault("size", f"{name}, page {z}: the size is {size}; expected {shape[1:]}, as its image")
                continue
            page = np.asarray(image)
            highest = int(page.max(initial=0))
            if highest > 1:
                noted.setdefault("values", f"{name}, page {z}: the value {highest} occurs; expected 0 and 1 only")
            if whole is not None and (z >= len(whole) or not np.array_equal(page, whole[z])):
                noted.setdefault("voxels", f"{name}, page {z}: Pillow reads other voxels than stand there")
            voxels += page.size
            foreground += int(np.count_nonzero(page))
    return noted, pages, voxels, foreground
