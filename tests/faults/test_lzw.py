"""LZW strips whose header gives them a few bytes too few: imagecodecs alone reads some, with wrong voxels."""

import io
import struct

import imagecodecs
import numpy as np
import tifffile
from corpus import by_tifffile
from hypothesis import given
from hypothesis import strategies as st

from gpu_nx47._tiff import decode, inspect, lzw
from gpu_nx47.errors import DamagedInputError


def alone(packed, size):
    """Return what imagecodecs makes of a strip, or None where it refuses it or finds another size."""
    out = bytearray(size + 1)
    try:
        found = imagecodecs.lzw_decode(packed, out=out)
    except imagecodecs.ImcdError:
        return None
    return bytes(found) if len(found) == size else None


def strips():
    """Yield strips of noise with their voxels."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        high, size = int(rng.choice([2, 6, 60, 256])), int(rng.integers(20, 6000))
        plain = rng.integers(0, high, size, dtype=np.uint8).tobytes()
        yield plain, imagecodecs.lzw_encode(plain)


def test_a_strip_without_its_last_bytes_is_refused_although_imagecodecs_reads_it():
    wrong = whole = 0
    for plain, packed in strips():
        for cut in (0, 1, 2, 3, 4):
            found = alone(packed[: len(packed) - cut], len(plain))
            wrong += found not in (None, plain)
            try:
                lzw.check(packed[: len(packed) - cut])
            except ValueError as error:
                assert "without an End code" in str(error)  # noqa: PT017 - a strip may end with a byte of no use
            else:
                assert found == plain
                whole += 1
    assert wrong > 0
    assert whole < 320


@given(st.binary(min_size=1, max_size=5000))
def test_whole_codes_pass_and_are_measured(plain):
    packed = imagecodecs.lzw_encode(plain)
    lzw.check(packed)
    assert lzw.size(packed, len(plain)) == len(plain)
    assert lzw.size(packed, len(plain) - 1) == len(plain)
    lzw.check(packed + b"what follows an End code counts for nothing")


def shorter(data, page, by):
    """Let a page's header give its only strip fewer bytes."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[page].tags["StripByteCounts"]
        order, letter = file.byteorder, {3: "H", 4: "I"}[tag.dtype]
    changed = bytearray(data)
    struct.pack_into(order + letter, changed, tag.valueoffset, tag.value[0] - by)
    return bytes(changed)


def check(data, page):
    """Return how many of four counts too small are refused; what is read for all that is whole."""
    whole, refused = decode(data, inspect(data, "a")), 0
    for by in (1, 2, 3, 4):
        changed = shorter(data, page, by)
        try:
            assert np.array_equal(decode(changed, inspect(changed, "a")), whole)
        except DamagedInputError as error:
            assert (error.page, "without an End code" in error.found) == (page, True)  # noqa: PT017 - as above
            refused += 1
    return refused


def test_a_strip_count_too_small_by_some_bytes_is_refused():
    array = np.random.default_rng(2).integers(0, 60, (3, 120, 130), dtype=np.uint8)
    assert check(by_tifffile(array, compression="lzw"), 1) == 4


def test_strips_of_real_volumes_too(real_data):
    for path in sorted(real_data.glob("*.tif")):
        data = path.read_bytes()
        page = inspect(data, path.name).pages[1]
        if (page.compression, len(page.offsets)) == (5, 1):
            assert check(data, 1) >= 3  # the last byte of some is of no use
