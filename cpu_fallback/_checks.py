"""What a kernel accepts, said once for laws and twins: what was expected, what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def volume(kernel: str, array: NDArray, *dtypes: DTypeLike) -> None:
    """Refuse anything but a non-empty C-contiguous (z, y, x) array of one of `dtypes`.

    Raises
    ------
    TypeError
        Not a NumPy array, or another dtype.
    ValueError
        Not three-dimensional, empty, or not C-contiguous.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{kernel}: expected a NumPy array, got {type(array).__name__}")
    names = " or ".join(np.dtype(d).name for d in dtypes)
    if array.dtype not in [np.dtype(d) for d in dtypes]:
        raise TypeError(f"{kernel}: expected dtype {names}, got {array.dtype.name}")
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{kernel}: expected a non-empty (z, y, x) array, got shape {array.shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{kernel}: expected a C-contiguous array; pass np.ascontiguousarray(a)")


def same_shape(kernel: str, first: NDArray, second: NDArray) -> None:
    """Refuse two arrays of unequal shape."""
    if first.shape != second.shape:
        raise ValueError(f"{kernel}: expected equal shapes, got {first.shape} and {second.shape}")


def odd_window(kernel: str, window: int, low: int, high: int) -> None:
    """Refuse a window that is not an odd integer in low..high."""
    if window % 2 == 0 or not low <= window <= high:
        raise ValueError(f"{kernel}: expected an odd window in {low}..{high}, got {window}")


def table(kernel: str, name: str, array: NDArray, dtype: DTypeLike, length: int) -> None:
    """Refuse a table of another dtype or length."""
    if array.dtype != np.dtype(dtype) or array.shape != (length,):
        raise ValueError(
            f"{kernel}: expected {name} of dtype {np.dtype(dtype).name} and shape ({length},), "
            f"got {array.dtype.name} and {array.shape}"
        )


def one_of(kernel: str, name: str, value: object, allowed: tuple) -> None:
    """Refuse a value outside a closed list."""
    if value not in allowed:
        raise ValueError(f"{kernel}: expected {name} in {allowed}, got {value!r}")
