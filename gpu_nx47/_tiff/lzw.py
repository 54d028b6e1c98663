"""The codes of an LZW strip, looked at before any library decodes them.

Nothing in LZW tells damage, and imagecodecs (2026.3.6) makes it worse: without an End code it makes one more code of
the bits that are left over, and where a table does not begin with a byte it looks into memory that was never written,
which may end the process. So each table's first and last codes are checked here, at a third of decoding's time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLEAR, END, FIRST = 256, 257, 258
MOST_CODES: Final = 4096 - FIRST + 1
"""Data codes from one Clear to the next: the first adds no entry to the table, and 12 bits name 4096."""

WORTH_COMPILING: Final = 1 << 23
"""Bytes of a stack from which on the compiled check is used: compiling it takes half a second, once."""

_WIDTHS: Final = 9 + np.searchsorted([254, 766, 1790], np.arange(MOST_CODES + 1), side="right")
"""Bits of the k-th code after a Clear: TIFF widens one code before its table needs it."""
_ENDS: Final = np.cumsum(_WIDTHS)
_PLACES: Final = [(_ENDS - _WIDTHS + r) >> 3 for r in range(8)]
"""First byte of the k-th code, where the table begins at bit r of a byte; and the bits behind it in four bytes."""
_BEHIND: Final = [(32 - _WIDTHS - (_ENDS - _WIDTHS + r & 7)).astype(np.uint32) for r in range(8)]
_FULL: Final = int(_ENDS[-1])
"""Bits of a full table and its last code, a Clear or an End."""
_LONGEST: Final = _FULL + 7 >> 3
"""Bytes of a full table that begins within a byte."""
_MASKS: Final = ((1 << _WIDTHS) - 1).astype(np.uint32)


def checker(size: int) -> Callable[[bytes], None]:
    """Return `check` for the strips of a stack of so many bytes: where it is worth it, what is compiled goes first.

    Not where Numba is not loaded anyhow: loading it takes a quarter of a second, and more memory than the child of
    `decode_apart` has.
    """
    if size < WORTH_COMPILING or sys.modules.get("numba") is None:
        return check
    from gpu_nx47._tiff.lzw_compiled import BEHIND, good

    def quickly(segment: bytes) -> None:
        if not good(np.frombuffer(segment + bytes(BEHIND), np.uint8), len(segment)):
            check(segment)  # says what is wrong

    return quickly


def check(segment: bytes) -> None:
    """Raise ValueError where a strip's codes are not tables that begin with a Clear and a byte, and end with an End."""
    for _ in _tables(segment):
        pass


def size(segment: bytes, most: int) -> int:
    """Return how many bytes the codes stand for, counted no further than one above `most`, without decoding them.

    Raises
    ------
    ValueError
        As `check`, or a code stands before its entry.
    """
    total = 0
    for codes in _tables(segment):
        total += _length(codes)
        if total > most:
            return most + 1
    return total


def _tables(segment: bytes) -> Iterator[NDArray[np.uint32]]:
    """Yield the data codes of each table."""
    if len(segment) < 2 or segment[0] != 128 or segment[1] & 128:
        raise ValueError("the LZW codes do not start with a Clear code")
    data = segment + bytes(4)
    at, bits = 9, 8 * len(segment)
    # An honest table takes 4 KiB; without a bound, Clear after Clear takes hours.
    for _ in range(16 + len(segment) // 256):
        number = MOST_CODES + 1 if bits - at >= _FULL else int(np.searchsorted(_ENDS, bits - at, side="right"))
        first = at >> 3
        # The 32 bits from each byte on.
        windows: NDArray[np.uint32] = np.ndarray(min(_LONGEST, len(data) - 3 - first), ">u4", data, first, (1,))
        codes = windows.take(_PLACES[at & 7][:number]).astype(np.uint32)
        codes >>= _BEHIND[at & 7][:number]
        codes &= _MASKS[:number]
        stops = (codes | 1) == END
        last = int(stops.argmax()) if number else 0
        if number == 0 or not stops[last]:
            what = "table overflows" if number > MOST_CODES else "codes end without an End code"
            raise ValueError(f"the LZW {what}")
        if codes[0] > END:
            raise ValueError("an LZW table does not begin with a byte")
        yield codes[:last]
        if codes[last] == END:
            return
        at += int(_ENDS[last])
    raise ValueError("the LZW codes clear their table too often")


def _length(codes: NDArray[np.uint32]) -> int:
    """Return the bytes that the codes of one table stand for.

    Notes
    -----
    The entry 258 + i is the string of code i and one byte more. Its length is the number of steps from entry to entry
    down to a byte, counted for all codes at once by doubling the steps.
    """
    number = len(codes)
    entries = codes.astype(np.int64) - FIRST
    if np.any(entries >= np.arange(number)):
        raise ValueError("an LZW code stands before its entry")
    parent = np.append(np.where(entries < 0, number, entries), number)
    steps = np.append(np.ones(number, np.int64), 0)
    while np.any(parent != number):
        steps += steps[parent]
        parent = parent[parent]
    return int(steps.sum())
