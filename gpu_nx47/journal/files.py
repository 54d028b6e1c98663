"""Ways to write a file so that what a crash leaves behind is valid."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.journal.encoding import compact

if TYPE_CHECKING:
    from pathlib import Path

_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows would write \r\n
_TAIL: Final = b"\n]\n"


def write_json_atomically(path: Path, value: Any) -> None:
    """Write plain values as indented JSON: readers see the old file or the new one, never a half."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="ascii")
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


class LineFile:
    """A file that grows by whole lines, each visible at once; begun anew, or behind the first `size` bytes it has."""

    def __init__(self, path: Path, size: int = 0) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY | (0 if size else os.O_TRUNC)
        self._handle: int | None = os.open(path, flags, 0o644)
        self._size = size

    def append(self, line: bytes) -> None:
        """Write `line` and a newline with one system call; what cannot be written whole is taken back."""
        if self._handle is None:
            raise OSError("the file is closed")
        data = line + b"\n"
        try:
            if os.write(self._handle, data) != len(data):
                raise OSError(errno.ENOSPC, f"the disk took only a part of a line of {len(data)} bytes")
        except OSError:
            # Half a line would swallow the next one; the file stays a whole, shorter record.
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(data)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        if self._handle is None:
            raise OSError("the file is closed")
        os.fsync(self._handle)

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class ListFile:
    """A JSON list begun anew that is valid after each entry, and costs the same for the millionth as for the first.

    Notes
    -----
    An entry and the closing bracket replace the old bracket in one write. Rewriting the whole list at each file would
    take memory and time that grow with the run.
    """

    def __init__(self, path: Path) -> None:
        self._handle: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
        self._end = 0
        self._empty = True
        try:
            self._put(b"[" + _TAIL)
        except OSError:
            self.close()
            with contextlib.suppress(OSError):
                path.unlink()  # what is there is no list
            raise
        self._end = 1

    def append(self, entry: Any) -> None:
        """Add one plain value as a line of the list."""
        text = (b"\n" if self._empty else b",\n") + compact(entry)
        self._put(text + _TAIL)
        self._end += len(text)
        self._empty = False

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def _put(self, data: bytes) -> None:
        """Write `data` from the closing bracket on; on failure put the bracket back."""
        if self._handle is None:
            raise OSError("the file is closed")
        os.lseek(self._handle, self._end, os.SEEK_SET)
        try:
            if os.write(self._handle, data) != len(data):
                raise OSError(errno.ENOSPC, f"the disk took only a part of an entry of {len(data)} bytes")
        except OSError:
            with contextlib.suppress(OSError):
                os.lseek(self._handle, self._end, os.SEEK_SET)
                os.write(self._handle, _TAIL)
                os.ftruncate(self._handle, self._end + len(_TAIL))
            raise
