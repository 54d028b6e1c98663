"""The one way a twin is compiled: nogil, cached where a folder can be written, never fastmath, never parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

_KERNELS: list[Any] = []


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with Numba, without contraction of a*b + c and without the interpreter lock.

    Notes
    -----
    `cache=True` raises where neither the package folder nor the user's cache folder can be written (a read-only
    image): then the twin is compiled anew in each process, which is slower and not an error.
    """
    return _compiled(function)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `compiled` does, for calls from compiled functions alone: calling it from Python ends the process.

    What reads the arguments out of Python's objects is half of what there is to compile of a short function.
    """
    return _compiled(function, no_cpython_wrapper=True)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    options |= {"nogil": True, "no_cfunc_wrapper": True}
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        kernel = numba.njit(**options)(function)
    _KERNELS.append(kernel)
    return kernel


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
