"""LZW without imagecodecs, which Kaggle lacks, and PackBits with or without it: no strip of a wrong size passes.

Pillow's libtiff decodes LZW, but stops without a word when it has as many bytes as it was asked for, and writes to the
standard error itself where the codes run out. So the codes are measured first, and libtiff sees good strips alone.
"""

from __future__ import annotations

import io
import struct
from typing import Final

from gpu_nx47._tiff import lzw as codes

MOST_BYTES: Final = 1 << 27
"""Bytes of a strip that Pillow takes: it counts the bits of a row in 32 bits."""


def lzw(segment: bytes, want: int, most: int) -> bytes:
    """Return an LZW strip's bytes where they are `want` or `most` many; else as many zeros as show what is wrong.

    Raises
    ------
    ValueError
        The codes are damaged.
    OSError
        Pillow does not decode them.
    """
    size = codes.size(segment, most)
    return _pillow(segment, size) if size in (want, most) else bytes(size)


def _pillow(segment: bytes, size: int) -> bytes:
    """Decode through libtiff, as the only strip of a TIFF of one row."""
    from PIL import TiffImagePlugin

    body = segment + bytes(len(segment) % 2)
    tags = ((256, size), (257, 1), (258, 8), (259, 5), (262, 1), (273, 8), (277, 1), (278, 1), (279, len(segment)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<4sI", b"II*\0", 8 + len(body))
    file = io.BytesIO(head + body + struct.pack("<H", len(tags)) + entries + bytes(4))
    # Not Image.open: its limit on pixels is meant for pictures, and ours has been checked.
    with TiffImagePlugin.TiffImageFile(file) as image:
        return image.tobytes()


def packbits(segment: bytes, most: int) -> bytes:
    """Return the bytes of a PackBits strip, no more than one above `most`; ValueError where a run is cut."""
    out = bytearray()
    at, end = 0, len(segment)
    while at < end and len(out) <= most:
        head = segment[at]
        if head == 128:  # means nothing
            at += 1
            continue
        following = at + 2 + head if head < 128 else at + 2
        if following > end:
            raise ValueError("the PackBits data end within a run")
        out += segment[at + 1 : following] if head < 128 else segment[at + 1 : following] * (257 - head)
        at = following
    return bytes(out[: most + 1])
