"""The one way a twin is compiled: nogil, cached where a folder can be written, never fastmath, never parallel."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba.core.compiler_lock import global_compiler_lock

if TYPE_CHECKING:
    from collections.abc import Callable

_KERNELS: list[Any] = []
"""What is called from Python."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with Numba, without contraction of a*b + c and without the interpreter lock.

    Notes
    -----
    `cache=True` raises where neither the package folder nor the user's cache folder can be written (a read-only
    image): then the twin is compiled anew in each process, which is slower and not an error.
    """
    kernel = _compiled(function)
    _KERNELS.append(kernel)
    return kernel


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `compiled` does, for calls from compiled functions alone: calling it from Python ends the process.

    Reading the arguments out of Python's objects, and a way in from C, took two fifths of compiling a short function.
    """
    return _compiled(function, no_cpython_wrapper=True)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    options |= {"nogil": True, "no_cfunc_wrapper": True}
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)
    if hasattr(kernel, "_cache"):  # not where NUMBA_DISABLE_JIT is set
        file = kernel._cache._cache_file
        file.save = partial(_save, file)
    return kernel


def _save(file: Any, key: tuple[Any, ...], data: Any) -> None:
    """Save what was compiled for one signature as Numba does, in a file that no other signature has.

    Numba numbers the files by the index that it reads: where two processes compile a function for different
    signatures, one overwrites the other's, and a third loads the wrong one. The index comes last here, so that it
    names nothing that is not there.
    """
    overloads = file._load_index()
    told = hashlib.sha256(repr((key[:2], numba.__version__)).encode()).hexdigest()
    name = f"{file._index_name.removesuffix('.nbi')}.{told[:16]}.nbc"
    file._save_data(name, data)
    if overloads.get(key) != name:
        overloads[key] = name
        file._save_index(overloads)


@inner
def copy_row(row: Any, into: Any) -> None:
    """Copy a row to the beginning of another: an assignment of slices would compile its error's text, for seconds."""
    for x in range(row.size):
        into[x] = row[x]


@inner
def clear_row(row: Any) -> None:
    """Put 0 into a row: the same for an assignment of a number to a slice, and for room that compiled code takes."""
    for x in range(row.size):
        row[x] = 0


def compiled_here() -> bool:
    """Return whether a twin that has run was compiled by this process, not loaded from a cache."""
    return any(kernel.stats.cache_misses for kernel in _KERNELS)


def folder() -> Path | None:
    """Return where this process keeps what it compiles; None where nothing can be written."""
    path = _KERNELS[0].stats.cache_path
    return None if path is None else Path(path)


def kept() -> list[Path]:
    """Return the index files of the functions that this process has compiled for calls from Python."""
    names = [f"{k.__module__.rpartition('.')[2]}.{k.__qualname__}-*.nbi" for k in _KERNELS if k.stats.cache_misses]
    return [path for name in names for path in Path(_KERNELS[0].stats.cache_path).glob(name)]


def adopt(index: Path) -> bool:
    """Keep what another process has compiled of a function, unless this one has begun to keep it; return whether.

    Numba looks for a function's files when it is first called, under the lock taken here: within a process only one
    thread writes. Another one may do so at any moment; links are made only where nothing is, so its files stay whole.

    Raises
    ------
    OSError
        The files cannot be linked: they are of another disk, or that knows no links.
    """
    home = folder()
    with global_compiler_lock:
        if home is None or (home / index.name).exists():
            return False
        for path in (*sorted(index.parent.glob(f"{index.stem}.*.nbc")), index):  # an index names files that are there
            os.link(path, home / path.name)
        return True
