"""Sink for the masks: a submission.zip, there whole or not at all and equal in bytes for equal masks; and its check."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import mask_file
from gpu_nx47._tiff import inspect_file
from gpu_nx47.atomic import whole_file, write_whole
from gpu_nx47.errors import InputError, OutputError
from gpu_nx47.mask_check import Shape, bounds, check_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.mask_check import Checked

DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip can hold; equal masks give an equal zip, whenever they are written."""
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


def encode_mask(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> bytes:
    """Return a mask (z, y, x), bool or 0/1, as the TIFF that goes into the submission: uint8, LZW, one strip a page."""
    if mask.ndim != 3 or mask.dtype not in (np.bool_, np.uint8):
        raise OutputError(f"a mask must be (z, y, x) of bool or uint8, not {mask.shape} of {mask.dtype.name}")
    codes = np.ascontiguousarray(mask).view(np.uint8)
    if codes.size and int(codes.max()) > 1:  # a 2 would count as surface in the score
        raise OutputError(f"a mask holds the value {int(codes.max())}; expected 0 and 1 only")
    _, _, x = codes.shape

    def run(first: int, stop: int) -> Any:
        from PIL import Image

        return Image.fromarray(codes[first:stop].reshape(-1, x))

    return mask_file.encode(codes.shape, run)


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
                if data is None:
                    continue
                seen = known.get(hashlib.sha256(data).hexdigest())
                if seen is not None and seen.shape == shape:
                    found = seen.voxels, seen.foreground
                else:
                    found = check_mask(data, info.filename, shape, problems, threads)
                voxels, foreground = voxels + found[0], foreground + found[1]
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error) as error:
        problems.append(f"{zip_path} cannot be read as a zip: {error}")
    return CheckReport(not problems, tuple(problems), members, voxels, foreground)


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


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, shape: Shape | None, problems: list[str]) -> bytes | None:
    """Return the bytes of one mask's file, or None with the problem noted."""
    name = info.filename
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problems.append(f"{name} is packed by the method {info.compress_type}; expected 0 (stored) or 8 (deflated)")
        return None
    most, pages = bounds(shape)
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


def _length(archive: zipfile.ZipFile) -> int:
    """Return the bytes of an open zip."""
    file = archive.fp
    return 0 if file is None else file.seek(0, io.SEEK_END)
