"""Sink for the masks: a submission.zip, there whole or not at all and equal in bytes for equal masks; and its check."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47._tiff import decode, encode_stack, inspect, inspect_file
from gpu_nx47.atomic import whole_file, write_whole
from gpu_nx47.errors import InputError, OutputError
from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, int, int]

DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip can hold; equal masks give an equal zip, whenever they are written."""
PILLOW_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    RuntimeError,
    struct.error,
)
"""What Pillow raises on damaged TIFFs, by its own tests; SyntaxError is its word for a bad header."""


ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""What zipfile raises on damaged members."""
DEFLATE_RATIO: Final = 1040
"""Bytes that one deflated byte can become."""
MOST_UNKNOWN: Final = 1 << 30
"""Voxels of a mask whose image tells no shape."""
MOST_PAGES: Final = 1 << 14
"""Its pages."""


def encode_mask(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> bytes:
    """Return a mask (z, y, x), bool or 0/1, as the TIFF that goes into the submission: uint8, LZW, one strip a page."""
    if mask.ndim != 3 or mask.dtype not in (np.bool_, np.uint8):
        raise OutputError(f"a mask must be (z, y, x) of bool or uint8, not {mask.shape} of {mask.dtype.name}")
    codes = np.ascontiguousarray(mask).view(np.uint8)
    if codes.size and int(codes.max()) > 1:  # a 2 would count as surface in the score
        raise OutputError(f"a mask holds the value {int(codes.max())}; expected 0 and 1 only")
    return encode_stack(codes)


class SubmissionWriter:
    """Takes masks one by one and packs them at the end.

    Each mask waits as a whole file in a hidden folder beside the target, so memory holds one at a time, and a run that
    is cut short finds them again. The target changes only in `close`, and the folder goes in `discard`.

    Parameters
    ----------
    path : Path
        The zip to write; its folder is made if it is not there.
    fresh : bool
        Masks that an earlier run left waiting are removed.
    """

    def __init__(self, path: Path, *, fresh: bool = True) -> None:
        self.path = Path(path)
        self.waiting = waiting_folder(self.path)
        self._ids: set[str] = set()
        if fresh:
            self._remove()
        try:
            self.waiting.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.of(self.waiting, error, "Give another folder with --output.") from error

    def add(self, name: str, mask: NDArray[np.bool_] | NDArray[np.uint8], data: bytes | None = None) -> str:
        """Take the mask (z, y, x) of a volume, in place of one of the same name; return the SHA-256 of its file.

        `data` is the file, where it has been made already.
        """
        if not name or name.startswith(".") or any(c in "/\\:\0" or ord(c) < 32 for c in name):
            raise OutputError(f"{name!r} cannot name a member of the zip; expected a plain file name")
        data = encode_mask(mask) if data is None else data
        write_whole(self.waiting / f"{name}.tif", data)
        self._ids.add(name)
        return hashlib.sha256(data).hexdigest()

    def keep(self, name: str) -> None:
        """Take the mask that an earlier run left waiting."""
        self._ids.add(name)

    def close(self) -> Path:
        """Pack what was added into the target, whole or not at all, and return its path."""
        with whole_file(self.path) as file, zipfile.ZipFile(file, "w") as archive:
            for name in sorted(self._ids):
                member = f"{name}.tif"
                info = zipfile.ZipInfo(member, DATE)
                # Both depend on the system otherwise: 3 is Unix, and the mode a plain readable file.
                info.create_system, info.external_attr = 3, 0o100644 << 16
                info.compress_type = zipfile.ZIP_STORED
                archive.writestr(info, (self.waiting / member).read_bytes())
        return self.path

    def discard(self) -> None:
        """Remove the masks that wait: the zip holds them."""
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.waiting, ignore_errors=True)


def waiting_folder(path: Path) -> Path:
    """Return the folder in which the masks of a zip wait."""
    return path.with_name(f".{path.name}.masks")


@dataclass(frozen=True)
class CheckReport:
    """What the check of a submission found."""

    ok: bool
    problems: tuple[str, ...]
    """Sentences; none where ok."""
    members: int
    """Files in the zip."""
    voxels: int
    """Voxels of the masks that were read whole."""
    foreground: int
    """Voxels of value 1 in them."""


@dataclass(frozen=True)
class Checked:
    """A mask's file that was read whole, and is as it must be."""

    sha256: str
    """Of the file."""
    shape: Shape
    voxels: int
    foreground: int
    """Voxels of value 1."""


def check_submission(
    zip_path: Path,
    images: Mapping[str, Shape | None] | Path,
    *,
    threads: int = 1,
    known: Mapping[str, Checked] = MappingProxyType({}),
) -> CheckReport:
    """Re-read a submission as the competition would, page by page with Pillow.

    Parameters
    ----------
    zip_path : Path
        The submission.
    images : mapping of id to (z, y, x), or Path
        The shape each mask must have; None: unknown, only a mask must be there. A folder: the stacks in it, or in its
        test_images/, by their headers.
    threads : int
        Pages read at once; what is found does not depend on it.
    known : mapping of str to Checked
        Files that were read before, by their SHA-256: of a member that is one of them only the bytes are read again.

    Returns
    -------
    CheckReport
        Every problem found, not only the first.
    """
    problems: list[str] = []
    expected = _shapes(images, problems) if isinstance(images, Path) else dict(images)
    members = voxels = foreground = 0
    try:
        with zipfile.ZipFile(zip_path) as archive:
            infos = archive.infolist()
            members = len(infos)
            for info in _check_members(infos, expected, problems):
                shape = expected[info.filename.removesuffix(".tif")]
                data = _member(archive, info, shape, problems)
                seen = None if data is None else known.get(hashlib.sha256(data).hexdigest())
                if seen is not None and seen.shape == shape:
                    found = seen.voxels, seen.foreground
                elif data is not None:
                    found = check_mask(data, info.filename, shape, problems, threads)
                else:
                    continue
                voxels, foreground = voxels + found[0], foreground + found[1]
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error) as error:
        problems.append(f"{zip_path} cannot be read as a zip: {error}")
    return CheckReport(not problems, tuple(problems), members, voxels, foreground)


def check_file(path: Path, shape: Shape) -> tuple[str, ...]:
    """Re-read one mask that waits, as `check_submission` does in the zip; return its problems."""
    problems: list[str] = []
    with _any_size():
        _read_pages(path.read_bytes(), path.name, shape, problems)
    return tuple(problems)


def _shapes(folder: Path, problems: list[str]) -> dict[str, Shape | None]:
    """Return the shapes of a folder's stacks by their headers."""
    if (folder / "test_images").is_dir():
        folder = folder / "test_images"
    shapes: dict[str, Shape | None] = {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in (".tif", ".tiff") and not path.name.startswith("."):
                try:
                    shapes[path.stem] = inspect_file(path).shape
                except InputError as error:
                    shapes[path.stem] = error.shape
    if not shapes:
        problems.append(f"no TIFF images in {folder} to compare with")
    return shapes


def _check_members(
    infos: list[zipfile.ZipInfo], expected: Mapping[str, Any], problems: list[str]
) -> list[zipfile.ZipInfo]:
    """Compare the zip's list with the images; return the members to open."""
    wanted = {f"{name}.tif" for name in expected}
    times = Counter(info.filename for info in infos)
    for name in sorted(wanted - times.keys()):
        problems.append(f"{name} is missing")
    for name, count in sorted(times.items()):
        if name.endswith("/"):
            problems.append(f"{name} is a folder; expected files only")
        elif name not in wanted:
            problems.append(f"{name} has no image of that name")
        elif count > 1:
            problems.append(f"{name} stands {count} times in the zip")
    return [info for info in infos if info.filename in wanted and times[info.filename] == 1]


def _bounds(shape: Shape | None) -> tuple[int, int]:
    """Return the most voxels and pages that a mask may have."""
    return (MOST_UNKNOWN, MOST_PAGES) if shape is None else (math.prod(shape), shape[0])


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, shape: Shape | None, problems: list[str]) -> bytes | None:
    """Return the bytes of one mask's file, or None with the problem noted."""
    name = info.filename
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problems.append(f"{name} is packed by the method {info.compress_type}; expected 0 (stored) or 8 (deflated)")
        return None
    most, pages = _bounds(shape)
    # LZW makes noise longer by half at most, and a page's header takes 200 bytes: more is no mask, and may be a bomb.
    if info.file_size > 2 * most + 4096 * (pages + 1):
        problems.append(f"{name} takes {info.file_size} bytes, too many for a mask of {shape or 'any shape'}")
        return None
    # zipfile asks for as much memory as a member declares.
    if info.compress_size > _length(archive) or info.file_size > DEFLATE_RATIO * info.compress_size:
        problems.append(f"{name} declares {info.file_size} bytes, more than the zip holds")
        return None
    try:
        return archive.read(info)
    except ZIP_ERRORS as error:
        problems.append(f"{name} cannot be read from the zip: {error}")
        return None


def check_mask(data: bytes, name: str, shape: Shape | None, problems: list[str], threads: int = 1) -> tuple[int, int]:
    """Read the file of one mask; return its voxels and foreground voxels, or (0, 0) with the problem noted."""
    most, _ = _bounds(shape)
    try:
        found = inspect(data, name, single=shape is not None and shape[0] == 1)
    except InputError as error:
        problems.append(str(error))
        return 0, 0
    if shape not in (None, found.shape):
        problems.append(f"{name} has the shape {found.shape}; expected {shape}, as its image")
        return 0, 0
    if math.prod(found.shape) > most:
        problems.append(f"{name} has the shape {found.shape}; expected at most {most} voxels")
        return 0, 0
    try:
        whole = decode(data, found, threads=threads)  # Pillow reads a damaged page without a word
        with _any_size():
            return _read_pages(data, name, shape, problems, whole, threads)
    except InputError as error:
        problems.append(str(error))
        return 0, 0
    except PILLOW_ERRORS as error:
        problems.append(f"{name} cannot be read with Pillow: {error}")
        return 0, 0


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow open large pages: it refuses those above 179 million pixels; these passed our inspection."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _length(archive: zipfile.ZipFile) -> int:
    """Return the bytes of an open zip."""
    file = archive.fp
    return 0 if file is None else file.seek(0, io.SEEK_END)


def _read_pages(
    data: bytes,
    name: str,
    shape: Shape | None,
    problems: list[str],
    whole: NDArray[Any] | None = None,
    threads: int = 1,
) -> tuple[int, int]:
    """Read every page with Pillow; note the first page of each kind of problem, and of voxels unlike `whole`."""
    # Not asked of Pillow: it takes a third of the time to say how many there are, and then goes through them again.
    likely = len(whole) if whole is not None else shape[0] if shape is not None else 1
    noted: dict[str, str] = {}
    pages = voxels = foreground = 0

    def some(run: range) -> tuple[dict[str, str], int, int, int]:
        return _read_some(data, run.start, None if run.stop == likely else run.stop, name, shape, whole)

    for found in spread(likely, some, threads, "nx47-check", runs=1):
        for kind, problem in found[0].items():
            noted.setdefault(kind, problem)
        pages, voxels, foreground = pages + found[1], voxels + found[2], foreground + found[3]
    if shape is not None and pages != shape[0]:
        noted["pages"] = f"{name} has {pages} pages; expected {shape[0]}, as its image"
    problems.extend(noted.values())
    return voxels, foreground


def _read_some(
    data: bytes, start: int, stop: int | None, name: str, shape: Shape | None, whole: NDArray[Any] | None
) -> tuple[dict[str, str], int, int, int]:
    """Read pages from `start` to before `stop`, or to the last one there is.

    Returns
    -------
    tuple
        The first of each kind of problem, in the order they were found; pages, voxels and foreground voxels read.
    """
    from PIL import Image

    noted: dict[str, str] = {}
    pages = voxels = foreground = 0
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        for z in itertools.count(start) if stop is None else range(start, stop):
            try:
                image.seek(z)
            except EOFError:  # there is no such page
                break
            pages += 1
            if image.mode != "L":
                noted.setdefault("mode", f"{name}, page {z}: the mode is {image.mode}; expected L (uint8)")
                continue
            if image.info.get("compression") != "tiff_lzw":
                found = image.info.get("compression")
                noted.setdefault("codec", f"{name}, page {z}: the compression is {found}; expected LZW")
            if shape is not None and image.size != (shape[2], shape[1]):
                size = image.size[::-1]
                noted.setdefault("size", f"{name}, page {z}: the size is {size}; expected {shape[1:]}, as its image")
                continue
            page = np.asarray(image)
            highest = int(page.max(initial=0))
            if highest > 1:
                noted.setdefault("values", f"{name}, page {z}: the value {highest} occurs; expected 0 and 1 only")
            if whole is not None and (z >= len(whole) or not np.array_equal(page, whole[z])):
                noted.setdefault("voxels", f"{name}, page {z}: Pillow reads other voxels than stand there")
            voxels += page.size
            foreground += int(np.count_nonzero(page))
    return noted, pages, voxels, foreground
