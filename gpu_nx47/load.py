"""Stage Load: from the files of a source to a volume of grey values 0..255 with its valid box.

Bytes are read once; their digest is taken from the very bytes that are decoded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpu_nx47._tiff import LIMIT_BYTES, StackInfo, decode, decode_apart, empty_stack, inspect, inspect_file
from gpu_nx47._tiff.decoding import PAGE_COPIES
from gpu_nx47._tiff.inspection import promised, unreadable
from gpu_nx47.errors import DamagedInputError, NotAVolumeError, TooLargeError
from gpu_nx47.hardware import usable_processors
from gpu_nx47.settings import LoadSettings
from gpu_nx47.spread import beside
from gpu_nx47.volume import Box, Source, Volume, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, int, int]


def load(
    source: Source, settings: LoadSettings, *, limit_bytes: int = LIMIT_BYTES, threads: int | None = None
) -> Volume:
    """Read a volume whole.

    Parameters
    ----------
    source : Source
        One stack, or the single-page slices of one volume.
    settings : LoadSettings
        The percentiles of the window, and the voxel size where the file tells none.
    limit_bytes : int
        Most bytes that reading may hold at once, as `reading_bytes` counts them; headers, codecs and threads take up to
        256 MB beside.
    threads : int, optional
        Most pages decoded at once; by default one for each usable processor. Changes no bit.

    Returns
    -------
    Volume
        uint8 as stored; wider types mapped to 0..255 by the window that is recorded. Outside of the valid box all is 0.

    Raises
    ------
    DamagedInputError
        Cut short, contradicting itself, not decodable, or with values that are not finite.
    NotAVolumeError
        Not a 3-D grey stack of uint8, uint16 or float.
    TooLargeError
        Reading would hold more than `limit_bytes`.
    """
    seen = hashlib.sha256()
    if _is_sliced(source):
        stored, size, count = _load_slices(source, settings, seen, limit_bytes)
    else:
        data = _read(source.path, limit_bytes)
        with beside(partial(seen.update, data), threads, "nx47-digest"):
            info = inspect(data, str(source.path), limit_bytes=limit_bytes)
            _check_room(info, info.shape, len(data), limit_bytes)
            stored, size, count = _decode(data, info, settings, limit_bytes, threads), info.voxel_size_um, len(data)
        del data
    if stored.dtype.kind == "f":
        _check_finite(stored, source)
    box = valid_box(stored)
    grey, window = (stored, None) if stored.dtype == np.uint8 else _to_grey(stored, box, settings, source)
    if size is None and settings.voxel_size_um is not None:
        size = (settings.voxel_size_um,) * 3
    return Volume(
        source=source,
        grey=grey,
        box=box,
        original_dtype=stored.dtype.name,
        window=window,
        voxel_size_um=size,
        sha256=seen.hexdigest(),
        bytes_read=count,
    )


def reading_bytes(shape: Shape, dtype: np.dtype[Any], file_bytes: int) -> int:
    """Return the most bytes that reading holds at once.

    Parameters
    ----------
    shape : (z, y, x)
    dtype : numpy.dtype
        Of the voxels as stored.
    file_bytes : int
        Bytes of the file, or of the largest one of a folder of slices.

    Notes
    -----
    While decoding: the file, the voxels as stored and the copies of one page. Then, of wide types: the voxels as
    stored, the grey ones, and of floats the copy that the percentiles are taken from.
    """
    voxels = math.prod(shape)
    stored = voxels * dtype.itemsize
    decoding = file_bytes + stored + PAGE_COPIES * (stored // shape[0])
    if dtype == np.uint8:
        return decoding
    return max(decoding, stored + voxels + (stored if dtype.kind == "f" else 0))


def _check_room(info: StackInfo, shape: Shape, file_bytes: int, limit_bytes: int) -> None:
    """Refuse a volume of which reading holds more than the limit; `shape` is the whole volume's."""
    needed = reading_bytes(shape, info.dtype, file_bytes)
    if needed > limit_bytes:
        raise TooLargeError(
            info.name,
            "the volume is too large to be read",
            expected=f"at most {limit_bytes} bytes held while reading",
            found=f"{needed} for {shape} of {info.dtype.name} in a file of {file_bytes}",
            advice="Cut the volume into smaller stacks.",
            shape=promised(shape),
        )


def digest(source: Source) -> str:
    """Return the SHA-256, in hex, of a source's bytes: what `load` gives with the volume. Raises as `load` does."""
    found = hashlib.sha256()
    for path in source.files:
        found.update(_read(path, LIMIT_BYTES))
    return found.hexdigest()


class Layout(NamedTuple):
    """What the headers of a source tell."""

    shape: Shape
    dtype: np.dtype[Any]
    file_bytes: int
    """Of its largest file."""
    counted: bool
    """The description of a stack tells its number of pages."""


def read_layout(source: Source, *, limit_bytes: int = LIMIT_BYTES) -> Layout:
    """Return what a source is, by its headers alone.

    Raises as `load` does where they are refused; of a folder of slices only the first is looked into.
    """
    sliced = _is_sliced(source)
    info = inspect_file(source.files[0], single=sliced, limit_bytes=limit_bytes)
    shape = (len(source.files), *info.shape[1:]) if sliced else info.shape
    return Layout(shape, info.dtype, max(map(_size, source.files)), info.counted and not sliced)


def read_shape(source: Source) -> Shape:
    """Return the shape (z, y, x) of a source by its headers alone; raises as `load` does where they are refused."""
    if not _is_sliced(source):
        return inspect_file(source.path).shape
    _, y, x = inspect_file(source.files[0], single=True).shape
    return len(source.files), y, x


def valid_box(stored: NDArray[Any]) -> Box:
    """Return the box that is left when all-zero outer planes are cut away; of no size where all is zero."""
    planes = np.zeros(stored.shape[0], bool)
    shadow = np.zeros(stored.shape[1:], bool)
    for z, plane in enumerate(stored):
        some = plane != 0
        planes[z] = some.any()
        shadow |= some
    if not planes.any():
        return Box((0, 0, 0), (0, 0, 0))
    ends = [np.flatnonzero(line)[[0, -1]] for line in (planes, shadow.any(axis=1), shadow.any(axis=0))]
    (z0, z1), (y0, y1), (x0, x1) = ((int(a), int(b) + 1) for a, b in ends)
    return Box((z0, y0, x0), (z1, y1, x1))


def order_statistic_rank(percentile: float, count: int) -> int:
    """Return the index, from 0, of a percentile among `count` sorted values: the first with that share at or below it.

    The arithmetic is in fractions of the decimal number that the user wrote: 99.8 is 99.8, not 99.799999999999997.
    """
    rank = math.ceil(Fraction(repr(float(percentile))) * count / 100)
    return min(max(rank, 1), count) - 1


def _is_sliced(source: Source) -> bool:
    return source.files != (source.path,)


def _read(path: Path, limit_bytes: int) -> bytes:
    """Return a file's bytes; nothing of a file above the limit is read."""
    size = _size(path)
    if size > limit_bytes:
        raise TooLargeError(
            str(path),
            "the file is too large to be read",
            expected=f"at most {limit_bytes} bytes held while reading",
            found=f"a file of {size} bytes",
            advice="Cut the volume into smaller stacks.",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error


def _decode(
    data: bytes, info: StackInfo, settings: LoadSettings, limit_bytes: int, threads: int | None
) -> NDArray[Any]:
    number = threads or usable_processors()
    if settings.untrusted:
        return decode_apart(data, info, limit_bytes=limit_bytes, threads=number)
    return decode(data, info, threads=number)


def _load_slices(source: Source, settings: LoadSettings, seen: Any, limit_bytes: int) -> tuple[NDArray[Any], Any, int]:
    """Return the voxels, the voxel size and the bytes read of a folder of slices; `seen` takes the bytes in order."""
    stored: NDArray[Any] | None = None
    first: StackInfo | None = None
    count = 0
    for z, path in enumerate(source.files):
        data = _read(path, limit_bytes)
        seen.update(data)
        count += len(data)
        info = inspect(data, str(path), single=True, limit_bytes=limit_bytes)
        shape = len(source.files), *info.shape[1:]
        _check_room(info, shape, len(data), limit_bytes)
        if first is None or stored is None:
            first = info
            stored = empty_stack(info, shape)
        if info.shape != first.shape or info.dtype.newbyteorder("=") != stored.dtype:
            raise NotAVolumeError(
                str(path),
                "the slices are not alike",
                expected=f"{first.shape[1]} x {first.shape[2]} of {first.dtype.name} as in {source.files[0].name}",
                found=f"{info.shape[1]} x {info.shape[2]} of {info.dtype.name}",
                advice="Keep the slices of one volume alone in their folder.",
                page=z,
                shape=(len(source.files), *first.shape[1:]),
            )
        stored[z] = _decode(data, info, settings, limit_bytes, 1)[0]
    if first is None or stored is None:
        raise NotAVolumeError(
            str(source.path),
            "the folder holds no slice",
            expected="two or more single-page TIFFs",
            found="none",
            advice="Give a folder of slices.",
        )
    return stored, first.voxel_size_um, count


def _check_finite(stored: NDArray[Any], source: Source) -> None:
    for z, plane in enumerate(stored):
        bad = int(plane.size - np.count_nonzero(np.isfinite(plane)))
        if bad:
            raise DamagedInputError(
                str(source.path),
                "grey values are not finite",
                expected="finite numbers",
                found=f"{bad} voxels of NaN or infinity",
                advice="Replace them (where nothing was measured: with 0) and save the stack again.",
                page=z,
                shape=stored.shape,
            )


def _to_grey(
    stored: NDArray[Any], box: Box, settings: LoadSettings, source: Source
) -> tuple[NDArray[np.uint8], Window]:
    """Map wide grey values to 0..255.

    Notes
    -----
    g = floor((min(max(v, low), high) - low) * 255 / (high - low) + 1/2) in float64 with + - * / alone, so that every
    machine rounds alike. `low` and `high` are order statistics of the voxels of the valid box. Where both fall on one
    value the extremes of the box serve instead (recorded as percentiles 0 and 100): a volume that is nearly constant is
    not lost. A constant one becomes 0.
    """
    inside = stored[box.slices]
    grey = np.zeros(stored.shape, np.uint8)
    if box.voxels == 0:
        return grey, Window(0.0, 0.0, settings.low_percentile, settings.high_percentile)
    percentiles = settings.low_percentile, settings.high_percentile
    low, high = _order_statistics(inside, percentiles)
    if low == high:
        percentiles = 0.0, 100.0
        low, high = _order_statistics(inside, percentiles)
    window = Window(low, high, *percentiles)
    if not math.isfinite((high - low) * 255.0):
        raise NotAVolumeError(
            str(source.path),
            "the grey values are too far apart",
            expected="a range that float64 can scale",
            found=f"{low} to {high}",
            advice="Scale the values before saving them.",
            shape=stored.shape,
        )
    if low < high:
        if stored.dtype == np.uint16:
            table = _scale(np.arange(1 << 16, dtype=np.float64), low, high)
            mapped: Iterable[NDArray[np.uint8]] = (table[plane] for plane in inside)
        else:
            mapped = (_scale(plane.astype(np.float64), low, high) for plane in inside)
        for plane, values in zip(grey[box.slices], mapped, strict=True):
            plane[...] = values
    return grey, window


def _scale(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    clipped = np.minimum(np.maximum(values, low), high)
    return np.floor((clipped - low) * 255.0 / (high - low) + 0.5).astype(np.uint8)


def _order_statistics(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return two exact percentiles of the values."""
    ranks = [order_statistic_rank(percentile, values.size) for percentile in percentiles]
    if values.dtype == np.uint16:
        counts = np.zeros(1 << 16, np.int64)
        for plane in values:
            counts += np.bincount(plane.ravel(), minlength=1 << 16)
        below = np.cumsum(counts)
        low, high = (int(np.searchsorted(below, rank, side="right")) for rank in ranks)
        return float(low), float(high)
    ordered = np.partition(values, sorted(set(ranks)), axis=None)
    # + 0.0: a zero has one sign in the record.
    return float(ordered[ranks[0]]) + 0.0, float(ordered[ranks[1]]) + 0.0


def expected_shapes(sources: Iterable[Source]) -> Iterator[tuple[str, Shape | None]]:
    """Yield the id and shape of each source by its headers; None where a refused file does not tell it."""
    for source in sources:
        try:
            yield source.id, read_shape(source)
        except (DamagedInputError, NotAVolumeError) as error:
            yield source.id, error.shape
