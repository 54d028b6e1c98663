"""From an inspected TIFF to its voxels: each strip and tile must decode to exactly its declared size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47._tiff import fallback, lzw
from gpu_nx47._tiff.inspection import Shape, StackInfo
from gpu_nx47._tiff.page import DEFLATE, DEFLATE_OLD, LZW, NONE, PACKBITS, ZSTD, Page
from gpu_nx47._tiff.walk import AGAIN, Fault
from gpu_nx47.errors import InputError, TooLargeError
from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORK_BYTES: Final = 128 << 20
"""Memory for the pages in work: where pages are large, fewer are decoded at once."""
PAGE_COPIES: Final = 4
"""Copies of a page that live while it is decoded: its strips, decoded, widened, and added up."""
CODEC_ERRORS = (RuntimeError, ValueError, OSError, zlib.error)
"""What zlib, imagecodecs (RuntimeErrors) and Pillow (OSErrors) raise on damaged bytes."""


def decode(data: bytes, info: StackInfo, *, threads: int = 1) -> NDArray[Any]:
    """Return the voxels (z, y, x) of an inspected stack, in the machine's byte order.

    Parameters
    ----------
    data : bytes
        The whole file.
    info : StackInfo
        What `inspect` returned for it.
    threads : int
        Most pages decoded at once; the array, and the page that an error names, do not depend on it.

    Raises
    ------
    DamagedInputError
        A strip does not decode, or decodes to another size than its page declares.
    TooLargeError
        The memory does not suffice.
    InputError
        A codec is not installed.
    """
    out = empty_stack(info, info.shape)
    try:
        if info.contiguous:
            out[...] = np.frombuffer(data, info.dtype, out.size, info.pages[0].offsets[0]).reshape(info.shape)
        else:
            _pages(data, info, out, threads)
    except Fault as fault:
        raise fault.error(info.name, info.shape) from fault.__cause__
    return out


def empty_stack(info: StackInfo, shape: Shape) -> NDArray[Any]:
    """Return an array for voxels of the type that was inspected, in the machine's byte order, not yet filled."""
    try:
        return np.empty(shape, info.dtype.newbyteorder("="))
    except MemoryError:
        raise TooLargeError(
            info.name,
            "the volume does not fit into memory",
            expected="memory for its voxels",
            found=f"{shape} of {info.dtype.name}",
            advice="Cut the volume into smaller stacks.",
            shape=shape,
        ) from None


def _pages(data: bytes, info: StackInfo, out: NDArray[Any], threads: int) -> None:
    """Decode the pages into their places; of several faults, the one of the lowest page is raised."""
    check = lzw.checker(out.nbytes)

    def some(run: range) -> None:
        for z in run:
            _page(data, info.pages[z], out[z], z, check)

    threads = max(1, min(threads, WORK_BYTES // (PAGE_COPIES * out[0].nbytes)))
    spread(len(info.pages), some, threads, "nx47-decode")


def _page(data: bytes, page: Page, out: NDArray[Any], z: int, check: Callable[[bytes], None]) -> None:
    """Decode one page into `out` (y, x); `check` is what LZW strips must pass."""
    for k, (y, x) in enumerate(_corners(page)):
        rows, columns = page.rows(k), page.block[1]
        want = page.segment_bytes(k)
        # A writer may pad the last strip to the full number of rows; libtiff reads such files, and so do we.
        most = want if page.tiled else page.block[0] * columns * int(page.dtype[2:])
        segment = memoryview(data)[page.offsets[k] : page.offsets[k] + page.counts[k]]
        try:
            raw = _segment(segment, page.compression, want, most, check)
        except CODEC_ERRORS as error:
            expected = f"{want} bytes from {page.counts[k]} at byte {page.offsets[k]}"
            raise Fault("a strip does not decode", expected=expected, found=str(error)[:200], page=z) from error
        if len(raw) not in (want, most):
            found = f"{len(raw)}" if len(raw) < want else f"{len(raw)} or more"
            what = "a strip decodes to another size than its page declares"
            raise Fault(what, expected=f"{want} bytes", found=found, page=z, advice=AGAIN)
        block = _unpredict(raw[:want], page, rows, columns)
        height, width = out.shape
        out[y : y + rows, x : x + columns] = block[: height - y, : width - x]


def _corners(page: Page) -> Iterator[tuple[int, int]]:
    """Yield the first row and column of each segment, in the order of the offsets."""
    for y in range(0, page.shape[0], page.block[0]):
        for x in range(0, page.shape[1], page.block[1]):
            yield y, x


def _segment(segment: memoryview, compression: int, want: int, most: int, check: Callable[[bytes], None]) -> Any:
    """Return the bytes of one strip or tile, never more than one above `most`, so that an excess shows."""
    if compression == NONE:
        return segment[:most]
    if compression in (DEFLATE, DEFLATE_OLD):
        machine = zlib.decompressobj()
        raw = machine.decompress(segment, most + 1)
        if len(raw) <= most and not machine.eof:  # the end carries the checksum
            raise ValueError("the compressed data end too early")
        return raw
    if compression == PACKBITS:  # imagecodecs takes some strips that end within a run
        return fallback.packbits(bytes(segment), most)
    if (imagecodecs := _imagecodecs()) is not None:
        codecs = {LZW: imagecodecs.lzw_decode, ZSTD: imagecodecs.zstd_decode}
        packed = bytes(segment)
        if compression == LZW:
            check(packed)
        return memoryview(codecs[compression](packed, out=bytearray(most + 1)))
    if compression == LZW and most <= fallback.MOST_BYTES:
        return fallback.lzw(bytes(segment), want, most)
    raise Fault(
        "the compression needs the package imagecodecs" if compression == ZSTD else "a strip is too large for Pillow",
        expected="imagecodecs",
        found="not installed",
        advice="Install it (pip install imagecodecs), or save the stack with LZW or deflate in strips of a few rows.",
        kind=InputError,
    )


def _imagecodecs() -> Any:
    """Return the package imagecodecs, or None where it does not load."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs


def decoder() -> str:
    """Return who decodes LZW here: imagecodecs, or Pillow where imagecodecs does not load (same bits)."""
    if (imagecodecs := _imagecodecs()) is not None:
        return f"imagecodecs {imagecodecs.__version__}"
    import PIL

    return f"Pillow {PIL.__version__}"


def _unpredict(raw: Any, page: Page, rows: int, columns: int) -> NDArray[Any]:
    """Return a block (rows, columns) of a segment's bytes, its prediction undone."""
    dtype = np.dtype(page.dtype)
    if page.predictor == 3:
        # Bytes of a row: all the highest ones first, then the next, in any byte order (Adobe, TIFF Technical Note 3).
        planes = np.frombuffer(raw, np.uint8).reshape(rows, columns * dtype.itemsize)
        split = np.cumsum(planes, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, columns)
        return np.ascontiguousarray(split.transpose(0, 2, 1)).view(dtype.newbyteorder(">"))[..., 0]
    block = np.frombuffer(raw, dtype).reshape(rows, columns)
    if page.predictor == 2:
        # Differences of unsigned integers that wrap, for floats too (libtiff's horAcc32 and horAcc64).
        whole = np.dtype(f"u{dtype.itemsize}")
        plain = block.view(whole.newbyteorder(dtype.byteorder)).astype(whole)
        return np.cumsum(plain, axis=1, dtype=whole).view(dtype.newbyteorder("="))
    return block
