"""One run at a time in a folder of results.

The lock is held by the kernel on an open file (flock), so a killed run leaves none behind: what stays is its file, and
the next run takes it over. Where the system has no flock, the file itself is the lock, and its process is looked for.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gpu_nx47.errors import OutputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_NAME: Final = ".nx47.lock"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_FLOCK: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What file systems without flock answer (some network drives)."""
_READS: Final = 10
_PAUSE_S: Final = 0.02
_REMOVE: Final = " If that run is gone, remove {}."
_CLOCK_SLACK_S: Final = 2.0


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder of results, made if it is not there, for one run.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OutputError
        Another run holds it: says which process, where, since when; nothing in the folder has been touched. Or the
        folder cannot be written.
    """
    path = Path(folder) / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _take(path)
    except OSError as error:
        raise OutputError.of(folder, error, "Choose another folder with --output.") from error
    try:
        yield
    finally:
        _leave(path, handle)


def _take(path: Path) -> int:
    """Return the open lock file, locked and signed."""
    if fcntl is None:
        return _take_by_name(path)
    while True:
        handle, is_new = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_there(path, handle):  # its holder removed it between our two calls: this lock guards nothing
                os.close(handle)
                continue
        except OSError as error:
            if error.errno in _NO_FLOCK and is_new:
                return _signed(path, handle)  # no other run can have made it too
            os.close(handle)
            if error.errno in _NO_FLOCK:
                return _take_by_name(path)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise _refusal(path, _holder(path)) from error
            raise
        return _signed(path, handle)


def _open(path: Path) -> tuple[int, bool]:
    """Return the open file, and whether this call made it."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, _FLAGS | os.O_EXCL, 0o644), True
        with suppress(FileNotFoundError):  # it may be removed between the two
            return os.open(path, _FLAGS & ~os.O_CREAT), False


def _take_by_name(path: Path) -> int:
    """Do without flock: who makes the file holds the lock; one whose process is gone is taken away.

    Notes
    -----
    Two runs that find the same dead lock in the same moment could both take it away; flock has no such gap.
    """
    for _ in range(_READS):
        try:
            handle = os.open(path, _FLAGS | os.O_EXCL, 0o644)
        except FileExistsError:
            holder = _holder(path)
            if not _is_dead(holder):
                raise _refusal(path, holder, _REMOVE) from None
            path.unlink(missing_ok=True)
            continue
        return _signed(path, handle)
    raise _refusal(path, _holder(path), _REMOVE)


def _leave(path: Path, handle: int) -> None:
    """Remove the file while it is still ours, then let go."""
    with suppress(OSError):  # Windows removes no open file
        if _is_there(path, handle):
            path.unlink()
    os.close(handle)
    if fcntl is None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _signed(path: Path, handle: int) -> int:
    """Write into the lock who holds it."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
    try:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(holder).encode("ascii") + b"\n")
    except OSError:
        _leave(path, handle)
        raise
    return handle


def _is_there(path: Path, handle: int) -> bool:
    """Say whether `path` still names the open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> dict[str, Any]:
    """Return what the holder signed; empty where that cannot be read."""
    for _ in range(_READS):
        with suppress(OSError, ValueError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict):
                return found
        time.sleep(_PAUSE_S)  # the holder may be just about to sign
    return {}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Say whether the holder was a process of this machine that is gone; its number may be another's by now."""
    import psutil

    try:
        pid, started = int(holder["pid"]), datetime.fromisoformat(holder["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return False
    if holder.get("host") != socket.gethostname():
        return False
    try:
        born: float = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return born > started + _CLOCK_SLACK_S


def _refusal(path: Path, holder: dict[str, Any], more: str = "") -> OutputError:
    who = "it has not said which"
    if holder:
        who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('started')}"
    advice = "Wait until it has ended, or give another folder with --output."
    return OutputError(f"{path.parent}: another run writes here: {who}. {advice}{more.format(path)}")
