"""A second process that compiles kernels from the other end, where a run finds none in its cache.

Numba compiles on one thread of a process. The helper begins with what a run needs last, in a cache of its own; a thread
here takes over what it has done. Where they meet it goes. Whatever fails there, the run compiles by itself.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47 import child, hardware
from gpu_nx47.plan import MB

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from gpu_nx47.backend import Backend

HELPER_BYTES: Final = 300 * MB
"""What the helper takes at most: it compiles, and holds no volume."""
_HELPED: Final[set[Path]] = set()
"""Caches that a run of this process has had a helper for: to a later run it could bring nothing."""


@contextmanager
def beside(backend: Backend | Any, threads: int, outlook: dict[str, Any]) -> Iterator[None]:
    """Have kernels compiled by a second process within the block, where that helps and there is room for it.

    Parameters
    ----------
    backend : Backend or Meter
        Its probe has run: where that found the cache empty, there is something to compile.
    threads : int
        Tiles worked on at once; a run that is to take one processor gets one.
    outlook : dict
        `Budget.outlook`: the limit of memory, and what is planned for each volume.
    """
    helper = _start() if _helps(backend, threads) and _room(outlook) >= HELPER_BYTES else None
    try:
        yield
    finally:
        if helper is not None:
            helper.end()


def _helps(backend: Backend | Any, threads: int) -> bool:
    if backend.NAME != "cpu" or min(threads, hardware.usable_processors()) < 2 or not sys.executable:
        return False
    from cpu_fallback.twin import _jit

    return _jit.compiled_here() and _jit.folder() not in {None, *_HELPED}


def _room(outlook: dict[str, Any]) -> int:
    """Return the bytes that are left beside the two largest volumes: while one is worked on, one may be read."""
    largest = sorted(outlook["planned_bytes"].values())[-2:]
    return int(outlook["limit_bytes"]) - sum(largest)


def _start() -> _Helper | None:
    from cpu_fallback.twin import _jit

    home = _jit.folder()
    assert home is not None
    try:
        helper = _Helper(home)
    except OSError:  # no process, or no folder: the run is as it was
        return None
    helper.start()
    _HELPED.add(home)
    return helper


class _Helper(threading.Thread):
    """The process, and the thread that takes over what it compiles."""

    def __init__(self, home: Path) -> None:
        super().__init__(name="nx47-compile", daemon=True)
        self._folder = tempfile.mkdtemp(prefix=".nx47-", dir=home)  # links reach no other disk
        try:
            self._process = _process(self._folder)
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def run(self) -> None:
        """Take over what it tells, until it has nothing more to tell or all of a kernel is here already."""
        from cpu_fallback.twin import _jit

        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                paths = [path for name in line.decode().split() for path in Path(self._folder).rglob(name)]
                if sum(_jit.adopt(path) for path in paths) == 0:  # the run was here before: they have met
                    break
        except Exception:  # noqa: BLE001, S110 - no links on this disk, say: what is not taken over is compiled here
            pass
        finally:
            self._clear()

    def end(self) -> None:
        """Stop it, whatever it does."""
        self._process.kill()
        self.join(1.0)
        shutil.rmtree(self._folder, ignore_errors=True)  # the thread's, but where it still waits for a compiler's end

    def _clear(self) -> None:
        with self._process as process:
            process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _process(folder: str) -> subprocess.Popen[bytes]:
    return child.started("cpu_fallback.twin._warm", NUMBA_CACHE_DIR=folder)
