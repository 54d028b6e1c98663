"""The compiled LZW: byte for byte what Pillow's libtiff writes, and of strips only the good ones, as libraries read."""

import sys

import imagecodecs
import numpy as np
import pytest

from gpu_nx47._tiff import decode, encode_stack, encoding, inspect, lzw

compiled = pytest.importorskip("gpu_nx47._tiff.lzw_compiled", reason="needs Numba", exc_type=ImportError)
SPARE, BEHIND = compiled.SPARE, compiled.BEHIND


def pages():
    """Yield pages of 0 and 1: drawn, in runs, plain, and such that compress worse and worse."""
    rng = np.random.default_rng(47)
    for k in range(120):
        page = rng.random(rng.integers(1, 300, 2)) < rng.random() ** 3
        yield np.repeat(page, rng.integers(1, 9), axis=1) if k % 3 else page
    for shape in ((1, 1), (1, 2), (2, 1), (1, 9), (700, 900)):
        yield np.zeros(shape)
        yield np.ones(shape)
    for seed in (*range(40), 111, 430, 604, 821):  # in bands: libtiff clears tables that are not full, in the last four
        rng = np.random.default_rng(seed)  # by a margin of a few bits
        share = np.repeat(rng.random(60) ** 2 * 0.5, 5)[:, None]
        yield rng.random((300, 300)) < share


def packed(page):
    out = np.empty(2 * page.size + 16, np.uint8)
    return out[: compiled.encode(page.reshape(-1), out)].tobytes()


def unpacked(strip, room, function=compiled.decode):
    """Return the bytes of a strip, or None where it is left to others; nothing behind the room is touched."""
    out = np.full(room + SPARE + 8, 77, np.uint8)
    size = function(np.frombuffer(strip + bytes(BEHIND), np.uint8), out[: room + SPARE])
    assert (out[-8:] == 77).all()
    return None if size < 0 else out[:size].tobytes()


def test_the_encoder_writes_what_libtiff_writes():
    early = 0
    for page in pages():
        page = np.ascontiguousarray(page, np.uint8)
        strip = packed(page)
        assert strip == encoding._lzw(page)
        lengths = [len(table) for table in lzw._tables(strip)]
        early += any(length < max(lengths) for length in lengths[:-1])
    assert early > 0, "no table was cleared before it was full"


def strips():
    """Yield strips of libraries, cut and with bits turned; each with the bytes that it stood for."""
    rng = np.random.default_rng(48)
    for k in range(400):
        high, size = int(rng.choice([1, 2, 6, 60, 256])), int(rng.integers(1, 9000))
        plain = rng.integers(0, high, size, dtype=np.uint8)
        strip = packed(plain) if high <= 2 else imagecodecs.lzw_encode(plain)
        yield strip, size
        yield strip + b"more", size
        yield strip[: int(rng.integers(0, len(strip)))], size
        turned = np.frombuffer(strip, np.uint8).copy()
        for _ in range(int(rng.integers(1, 4))):
            turned[int(rng.integers(0, min(len(turned), 9 if k % 2 else 9000)))] ^= 1 << int(rng.integers(0, 8))
        yield turned.tobytes(), size


def by_libraries(strip, room):
    try:
        lzw.check(strip)
        size = lzw.size(strip, room)
    except ValueError:
        return None
    if size > room:
        return None
    return bytes(imagecodecs.lzw_decode(strip, out=bytearray(room + 1)))[:size]


def test_the_decoder_takes_the_strips_that_pass_and_reads_them_as_libraries_do():
    taken = left = 0
    for strip, size in strips():
        for room in (size, size - 1):
            found = unpacked(strip, room)
            assert found == by_libraries(strip, room)
            taken, left = taken + (found is not None), left + (found is None)
    assert taken > 700
    assert left > 700


def test_no_strip_makes_the_decoder_leave_its_arrays():
    """In plain Python NumPy tells of every index that is out of bounds."""
    for number, (strip, size) in enumerate(strips()):
        if number % 16 == 3 and size < 1500:
            with np.errstate(over="ignore"):
                assert unpacked(strip, size, compiled.decode.py_func) == unpacked(strip, size)


@pytest.mark.parametrize("number", [3837, 3838, 3839, 3840, 4000])
@pytest.mark.parametrize("last", [lzw.END, lzw.CLEAR])
def test_a_table_may_be_full_and_not_fuller(number, last):
    widths = [min(12, (258 + k).bit_length()) for k in range(number + 1)]
    bits = "".join(f"{code:0{width}b}" for code, width in zip([7] * number + [last], widths, strict=True))
    bits = f"{lzw.CLEAR:09b}{bits}{9:09b}{lzw.END:09b}"
    strip = int(bits + "0" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")
    expected = bytes([7] * number + [9] * (last == lzw.CLEAR)) if number <= lzw.MOST_CODES else None
    assert unpacked(strip, 5000) == expected == by_libraries(strip, 5000)


STACK = (np.random.default_rng(49).random((21, 40, 50)) < 0.2).astype(np.uint8)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stack_has_the_same_bytes_with_it_and_without(monkeypatch, threads):
    without = encode_stack(STACK)
    grey = STACK * np.uint8(9)
    assert lzw.quick(STACK.size) is None, "small stacks are not worth compiling for"
    plain = encode_stack(grey)
    monkeypatch.setattr(lzw, "WORTH_COMPILING", 1)
    assert lzw.quick(STACK.size) is compiled
    assert encode_stack(STACK, threads) == without
    assert encode_stack(grey, threads) == plain, "what is not a mask is left to Pillow"
    monkeypatch.setattr("gpu_nx47._tiff.decoding._segment", None)
    assert np.array_equal(decode(plain, inspect(plain, "a"), threads=threads), grey)


def test_it_loads_no_compiler_of_its_own(monkeypatch):
    monkeypatch.setattr(lzw, "WORTH_COMPILING", 1)
    monkeypatch.delitem(sys.modules, "numba")
    assert lzw.quick(1 << 40) is None
    monkeypatch.setitem(sys.modules, "numba", None)  # hidden
    assert lzw.quick(1 << 40) is None
