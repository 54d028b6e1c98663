"""Decoding on threads: the same array, and of several damaged pages always the lowest is named."""

import io
import struct
import sys
import threading
import time

import numpy as np
import pytest
import tifffile

from gpu_nx47._tiff import decode, decoding, inspect
from gpu_nx47.errors import DamagedInputError
from gpu_nx47.load import load
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source

STACK = np.random.default_rng(47).integers(0, 60, (41, 37, 41), dtype=np.uint8)


def lzw(array=STACK, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack", compression="lzw", **options)
    return file.getvalue()


def spoil(data, *pages):
    """Overwrite the first codes of some pages."""
    data = bytearray(data)
    for page in pages:
        struct.pack_into("<I", data, inspect(bytes(data), "a").pages[page].offsets[0], 0)
    return bytes(data)


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 32)}, {"rowsperstrip": 5, "predictor": True}])
def test_the_array_does_not_depend_on_the_threads(monkeypatch, hide, threads, options):
    data = lzw(**options)
    if hide:
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert np.array_equal(decode(data, inspect(data, "a"), threads=threads), STACK)


@pytest.mark.parametrize("threads", [1, 2, 8, 100])
@pytest.mark.parametrize("bad", [(0,), (40,), (17, 18), (40, 39, 3), (30, 12, 13)])
def test_of_several_damaged_pages_the_lowest_is_named(monkeypatch, threads, bad):
    real = decoding._page

    def slow_at_the_lowest(data, page, out, z, check):
        time.sleep(0.02 if z == min(bad) else 0)
        real(data, page, out, z, check)

    monkeypatch.setattr(decoding, "_page", slow_at_the_lowest)
    data = spoil(lzw(), *bad)
    with pytest.raises(DamagedInputError) as caught:
        decode(data, inspect(data, "a"), threads=threads)
    assert (caught.value.page, caught.value.shape) == (min(bad), STACK.shape)


def test_a_damaged_page_stops_the_rest_and_leaves_no_thread(monkeypatch):
    real, done = decoding._page, []

    def counted(data, page, out, z, check):
        done.append(z)
        time.sleep(0.002)
        real(data, page, out, z, check)

    monkeypatch.setattr(decoding, "_page", counted)
    data = spoil(lzw(np.repeat(STACK, 10, axis=0)), 0)
    before = threading.active_count()
    with pytest.raises(DamagedInputError):
        decode(data, inspect(data, "a"), threads=2)
    assert len(done) < 200
    assert threading.active_count() == before


def test_load_hands_its_threads_on(tmp_path, monkeypatch):
    path, asked = tmp_path / "a.tif", []
    path.write_bytes(lzw())
    real = decoding._pages
    monkeypatch.setattr(decoding, "_pages", lambda *args: (asked.append(args[-1]), real(*args)))
    monkeypatch.setattr("gpu_nx47.load.usable_processors", lambda: 5)
    for threads in (None, 3):
        assert np.array_equal(load(Source("a", path, (path,)), LoadSettings(), threads=threads).grey, STACK)
    assert asked == [5, 3]
