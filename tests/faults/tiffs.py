"""Good and bad TIFFs made by hand and by other writers: what the tests of hostile files share."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from gpu_nx47._tiff import decode, inspect
from gpu_nx47.errors import InputError

RNG = np.random.default_rng(47)
GREY = RNG.integers(0, 60, (12, 37, 41), dtype=np.uint8)


def by_tifffile(array=GREY, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def one_header(data):
    """Leave only the first page's header and the pixels of all: ImageJ writes so above 4 GB."""
    data = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        order, at = file.byteorder, file.pages[0].offset
        end = file.pages[-1].dataoffsets[0] + file.pages[-1].databytecounts[0]
    struct.pack_into("4x", data, at + 2 + 12 * struct.unpack_from(order + "H", data, at)[0])
    return bytes(data[:end])


def by_pillow(mode="L", compression="tiff_lzw", count=12):
    file = io.BytesIO()
    pages = [Image.fromarray(page).convert(mode) for page in GREY[:count]]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    return file.getvalue()


def by_opencv(tmp_path):
    cv2.imwritemulti(str(tmp_path / "cv.tif"), list(GREY))
    return (tmp_path / "cv.tif").read_bytes()


def tiff(*pages, big=False, tail=b"", loop=False):
    """Lay out a little-endian TIFF from pages of (tag, type, values); `tail`, the data, lies from byte 8 (16) on."""
    head, word = (16, "<Q") if big else (8, "<I")
    body = [tail + b"\0" * (len(tail) % 2)]
    first = at = head + len(body[0])
    for k, tags in enumerate(pages):
        entry, size = ("<HHQ8s", 8) if big else ("<HHI4s", 4)
        width = {2: 1, 3: 2, 4: 4, 5: 8, 16: 8}
        extra = b""
        length = (8 if big else 2) + len(tags) * struct.calcsize(entry) + size
        block = struct.pack("<Q" if big else "<H", len(tags))
        for tag, kind, values in tags:
            letter = {3: "H", 4: "I", 16: "Q"}.get(kind)
            raw = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{letter}", *values)
            count = len(raw) // width[kind]
            if len(raw) > size:
                where = at + length + len(extra)
                extra += raw
                raw = struct.pack(word, where)
            block += struct.pack(entry, tag, kind, count, raw.ljust(size, b"\0"))
        following = at + length + len(extra) if k < len(pages) - 1 else first if loop else 0
        body.append(block + struct.pack(word, following) + extra)
        at += len(body[-1])
    start = b"II+\0\x08\0\0\0" if big else b"II*\0"
    return start + struct.pack(word, first) + b"".join(body)


def page(width=4, length=3, bits=8, compression=1, at=8, count=12, **more):
    tags = {256: width, 257: length, 258: bits, 259: compression, 262: 1, 273: at, 277: 1, 278: length, 279: count}
    tags |= {int(key[1:]): value for key, value in more.items()}
    return [(tag, 4, (value,)) for tag, value in sorted(tags.items()) if value is not None]


def refusal(data, kind=InputError, **options):
    """Return the error that reading the bytes raises, whether inspection or decoding raises it."""
    with pytest.raises(kind) as caught:
        decode(data, inspect(data, "bad.tif", **options))
    error = caught.value
    assert str(error).startswith("bad.tif")
    assert error.expected
    assert error.found
    assert f"expected {error.expected}, found {error.found}. {error.advice}" in str(error)
    return error
