"""One page of a TIFF: its tags read, and refused where it is not one grey channel of a type and a codec we take."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from gpu_nx47._tiff import walk as w
from gpu_nx47._tiff.describe import shaped
from gpu_nx47._tiff.walk import Entry, Fault, Reader
from gpu_nx47.errors import NotAVolumeError

MAX_SEGMENTS: Final = 1_000_000
"""Strips and tiles of a file: a 320-cube has 320. Each costs some 6 us."""
MAX_DESCRIPTION: Final = 16 << 20
"""Bytes of the first page's description: OME's names every plane of a scroll."""
MAX_LINES: Final = 1 << 20
"""Bytes of one by tifffile or ImageJ: what is parsed of it takes up to 25 times its room."""
MAX_VALUES: Final = 16
"""Values looked at of a tag that has one: 65,536 pages may share one list of millions."""

NONE, LZW, DEFLATE, DEFLATE_OLD, PACKBITS, ZSTD = 1, 5, 8, 32946, 32773, 50000
EXPANSION: Final = {NONE: 1, LZW: 1400, DEFLATE: 1040, DEFLATE_OLD: 1040, PACKBITS: 64, ZSTD: 44_000}
"""Bytes that one compressed byte can become: LZW's longest string of 12-bit codes 1365, deflate 1032, packbits 128 from
2, zstd a block of 128 KiB from 3 or 4."""
CODECS: Final = "none, LZW, deflate, packbits or zstd"
DTYPES: Final = {(1, 8): "u1", (1, 16): "u2", (3, 16): "f2", (3, 32): "f4", (3, 64): "f8"}
FORMATS: Final = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined", 5: "complex integer", 6: "complex"}
CONVERT: Final = "Convert it to a stack of grey pages, uint8, uint16 or float (tifffile: photometric='minisblack')."


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
    offsets: array[int]
    counts: array[int]
    series: tuple[int, ...] | None
    """Shape that tifffile declares for the pages from here on."""

    def rows(self, k: int) -> int:
        """Rows that segment k decodes to (a tile: always whole)."""
        return self.block[0] if self.tiled else min(self.block[0], self.shape[0] - k * self.block[0])

    def segment_bytes(self, k: int) -> int:
        """Bytes that segment k decodes to."""
        return self.rows(k) * self.block[1] * int(self.dtype[2:])


def read_page(reader: Reader, tags: dict[int, Entry], k: int, room: int) -> Page:
    """Read the tags of page `k`; refuse what is not one grey channel of a type we take, or has over `room` segments."""

    def scalar(tag: int, default: int | None = None) -> int:
        if tag not in tags:
            if default is None:
                raise Fault(f"tag {w.NAMES[tag]} is missing", expected="the tag", found="none", page=k)
            return default
        number, letter = tags[tag].number, w.INTEGERS.get(tags[tag].kind)
        if number == 1 and letter is not None:  # what nearly all are
            return int(struct.unpack_from(reader.order + letter, reader.data, tags[tag].at)[0])
        values = set(reader.integers(tags[tag], tag, k)) if number <= MAX_VALUES else set()
        if len(values) != 1:
            raise Fault(f"tag {w.NAMES[tag]} has several values", expected="one", found=f"{number}", page=k)
        return values.pop()

    shape = scalar(w.LENGTH), scalar(w.WIDTH)
    if 0 in shape:
        raise Fault("a page has no pixels", expected="a size above 0", found=f"{shape[0]} x {shape[1]}", page=k)
    _check_kind(scalar, k)
    bits, form = scalar(w.BITS, 1), scalar(w.SAMPLE_FORMAT, 1)
    letter = DTYPES.get((1 if form == 4 else form, bits))
    if letter is None:
        found = f"{bits} bits, {FORMATS.get(form, f'sample format {form}')}"
        raise not_a_volume(k, "the type of grey value is not read", "uint8, uint16, float16, float32 or float64", found)
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
    series = shaped(description(reader, tags, k))
    return Page(shape, dtype, compression, predictor, block, tiled, offsets, counts, series)


def _check_kind(scalar: Callable[[int, int], int], k: int) -> None:
    """Refuse colours, several samples a pixel, volumetric pages, and codes no reader agrees on."""
    samples, photometric = scalar(w.SAMPLES, 1), scalar(w.PHOTOMETRIC, 1)
    if samples != 1 or photometric not in (1, 3):
        names = {0: "white is zero", 2: "RGB", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
        found = f"{samples} samples a pixel, {names.get(photometric, f'photometric code {photometric}')}"
        # A palette (3) only colours the display: ImageJ writes one into grey stacks that have a lookup table.
        raise not_a_volume(k, "the pages are not grey", "one sample a pixel, black is zero", found)
    if scalar(w.IMAGE_DEPTH, 1) != 1:
        found = "several slices in one page"
        raise not_a_volume(k, "the page is itself a volume (ImageDepth)", "one page a slice", found)
    if scalar(w.FILL_ORDER, 1) != 1:
        raise not_a_volume(k, "the bits of each byte are reversed (FillOrder)", "1", "2")


def _check_codec(compression: int, predictor: int, letter: str, k: int) -> None:
    if compression not in EXPANSION:
        raise Fault("the compression is not read", expected=CODECS, found=f"code {compression}", advice=CONVERT, page=k)
    fits = {1: True, 2: True, 3: letter[0] == "f"}.get(predictor, False)
    if not fits or (predictor != 1 and compression in (NONE, PACKBITS)):  # there libtiff and tifffile disagree
        expected = "1, 2, or 3 with float; 1 without compression"
        raise Fault("the predictor does not fit", expected=expected, found=f"{predictor}", advice=CONVERT, page=k)


def description(reader: Reader, tags: dict[int, Entry], k: int) -> str:
    """Return the first page's description whole; of the others only a shape of tifffile's."""
    entry = tags.get(w.DESCRIPTION)
    if entry is None:
        return ""
    if entry.kind != 2 or (k > 0 and entry.number > 4096):
        return ""
    begin = reader.raw(entry._replace(number=min(entry.number, 16)), w.DESCRIPTION, k)
    most = MAX_LINES if begin.startswith((b'{"shape":', b"ImageJ=")) else MAX_DESCRIPTION
    if entry.number > most:
        found = f"{entry.number} bytes"
        raise Fault("the description is too long", expected=f"at most {most} bytes", found=found, page=k)
    raw = reader.raw(entry, w.DESCRIPTION, k).rstrip(b"\0")
    if k > 0 and not raw.startswith((b'{"shape":', b"shape=(")):
        return ""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def resolution(reader: Reader, tags: dict[int, Entry]) -> tuple[float | None, float | None]:
    """Return the first page's pixels per unit along x and y."""

    def ratio(tag: int) -> float | None:
        entry = tags.get(tag)
        if entry is None or (entry.kind, entry.number) != (5, 1):
            return None
        above, below = struct.unpack(reader.order + "II", reader.raw(entry, tag, 0))
        return above / below if above and below else None

    return ratio(w.X_RESOLUTION), ratio(w.Y_RESOLUTION)


def not_a_volume(page: int | None, what: str, expected: str, found: str, advice: str = CONVERT) -> Fault:
    """Return the fault of a file that is readable, and no grey stack."""
    return Fault(what, expected=expected, found=found, advice=advice, page=page, kind=NotAVolumeError)
