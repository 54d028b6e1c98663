"""Stacks cut at 199 places: each is refused, or whole where only bytes are gone that no header points to."""

import io
import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from gpu_nx47._tiff import decode, inspect
from gpu_nx47.errors import DamagedInputError

STACK = np.random.default_rng(47).integers(0, 60, (12, 37, 41), dtype=np.uint8)


def by_tifffile(**options):
    file = io.BytesIO()
    tifffile.imwrite(file, STACK, photometric="minisblack", compression="lzw", **options)
    return file.getvalue()


def by_pillow():
    file = io.BytesIO()
    pages = [Image.fromarray(page) for page in STACK]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return file.getvalue()


def by_opencv():
    done, data = cv2.imencodemulti(".tif", list(STACK))
    assert done
    return bytes(data)


WRITERS = {
    "tifffile": by_tifffile,
    "tifffile, nothing declared": lambda: by_tifffile(metadata=None),
    "Pillow": by_pillow,
    "OpenCV": by_opencv,
}


def needed(data):
    """Return the end of the last byte that a header points to, as tifffile finds it."""
    ends = []
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for page in file.pages:
            ends += [at + count for at, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
            ends.append(page.offset + 2 + 12 * len(page.tags) + 4)
            ends += [tag.valueoffset + tag.valuebytecount for tag in page.tags]
    return max(ends)


def check(data, cuts):
    """Read the file cut at each place; return how many cuts read whole."""
    whole, end = 0, needed(data)
    for at in cuts:
        if at < end:
            with pytest.raises(DamagedInputError):
                decode(data[:at], inspect(data[:at], "cut.tif"))
        else:
            assert np.array_equal(decode(data[:at], inspect(data[:at], "cut.tif")), STACK)
            whole += 1
    return whole


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("number", [20, pytest.param(199, marks=pytest.mark.long)])
def test_no_cut_reads_silently(writer, number):
    data = WRITERS[writer]()
    assert len(inspect(data, "a").pages) == len(STACK)
    assert {page.compression for page in inspect(data, "a").pages} == {5}
    assert check(data, np.linspace(0, len(data) - 1, number).astype(int)) <= number // 20


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_cut_of_the_last_bytes_reads_silently(monkeypatch, writer, hide):
    data = WRITERS[writer]()
    if hide:
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
    spare = len(data) - needed(data)
    assert check(data, range(len(data) - 40, len(data))) == spare
    assert spare <= 16  # tifffile ends some files with bytes for its own use
