"""Files that can be read and are no grey volume, and sources that are not whole: refused by name."""

import io
import re
import sys

import numpy as np
import pytest
import tifffile
from tiffs import GREY, RNG, by_pillow, by_tifffile, refusal

from gpu_nx47._tiff import inspect
from gpu_nx47.errors import DamagedInputError, InputError, NotAVolumeError
from gpu_nx47.load import expected_shapes, load, read_shape
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source


def test_colours_samples_and_more_axes():
    colours = RNG.integers(0, 9, (12, 37, 41, 3), dtype=np.uint8)
    assert refusal(by_tifffile(colours, photometric="rgb"), NotAVolumeError).shape == (12, 37, 41)
    assert "samples" in refusal(by_tifffile(colours, photometric="rgb"), NotAVolumeError).found
    refusal(by_pillow("RGB"), NotAVolumeError)
    refusal(by_pillow("CMYK"), NotAVolumeError)
    refusal(by_tifffile(GREY.reshape(3, 4, 37, 41), photometric="minisblack"), NotAVolumeError)
    refusal(by_tifffile(GREY.reshape(3, 4, 37, 41), imagej=True), NotAVolumeError)
    refusal(by_tifffile(GREY.reshape(3, 4, 37, 41), ome=True), NotAVolumeError)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "uint64", "complex64", "bool"])
def test_types_that_are_not_read(dtype):
    error = refusal(by_tifffile((GREY > 5).astype(dtype), photometric="minisblack"), NotAVolumeError)
    assert (error.shape, "uint16" in error.expected) == (GREY.shape, True)


@pytest.mark.parametrize("single", [by_tifffile(GREY[0]), by_tifffile(GREY[0], imagej=True), by_pillow(count=1)])
def test_one_page_is_no_volume(single):
    error = refusal(single, NotAVolumeError)
    assert (error.found, error.shape) == ("one page", (1, 37, 41))
    assert "folder of two or more" in error.advice
    assert inspect(single, "a", single=True).shape == (1, 37, 41)


def test_ome_planes_out_of_order():
    data = by_tifffile(ome=True, compression="zlib", metadata={"axes": "ZYX"})
    old = b'<TiffData IFD="0" PlaneCount="12"/>'
    assert old in data
    for plane in (0, 5):
        new = (b'<TiffData FirstZ="%d" IFD="0"' % plane).ljust(len(old) - 2) + b"/>"
        moved = data.replace(old, new)
        if plane == 0:
            assert inspect(moved, "a").shape == GREY.shape
        else:
            assert "order" in refusal(moved, NotAVolumeError).what


@pytest.mark.parametrize("swap", [(b"<Pixels", b"<Pixel "), (b"<OME ", b"<OME<"), (b"<Image ", b"<!ENTITY ")])
def test_an_ome_description_that_is_damaged_or_hostile(swap):
    refusal(by_tifffile(ome=True).replace(*swap, 1), InputError)


def test_two_stacks_in_one_file():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for _ in range(2):
            writer.write(GREY, photometric="minisblack", compression="lzw")
    assert "several volumes" in refusal(file.getvalue(), NotAVolumeError).what


def test_jpeg_and_lzma_are_named():
    error = refusal(by_tifffile(compression="lzma"), DamagedInputError)
    assert ("LZW" in error.expected, error.found) == (True, "code 34925")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_not_finite(tmp_path, bad, dtype):
    array = GREY.astype(dtype)
    array[7, 3, 4] = array[9, 0, 0] = bad
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array)
    with pytest.raises(DamagedInputError, match="not finite") as caught:
        load(Source("a", path, (path,)), LoadSettings())
    assert (caught.value.page, caught.value.shape) == (7, GREY.shape)


# Sources ------------------------------------------------------------------------------------------------------------


def slices(folder, change):
    files = [folder / f"{k}.tif" for k in range(4)]
    for k, path in enumerate(files):
        path.write_bytes(by_tifffile(GREY[k]))
    change(files[2])
    return Source("s", folder, tuple(files))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (DamagedInputError, lambda path: path.write_bytes(path.read_bytes()[:500])),
        (DamagedInputError, lambda path: path.unlink()),
        (NotAVolumeError, lambda path: path.write_bytes(by_tifffile(GREY[0, :30]))),
        (NotAVolumeError, lambda path: path.write_bytes(by_tifffile(GREY[0].astype(np.uint16)))),
        (NotAVolumeError, lambda path: path.write_bytes(by_tifffile())),
    ],
    ids=["cut", "gone", "smaller", "wider type", "a stack"],
)
def test_a_bad_slice_is_named(tmp_path, kind, change):
    with pytest.raises(kind, match=re.escape(str(tmp_path / "2.tif"))):
        load(slices(tmp_path, change), LoadSettings())


def test_a_missing_file_is_an_input_error(tmp_path):
    source = Source("a", tmp_path / "a.tif", (tmp_path / "a.tif",))
    for action in (lambda: load(source, LoadSettings()), lambda: read_shape(source)):
        with pytest.raises(DamagedInputError, match="cannot be read"):
            action()
    assert dict(expected_shapes([source])) == {"a": None}


def test_without_imagecodecs_zstd_is_an_error_that_says_so(monkeypatch):
    data = by_tifffile(compression="zstd")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    error = refusal(data, InputError)
    assert (error.expected, error.shape, "LZW" in error.advice) == ("imagecodecs", GREY.shape, True)
