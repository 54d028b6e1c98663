"""LZW, compiled: libtiff's bytes of a mask's page, and the bytes of a good strip, without the interpreter's lock.

Neither decides anything. The encoder writes what Pillow's libtiff writes (a test holds the two together); the decoder
takes good strips alone and leaves every other one to `lzw.check` and a library, which say what is wrong.

References
----------
libtiff 4.7, tif_lzw.c: LZWEncode, LZWPostEncode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPARE: Final = 4
"""Bytes behind the output that the decoder may spoil, as it copies four at once."""
BEHIND: Final = 3
"""Bytes behind a strip that it may look at."""

# Unsigned throughout: an index that may be negative costs a comparison at each byte.
_U = np.uint64
_ONE, _EIGHT, _LOW = _U(1), _U(8), _U(255)
_CLEAR, _END, _FIRST = _U(256), _U(257), _U(258)
_NARROW, _WIDE = _U(9), _U(12)
_LAST = _U(4094)
"""libtiff clears its table when the next entry would be this one."""
_ENTRIES = 4096
_GAP = 10_000
"""Bytes from one look at the compression to the next; where it no longer rises, the table is cleared."""


@compiled
def encode(page: NDArray[np.uint8], out: NDArray[np.uint8]) -> np.int64:
    """Write the LZW codes of a page of 0 and 1, flat and not empty, to `out`, of 2 n + 16 bytes; return how many."""
    child = np.zeros(2 * _ENTRIES, np.uint16)  # of an entry and the byte behind it: the entry of both; 0: none yet
    out[0] = 128  # a Clear and its last bit
    n, held, have = _ONE, _U(0), _ONE
    width, most, free = _NARROW, _U(511), _FIRST
    begin, spent, look, ratio = 0, np.int64(9), _GAP, np.int64(0)
    entry = _U(page[0])
    for k in range(1, page.size + 1):
        if k < page.size:
            at = (entry << _ONE) | _U(page[k])
            if child[at]:
                entry = _U(child[at])
                continue
            child[at] = free
        held = (held << width) | entry
        have += width
        spent += np.int64(width)
        free += _ONE
        clear = free == _LAST
        if not clear and free > most:
            width += _ONE
            most = (_ONE << width) - _ONE
        elif not clear and k < page.size and k + 1 - begin >= look:
            look = k + 1 - begin + _GAP
            now = np.int64((k + 1 - begin) << 8) // spent
            clear = now <= ratio
            ratio = now
        if clear:
            # The Clear is as wide as the code before it, and counts for the table to come.
            held = (held << width) | _CLEAR
            have += width
            child[:] = 0
            begin, spent, ratio = k + 1, np.int64(width), np.int64(0)
            width, most, free = _NARROW, _U(511), _FIRST
        if k < page.size:
            entry = _U(page[k])
        else:
            held = (held << width) | _END
            have += width
        while have >= _EIGHT:
            have -= _EIGHT
            out[n] = (held >> have) & _LOW
            n += _ONE
    if have:
        out[n] = (held << (_EIGHT - have)) & _LOW
        n += _ONE
    return np.int64(n)


@compiled
def decode(strip: NDArray[np.uint8], out: NDArray[np.uint8]) -> np.int64:
    """Write the bytes of a strip, which has BEHIND bytes behind it, to `out` less SPARE; return how many.

    Returns
    -------
    numpy.int64
        -1: not a strip that `lzw.check` passes, or more bytes than there is room for; what `out` holds is nothing then.
    """
    begins, lengths = np.empty(_ENTRIES, np.uint32), np.empty(_ENTRIES, np.uint32)
    size = strip.size - BEHIND
    bits, room = _U(8 * size), _U(out.size - SPARE)
    if size < 2 or strip[0] != 128 or strip[1] >= 128:
        return np.int64(-1)
    at, n = _NARROW, _U(0)
    for _ in range(16 + size // 256):  # as many tables as `lzw.check` reads
        entry, width, most = _END, _NARROW, _U(511)  # the first code of a table makes no entry of use
        before, length = _U(0), _U(0)
        while True:
            if at + width > bits:
                return np.int64(-1)
            byte = at >> _U(3)
            window = _U(strip[byte]) << _U(16) | _U(strip[byte + _ONE]) << _EIGHT | _U(strip[byte + _U(2)])
            code = (window >> (_U(24) - width - (at & _U(7)))) & ((_ONE << width) - _ONE)
            at += width
            if code < _CLEAR:
                if n >= room:
                    return np.int64(-1)
                out[n] = code
                long = _ONE
            elif code == _CLEAR:
                break
            elif code == _END:
                return np.int64(n)
            else:
                if code > entry:  # of a table, the first code too that is no byte
                    return np.int64(-1)
                begin, long = before, length + _ONE  # the entry that this very code completes
                if code < entry:
                    begin, long = _U(begins[code]), _U(lengths[code])
                if n + long > room:
                    return np.int64(-1)
                # Byte by byte, as both may overlap; four at once, as most strings are short.
                out[n] = out[begin]
                out[n + _ONE] = out[begin + _ONE]
                out[n + _U(2)] = out[begin + _U(2)]
                out[n + _U(3)] = out[begin + _U(3)]
                for i in range(_U(SPARE), long):
                    out[n + _U(i)] = out[begin + _U(i)]
            if entry >= _U(_ENTRIES):
                return np.int64(-1)
            begins[entry], lengths[entry] = before, length + _ONE
            entry += _ONE
            before, length = n, long
            n += long
            if entry + _ONE > most and width < _WIDE:
                width += _ONE
                most = (_ONE << width) - _ONE
    return np.int64(-1)
