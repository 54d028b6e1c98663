"""What the ports' host code shares: checks by the law, arrays on the device, and how many blocks a launch takes."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.kernels._loader import cupy, launch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from cpu_fallback._checks import Window

THREADS: Final = 256
TILE: Final = (8, 32)
"""Rows and columns of a block's tile: TILE_Y and TILE_X of nx47.cuh."""
MARCH: Final = 32
"""Slices that a block marches through: the halo along z is read once for so many."""
RESIDENT: Final = 4096
"""Blocks of a grid-stride loop: enough to fill any device several times."""


PAGE_LOCKED: Final = range(1 << 20, (64 << 20) + 1)
"""Bytes of a copy to the host that goes through page-locked memory: those of a tile."""


class _Shadow(np.ndarray):
    """Shape, dtype and strides of a device array, and none of its voxels: a check that asks for one is told so."""

    bounds: tuple[int, int]

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("gpu: a check asks for the voxels of a device array; find them there, as `bounds` does")

    __array_ufunc__ = __array_function__ = __getitem__ = _refuse

    def min(self, *_: Any, **__: Any) -> Any:
        return self.bounds[0]

    def max(self, *_: Any, **__: Any) -> Any:
        return self.bounds[1]


def shadow(array: Any, *, bounds: tuple[int, int] = (0, 0)) -> Any:
    """Return what the law's own checks can judge in place of a device array, so that errors are equal in every room.

    Parameters
    ----------
    array : object
        A device array; anything else but a NumPy array is returned as it is, for the law to refuse.
    bounds : tuple of int
        Least and greatest value, where the law asks for them.

    Raises
    ------
    TypeError
        A NumPy array: copies to the device are the caller's, so that each is seen.
    """
    if isinstance(array, np.ndarray):
        raise TypeError("gpu: expected a device array, got NumPy's; pass it through to_device")
    if not isinstance(array, cupy().ndarray):
        return array
    one = np.empty(1, array.dtype)
    described = np.lib.stride_tricks.as_strided(one, array.shape, array.strides, writeable=False).view(_Shadow)
    described.bounds = bounds
    return described


def page_locked(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """Return a new array of the host that the device writes without a detour, from CuPy's pool; None: take another.

    Small ones are as quick without, and come in so many sizes that the pool would keep one block for each. Large ones,
    of whole volumes, live long, and page-locked memory is the machine's.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size not in PAGE_LOCKED:
        return None
    try:
        return np.ndarray(shape, dtype, buffer=cupy().cuda.alloc_pinned_memory(size))
    except (cupy().cuda.runtime.CUDARuntimeError, MemoryError):  # the system grants no more of it
        return None


def host(array: Any) -> Any:
    """Return a small device array as NumPy's; anything else as it is."""
    return cupy().asnumpy(array) if isinstance(array, cupy().ndarray) else array


class _Kept(threading.local):
    """Tables on the device, of this thread alone: nothing orders another thread's stream behind their copy."""

    def __init__(self) -> None:
        self.tables: dict[tuple[int, int], tuple[weakref.ref, Any]] = {}


_kept: Final = _Kept()


def upload(table: Any) -> Any:
    """Return a table on the current device; one that is there already as it is.

    A frozen table that owns its numbers cannot change while it lives: its copy is kept and serves the next call.
    """
    if not isinstance(table, np.ndarray) or table.flags.writeable or table.base is not None:
        return cupy().asarray(table)
    tables, key = _kept.tables, (cupy().cuda.Device().id, id(table))
    if key not in tables:
        # The entry goes with the table, before another object can have its id.
        tables[key] = (weakref.ref(table, lambda _: tables.pop(key, None)), cupy().asarray(table))
    return tables[key][1]


def forget_tables() -> None:
    """Drop the copies of tables that `upload` keeps for this thread."""
    _kept.tables.clear()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """Return a new device array; the kernel must write all of it."""
    return cupy().empty(shape, dtype)


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
    """Return a new device array of zeros."""
    return cupy().zeros(shape, dtype)


def i32(value: int) -> np.int32:
    """Return an int argument."""
    return np.int32(value)


def i64(*values: int) -> tuple[np.int64, ...]:
    """Return long long arguments."""
    return tuple(np.int64(value) for value in values)


def blocks(items: int, each: int = THREADS) -> int:
    """Return the blocks that give every `each` items one."""
    return -(-items // each)


def part(shape: tuple[int, ...], window: Window | None) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """Return where a window begins in an array of that shape, and its own shape; None is the whole array."""
    places = [slice(0, n) for n in shape] if window is None else window
    z, y, x = (place.stop - place.start for place in places)
    return tuple(place.start for place in places), (z, y, x)


def columns(shape: tuple[int, int, int]) -> int:
    """Return the blocks of a march through a volume: `column` of nx47.cuh."""
    z, y, x = shape
    return blocks(z, MARCH) * blocks(y, TILE[0]) * blocks(x, TILE[1])


def lines(shape: tuple[int, int, int], axis: int) -> tuple[int, int, int]:
    """Return a volume as (outer, length, inner) along one of its axes: `line` of nx47.cuh."""
    return int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :]))


def groups(shape: tuple[int, int, int], axis: int, size: int) -> int:
    """Return the blocks that give every `size` successive samples along an axis a thread."""
    outer, length, inner = lines(shape, axis)
    return blocks(outer * blocks(length, size) * inner)


def each(file: str, kernel: str, items: int, *arguments: Any) -> None:
    """Launch a grid-stride loop over `items`."""
    launch(file, kernel, min(blocks(items), RESIDENT), *arguments)
