"""Stacks as ImageJ and OME writers make them: read equal to the array, or refused by the axis or plane that is bad."""

import io

import numpy as np
import pytest
import tifffile
from corpus import by_imagej, by_tifffile
from tiffs import GREY, refusal

from gpu_nx47._tiff import decode, inspect, inspect_file
from gpu_nx47.errors import DamagedInputError, NotAVolumeError, TooLargeError
from gpu_nx47.load import load
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source


def said(**pairs):
    """Return a description as ImageJ writes it."""
    return "ImageJ=1.54f\n" + "".join(f"{key}={value}\n" for key, value in pairs.items()) + "loop=false\n"


# ImageJ -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_imagej_stacks_read_equal_to_the_array(tmp_path, dtype, headers):
    array = (GREY * 1.5).astype(dtype)
    data = by_imagej(array, headers=headers)
    found = decode(data, inspect(data, "a"))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    assert load(Source("a", path, (path,)), LoadSettings()).original_dtype == dtype


@pytest.mark.parametrize("headers", [True, False])
def test_no_cut_of_an_imagej_stack_reads_silently(headers):
    data = by_imagej(GREY, headers=headers)
    for at in [*np.linspace(0, len(data) - 1, 199).astype(int), *range(len(data) - 20, len(data))]:
        error = refusal(data[:at], DamagedInputError)
        assert error.shape in (None, GREY.shape)
    assert error.shape == GREY.shape


@pytest.mark.parametrize("headers", [True, False])
def test_more_images_declared_than_there_are(headers):
    data = by_imagej(GREY, headers=headers, description=said(images=13, slices=13))
    error = refusal(data, DamagedInputError)
    assert error.shape == (13, *GREY.shape[1:])
    assert error.expected.startswith("13 pages" if headers else f"{13 * GREY[0].size} bytes")


def test_an_imagej_stack_above_4_gb_tells_its_shape_and_its_cut(tmp_path):
    """Headers alone are read, so a file without bytes behind them will do."""
    path = tmp_path / "large.tif"
    pixels = 5000 * 1000 * 1000
    head = by_imagej(np.zeros((1, 1000, 1000), np.uint8), description=said(images=5000, slices=5000))[: -1000 * 1000]
    for size, refused in ((len(head) + pixels, False), (len(head) + pixels - 1, True)):
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size)
        if refused:
            with pytest.raises(DamagedInputError, match="found a file of") as caught:
                inspect_file(path)
            assert caught.value.shape is None  # more than a zero mask is written for
        else:
            assert inspect_file(path).shape == (5000, 1000, 1000)
    with pytest.raises(TooLargeError, match="the file is too large"):
        load(Source("a", path, (path,)), LoadSettings(), limit_bytes=1 << 30)


TWO = ({"channels": 3, "slices": 4}, {"slices": 6, "frames": 2}, {"channels": 2, "frames": 6})


@pytest.mark.parametrize("axes", TWO)
def test_two_long_axes_are_refused_by_name(axes):
    error = refusal(by_imagej(GREY, description=said(images=12, **axes, hyperstack="true")), NotAVolumeError)
    assert (error.expected, "more than three axes" in error.what) == ("z, y, x", True)
    assert all(f"'{axis}': {size}" in error.found for axis, size in axes.items())


def test_one_long_axis_is_the_stack_whatever_its_name():
    """Scripts write z stacks as frames or as channels: tifffile's own default for ImageJ is channels."""
    for axis in ("slices", "frames", "channels"):
        data = by_imagej(GREY, description=said(images=12, **{axis: 12}))
        assert np.array_equal(decode(data, inspect(data, "a")), GREY)


# OME ----------------------------------------------------------------------------------------------------------------


HALF = GREY[:, ::2, ::2]


def test_the_full_level_of_a_pyramid_is_read():
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(GREY, subifds=1, photometric="minisblack", compression="lzw", metadata={"axes": "ZYX"})
        writer.write(HALF, subfiletype=1, photometric="minisblack", compression="lzw")
    assert np.array_equal(decode(file.getvalue(), inspect(file.getvalue(), "a")), GREY)


def test_levels_as_pages_of_their_own_are_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for level in (GREY, HALF):
            writer.write(level, photometric="minisblack", compression="lzw", metadata=None)
    error = refusal(file.getvalue(), NotAVolumeError)
    assert (error.page, "not alike" in error.what) == (len(GREY), True)


def test_several_images_are_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        for _ in range(2):
            writer.write(GREY[:6], photometric="minisblack", metadata={"axes": "ZYX"})
    error = refusal(file.getvalue(), NotAVolumeError)
    assert (error.expected, error.found) == ("one image in the OME description", "2")


def test_channels_beside_z_are_refused_by_name():
    data = by_tifffile(GREY.reshape(4, 3, 37, 41), ome=True, metadata={"axes": "ZCYX"})
    assert refusal(data, NotAVolumeError).found == "{'Z': 4, 'C': 3} beside y and x"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (b'SizeZ="12"', b'SizeZ="24"', "24 pages, as OME declares"),  # one file of a set of two
        (b"<Image ", b"<Imagf ", "well-formed XML"),
        (b"<Pixels ", b"<Pixelz ", "well-formed XML"),
        (b'SizeZ="12"', b'SizeZ="-2"', "a positive whole number"),
    ],
)
def test_an_ome_description_that_contradicts_the_file(old, new, word):
    data = by_tifffile(GREY, ome=True, metadata={"axes": "ZYX"})
    assert old in data
    assert word in refusal(data.replace(old, new, 1), DamagedInputError).expected


def test_a_companion_file_is_asked_for_by_what_is_missing():
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    text = f'<OME xmlns="{space}"><BinaryOnly MetadataFile="a.companion.ome"/></OME>'
    error = refusal(by_tifffile(GREY, metadata=None, description=text), NotAVolumeError)
    assert error.found == "0"


@pytest.mark.parametrize("name", ["UTF-16", "UTF-1", "latin-1", "x" * 9])
def test_the_encoding_that_xml_declares_counts_for_nothing(name):
    data = by_tifffile(GREY, ome=True, metadata={"axes": "ZYX"})
    old = b'encoding="UTF-8"?>'
    new = f'encoding="{name}"?>'.encode()
    text = data[data.index(b"<?xml") :].split(b"\0", 1)[0]
    changed = by_tifffile(GREY, metadata=None, description=text.replace(old, new).decode())
    assert np.array_equal(decode(changed, inspect(changed, "a")), GREY)
