"""The compiled check of LZW strips passes what the check passes, and nothing else."""

import io
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from gpu_nx47._tiff import decode, inspect, lzw
from gpu_nx47.errors import DamagedInputError

compiled = pytest.importorskip("gpu_nx47._tiff.lzw_compiled", reason="Numba is not installed")


def passes(strip):
    try:
        lzw.check(strip)
    except ValueError:
        return False
    return True


def passes_compiled(strip, behind=0):
    return bool(compiled.good(np.frombuffer(strip + bytes([behind]) * compiled.BEHIND, np.uint8), len(strip)))


def by_pillow(plain):
    file = io.BytesIO()
    Image.fromarray(np.frombuffer(plain, np.uint8)[None]).save(file, "TIFF", compression="tiff_lzw")
    page = inspect(file.getvalue(), "a", single=True).pages[0]
    return file.getvalue()[page.offsets[0] : page.offsets[0] + page.counts[0]]


def strips():
    """Yield whole strips: none, one and many tables, full ones and short ones, of two encoders."""
    rng = np.random.default_rng(5)
    for size in (1, 2, 200, 254, 255, 256, 700, 3800, 3840, 5000, 20_000, 90_000):
        for high in (1, 2, 40, 256):
            plain = rng.integers(0, high, size, dtype=np.uint8).tobytes()
            yield imagecodecs.lzw_encode(plain)
            yield by_pillow(plain)
    for at in (9, 10, 254, 766, 767, 1790, 3838, 3839, 3840, 3841):  # a Clear or End as code so and so of its table
        yield codes([256, *[7] * at, 257])
        yield codes([256, *[7] * at, 256, 9, 257])
    yield codes([256, 257])
    yield codes([256, 256, 256, 1, 257])
    for clears in range(15, 25):  # 16 and one for each 256 bytes may stand there
        yield codes([256] * clears + [7] * 900 + [257])
    yield codes([256, 258, 257])


def codes(numbers):
    """Return what codes of the widths of TIFF's LZW come to."""
    bits, k = "", 0
    for number in numbers:
        width = 9 + (k >= 254) + (k >= 766) + (k >= 1790)
        bits += format(number, f"0{width}b")
        k = 0 if number == 256 else k + 1
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def damaged(strip, rng):
    """Yield a strip with its last bytes cut off, bits turned, bytes left out, and another strip's bytes in it."""
    yield from (strip[: len(strip) - cut] for cut in (1, 2, 3, 5, len(strip) // 2))
    for _ in range(4):
        turned = bytearray(strip)
        turned[int(rng.integers(0, len(strip)))] ^= 1 << int(rng.integers(0, 8))
        yield bytes(turned)
        at = int(rng.integers(0, len(strip)))
        yield strip[:at] + strip[at + 1 :]
        yield strip[:at] + b"\x80\x00" + strip[at:]
        yield strip[:at] + bytes(int(rng.integers(1, 40)))


def test_it_passes_what_the_check_passes():
    rng = np.random.default_rng(6)
    seen = {True: 0, False: 0}
    for strip in strips():
        for one in (strip, b"", *damaged(strip, rng)):
            expected = passes(one)
            assert passes_compiled(one) is expected
            assert passes_compiled(one, 255) is expected, "what lies behind a strip counts for nothing"
            seen[expected] += 1
    assert min(seen.values()) > 200


def test_a_damaged_strip_is_told_in_the_same_words(monkeypatch):
    stack = np.random.default_rng(7).integers(0, 256, (3, 40, 50), dtype=np.uint8)
    file = io.BytesIO()
    tifffile.imwrite(file, stack, compression="lzw", photometric="minisblack", rowsperstrip=40)
    data = bytearray(file.getvalue())
    info = inspect(bytes(data), "a")
    assert np.array_equal(decode(bytes(data), info), stack)
    last = info.pages[1].offsets[0] + info.pages[1].counts[0]
    data[last - 3 : last] = b"\0\0\0"
    said = []
    for least in (lzw.WORTH_COMPILING, 0):
        monkeypatch.setattr(lzw, "WORTH_COMPILING", least)
        with pytest.raises(DamagedInputError) as caught:
            decode(bytes(data), info)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "without an End code" in said[0]


def test_it_is_used_for_large_stacks_where_numba_is_loaded(monkeypatch):
    assert lzw.checker(lzw.WORTH_COMPILING - 1) is lzw.check
    assert lzw.checker(lzw.WORTH_COMPILING) is not lzw.check
    monkeypatch.delitem(sys.modules, "numba")
    assert lzw.checker(lzw.WORTH_COMPILING) is lzw.check
