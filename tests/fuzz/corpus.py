"""Whole stacks, each by another writer, codec, type or layout: what the fuzzer starts from, with the array in each."""

import functools
import io
import struct

import cv2
import numpy as np
import tifffile
from PIL import Image

RNG = np.random.default_rng(47)
GREY = RNG.integers(0, 60, (4, 9, 11), dtype=np.uint8)
BUSY = RNG.integers(0, 256, (2, 40, 60), dtype=np.uint8)  # LZW codes of 9 to 12 bits


def by_tifffile(array, **options):
    """Return a stack as tifffile writes it, grey unless the options say otherwise."""
    file = io.BytesIO()
    if not options.get("imagej"):
        options.setdefault("photometric", "minisblack")
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def by_pages(array, **options):
    """Return a stack of which each page is its own series, as loops over `write` make them."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in array:
            writer.write(page, photometric="minisblack", **options)
    return file.getvalue()


def by_pillow(array, compression):
    """Return a stack as Pillow writes it: raw by its own encoder, the rest through libtiff."""
    file = io.BytesIO()
    pages = [Image.fromarray(page) for page in array]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    return file.getvalue()


def by_opencv(array):
    """Return a stack as OpenCV writes it: LZW with a predictor, through libtiff."""
    done, data = cv2.imencodemulti(".tif", list(array))
    assert done
    return bytes(data)


def by_imagej(array, *, headers=True, description=None):
    """Return a stack laid out as ImageJ's TiffEncoder does: big-endian, first header, pixels, other headers.

    Parameters
    ----------
    headers : bool
        Without: ImageJ leaves all headers but the first out where the pixels take more than 4 GB.
    description : str, optional
        In place of the one with `images=` and `slices=`.
    """
    z, y, x = array.shape
    text = f"ImageJ=1.54f\nimages={z}\nslices={z}\nloop=false\n" if description is None else description
    said = text.encode() + b"\0"
    pixels = array.astype(array.dtype.newbyteorder(">")).tobytes()
    one = len(pixels) // z
    number = 11 + (array.dtype.kind == "f")
    length = 2 + 12 * number + 4
    start = 8 + length + len(said)

    def header(k, following):
        tags = [
            (254, 4, 1, 0),
            (256, 4, 1, x),
            (257, 4, 1, y),
            (258, 3, 1, array.dtype.itemsize * 8 << 16),
            (262, 3, 1, 1 << 16),
            (270, 2, len(said), 8 + length),
            (273, 4, 1, start + k * one),
            (277, 3, 1, 1 << 16),
            (278, 3, 1, y << 16),
            (279, 4, 1, one),
            (296, 3, 1, 1 << 16),
            *([(339, 3, 1, 3 << 16)] if array.dtype.kind == "f" else []),
        ]
        return (
            struct.pack(">H", number)
            + b"".join(struct.pack(">HHII", *tag) for tag in tags)
            + struct.pack(">I", following)
        )

    data = b"MM\0*\0\0\0\x08" + header(0, start + z * one if headers and z > 1 else 0) + said + pixels
    for k in range(1, z if headers else 0):
        data += header(k, len(data) + length if k < z - 1 else 0)
    return data


def one_header(data):
    """Leave only the first page's header and the pixels of all."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        order, at = file.byteorder, file.pages[0].offset
        end = file.pages[-1].dataoffsets[0] + file.pages[-1].databytecounts[0]
    struct.pack_into("4x", changed, at + 2 + 12 * struct.unpack_from(order + "H", data, at)[0])
    return bytes(changed[:end])


CODECS = ("lzw", "zlib", "deflate", "packbits", "zstd")


@functools.cache
def seeds():
    """Return name -> (bytes, the array they hold)."""
    found = {
        "tifffile": (by_tifffile(GREY), GREY),
        "tifffile, no description": (by_tifffile(GREY, metadata=None), GREY),
        "tifffile, one header": (one_header(by_tifffile(GREY)), GREY),
        "tifffile, ImageJ": (by_tifffile(GREY, imagej=True), GREY),
        "tifffile, ImageJ, one header": (one_header(by_tifffile(GREY, imagej=True)), GREY),
        "tifffile, OME": (by_tifffile(GREY, ome=True), GREY),
        "tifffile, OME, deflate": (by_tifffile(GREY, ome=True, compression="zlib", metadata={"axes": "ZYX"}), GREY),
        "tifffile, BigTIFF": (by_tifffile(GREY, bigtiff=True), GREY),
        "tifffile, BigTIFF, big-endian": (by_tifffile(GREY, bigtiff=True, byteorder=">", compression="lzw"), GREY),
        "tifffile, big-endian": (by_tifffile(GREY, byteorder=">"), GREY),
        "tifffile, strips": (by_tifffile(GREY, compression="lzw", rowsperstrip=4), GREY),
        "tifffile, tiles": (by_tifffile(GREY, compression="zlib", tile=(16, 16)), GREY),
        "tifffile, tiles, LZW": (by_tifffile(BUSY, compression="lzw", tile=(16, 32), predictor=True), BUSY),
        "tifffile, raw strips": (by_tifffile(GREY, rowsperstrip=2, metadata=None), GREY),
        "tifffile, page by page": (by_pages(GREY, compression="lzw"), GREY),
        "tifffile, page by page, contiguous": (by_pages(GREY, contiguous=True), GREY),
        "LZW of all widths": (by_tifffile(BUSY, compression="lzw"), BUSY),
        "OpenCV": (by_opencv(GREY), GREY),
        "OpenCV, busy": (by_opencv(BUSY), BUSY),
        "ImageJ": (by_imagej(GREY), GREY),
        "ImageJ, one header": (by_imagej(GREY, headers=False), GREY),
    }
    for codec in CODECS:
        found[f"tifffile, {codec}"] = by_tifffile(GREY, compression=codec), GREY
    for codec in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", None):
        found[f"Pillow, {codec}"] = by_pillow(GREY, codec), GREY
    for kind in ("uint16", "float16", "float32", "float64"):
        wide = (GREY.astype(np.float64) * 4.25).astype(kind)
        found[f"{kind}"] = by_tifffile(wide), wide
        found[f"{kind}, ImageJ"] = by_imagej(wide, headers=False), wide
        predictor = 2 if kind == "uint16" else 3
        found[f"{kind}, predictor"] = by_tifffile(wide, compression="zlib", predictor=predictor, byteorder=">"), wide
    return found
