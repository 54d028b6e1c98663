"""What a TIFF stack is, read from its headers alone; what could make decoding lie or blow up is refused here."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gpu_nx47._tiff import walk as w
from gpu_nx47._tiff.describe import Declared, Size, declared, shaped
from gpu_nx47._tiff.walk import Buffer, Entry, Fault, Reader
from gpu_nx47.errors import DamagedInputError, InputError, NotAVolumeError

LIMIT_BYTES: Final = 16 << 30
"""Declared bytes accepted by default: half of the memory of Kaggle's machine, as codes and masks need room."""
MAX_PROMISED: Final = 1 << 31
"""Voxels of a shape that an error hands on: a zero mask is written for it, and a damaged header may say anything."""
MAX_SEGMENTS: Final = 4_000_000
"""Strips and tiles of a file: a 320-cube has 320."""
MAX_DESCRIPTION: Final = 16 << 20

NONE, LZW, DEFLATE, DEFLATE_OLD, PACKBITS, ZSTD = 1, 5, 8, 32946, 32773, 50000
EXPANSION: Final = {NONE: 1, LZW: 1400, DEFLATE: 1040, DEFLATE_OLD: 1040, PACKBITS: 64, ZSTD: 44_000}
"""Bytes that one compressed byte can become: LZW's longest string of 12-bit codes 1365, deflate 1032, packbits 128 from
2, zstd a block of 128 KiB from 3 or 4."""
CODECS: Final = "none, LZW, deflate, packbits or zstd"
DTYPES: Final = {(1, 8): "u1", (1, 16): "u2", (3, 16): "f2", (3, 32): "f4", (3, 64): "f8"}
FORMATS: Final = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined", 5: "complex integer", 6: "complex"}
CONVERT: Final = "Convert it to a stack of grey pages, uint8, uint16 or float (tifffile: photometric='minisblack')."

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Page:
    """One page: how its grey values lie in the file."""

    shape: tuple[int, int]
    """(y, x)."""
    dtype: str
    """NumPy's letter and byte order, as stored."""
    compression: int
    predictor: int
    block: tuple[int, int]
    """(y, x) of a strip or tile; the last strip is shorter."""
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    description: str

    def rows(self, k: int) -> int:
        """Rows that segment k decodes to (a tile: always whole)."""
        return self.block[0] if self.tiled else min(self.block[0], self.shape[0] - k * self.block[0])

    def segment_bytes(self, k: int) -> int:
        """Bytes that segment k decodes to."""
        return self.rows(k) * self.block[1] * int(self.dtype[2:])


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
    InputError
        Larger than `limit_bytes`.
    """
    try:
        reader = w.open_reader(data)
        pages: list[Page] = []
        said: Declared | None = None
        segments = 0
        for k, tags in enumerate(w.walk(reader)):
            page = _page(reader, tags, k, MAX_SEGMENTS - segments)
            segments += len(page.offsets)
            if k == 0:
                said = declared(page.description, _resolution(reader, tags))
            elif (page.shape, page.dtype) != (pages[0].shape, pages[0].dtype):
                raise _unequal(page, pages[0], k)
            pages.append(page)
        planes, contiguous = _planes(pages, said, single=single)
        _check_segments(reader, pages, planes if contiguous else 0, limit_bytes)
    except Fault as fault:
        raise fault.error(name, _sketch(data)) from None
    voxel = said.voxel_size_um if said else None
    shape = planes, *pages[0].shape
    return StackInfo(name, shape, np.dtype(pages[0].dtype), tuple(pages), contiguous, voxel)


def _page(reader: Reader, tags: dict[int, Entry], k: int, room: int) -> Page:
    """Read one page's tags; refuse what is not one grey channel of a type we take."""

    def scalar(tag: int, default: int | None = None) -> int:
        if tag not in tags:
            if default is None:
                raise Fault(f"tag {w.NAMES[tag]} is missing", expected="the tag", found="none", page=k)
            return default
        values = reader.integers(tags[tag], tag, k)
        if len(set(values)) != 1:
            raise Fault(f"tag {w.NAMES[tag]} has several values", expected="one", found=str(values[:4]), page=k)
        return values[0]

    shape = scalar(w.LENGTH), scalar(w.WIDTH)
    if 0 in shape:
        raise Fault("a page has no pixels", expected="a size above 0", found=f"{shape[0]} x {shape[1]}", page=k)
    _check_kind(scalar, k)
    bits, form = scalar(w.BITS, 1), scalar(w.SAMPLE_FORMAT, 1)
    letter = DTYPES.get((1 if form == 4 else form, bits))
    if letter is None:
        found = f"{bits} bits, {FORMATS.get(form, f'sample format {form}')}"
        raise _not(k, "the type of grey value is not read", "uint8, uint16, float16, float32 or float64", found)
    compression, predictor = scalar(w.COMPRESSION, 1), scalar(w.PREDICTOR, 1)
    _check_codec(compression, predictor, letter, k)
    tiled = w.TILE_WIDTH in tags
    if tiled:
        block = scalar(w.TILE_LENGTH), scalar(w.TILE_WIDTH)
        at, lengths = w.TILE_OFFSETS, w.TILE_COUNTS
    else:
        block = min(scalar(w.ROWS_PER_STRIP, shape[0]), shape[0]), shape[1]
        at, lengths = w.STRIP_OFFSETS, w.STRIP_COUNTS
    if 0 in block:
        raise Fault("a strip or tile has no pixels", expected="a size above 0", found=f"{block}", page=k)
    number = math.ceil(shape[0] / block[0]) * math.ceil(shape[1] / block[1])
    if number > room:
        raise Fault("too many strips or tiles", expected=f"at most {MAX_SEGMENTS}", found="more", page=k)
    for tag in (at, lengths):
        if tag not in tags or tags[tag].number != number:
            found = str(tags[tag].number) if tag in tags else "no such tag"
            raise Fault(f"{w.NAMES[tag]} does not fit the page", expected=f"{number} values", found=found, page=k)
    offsets, counts = reader.integers(tags[at], at, k), reader.integers(tags[lengths], lengths, k)
    dtype = np.dtype(reader.order + letter).str
    return Page(shape, dtype, compression, predictor, block, tiled, offsets, counts, _description(reader, tags, k))


def _check_kind(scalar: Callable[[int, int], int], k: int) -> None:
    """Refuse colours, several samples a pixel, volumetric pages, and codes no reader agrees on."""
    samples, photometric = scalar(w.SAMPLES, 1), scalar(w.PHOTOMETRIC, 1)
    if samples != 1 or photometric not in (1, 3):
        names = {0: "white is zero", 2: "RGB", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
        found = f"{samples} samples a pixel, {names.get(photometric, f'photometric code {photometric}')}"
        # A palette (3) only colours the display: ImageJ writes one into grey stacks that have a lookup table.
        raise _not(k, "the pages are not grey", "one sample a pixel, black is zero", found)
    if scalar(w.IMAGE_DEPTH, 1) != 1:
        raise _not(k, "the page is itself a volume (ImageDepth)", "one page a slice", "several slices in one page")
    if scalar(w.FILL_ORDER, 1) != 1:
        raise _not(k, "the bits of each byte are reversed (FillOrder)", "1", "2")


def _check_codec(compression: int, predictor: int, letter: str, k: int) -> None:
    if compression not in EXPANSION:
        raise Fault("the compression is not read", expected=CODECS, found=f"code {compression}", advice=CONVERT, page=k)
    fits = {1: True, 2: True, 3: letter[0] == "f"}.get(predictor, False)
    if not fits or (predictor != 1 and compression in (NONE, PACKBITS)):  # there libtiff and tifffile disagree
        expected = "1, 2, or 3 with float; 1 without compression"
        raise Fault("the predictor does not fit", expected=expected, found=f"{predictor}", advice=CONVERT, page=k)


def _description(reader: Reader, tags: dict[int, Entry], k: int) -> str:
    """Return the first page's description whole; of the others only a shape of tifffile's."""
    entry = tags.get(w.DESCRIPTION)
    if entry is None:
        return ""
    if entry.kind != 2 or (k > 0 and entry.number > 4096):
        return ""
    if entry.number > MAX_DESCRIPTION:
        found = f"{entry.number} bytes"
        raise Fault("the description is too long", expected=f"at most {MAX_DESCRIPTION} bytes", found=found, page=k)
    raw = reader.raw(entry, w.DESCRIPTION, k).rstrip(b"\0")
    if k > 0 and not raw.startswith((b'{"shape":', b"shape=(")):
        return ""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _resolution(reader: Reader, tags: dict[int, Entry]) -> tuple[float | None, float | None]:
    """Return the first page's pixels per unit along x and y."""

    def ratio(tag: int) -> float | None:
        entry = tags.get(tag)
        if entry is None or (entry.kind, entry.number) != (5, 1):
            return None
        above, below = struct.unpack(reader.order + "II", reader.raw(entry, tag, 0))
        return above / below if above and below else None

    return ratio(w.X_RESOLUTION), ratio(w.Y_RESOLUTION)


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
            text = _description(reader, tags, 0)
            said = declared(text, (None, None))
            dims = shaped(text) or ()
            if said and said.planes:
                count = said.planes
                break
            if len(dims) >= 3 and dims[-2:] == page:
                count = math.prod(dims[:-2])
                break
        if page and 0 < count * math.prod(page) <= MAX_PROMISED:
            return count, *page
    return None


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
            raise _not(None, "the stack has more than three axes", "z, y, x", f"{several} beside y and x")
        explicit = False
    else:
        planes, contiguous, explicit = _series(pages)
    if single and planes != 1:
        raise _not(None, "a slice is a stack itself", "one page in each file of the folder", f"{planes} pages")
    if not single and planes == 1 and not explicit:
        advice = "Give a stack of slices, or a folder of two or more single-page TIFFs of equal shape."
        raise _not(None, "the file is one 2-D picture", "a stack of pages", "one page", advice)
    return planes, contiguous


def _series(pages: list[Page]) -> tuple[int, bool, bool]:
    """Return slices, contiguity, and whether three axes are declared, by the shapes tifffile writes."""
    n, (y, x) = len(pages), pages[0].shape
    sizes: list[int] = []
    k, dims = 0, shaped(pages[0].description)
    if dims is None:
        return n, False, False
    while k < n:
        dims = shaped(pages[k].description)
        if dims is None:
            raise _cut(f"{k} pages, as the description declares", f"{n}")
        planes, rest = divmod(math.prod(dims), y * x)
        if rest or planes == 0:
            raise _cut(f"pages that fill the declared shape {dims}", f"pages of {pages[0].shape}")
        axes = dims[:-1] if len(dims) > 3 and dims[-1] == 1 else dims  # an axis of one colour
        if axes[-2:] != pages[0].shape or sum(d > 1 for d in axes[:-2]) > 1:
            raise _not(None, "the axes are not z, y, x", f"(slices, {y}, {x})", f"{dims}")
        if n == 1 < planes and _one_block(pages[0]):
            return planes, True, True
        if planes > n - k:
            raise _cut(f"{planes} pages, as the description declares", f"{n - k}")
        sizes.append(planes)
        k += planes
    if len(sizes) > 1 and max(sizes) > 1:
        raise _not(None, "the file holds several volumes", "one", f"stacks of {sizes[:8]} pages")
    return n, False, len(dims or ()) >= 3


def _one_block(page: Page) -> bool:
    """Tell whether a page lies in one piece, uncompressed, so that others may follow it without headers."""
    ends = [a + c for a, c in zip(page.offsets, page.counts, strict=True)]
    joined = all(a == b for a, b in zip(page.offsets[1:], ends, strict=False))
    return page.compression == NONE and not page.tiled and joined


def _check_segments(reader: Reader, pages: list[Page], contiguous: int, limit_bytes: int) -> None:
    """Check that the bytes of every strip and tile lie in the file and can become what the headers declare."""
    total = math.prod(pages[0].shape) * np.dtype(pages[0].dtype).itemsize * contiguous
    if not contiguous:  # tiles decode whole, so that their margin counts too
        total = sum(p.segment_bytes(k) for p in pages for k in range(len(p.offsets)))
    if contiguous and pages[0].offsets[0] + total > reader.size:
        raise _cut(f"{total} bytes of pixels from byte {pages[0].offsets[0]}", f"a file of {reader.size} bytes")
    spent = 0
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
            spent += count
            if page.segment_bytes(k) > ratio * count:
                raise Fault(
                    "a strip declares more pixels than its bytes can hold",
                    expected=f"at most {ratio} bytes from one",
                    found=f"{page.segment_bytes(k)} bytes from {count}",
                    page=number,
                )
    if spent > reader.size:
        raise Fault("strips share their bytes", expected=f"at most {reader.size} bytes in all", found=f"{spent}")
    if total > limit_bytes:
        raise Fault(
            "the volume is too large",
            expected=f"at most {limit_bytes} bytes of pixels",
            found=f"{total}",
            advice="Cut the volume into smaller stacks.",
            kind=InputError,
        )


def _cut(expected: str, found: str) -> Fault:
    return Fault("the pages do not add up to the stack", expected=expected, found=found)


def _unequal(page: Page, first: Page, k: int) -> Fault:
    return _not(
        k,
        "the pages are not alike",
        f"{first.shape[0]} x {first.shape[1]} of {np.dtype(first.dtype).name} as on page 0",
        f"{page.shape[0]} x {page.shape[1]} of {np.dtype(page.dtype).name}",
        "Save the slices as a stack of equal pages.",
    )


def _not(page: int | None, what: str, expected: str, found: str, advice: str = CONVERT) -> Fault:
    return Fault(what, expected=expected, found=found, advice=advice, page=page, kind=NotAVolumeError)
