"""Every error this project raises on purpose.

::

    Nx47Error
    ├── UsageError                 the request cannot be understood (exit code 2)
    │   └── SettingsError          a setting is unknown, or out of its range
    ├── BackendUnavailableError    the backend asked for cannot run here, or lacks a kernel
    ├── InputError                 one input cannot be used; the run goes on without it
    │   ├── DamagedInputError      cut short, inconsistent, or unreadable
    │   ├── NotAVolumeError        readable, but not a 3-D grey stack
    │   └── TooLargeError          whole, but it takes more memory than the run may hold
    ├── TimeSpentError             the time budget is spent; the run packs what it has
    └── OutputError                a result cannot be written, or is not valid

A message says what, where, expected, got, what to do; `InputError` carries the parts as fields too, for FILE_FAILED.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_ELSEWHERE: Final = "Give a folder you may write to with --output."
_ADVICE: Final = {
    getattr(errno, "EDQUOT", -1): "Free some of your quota, or give another folder with --output.",
    errno.ENOSPC: "Free some space, or give another folder with --output.",
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: "The file system is read-only: give another folder with --output.",
    errno.ENOENT: "The folder does not exist.",
    errno.ENOTDIR: "A file stands where a folder is needed: give another folder with --output.",
    errno.EEXIST: "A file stands where a folder is needed: give another folder with --output.",
    errno.EISDIR: "A folder stands where a file is needed: move it away.",
}
"""What to do about an error of the system."""


class Nx47Error(Exception):
    """Base of all errors raised on purpose."""


class UsageError(Nx47Error):
    """The request cannot be understood."""


class SettingsError(UsageError):
    """A setting is unknown or out of range."""


class BackendUnavailableError(Nx47Error):
    """The backend asked for cannot run here, or has no such kernel yet."""


class InputError(Nx47Error):
    """One input cannot be used.

    Parameters
    ----------
    file : str
        The file, as the user would name it.
    what : str
        What is wrong, a clause.
    expected, found : str
        The rule, and what stands there instead.
    advice : str
        What the user can do.
    page : int, optional
        Page of a stack, from 0.
    shape : tuple of int, optional
        (z, y, x) where the headers tell it: such a file still gets an all-zero mask.
    """

    def __init__(
        self,
        file: str,
        what: str,
        *,
        expected: str,
        found: str,
        advice: str,
        page: int | None = None,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        where = file if page is None else f"{file}, page {page}"
        super().__init__(f"{where}: {what}; expected {expected}, found {found}. {advice}")
        self.file = file
        self.what = what
        self.expected = expected
        self.found = found
        self.advice = advice
        self.page = page
        self.shape = shape


class DamagedInputError(InputError):
    """A file that is cut short, contradicts itself, or cannot be decoded."""


class NotAVolumeError(InputError):
    """A readable file that is not a 3-D grey volume."""


class OutputError(Nx47Error):
    """A result cannot be written, or failed its own check."""

    @classmethod
    def of(cls, path: Path | str, error: OSError, advice: str = "Nothing was left half written.") -> OutputError:
        """Return the error of a file that the system would not let us write, with what to do about it."""
        advice = _ADVICE.get(error.errno or 0, advice)
        return cls(f"{path}: cannot be written: {error.strerror or error}. {advice}")


class TooLargeError(InputError):
    """A volume that would take more memory than the run may hold."""


class TimeSpentError(Nx47Error):
    """The time budget is spent: what is not done now is not done."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the run is to end now, in an orderly way. Treated wherever Ctrl-C is."""
