"""The chain of image file directories (IFDs) of a TIFF or BigTIFF, walked with a bound on everything.

Only bytes that lie in the file are read; nothing is allocated by a number the file states.
"""

from __future__ import annotations

import mmap
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from gpu_nx47.errors import DamagedInputError, InputError

Buffer = bytes | bytearray | memoryview | mmap.mmap

MAX_PAGES: Final = 65_536
"""IFDs followed. The longest scroll scan published has about 26,000 slices; each IFD costs some 15 us to read."""
MAX_ENTRIES: Final = 4096
"""Entries of one IFD; writers use 10 to 40."""
MAX_TAGS: Final = 4_000_000
"""Entries of all IFDs; each costs about 1 us."""

AGAIN: Final = "Copy or download the file again and compare its size with the original."

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, DESCRIPTION = 256, 257, 258, 259, 262, 266, 270
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, X_RESOLUTION, Y_RESOLUTION = 273, 277, 278, 279, 282, 283
PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT = 317, 322, 323, 324, 325, 339
IMAGE_DEPTH = 32997

NAMES: Final = {
    WIDTH: "ImageWidth", LENGTH: "ImageLength", BITS: "BitsPerSample", COMPRESSION: "Compression",
    PHOTOMETRIC: "PhotometricInterpretation", FILL_ORDER: "FillOrder", DESCRIPTION: "ImageDescription",
    STRIP_OFFSETS: "StripOffsets", SAMPLES: "SamplesPerPixel", ROWS_PER_STRIP: "RowsPerStrip",
    STRIP_COUNTS: "StripByteCounts", X_RESOLUTION: "XResolution", Y_RESOLUTION: "YResolution", PREDICTOR: "Predictor",
    TILE_WIDTH: "TileWidth", TILE_LENGTH: "TileLength", TILE_OFFSETS: "TileOffsets", TILE_COUNTS: "TileByteCounts",
    SAMPLE_FORMAT: "SampleFormat", IMAGE_DEPTH: "ImageDepth",
}  # fmt: skip

INTEGERS: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Field types that hold unsigned integers, and their `array` letters."""
SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each field type."""


class Fault(Exception):
    """Something wrong in the bytes, before the file's name and shape are put to it."""

    def __init__(
        self,
        what: str,
        *,
        expected: str,
        found: str,
        advice: str = AGAIN,
        page: int | None = None,
        kind: type[InputError] = DamagedInputError,
    ) -> None:
        super().__init__(what)
        self.what, self.expected, self.found, self.advice = what, expected, found, advice
        self.page, self.kind = page, kind

    def error(self, name: str, shape: tuple[int, int, int] | None) -> InputError:
        """Return the error of `gpu_nx47.errors` that says this of the file `name`."""
        return self.kind(
            name,
            self.what,
            expected=self.expected,
            found=self.found,
            advice=self.advice,
            page=self.page,
            shape=shape,
        )


class Entry(NamedTuple):
    """Where the values of one tag lie."""

    kind: int
    number: int
    at: int


@dataclass(frozen=True)
class Reader:
    """The bytes of a file, its byte order, and the width of its offsets."""

    data: Buffer
    order: str
    """`<` or `>`, as in `struct`."""
    big: bool
    """BigTIFF."""
    first: int
    """Offset of the first IFD."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.data)

    def raw(self, entry: Entry, tag: int, page: int) -> bytes:
        """Return the bytes of a tag's values, which `walk` found to lie in the file."""
        size = SIZES.get(entry.kind, 0) * entry.number
        if size == 0:
            raise Fault(
                f"tag {NAMES[tag]} has no value",
                expected="at least one value of a known type",
                found=f"{entry.number} of type {entry.kind}",
                page=page,
            )
        return bytes(self.data[entry.at : entry.at + size])

    def integers(self, entry: Entry, tag: int, page: int) -> array[int]:
        """Return the values of an integer tag, as wide as in the file: a tuple takes ten times its room."""
        raw = self.raw(entry, tag, page)
        letter = INTEGERS.get(entry.kind)
        if letter is None:
            raise Fault(
                f"tag {NAMES[tag]} has a wrong type",
                expected="unsigned integers",
                found=f"field type {entry.kind}",
                page=page,
            )
        values = array(letter, raw)
        if (self.order == "<") != (sys.byteorder == "little"):
            values.byteswap()
        return values


def open_reader(data: Buffer) -> Reader:
    """Read the 8 or 16 bytes at the start of a TIFF."""
    mark = bytes(data[:4])
    kinds = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
    if mark not in kinds:
        raise Fault(
            "this is not a TIFF file",
            expected="II or MM and the number 42 or 43 at the start",
            found=f"a file of {len(data)} bytes that starts with {mark!r}",
            advice="Give a TIFF stack, or copy the file again.",
        )
    order, big = kinds[mark]
    head = 16 if big else 8
    if len(data) < head:
        raise Fault("the file is cut in its header", expected=f"at least {head} bytes", found=f"{len(data)} bytes")
    if not big:
        return Reader(data, order, big, struct.unpack_from(order + "I", data, 4)[0])
    width, zero, first = struct.unpack_from(order + "HHQ", data, 4)
    if (width, zero) != (8, 0):
        raise Fault("the BigTIFF header contradicts itself", expected="offsets of 8 bytes", found=f"{width}, {zero}")
    return Reader(data, order, big, first)


def walk(reader: Reader) -> Iterator[dict[int, Entry]]:
    """Yield the tags of each IFD in the order of the chain, or raise Fault where it is cut, loops or is too long."""
    at, page, spent, entries = reader.first, 0, 0, 0
    seen: set[int] = set()
    if at == 0:
        raise Fault("the file holds a header and no page", expected="at least one page", found="none")
    while at:
        if at in seen:
            raise Fault("the chain of pages runs in a loop", expected="an end", found=f"offset {at} again", page=page)
        if page == MAX_PAGES:
            raise Fault(
                "the chain of pages is too long",
                expected=f"at most {MAX_PAGES} pages",
                found="more",
                advice="Split the stack.",
            )
        seen.add(at)
        tags, at, size = _directory(reader, at, page)
        spent += size
        entries += size // 12
        if entries > MAX_TAGS:
            raise Fault("the pages have too many tags", expected=f"at most {MAX_TAGS}", found="more", page=page)
        if spent > reader.size:  # IFDs laid over one another: more work than the file has bytes
            raise Fault("pages share their headers", expected="headers apart", found="headers overlap", page=page)
        yield tags
        page += 1


def _directory(reader: Reader, at: int, page: int) -> tuple[dict[int, Entry], int, int]:
    """Return the needed tags of the IFD at `at`, the offset of the next one (0: none), and this one's size in bytes."""
    head, entry, foot = (8, 20, 8) if reader.big else (2, 12, 4)
    if at + head + foot > reader.size:
        raise Fault(
            "the file is cut: a page's header lies outside it",
            expected=f"the header of page {page} at byte {at}",
            found=f"a file of {reader.size} bytes",
            page=page,
        )
    count = struct.unpack_from(reader.order + ("Q" if reader.big else "H"), reader.data, at)[0]
    if not 1 <= count <= MAX_ENTRIES:
        raise Fault("a page's header is damaged", expected=f"1 to {MAX_ENTRIES} tags", found=f"{count}", page=page)
    size = head + count * entry + foot
    if at + size > reader.size:
        raise Fault(
            "the file is cut within a page's header",
            expected=f"bytes {at} to {at + size} within the file",
            found=f"a file of {reader.size} bytes",
            page=page,
        )
    tags: dict[int, Entry] = {}
    block = bytes(reader.data[at + head : at + head + count * entry])
    layout = reader.order + ("HHQ8s" if reader.big else "HHI4s")
    room = 8 if reader.big else 4
    for k, (tag, kind, number, _) in enumerate(struct.iter_unpack(layout, block)):
        if tag in tags:
            raise Fault(f"tag {NAMES[tag]} stands twice", expected="once", found="twice", page=page)
        here, length = at + head + k * entry + entry - room, SIZES.get(kind, 0) * number
        if length > room:
            here = struct.unpack_from(reader.order + ("Q" if reader.big else "I"), reader.data, here)[0]
            if here + length > reader.size:  # of any tag: values at the file's end are what a small cut takes first
                raise Fault(
                    f"the file is cut: the values of tag {NAMES.get(tag, tag)} lie outside it",
                    expected=f"bytes {here} to {here + length} within the file",
                    found=f"a file of {reader.size} bytes",
                    page=page,
                )
        if tag in NAMES:
            tags[tag] = Entry(kind, number, here)
    following = struct.unpack_from(reader.order + ("Q" if reader.big else "I"), reader.data, at + size - foot)[0]
    return tags, following, size
