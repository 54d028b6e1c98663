"""Without imagecodecs, as on Kaggle: LZW and PackBits have the same bits, and no strip of a wrong size passes."""

import io
import math
import subprocess
import sys

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpu_nx47._tiff import decode, decoder, fallback, inspect, lzw
from gpu_nx47.errors import DamagedInputError, InputError

RNG = np.random.default_rng(47)
NOISE = RNG.integers(0, 256, (3, 150, 171), dtype=np.uint8)  # fills the table of codes several times
VOLUMES = {"noise": NOISE, "dim": NOISE // 5, "mask": (NOISE > 250).astype(np.uint8), "nothing": NOISE * 0}


@pytest.fixture
def hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)


def by_tifffile(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack", **options)
    return file.getvalue()


def by_pillow(array, compression="tiff_lzw"):
    file = io.BytesIO()
    pages = [Image.fromarray(page) for page in array]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    return file.getvalue()


def by_opencv(array):
    done, data = cv2.imencodemulti(".tif", list(array))
    assert done
    return bytes(data)


WRITERS = {
    "tifffile": lambda a: by_tifffile(a, compression="lzw"),
    "tifffile, predictor": lambda a: by_tifffile(a, compression="lzw", predictor=True),
    "tifffile, strips": lambda a: by_tifffile(a, compression="lzw", rowsperstrip=7),
    "tifffile, tiles": lambda a: by_tifffile(a, compression="lzw", tile=(64, 32)),
    "tifffile, packbits": lambda a: by_tifffile(a, compression="packbits"),
    "tifffile, deflate": lambda a: by_tifffile(a, compression="zlib"),
    "tifffile, uint16": lambda a: by_tifffile(a.astype(np.uint16) * 257, compression="lzw", byteorder=">"),
    "Pillow": by_pillow,
    "Pillow, packbits": lambda a: by_pillow(a, "packbits"),
    "OpenCV": by_opencv,
}


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_bits_as_with_imagecodecs(monkeypatch, writer, volume):
    data = WRITERS[writer](VOLUMES[volume])
    info = inspect(data, "a.tif")
    expected = decode(data, info)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert np.array_equal(decode(data, info), expected)
    assert np.array_equal(expected, VOLUMES[volume].astype(int) * (257 if "uint16" in writer else 1))


def test_who_decodes_is_named(monkeypatch):
    assert decoder() == f"imagecodecs {imagecodecs.__version__}"
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert decoder() == f"Pillow {Image.__version__}"


def shorter_strip(data, by):
    """Let the header of page 1 give its strip fewer bytes."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[1].tags["StripByteCounts"]
        value = (tag.value[0] - by).to_bytes({3: 2, 4: 4}[tag.dtype], "little")
    return data[: tag.valueoffset] + value + data[tag.valueoffset + len(value) :]


def other_width(data, columns):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for page in file.pages:
            at = page.tags["ImageWidth"].valueoffset
            data = data[:at] + columns.to_bytes(2, "little") + data[at + 2 :]
    return data


@pytest.mark.parametrize("codec", ["lzw", "packbits"])
@pytest.mark.parametrize("volume", ["noise", "mask"])
@pytest.mark.usefixtures("hidden")
def test_a_strip_of_the_wrong_size_is_refused_and_libtiff_writes_nothing(capfd, codec, volume):
    data = by_tifffile(VOLUMES[volume], compression=codec, metadata=None)
    lies = [shorter_strip(data, 3), shorter_strip(data, 40)]
    lies += [other_width(data, columns) for columns in (170, 172)]
    for lie, page in zip(lies, (1, 1, 0, 0), strict=True):
        with pytest.raises(DamagedInputError) as caught:
            decode(lie, inspect(lie, "bad.tif"))
        assert caught.value.page == page
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("hidden")
def test_a_strip_padded_to_its_full_rows_is_read():
    """Libtiff reads a last strip that holds more rows than are left, and so do we; one byte more is refused."""
    page = NOISE[0, :10]
    for extra, fits in ((0, True), (-1, False), (1, False)):
        packed = imagecodecs.lzw_encode((page.tobytes() + b"\0")[: page.size + extra])
        data = by_tifffile(NOISE[:2, :13], compression="lzw", rowsperstrip=10, metadata=None)
        info = inspect(data, "a.tif")
        offsets, counts = list(info.pages[1].offsets), list(info.pages[1].counts)
        offsets[1], counts[1] = len(data), len(packed)
        object.__setattr__(info.pages[1], "offsets", tuple(offsets))
        object.__setattr__(info.pages[1], "counts", tuple(counts))
        if fits:
            assert np.array_equal(decode(data + packed, info)[1, 10:], page[:3])
        else:
            with pytest.raises(DamagedInputError):
                decode(data + packed, info)


PLAIN = (NOISE[0] // 40).tobytes()
PACKED = imagecodecs.lzw_encode(PLAIN)


@given(st.integers(2, len(PACKED) - 1))
def test_cut_codes_are_refused(cut):
    """Imagecodecs makes one more code of the bits that are left, and libtiff decodes what there is."""
    with pytest.raises(ValueError, match="LZW"):
        lzw.size(PACKED[:cut], len(PLAIN))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_codes_are_refused_or_measured_as_imagecodecs_decodes_them(flips):
    data = bytearray(PACKED)
    for place, value in flips:
        data[int(place * (len(data) - 40))] = value  # not the End code: see above
    try:
        found = lzw.size(bytes(data), 2 * len(PLAIN))
    except ValueError:
        return
    decoded = imagecodecs.lzw_decode(bytes(data), out=bytearray(2 * len(PLAIN) + 1))
    assert found == len(decoded)
    assert found == 0 or fallback._pillow(bytes(data), found) == bytes(decoded)


def packed(*codes):
    """Return codes of 9 bits, as they stand until the table holds 511."""
    bits = "".join(f"{code:09b}" for code in codes)
    number = math.ceil(len(bits) / 8)
    return int(bits.ljust(8 * number, "0"), 2).to_bytes(number, "big")


def test_codes_written_by_hand():
    assert lzw.size(packed(256, 7, 258, 259, 257), 99) == 6  # a string that the code itself completes
    assert lzw.size(packed(256, 256, 7, 257, 8), 99) == 1
    assert lzw.size(packed(256, 7, 258, 259, 256, 9, 257), 99) == 7
    assert lzw.size(packed(256, 7, 258, 259, 256, 9, 257), 4) == 5  # one above shows enough


@pytest.mark.parametrize("codes", [(256, 7, 259), (256, 7, 260), (256, 7, 256, 8, 259)])
def test_a_code_before_its_entry_is_refused(codes):
    with pytest.raises(ValueError, match="before its entry"):
        lzw.size(packed(*codes, 257), 99)


@pytest.mark.parametrize("codes", [(256, 258), (256, 256, 300), (256, 7, 256, 258)])
def test_a_table_that_does_not_begin_with_a_byte_never_reaches_a_library(codes):
    """Imagecodecs looks such a code up in memory that was never written: the process may die."""
    with pytest.raises(ValueError, match="begin with a byte"):
        lzw.check(packed(*codes, 1, 257))


def test_codes_beyond_the_table_are_refused():
    head = packed(256, *[7] * 254)[:-1]
    with pytest.raises(ValueError, match="overflows"):
        lzw.size(head + bytes(12 * 4000 // 8), 1 << 20)


def test_clear_after_clear_is_refused_in_bounded_time():
    data = packed(256, *[256, 7] * 2000)
    with pytest.raises(ValueError, match="too often"):
        lzw.size(data, 1 << 20)


@pytest.mark.usefixtures("hidden")
def test_a_strip_above_what_pillow_takes_says_what_to_install(monkeypatch):
    monkeypatch.setattr(fallback, "MOST_BYTES", 1000)
    data = by_tifffile(NOISE, compression="lzw")
    with pytest.raises(InputError, match="pip install imagecodecs") as caught:
        decode(data, inspect(data, "a.tif"))
    assert type(caught.value) is InputError


def test_a_whole_stack_loads_in_a_process_that_never_had_imagecodecs(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(by_tifffile(NOISE, compression="lzw"))
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path; from gpu_nx47.load import load; from gpu_nx47.settings import LoadSettings\n"
        "from gpu_nx47.volume import Source; path = Path(sys.argv[1])\n"
        "print(load(Source('a', path, (path,)), LoadSettings()).grey.sum(dtype='int64'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (int(done.stdout), done.stderr) == (NOISE.sum(dtype=np.int64), "")
