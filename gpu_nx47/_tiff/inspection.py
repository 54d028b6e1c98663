"""What a TIFF stack is, read from its headers alone; what could make decoding lie or blow up is refused here."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from gpu_nx47._tiff import walk as w
from gpu_nx47._tiff.describe import Declared, Size, declared, shaped
from gpu_nx47._tiff.page import EXPANSION, MAX_SEGMENTS, NONE, Page, description, not_a_volume, read_page, resolution
from gpu_nx47._tiff.walk import Buffer, Fault, Reader
from gpu_nx47.errors import DamagedInputError, TooLargeError

LIMIT_BYTES: Final = 16 << 30
"""Declared bytes accepted by default: half of the memory of Kaggle's machine, as codes and masks need room."""
MAX_PROMISED: Final = 1 << 30
"""Voxels of a shape that an error hands on: a zero mask is written for it in 4 s, and a header may say anything."""
MAX_PROMISED_PAGES: Final = 1 << 14
"""Its pages: each takes some 0.2 ms more."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class StackInfo:
    """A stack that passed inspection."""

    name: str
    shape: Shape
    dtype: np.dtype
    """As stored, byte order included."""
    pages: tuple[Page, ...]
    """One for each slice, or the only one where `contiguous`."""
    contiguous: bool
    """All slices lie behind one header, uncompressed (ImageJ and tifffile write so)."""
    counted: bool
    """The description tells the number of slices: a copy that lacks some is refused, not shorter."""
    voxel_size_um: Size | None


def inspect_file(path: Path, *, single: bool = False, limit_bytes: int = LIMIT_BYTES) -> StackInfo:
    """Inspect a file without reading its pixels: the headers are touched through a memory map."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return inspect(b"", str(path), single=single)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return inspect(data, str(path), single=single, limit_bytes=limit_bytes)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DamagedInputError:
    """Return the error for a file that the system does not hand out."""
    return DamagedInputError(
        str(path),
        "the file cannot be read",
        expected="a readable file",
        found=error.strerror or str(error),
        advice="Check that it exists and that you may read it.",
    )


def inspect(data: Buffer, name: str, *, single: bool = False, limit_bytes: int = LIMIT_BYTES) -> StackInfo:
    """Return what a TIFF stack is, or refuse it.

    Parameters
    ----------
    data : bytes or a memory map
        The whole file.
    name : str
        The file, as the user would name it.
    single : bool
        Expect one 2-D page, a slice of a volume, instead of a stack.
    limit_bytes : int
        Most bytes that the decoded stack may take.

    Raises
    ------
    DamagedInputError
        Cut short, contradicting itself, or in a codec that is not read.
    NotAVolumeError
        Readable, but not a 3-D stack of one grey channel.
    TooLargeError
        Larger than `limit_bytes`.
    """
    try:
        reader = w.open_reader(data)
        pages: list[Page] = []
        said: Declared | None = None
        segments = 0
        for k, tags in enumerate(w.walk(reader)):
            page = read_page(reader, tags, k, MAX_SEGMENTS - segments)
            segments += len(page.offsets)
            if k == 0:
                said = declared(description(reader, tags, 0), resolution(reader, tags))
            elif (page.shape, page.dtype) != (pages[0].shape, pages[0].dtype):
                raise _unequal(page, pages[0], k)
            pages.append(page)
        planes, contiguous = _planes(pages, said, single=single)
        _check_segments(reader, pages, planes if contiguous else 0, limit_bytes)
    except Fault as fault:
        raise fault.error(name, _sketch(data)) from None
    voxel = said.voxel_size_um if said else None
    shape = planes, *pages[0].shape
    counted = pages[0].series is not None or (said is not None and said.planes is not None)
    return StackInfo(name, shape, np.dtype(pages[0].dtype), tuple(pages), contiguous, counted, voxel)


def _sketch(data: Buffer) -> Shape | None:
    """Return the shape that the headers of a refused file tell: declared, which holds where it is cut, or counted."""
    page: tuple[int, int] | None = None
    count = 0
    with suppress(Fault):
        reader = w.open_reader(data)
        for count, tags in enumerate(w.walk(reader), 1):
            if page is not None:
                continue
            y, x = (reader.integers(tags[tag], tag, 0)[0] if tag in tags else 0 for tag in (w.LENGTH, w.WIDTH))
            page = y, x
            text = description(reader, tags, 0)
            said = declared(text, (None, None))
            dims = shaped(text) or ()
            if said and said.planes:
                count = said.planes
                break
            if len(dims) >= 3 and dims[-2:] == page:
                count = math.prod(dims[:-2])
                break
        if page and count * math.prod(page) > 0:
            return promised((count, *page))
    return None


def promised(shape: Shape) -> Shape | None:
    """Return the shape of a refused file, or None where a zero mask of it would cost too much time."""
    return shape if shape[0] <= MAX_PROMISED_PAGES and math.prod(shape) <= MAX_PROMISED else None


def _planes(pages: list[Page], said: Declared | None, *, single: bool) -> tuple[int, bool]:
    """Return the number of slices, and whether they all lie behind the first header."""
    first, n = pages[0], len(pages)
    if said:
        planes, contiguous = said.planes or n, False
        if planes != n:
            contiguous = n == 1 and said.by == "ImageJ" and _one_block(first)
            if not contiguous:
                raise _cut(f"{planes} pages, as {said.by} declares", f"{n}")
        several = {axis: size for axis, size in said.axes.items() if size > 1}
        if len(several) > 1:
            raise not_a_volume(None, "the stack has more than three axes", "z, y, x", f"{several} beside y and x")
        explicit = False
    else:
        planes, contiguous, explicit = _series(pages)
    if single and planes != 1:
        raise not_a_volume(None, "a slice is a stack itself", "one page in each file of the folder", f"{planes} pages")
    if not single and planes == 1 and not explicit:
        advice = "Give a stack of slices, or a folder of two or more single-page TIFFs of equal shape."
        raise not_a_volume(None, "the file is one 2-D picture", "a stack of pages", "one page", advice)
    return planes, contiguous


def _series(pages: list[Page]) -> tuple[int, bool, bool]:
    """Return slices, contiguity, and whether three axes are declared, by the shapes tifffile writes."""
    n, (y, x) = len(pages), pages[0].shape
    sizes: list[int] = []
    k, dims = 0, pages[0].series
    if dims is None:
        return n, False, False
    while k < n:
        dims = pages[k].series
        if dims is None:
            raise _cut(f"{k} pages, as the description declares", f"{n}")
        planes, rest = divmod(math.prod(dims), y * x)
        if rest or planes == 0:
            raise _cut(f"pages that fill the declared shape {dims}", f"pages of {pages[0].shape}")
        axes = dims[:-1] if len(dims) > 3 and dims[-1] == 1 else dims  # an axis of one colour
        if axes[-2:] != pages[0].shape or sum(d > 1 for d in axes[:-2]) > 1:
            raise not_a_volume(None, "the axes are not z, y, x", f"(slices, {y}, {x})", f"{dims}")
        if n == 1 < planes and _one_block(pages[0]):
            return planes, True, True
        if planes > n - k:
            raise _cut(f"{planes} pages, as the description declares", f"{n - k}")
        sizes.append(planes)
        k += planes
    if len(sizes) > 1 and max(sizes) > 1:
        raise not_a_volume(None, "the file holds several volumes", "one", f"stacks of {sizes[:8]} pages")
    return n, False, len(dims or ()) >= 3


def _one_block(page: Page) -> bool:
    """Tell whether a page lies in one piece, uncompressed, so that others may follow it without headers."""
    if page.compression != NONE or page.tiled:
        return False
    following = islice(page.offsets, 1, None)
    return all(at + count == after for at, count, after in zip(page.offsets, page.counts, following, strict=False))


def _check_segments(reader: Reader, pages: list[Page], contiguous: int, limit_bytes: int) -> None:
    """Check that the bytes of every strip and tile lie in the file and can become what the headers declare."""
    total = math.prod(pages[0].shape) * np.dtype(pages[0].dtype).itemsize * contiguous
    if contiguous and pages[0].offsets[0] + total > reader.size:
        raise _cut(f"{total} bytes of pixels from byte {pages[0].offsets[0]}", f"a file of {reader.size} bytes")
    spent = segments = 0
    for number, page in enumerate(pages):
        ratio = EXPANSION[page.compression]
        for k, (at, count) in enumerate(zip(page.offsets, page.counts, strict=True)):
            if count == 0 or at + count > reader.size:
                raise Fault(
                    "the file is cut: a strip lies outside it",
                    expected=f"{count or 'some'} bytes at byte {at}",
                    found=f"a file of {reader.size} bytes",
                    page=number,
                )
            size = page.segment_bytes(k)
            spent, segments = spent + count, segments + size
            if size > ratio * count:
                raise Fault(
                    "a strip declares more pixels than its bytes can hold",
                    expected=f"at most {ratio} bytes from one",
                    found=f"{size} bytes from {count}",
                    page=number,
                )
    if spent > reader.size:
        raise Fault("strips share their bytes", expected=f"at most {reader.size} bytes in all", found=f"{spent}")
    total = total or segments  # tiles decode whole, so that their margin counts too
    if total > limit_bytes:
        raise Fault(
            "the volume is too large",
            expected=f"at most {limit_bytes} bytes of pixels",
            found=f"{total}",
            advice="Cut the volume into smaller stacks.",
            kind=TooLargeError,
        )


def _cut(expected: str, found: str) -> Fault:
    return Fault("the pages do not add up to the stack", expected=expected, found=found)


def _unequal(page: Page, first: Page, k: int) -> Fault:
    return not_a_volume(
        k,
        "the pages are not alike",
        f"{first.shape[0]} x {first.shape[1]} of {np.dtype(first.dtype).name} as on page 0",
        f"{page.shape[0]} x {page.shape[1]} of {np.dtype(page.dtype).name}",
        "Save the slices as a stack of equal pages.",
    )
