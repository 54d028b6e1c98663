"""A plain writer of uint8 stacks whose bytes depend on the voxels alone."""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47._tiff.inspection import inspect
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

RUN: Final = 1 << 22
"""Voxels, about, that are handed to Pillow together: a page alone costs it a fourth beside the codes."""
SHORT, LONG, RATIONAL, ASCII = 3, 4, 5, 2


def encode_stack(stack: NDArray[np.uint8]) -> bytes:
    """Return a uint8 stack (z, y, x) as a multi-page TIFF: LZW, one strip a page, no date, no program name.

    Notes
    -----
    The LZW bytes are libtiff's, through Pillow: it is on every machine this runs on (Kaggle has no imagecodecs), and
    the two encoders differ in half of the pages of a real mask, because each clears its table at its own moment. The
    rest of the file is laid out here, so that no version of Pillow or tifffile shows in it.
    """
    z, y, x = stack.shape
    if 0 in stack.shape:
        raise OutputError(f"a mask of shape {stack.shape} has no voxels; expected at least one on each axis")
    description = json.dumps({"shape": [z, y, x]}).encode() + b"\0"
    one, said = 8, 16
    parts = [struct.pack("<4sI2I", b"II*\0", 0, 1, 1), description + b"\0" * (len(description) % 2)]
    at = said + len(parts[1])
    link = 4  # where the offset of the next header is written: a part's number and a place in it
    links: list[tuple[int, int]] = [(0, link)]
    for k, strip in enumerate(_strips(stack)):
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


def _strips(stack: NDArray[np.uint8]) -> Iterator[bytes]:
    """Yield the LZW bytes of each page (y, x) as one strip.

    Pages below each other are one page of Pillow's, with a strip for each: libtiff begins every strip anew.
    """
    _, y, x = stack.shape
    step = max(1, RUN // (y * x))
    for first in range(0, len(stack), step):
        pages = stack[first : first + step]
        data = _lzw(np.ascontiguousarray(pages).reshape(-1, x), y)
        info = inspect(data, "pages of a mask", single=True).pages[0]
        if len(info.offsets) != len(pages) or info.compression != 5:
            raise OutputError("Pillow did not write a page as one LZW strip; install another version of Pillow")
        for start, length in zip(info.offsets, info.counts, strict=True):
            yield data[start : start + length]


def _lzw(page: NDArray[np.uint8], rows: int) -> bytes:
    """Return a TIFF of one page, LZW in strips of so many rows."""
    from PIL import Image

    file = io.BytesIO()
    # RowsPerStrip and strip_size together: which of the two Pillow obeys changed between its versions.
    size = rows * page.shape[1]
    Image.fromarray(page).save(file, "TIFF", compression="tiff_lzw", tiffinfo={278: rows}, strip_size=size)
    return file.getvalue()
