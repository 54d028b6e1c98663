"""What reading holds is counted before it is held, and nothing above the limit is read."""

import os
import re
from pathlib import Path

import hostile
import numpy as np
import pytest
import tifffile
from tiffs import GREY, by_tifffile

from gpu_nx47 import spread
from gpu_nx47._tiff import decode, decoding, inspect
from gpu_nx47.errors import InputError, TooLargeError
from gpu_nx47.load import load, reading_bytes
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source

DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


def stack(folder, dtype="uint8"):
    path = folder / "a.tif"
    path.write_bytes(by_tifffile(GREY.astype(dtype), compression="lzw"))
    return Source("a", path, (path,))


def slices(folder):
    files = tuple(folder / f"{k}.tif" for k in range(4))
    for path, page in zip(files, GREY, strict=False):
        path.write_bytes(by_tifffile(page, compression="lzw"))
    return Source("s", folder, files)


def needed(source, dtype="uint8"):
    shape = GREY.shape if len(source.files) == 1 else (len(source.files), *GREY.shape[1:])
    return reading_bytes(shape, np.dtype(dtype), max(path.stat().st_size for path in source.files))


@pytest.mark.parametrize(
    ("dtype", "file_bytes", "expected"),
    [
        ("uint8", 300, 300 + 800 + 4 * 200),
        ("uint16", 300, 300 + 1600 + 4 * 400),
        ("uint16", 0, 1600 + 4 * 400),
        ("float32", 5000, 5000 + 3200 + 4 * 800),
        ("float32", 300, 3200 + 800 + 3200),
        ("float64", 10, 6400 + 800 + 6400),
    ],
)
def test_reading_is_counted_by_hand(dtype, file_bytes, expected):
    """File, voxels and four copies of one of four pages; or voxels, grey values and the sorted copy of floats."""
    assert reading_bytes((4, 10, 20), np.dtype(dtype), file_bytes) == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_stack_is_read_where_it_fits_to_the_byte(tmp_path, dtype):
    source = stack(tmp_path, dtype)
    limit = needed(source, dtype)
    assert load(source, LoadSettings(), limit_bytes=limit).grey.shape == GREY.shape
    with pytest.raises(TooLargeError, match=re.escape(f"found {limit} for {GREY.shape} of {dtype}")) as caught:
        load(source, LoadSettings(), limit_bytes=limit - 1)
    assert (caught.value.shape, f"at most {limit - 1} bytes" in caught.value.expected) == (GREY.shape, True)


def test_slices_are_read_where_they_fit_to_the_byte(tmp_path):
    source = slices(tmp_path)
    assert load(source, LoadSettings(), limit_bytes=needed(source)).grey.shape == (4, *GREY.shape[1:])
    with pytest.raises(TooLargeError, match=r"found \d+ for \(4, 37, 41\)"):
        load(source, LoadSettings(), limit_bytes=needed(source) - 1)


@pytest.mark.parametrize("make", [stack, slices])
def test_a_file_above_the_limit_is_not_read(tmp_path, monkeypatch, make):
    source = make(tmp_path)
    limit = source.files[0].stat().st_size - 1
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(TooLargeError, match="the file is too large"):
        load(source, LoadSettings(), limit_bytes=limit)


def test_memory_that_is_not_there_is_an_input_error(monkeypatch):
    data = by_tifffile(compression="lzw")
    info = inspect(data, "a.tif")

    def empty(*_):
        raise MemoryError

    monkeypatch.setattr(decoding.np, "empty", empty)
    with pytest.raises(TooLargeError, match="does not fit into memory") as caught:
        decode(data, info)
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(("room", "threads"), [(1, 1), (3, 3), (1000, 4)])
def test_large_pages_are_decoded_by_fewer_threads(monkeypatch, room, threads):
    data = by_tifffile(compression="lzw")
    asked = []
    real = spread.ThreadPoolExecutor
    monkeypatch.setattr(decoding, "WORK_BYTES", room * decoding.PAGE_COPIES * GREY[0].nbytes)
    monkeypatch.setattr(spread, "ThreadPoolExecutor", lambda n, name: (asked.append(n), real(n, name))[1])
    assert np.array_equal(decode(data, inspect(data, "a"), threads=4), GREY)
    assert asked == ([] if threads == 1 else [threads])


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel does not tell peaks apart")
def test_what_is_counted_is_what_is_held(tmp_path):
    """Within a twentieth and 24 MB, in a process of its own: as large as their voxels, or far smaller."""
    shape, paths, counted = (64, 512, 512), [], []
    rows = np.arange(1, 1 + 64 * 512, dtype=np.uint16).reshape(64, 512, 1)
    for dtype, compression in (("uint8", None), ("uint16", None), ("float32", "zlib")):
        paths.append(tmp_path / f"{dtype}.tif")
        voxels = np.broadcast_to(rows, shape).astype(dtype)
        tifffile.imwrite(paths[-1], voxels, photometric="minisblack", compression=compression)
        counted.append(reading_bytes(shape, np.dtype(dtype), paths[-1].stat().st_size))
    for found, bytes_counted in zip(hostile.measure(paths), counted, strict=True):
        assert found["said"] == str(shape)
        assert abs(found["held"] - bytes_counted) < bytes_counted / 20 + (24 << 20)
