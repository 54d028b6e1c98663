"""Files that are there whole or not at all.

Written under a hidden name in the same folder, flushed to the disk, then renamed over the target: a reader sees the old
file or the new one, never a part. The folder is flushed too: without that a power cut may undo the rename.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from gpu_nx47.errors import OutputError

_NUMBERS: Final = itertools.count()


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a binary file that becomes `path` when the block ends well, and leaves no trace when it does not.

    Raises
    ------
    OutputError
        The file cannot be written: disk full, no permission, no such folder.
    """
    path = Path(path)
    # Numbered too, as two threads may write one target. A leftover of a killed run under this name is overwritten.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        # Opened by its path, so that file.name is one: tifffile asks for it.
        with open(temporary, "w+b", opener=lambda name, _: os.open(name, flags, 0o666)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OutputError.of(path, error) from error
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; OutputError where that fails."""
    with whole_file(path) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
