"""Files that readers take for whole, or that blow them up: each is refused, and the message says what stands where."""

import contextlib
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiffs import GREY, by_opencv, by_pillow, by_tifffile, one_header, page, refusal, tiff

from gpu_nx47._tiff import decode, inspect, inspection
from gpu_nx47._tiff import walk as walk_module
from gpu_nx47._tiff.walk import Fault, open_reader, walk
from gpu_nx47.errors import DamagedInputError, InputError, NotAVolumeError


def test_the_layout_of_these_tests_is_a_good_tiff():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for big in (False, True):
        data = tiff(page(at=16 if big else 8), page(at=16 if big else 8, count=12), big=big, tail=array.tobytes() * 2)
        assert np.array_equal(decode(data, inspect(data, "a")), np.stack([array, array]))


# Cut files ----------------------------------------------------------------------------------------------------------

CUT = {
    "tifffile": lambda folder: by_tifffile(compression="lzw"),
    "tifffile without description": lambda folder: by_tifffile(compression="lzw", metadata=None),
    "tifffile, uncompressed": lambda folder: by_tifffile(),
    "tifffile, one header": lambda folder: one_header(by_tifffile()),
    "ImageJ": lambda folder: by_tifffile(imagej=True),
    "ImageJ, one header": lambda folder: one_header(by_tifffile(imagej=True)),
    "OME": lambda folder: by_tifffile(ome=True, compression="lzw"),
    "BigTIFF": lambda folder: by_tifffile(bigtiff=True, compression="lzw"),
    "Pillow": lambda folder: by_pillow(),
    "OpenCV": by_opencv,
}


@pytest.mark.parametrize("writer", CUT)
def test_none_of_40_cuts_reads_silently(tmp_path, writer):
    data = CUT[writer](tmp_path)
    assert np.array_equal(decode(data, inspect(data, "whole")), GREY)
    # tifffile ends some files with 16 bytes that no header points to: without them nothing is lost, and nothing shows.
    for at in np.linspace(0, len(data) - 17, 40).astype(int):
        error = refusal(data[:at], DamagedInputError)
        assert error.shape in (None, GREY.shape)


@pytest.mark.parametrize("writer", ["tifffile", "tifffile, one header", "ImageJ", "ImageJ, one header", "BigTIFF"])
def test_a_cut_stack_tells_its_shape_where_its_description_is_left(tmp_path, writer):
    data = CUT[writer](tmp_path)
    assert refusal(data[: len(data) // 2], DamagedInputError).shape == GREY.shape


def test_a_stack_that_ends_early_but_properly_contradicts_its_description():
    data = bytearray(by_tifffile(compression="lzw"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offset = file.pages[6].offset
    count = struct.unpack_from("<H", data, offset)[0]
    struct.pack_into("<I", data, offset + 2 + 12 * count, 0)  # page 6 becomes the last
    error = refusal(data, DamagedInputError)
    assert (error.expected, error.found, error.shape) == ("12 pages, as the description declares", "7", GREY.shape)


@pytest.mark.parametrize("by", ["imagej", "ome"])
def test_fewer_pages_than_imagej_or_ome_declare(by):
    old, new = (b"images=12", b"images=13") if by == "imagej" else (b'SizeZ="12"', b'SizeZ="13"')
    data = by_tifffile(compression="zlib", metadata={"axes": "ZYX"}, **{by: True})
    assert old in data
    error = refusal(data.replace(old, new), DamagedInputError)
    assert (error.shape, error.found) == ((13, 37, 41), "12")
    assert error.expected.startswith("13 pages")


@pytest.mark.parametrize(
    "data", [b"", b"II", b"II*\0", b"not a tiff at all", b"\x89PNG\r\n\x1a\n", b"II+\0\x04\0\0\0" + b"\0" * 8]
)
def test_what_is_no_tiff(data):
    refusal(data, DamagedInputError)


@pytest.mark.parametrize(
    "data", [b"II*\0\x08\0\0\0", b"II*\0\0\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0" + b"\x10" + b"\0" * 7]
)
def test_a_header_alone(data):
    assert refusal(data, DamagedInputError).shape is None


# Lies in the headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        (DamagedInputError, {"width": 0}, "no pixels"),
        (DamagedInputError, {"length": 0}, "no pixels"),
        (DamagedInputError, {"_256": None}, "ImageWidth is missing"),
        (DamagedInputError, {"_273": None}, "StripOffsets"),
        (DamagedInputError, {"_279": None}, "StripByteCounts"),
        (DamagedInputError, {"_278": 0}, "no pixels"),
        (DamagedInputError, {"_278": 1}, "does not fit"),
        (DamagedInputError, {"at": 5000}, "lies outside"),
        (DamagedInputError, {"count": 5000}, "lies outside"),
        (DamagedInputError, {"count": 0}, "lies outside"),
        (DamagedInputError, {"count": 11}, "more pixels than its bytes"),
        (DamagedInputError, {"compression": 7}, "compression is not read"),
        (DamagedInputError, {"compression": 34712}, "compression is not read"),
        (DamagedInputError, {"_317": 2}, "predictor"),
        (DamagedInputError, {"compression": 8, "_317": 3}, "predictor"),
        (DamagedInputError, {"compression": 8}, "does not decode"),
        (DamagedInputError, {"compression": 5}, "decode"),
        (DamagedInputError, {"compression": 50000}, "does not decode"),
        (NotAVolumeError, {"_277": 3}, "not grey"),
        (NotAVolumeError, {"_262": 2}, "not grey"),
        (NotAVolumeError, {"_262": 0}, "not grey"),
        (NotAVolumeError, {"_266": 2}, "FillOrder"),
        (NotAVolumeError, {"_32997": 4}, "ImageDepth"),
        (NotAVolumeError, {"bits": 1}, "type of grey value"),
        (NotAVolumeError, {"bits": 32}, "type of grey value"),
        (NotAVolumeError, {"_339": 2}, "type of grey value"),
        (NotAVolumeError, {"bits": 64, "_339": 6}, "type of grey value"),
    ],
)
def test_a_lie_in_a_tag_is_refused_on_its_page(kind, change, word):
    data = tiff(page(), page(**change), tail=bytes(range(24)))
    error = refusal(data, kind)
    assert type(error) is kind
    assert (error.page, word in error.what) == (1, True)


def test_pages_of_unequal_size_or_type():
    for change in ({"width": 3}, {"length": 2}, {"bits": 16, "count": 24}):
        assert "not alike" in refusal(tiff(page(), page(**change), tail=bytes(24)), NotAVolumeError).what


def test_a_tag_given_twice():
    assert "twice" in refusal(tiff([*page(), (259, 4, (5,))], tail=bytes(12)), DamagedInputError).what


def test_tag_values_outside_the_file():
    data = tiff(
        [(tag, 4, v) for tag, _, v in page(length=3, _278=1, _273=None, _279=None)]
        + [(273, 4, (8, 12, 16)), (279, 4, (4, 4, 4))],
        tail=bytes(12),
    )
    assert "StripByteCounts lie outside" in refusal(data[:-4], DamagedInputError).what


def test_too_many_strips(monkeypatch):
    monkeypatch.setattr(inspection, "MAX_SEGMENTS", 30)
    data = by_tifffile(rowsperstrip=5)
    assert "too many strips" in refusal(data, DamagedInputError).what
    assert refusal(data, DamagedInputError).page == 3  # 8 strips a page


def test_too_many_tags(monkeypatch):
    monkeypatch.setattr(walk_module, "MAX_TAGS", 100)
    error = refusal(by_tifffile(compression="lzw"), DamagedInputError)
    assert ("too many tags" in error.what, error.expected) == (True, "at most 100")


def test_a_loop_of_pages():
    for pages in ([page()], [page(), page(), page()]):
        assert "loop" in refusal(tiff(*pages, tail=bytes(36), loop=True), DamagedInputError).what


def test_100_000_pages_are_refused_in_seconds():
    data = tiff(*[page(1, 1, count=1)] * 100_000, tail=bytes(100_000))
    start = time.process_time()
    assert "too long" in refusal(data, DamagedInputError).what
    assert time.process_time() - start < 10


def test_headers_laid_over_one_another():
    """Without a bound, 60,000 headers of 4096 entries each through one block of bytes would take an hour to walk."""
    entries, step, pages = 4000, 24, 100
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + bytes(12 * (entries + 2 * pages) + 16))
    for k in range(pages):
        at = 8 + step * k
        struct.pack_into("<H", data, at, entries)
        struct.pack_into("<I", data, at + 2 + 12 * entries, at + step)
    with pytest.raises(Fault, match="share their headers") as caught:
        list(walk(open_reader(bytes(data))))
    assert caught.value.page == 1


# Bombs --------------------------------------------------------------------------------------------------------------


def peak_of(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HUGE = 2**25
BOMBS = {
    "132 bytes to a petabyte": tiff(page(HUGE, HUGE, count=8), tail=bytes(8)),
    "deflate": tiff(*[page(HUGE, HUGE, compression=8, count=8)] * 2, tail=bytes(8)),
    "zstd": tiff(*[page(HUGE, HUGE, compression=50000, count=8)] * 2, tail=bytes(8)),
    "a strip of 2**32 rows": tiff(*[page(1, 2**32 - 1, count=8, _278=1)] * 2, tail=bytes(8)),
    "a tile larger than its page": tiff(
        *[page(4, 4, compression=5, _273=None, _279=None, _278=None, _322=HUGE, _323=HUGE, _324=8, _325=8)] * 2,
        tail=bytes(8),
    ),
    "BigTIFF": tiff(*[page(HUGE, HUGE, at=16, compression=5, count=8)] * 2, tail=bytes(8), big=True),
    "a declared shape of 10**15": tiff([*page(), (270, 2, b'{"shape": [100000000000000, 3, 4]}\0')], tail=bytes(12)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_without_room_for_it(bomb):
    start = time.process_time()
    assert peak_of(lambda: refusal(BOMBS[bomb])) < 4 << 20
    assert time.process_time() - start < 2
    assert refusal(BOMBS[bomb]).shape is None or np.prod(refusal(BOMBS[bomb]).shape) <= 1 << 30


@pytest.mark.parametrize("planes", [17_000, 999_999_999])
def test_a_header_that_promises_very_many_slices_gets_no_zero_mask(planes):
    """A mask of a thousand million one-voxel pages would be written for a day."""
    said = f"ImageJ=1.54f\nimages={planes}\n".encode() + b"\0"
    assert refusal(tiff([*page(1, 1, count=1), (270, 2, said)], tail=bytes(2))).shape is None


def test_pages_that_share_one_strip_are_no_way_around_the_limit():
    packed = zlib.compress(bytes(1 << 20), 9)
    data = tiff(*[page(1024, 1024, compression=8, count=len(packed))] * 200, tail=packed)
    assert "share" in refusal(data, DamagedInputError).what


def test_an_honest_file_above_the_limit_is_refused_before_decoding():
    data = by_tifffile(np.zeros((40, 512, 512), np.uint8), compression="zlib")
    assert decode(data, inspect(data, "a")).shape == (40, 512, 512)
    error = refusal(data, InputError, limit_bytes=5_000_000)
    assert ("too large" in error.what, error.shape) == (True, (40, 512, 512))


def test_a_strip_that_decodes_to_more_than_its_page_is_refused_in_bounded_room():
    packed = zlib.compress(bytes(200 << 20), 9)
    data = tiff(*[page(compression=8, at=8, count=len(packed) // 2)] * 2, tail=packed)
    assert peak_of(lambda: refusal(data, DamagedInputError)) < 4 << 20


@pytest.mark.parametrize("codec", ["lzw", "packbits", "zlib", "zstd"])
def test_a_strip_of_the_wrong_length_is_refused(codec):
    """Readers pad a short strip, or crop a long one: here the header says 40 or 42 columns, and the data have 41."""
    data = by_tifffile(compression=codec, metadata=None)
    for columns in (40, 42):
        lie = bytearray(data)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for k in range(12):
                struct.pack_into("<H", lie, file.pages[k].tags["ImageWidth"].valueoffset, columns)
        error = refusal(bytes(lie), DamagedInputError)
        assert error.page == 0
        assert str(37 * columns) in error.expected


def test_a_shorter_strip_count_than_the_strip_is_refused():
    data = bytearray(by_tifffile(compression="lzw"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[5].tags["StripByteCounts"]
        struct.pack_into("<I" if tag.dtype == 4 else "<H", data, tag.valueoffset, tag.value[0] - 40)
    assert refusal(bytes(data), DamagedInputError).page == 5


def test_a_deflated_strip_without_its_checksum_is_refused():
    data = bytearray(by_tifffile(compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[5].tags["StripByteCounts"]
        struct.pack_into("<I" if tag.dtype == 4 else "<H", data, tag.valueoffset, tag.value[0] - 2)
    assert "end too early" in refusal(bytes(data), DamagedInputError).found


# Anything else ------------------------------------------------------------------------------------------------------

SEEDS = [
    by_tifffile(GREY[:3], compression="lzw", photometric="minisblack"),
    by_tifffile(GREY[:3], imagej=True),
    by_tifffile(GREY[:3], ome=True),
    by_tifffile(GREY[:3].astype(np.float32), compression="zlib", tile=(16, 16), predictor=3, photometric="minisblack"),
    by_tifffile(GREY[:3], bigtiff=True, rowsperstrip=5, photometric="minisblack"),
    by_pillow(count=3),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_the_bytes_only_input_errors_come_out(seed, flips):
    data = bytearray(seed)
    for place, value in flips:
        data[int(place * (len(data) - 1))] = value
    with contextlib.suppress(InputError):
        decode(bytes(data), inspect(bytes(data), "bad.tif", limit_bytes=1 << 24))
