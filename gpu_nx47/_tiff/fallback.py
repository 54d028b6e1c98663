"""LZW and PackBits without imagecodecs, which Kaggle's machines lack: bits equal, and no strip of a wrong size passes.

Pillow's libtiff decodes LZW, but stops without a word when it has as many bytes as it was asked for, and writes to the
standard error itself where the codes run out. So the codes are measured first, and libtiff sees good strips alone.
"""

from __future__ import annotations

import io
import struct
from typing import Final

import numpy as np

CLEAR, END, FIRST = 256, 257, 258
MOST_CODES: Final = 4096 - FIRST + 1
"""Data codes from one Clear to the next: the first adds no entry to the table, and 12 bits name 4096."""
MOST_BYTES: Final = 1 << 27
"""Bytes of a strip that Pillow takes: it counts the bits of a row in 32 bits."""

_WIDTHS: Final = 9 + np.searchsorted([254, 766, 1790], np.arange(MOST_CODES + 1), side="right")
"""Bits of the k-th code after a Clear: TIFF widens one code before its table needs it."""
_STARTS: Final = np.cumsum(_WIDTHS) - _WIDTHS


def lzw(segment: bytes, want: int, most: int) -> bytes:
    """Return an LZW strip's bytes where they are `want` or `most` many; else as many zeros as show what is wrong.

    Raises
    ------
    ValueError
        The codes are damaged.
    OSError
        Pillow does not decode them.
    """
    size = lzw_size(segment, most)
    return _pillow(segment, size) if size in (want, most) else bytes(size)


def lzw_size(segment: bytes, most: int) -> int:
    """Return how many bytes LZW codes stand for, counted no further than one above `most`, without decoding them."""
    if len(segment) < 2 or segment[0] != 128 or segment[1] & 128:
        raise ValueError("the LZW codes do not start with a Clear code")
    data = np.frombuffer(segment + bytes(3), np.uint8).astype(np.int32)
    at, size, bits = 9, 0, 8 * len(segment)
    tables = 16 + len(segment) // 256  # an honest table takes 4 KiB; without a bound, Clear after Clear takes hours
    while size <= most:
        codes = _codes(data, at, bits)
        ends = np.flatnonzero((codes == CLEAR) | (codes == END))
        number = int(ends[0]) if len(ends) else len(codes)
        size += _length(codes[:number])
        if len(ends) == 0 and len(codes) > MOST_CODES:
            raise ValueError("the LZW table overflows")
        if len(ends) == 0 or codes[number] == END:
            break
        at += int(_STARTS[number] + _WIDTHS[number])
        tables -= 1
        if tables == 0:
            raise ValueError("the LZW codes clear their table too often")
    return min(size, most + 1)


def _codes(data: np.ndarray, at: int, bits: int) -> np.ndarray:
    """Return the codes of one table that begins at bit `at`: as many as it may have, and the next."""
    number = int(np.searchsorted(_STARTS + _WIDTHS, bits - at, side="right"))
    widths, places = _WIDTHS[:number], at + _STARTS[:number]
    first = places >> 3
    window = data[first] << 16 | data[first + 1] << 8 | data[first + 2]
    codes: np.ndarray = (window >> (24 - (places & 7) - widths)) & ((1 << widths) - 1)
    return codes


def _length(codes: np.ndarray) -> int:
    """Return the bytes that the codes of one table stand for.

    Notes
    -----
    The entry 258 + i is the string of code i and one byte more. Its length is the number of steps from entry to entry
    down to a byte, counted for all codes at once by doubling the steps.
    """
    number = len(codes)
    literal = codes < CLEAR
    if np.any(~literal & (codes - FIRST >= np.arange(number))):
        raise ValueError("an LZW code stands before its entry")
    parent = np.append(np.where(literal, number, codes - FIRST), number)
    steps = np.append(np.ones(number, np.int64), 0)
    while np.any(parent != number):
        steps += steps[parent]
        parent = parent[parent]
    return int(steps.sum())


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
    """Return the bytes of a PackBits strip, no more than one above `most`."""
    out = bytearray()
    at, end = 0, len(segment)
    while at < end and len(out) <= most:
        head = segment[at]
        if head < 128:
            out += segment[at + 1 : at + 2 + head]
            at += 2 + head
        else:
            if head > 128:  # 128 means nothing
                out += segment[at + 1 : at + 2] * (257 - head)
            at += 2 if head > 128 else 1
    return bytes(out[: most + 1])
