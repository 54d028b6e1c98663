"""A mask's file, made and read again with Pillow.

Pillow is on every machine this runs on, and the competition reads masks with it. NumPy is not imported here: the
process of `press` needs nothing else, and starts in a fourth of the time.
"""

from __future__ import annotations

import io
import json
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Shape = tuple[int, int, int]
    """Of a mask, (z, y, x)."""

RUN: Final = 1 << 22
"""Voxels, about, that are handed to Pillow together: a page alone costs it a fourth beside the codes."""
SHORT, LONG, RATIONAL, ASCII = 3, 4, 5, 2
ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    RuntimeError,
    struct.error,
)
"""What Pillow raises on damaged TIFFs, by its own tests; SyntaxError is its word for a bad header."""


def _pillow() -> Any:
    """Return Pillow's Image; TIFF is named, or the first file has all of its formats loaded."""
    from PIL import Image, TiffImagePlugin

    assert TiffImagePlugin
    return Image


def encode_bytes(shape: Shape, voxels: bytes) -> bytes:
    """Return what `encode` does of a stack's voxels, uint8."""
    _, y, x = shape

    def run(first: int, stop: int) -> Any:
        rows = voxels[first * y * x : stop * y * x]
        return _pillow().frombuffer("L", (x, y * (stop - first)), rows, "raw", "L", 0, 1)

    return encode(shape, run)


def encode(shape: Shape, run: Callable[[int, int], Any]) -> bytes:
    """Return a uint8 stack as a multi-page TIFF: LZW, one strip a page, no date, no program name.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    run : callable
        (first, stop) -> the pages from `first` to before `stop` below each other, an image of mode L.

    Notes
    -----
    The LZW bytes are libtiff's, through Pillow: Kaggle has no imagecodecs, and the two encoders differ in half of the
    pages of a real mask, because each clears its table at its own moment. The rest of the file is laid out here, so
    that no version of Pillow or tifffile shows in it.
    """
    z, y, x = shape
    if 0 in shape:
        raise OutputError(f"a mask of shape {shape} has no voxels; expected at least one on each axis")
    description = json.dumps({"shape": [z, y, x]}).encode() + b"\0"
    one, said = 8, 16
    parts = [struct.pack("<4sI2I", b"II*\0", 0, 1, 1), description + b"\0" * (len(description) % 2)]
    at = said + len(parts[1])
    link = 4  # where the offset of the next header is written: a part's number and a place in it
    links: list[tuple[int, int]] = [(0, link)]
    for k, strip in enumerate(_strips(shape, run)):
        tags = [
            (254, LONG, 1, 2 if z > 1 else 0),
            (256, LONG, 1, x),
            (257, LONG, 1, y),
            (258, SHORT, 1, 8),
            (259, SHORT, 1, 5),
            (262, SHORT, 1, 1),
            *([(270, ASCII, len(description), said)] if k == 0 else []),
            (273, LONG, 1, at),
            (277, SHORT, 1, 1),
            (278, LONG, 1, y),
            (279, LONG, 1, len(strip)),
            (282, RATIONAL, 1, one),
            (283, RATIONAL, 1, one),
            (296, SHORT, 1, 1),
            (339, SHORT, 1, 1),
        ]
        parts.append(strip + b"\0" * (len(strip) % 2))
        at += len(parts[-1])
        head = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0\0\0\0"
        if at + len(head) >= 1 << 32:
            raise OutputError("a mask takes more than 4 GiB of compressed bytes; cut the volume into smaller stacks")
        part, place = links.pop()
        parts[part] = parts[part][:place] + struct.pack("<I", at) + parts[part][place + 4 :]
        links.append((len(parts), len(head) - 4))
        parts.append(head)
        at += len(head)
    return b"".join(parts)


def _strips(shape: Shape, run: Callable[[int, int], Any]) -> Iterator[bytes]:
    """Yield the LZW bytes of each page (y, x) as one strip.

    Pages below each other are one page of Pillow's, with a strip for each: libtiff begins every strip anew.
    """
    z, y, x = shape
    step = max(1, RUN // (y * x))
    for first in range(0, z, step):
        stop = min(first + step, z)
        data = _lzw(run(first, stop), y)
        with any_size(), _pillow().open(io.BytesIO(data), formats=["TIFF"]) as written:
            tags = written.tag_v2
            offsets, counts, compression = (tags.get(tag) for tag in (273, 279, 259))
        if compression != 5 or len(offsets or ()) != stop - first or len(counts or ()) != stop - first:
            raise OutputError("Pillow did not write a page as one LZW strip; install another version of Pillow")
        for start, length in zip(offsets, counts, strict=True):
            yield data[start : start + length]


def _lzw(page: Any, rows: int) -> bytes:
    """Return a TIFF of one page, LZW in strips of so many rows."""
    _pillow()
    file = io.BytesIO()
    # RowsPerStrip and strip_size together: which of the two Pillow obeys changed between its versions.
    page.save(file, "TIFF", compression="tiff_lzw", tiffinfo={278: rows}, strip_size=rows * page.size[0])
    return file.getvalue()


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open large pages: it refuses those above 179 million pixels; these are ours, or were inspected."""
    image = _pillow()
    before = image.MAX_IMAGE_PIXELS
    image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        image.MAX_IMAGE_PIXELS = before


def good(data: bytes, shape: Shape, meant: bytes) -> bool:
    """Return whether Pillow reads from a file just the voxels it was made of.

    Parameters
    ----------
    data : bytes
        The file.
    shape : tuple of int
    meant : bytes
        The voxels, uint8.
    """
    z, y, x = shape
    try:
        with any_size(), _pillow().open(io.BytesIO(data), formats=["TIFF"]) as image:
            for page in range(z):
                image.seek(page)
                if (image.mode, image.info.get("compression"), image.size) != ("L", "tiff_lzw", (x, y)):
                    return False
                if image.tobytes() != meant[page * y * x : (page + 1) * y * x]:
                    return False
            with suppress(EOFError):  # there is no such page
                image.seek(z)
                return False
    except ERRORS:
        return False
    return True
