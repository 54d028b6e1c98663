"""Loading: every writer's stacks read equal to the array; exact windows; the valid box; the voxel size."""

import hashlib
import math

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpu_nx47._tiff import decode, inspect
from gpu_nx47.errors import InputError
from gpu_nx47.load import expected_shapes, load, order_statistic_rank, read_shape, valid_box
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source

RNG = np.random.default_rng(47)
GREY = RNG.integers(0, 60, (5, 33, 40), dtype=np.uint8)


def source_of(path, files=None):
    return Source(path.stem, path, tuple(files or (path,)))


def read(path, **settings):
    return load(source_of(path), LoadSettings(**settings))


def pillow(compression):
    def write(path, array):
        pages = [Image.fromarray(page) for page in array]
        pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)

    return write


def plain(**options):
    return lambda path, array: tifffile.imwrite(path, array, **options)


def page_by_page(**options):
    def write(path, array):
        with tifffile.TiffWriter(path) as writer:
            for page in array:
                writer.write(page, photometric="minisblack", **options)

    return write


WRITERS = {
    "tifffile": plain(),
    "tifffile, no description": plain(metadata=None, photometric="minisblack"),
    "tifffile, lzw": plain(compression="lzw"),
    "tifffile, lzw and predictor": plain(compression="lzw", predictor=True),
    "tifffile, deflate": plain(compression="zlib"),
    "tifffile, old deflate": plain(compression="deflate"),
    "tifffile, zstd": plain(compression="zstd"),
    "tifffile, zstd and predictor": plain(compression="zstd", predictor=True),
    "tifffile, packbits": plain(compression="packbits"),
    "tifffile, strips of 7 rows": plain(compression="lzw", rowsperstrip=7),
    "tifffile, tiles": plain(compression="zlib", tile=(16, 32)),
    "tifffile, tiles and predictor": plain(compression="zlib", tile=(16, 16), predictor=True),
    "tifffile, ImageJ": plain(imagej=True),
    "tifffile, ImageJ, deflate": plain(imagej=True, compression="zlib"),
    "tifffile, OME": plain(ome=True),
    "tifffile, BigTIFF": plain(bigtiff=True, compression="lzw"),
    "tifffile, big-endian": plain(byteorder=">"),
    "tifffile, big-endian, predictor": plain(byteorder=">", compression="zlib", predictor=True),
    "tifffile, page by page": page_by_page(compression="lzw"),
    "tifffile, page by page, contiguous": page_by_page(contiguous=True),
}
PILLOW = {f"Pillow, {name}": pillow(name) for name in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")}
WRITERS |= PILLOW | {"Pillow": pillow(None), "OpenCV": lambda path, array: cv2.imwritemulti(str(path), list(array))}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_stack_reads_equal_to_the_array(tmp_path, writer):
    path = tmp_path / "a.tif"
    WRITERS[writer](path, GREY)
    volume = read(path)
    assert volume.grey.dtype == np.uint8
    assert volume.grey.flags.c_contiguous
    assert np.array_equal(volume.grey, GREY)
    assert (volume.original_dtype, volume.window, volume.voxel_size_um) == ("uint8", None, None)
    assert volume.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert volume.bytes_read == path.stat().st_size
    assert read_shape(volume.source) == GREY.shape


PLAIN = {"photometric": "minisblack"}
HORIZONTAL = PLAIN | {"compression": "lzw", "predictor": 2}
FLOATING = PLAIN | {"compression": "zlib", "predictor": 3, "tile": (16, 16)}
TYPES = [(dtype, PLAIN) for dtype in ("uint8", "uint16", "float16", "float32", "float64")]
TYPES += [(dtype, HORIZONTAL) for dtype in ("uint8", "uint16")]
TYPES += [(dtype, FLOATING) for dtype in ("float16", "float32", "float64")]


@pytest.mark.parametrize(("dtype", "options"), TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_each_type_decodes_equal_in_both_byte_orders(tmp_path, dtype, order, options):
    array = (np.abs(RNG.standard_normal((4, 21, 35))) * 100).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, byteorder=order, **options)
    data = path.read_bytes()
    found = decode(data, inspect(data, "a.tif"))
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, array)


def test_float_with_the_integers_predictor_decodes_as_libtiff_wrote_it(tmp_path):
    array = (RNG.standard_normal((4, 21, 35)) * 100).astype(np.float32)
    pages = [Image.fromarray(page) for page in array]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw", tiffinfo={317: 2})
    data = path.read_bytes()
    info = inspect(data, "a.tif")
    assert info.pages[0].predictor == 2
    assert np.array_equal(decode(data, info), array)


def test_an_imagej_stack_behind_one_header_is_read_whole(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, imagej=True)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:  # ImageJ itself leaves out the other headers above 4 GB
        at = tiff.pages[0].offset
    count = int.from_bytes(data[at : at + 2], "big" if data[:2] == b"MM" else "little")
    data[at + 2 + 12 * count : at + 6 + 12 * count] = b"\0\0\0\0"
    path.write_bytes(data)
    assert np.array_equal(read(path).grey, GREY)


@pytest.mark.parametrize("shape", [(1, 8, 9), (2, 8, 9), (5, 1, 9), (400, 3, 2)])
def test_any_depth_and_thin_pages(tmp_path, shape):
    array = RNG.integers(1, 9, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression="lzw")
    assert np.array_equal(read(tmp_path / "a.tif").grey, array)


def test_slices_are_one_volume_and_the_digest_is_of_their_bytes_in_order(tmp_path):
    files = [tmp_path / f"z{k}.tif" for k in range(5)]
    for page, path in zip(GREY, files, strict=True):
        tifffile.imwrite(path, page, compression="lzw")
    source = source_of(tmp_path, files)
    volume = load(source, LoadSettings())
    assert np.array_equal(volume.grey, GREY)
    assert volume.sha256 == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    assert read_shape(source) == GREY.shape
    assert dict(expected_shapes([source])) == {source.id: GREY.shape}


def test_the_valid_box_is_what_is_left_without_zero_outer_planes(tmp_path):
    array = np.zeros((9, 10, 11), np.uint8)
    array[2, 3, 4] = array[6, 7, 5] = 1
    tifffile.imwrite(tmp_path / "a.tif", array)
    box = read(tmp_path / "a.tif").box
    assert (box.start, box.stop) == ((2, 3, 4), (7, 8, 6))


@given(st.integers(0, 2**32 - 1))
def test_the_valid_box_agrees_with_the_indices_of_what_is_not_zero(seed):
    rng = np.random.default_rng(seed)
    array = rng.random(rng.integers(1, 9, 3)) < rng.choice([0.0, 0.005, 0.05, 0.5])
    box = valid_box(array.astype(np.uint16) * 300)
    found = np.argwhere(array)
    assert (
        box.voxels == 0 if len(found) == 0 else box.start == tuple(found.min(0)) and box.stop == tuple(found.max(0) + 1)
    )


def test_an_all_zero_volume_has_an_empty_box(tmp_path):
    for dtype in ("uint8", "uint16", "float32"):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 9), dtype))
        volume = read(tmp_path / "a.tif")
        assert volume.box.voxels == 0
        assert not volume.grey.any()


def law_window(array, low_percentile, high_percentile):
    """The window and its map, written as plainly as can be, in Python integers and floats."""
    filled = np.argwhere(array)
    inside = tuple(slice(a, b + 1) for a, b in zip(filled.min(0), filled.max(0), strict=True))
    values = sorted(array[inside].ravel().tolist())
    low, high = (values[order_statistic_rank(p, len(values))] for p in (low_percentile, high_percentile))
    grey = np.zeros(array.shape, np.uint8)
    flat = [
        math.floor((min(max(v, low), high) - low) * 255 / (high - low) + 0.5) for v in array[inside].ravel().tolist()
    ]
    grey[inside] = np.array(flat).reshape(array[inside].shape)
    return grey, low, high


@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("percentiles", [(0.5, 99.8), (0.0, 100.0), (10.0, 90.0)])
def test_wide_types_are_windowed_by_exact_percentiles_of_the_valid_box(tmp_path, dtype, percentiles):
    array = np.abs(RNG.standard_normal((6, 12, 13)) * 3000 + 9000).astype(dtype)
    array[[0, -1]], array[:, :2], array[:, :, -3:] = 0, 0, 0
    tifffile.imwrite(tmp_path / "a.tif", array)
    volume = read(tmp_path / "a.tif", low_percentile=percentiles[0], high_percentile=percentiles[1])
    grey, low, high = law_window(array, *percentiles)
    assert (volume.window.low, volume.window.high) == (low, high)
    assert (volume.window.low_percentile, volume.window.high_percentile) == percentiles
    assert np.array_equal(volume.grey, grey)
    assert volume.original_dtype == dtype
    assert volume.grey[0].max() == 0 < volume.grey.max() == 255


def test_the_frame_stays_zero_where_zero_lies_within_the_window(tmp_path):
    array = (RNG.standard_normal((6, 12, 13)) * 50).astype(np.float32)
    array[0] = 0
    tifffile.imwrite(tmp_path / "a.tif", array)
    volume = read(tmp_path / "a.tif")
    assert volume.window.low < 0
    assert not volume.grey[0].any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_constant_volumes_are_read(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 8, 9), 7, dtype))
    volume = read(tmp_path / "a.tif")
    assert (volume.grey == (7 if dtype == "uint8" else 0)).all()
    assert volume.box.shape == (5, 8, 9)
    assert dtype == "uint8" or volume.window.low == volume.window.high == 7


def test_a_nearly_constant_volume_is_stretched_between_its_extremes(tmp_path):
    array = np.full((5, 30, 40), 100, np.uint16)
    array[2, 3, 4] = 300
    tifffile.imwrite(tmp_path / "a.tif", array)
    volume = read(tmp_path / "a.tif")
    assert (volume.window.low, volume.window.high, volume.window.high_percentile) == (100, 300, 100)
    assert (volume.grey[2, 3, 4], int(volume.grey.sum())) == (255, 255)


def test_values_too_far_apart_for_float64_are_refused(tmp_path):
    array = np.zeros((5, 8, 9))
    array[0], array[4] = -1e308, 1e308
    tifffile.imwrite(tmp_path / "a.tif", array)
    with pytest.raises(InputError, match="too far apart"):
        read(tmp_path / "a.tif")


def test_percentile_ranks_are_of_the_decimal_number_written():
    assert [order_statistic_rank(p, 1000) for p in (0.0, 0.1, 50.0, 99.8, 99.9, 100.0)] == [0, 0, 499, 997, 998, 999]
    assert math.ceil(16.1 * 1000 / 100) == 162  # floats go one value too far
    assert order_statistic_rank(16.1, 1000) == 160
    assert order_statistic_rank(50.0, 1) == 0


OME = {"axes": "ZYX", "PhysicalSizeX": 7.9, "PhysicalSizeY": 7.9}
SIZES = {
    "OME": ({"ome": True, "metadata": OME | {"PhysicalSizeZ": 8.0}}, (8.0, 7.9, 7.9)),
    "OME in nm": (
        {"ome": True, "metadata": OME | {"PhysicalSizeZ": 8.0} | {f"PhysicalSize{a}Unit": "nm" for a in "XYZ"}},
        (0.008, 0.0079, 0.0079),
    ),
    "OME without z": ({"ome": True, "metadata": OME}, None),
    "ImageJ": (
        {"imagej": True, "resolution": (0.5, 0.25), "metadata": {"unit": "um", "spacing": 3.5}},
        (3.5, 4.0, 2.0),
    ),
    "ImageJ, escaped": (
        {"imagej": True, "resolution": (0.5, 0.5), "metadata": {"unit": "\\u00B5m", "spacing": 3.5}},
        (3.5, 2.0, 2.0),
    ),
    "ImageJ in pixels": ({"imagej": True, "resolution": (0.5, 0.5), "metadata": {"unit": "pixel"}}, None),
    "resolution tags alone": ({"resolution": (10000, 10000), "resolutionunit": "CENTIMETER"}, None),
}


@pytest.mark.parametrize("case", SIZES)
def test_the_voxel_size_comes_from_ome_or_imagej_and_else_from_the_setting(tmp_path, case):
    options, size = SIZES[case]
    tifffile.imwrite(tmp_path / "a.tif", GREY, **options)
    assert read(tmp_path / "a.tif").voxel_size_um == (size if size is None else pytest.approx(size))
    told = read(tmp_path / "a.tif", voxel_size_um=9.5).voxel_size_um
    assert told == ((9.5, 9.5, 9.5) if size is None else pytest.approx(size))


def test_real_volumes_read_as_tifffile_reads_them(real_data):
    for path in sorted(real_data.glob("*.tif")):
        data = path.read_bytes()
        assert np.array_equal(decode(data, inspect(data, str(path))), tifffile.imread(path))
