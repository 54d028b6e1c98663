"""What a kernel accepts, said once for laws and twins: what was expected, what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    Window = tuple[slice, slice, slice]
    Layers = tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]

WIDEST_LAYER = 256
"""Inputs or neurons of a layer."""


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
    if array.dtype not in dtypes:
        names = " or ".join(np.dtype(d).name for d in dtypes)
        raise TypeError(f"{kernel}: expected dtype {names}, got {array.dtype.name}")
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{kernel}: expected a non-empty (z, y, x) array, got shape {array.shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{kernel}: expected a C-contiguous array; pass np.ascontiguousarray(a)")


def same_shape(kernel: str, first: NDArray, second: NDArray) -> None:
    """Refuse two arrays of unequal shape."""
    if first.shape != second.shape:
        raise ValueError(f"{kernel}: expected equal shapes, got {first.shape} and {second.shape}")


def window(kernel: str, shape: tuple[int, ...], window: Window | None) -> Window:
    """Return the slices of a result that is asked for in a part of an array alone; None is all of it.

    Raises
    ------
    ValueError
        Not three slices (z, y, x), each 0 <= start < stop <= length and without a step.
    """
    if window is None:
        return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    if (
        not isinstance(window, tuple)
        or len(window) != 3
        or not all(
            isinstance(part, slice)
            and part.step is None
            and isinstance(part.start, int)
            and isinstance(part.stop, int)
            and 0 <= part.start < part.stop <= length
            for part, length in zip(window, shape, strict=True)
        )
    ):
        raise ValueError(f"{kernel}: expected window as three slices within {shape}, none empty, got {window!r}")
    return window


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


def flat_index(kernel: str, name: str, index: NDArray[np.int64], size: int) -> None:
    """Refuse anything but flat indices of voxels of an array."""
    if not isinstance(index, np.ndarray) or index.dtype != np.int64 or index.ndim != 1:
        came = f"{index.dtype.name} and {index.shape}" if isinstance(index, np.ndarray) else type(index).__name__
        raise ValueError(f"{kernel}: expected {name} of dtype int64 and shape (n,), got {came}")
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise ValueError(f"{kernel}: expected indices in 0..{size - 1}, got {int(index.min())}..{int(index.max())}")


def one_of(kernel: str, name: str, value: object, allowed: tuple) -> None:
    """Refuse a value outside a closed list."""
    if value not in allowed:
        raise ValueError(f"{kernel}: expected {name} in {allowed}, got {value!r}")


def neuron(features: tuple[NDArray, ...], mean: NDArray, scale: NDArray, weights: NDArray, sigmoid: NDArray) -> None:
    """Refuse features of unequal shapes, and parameters that do not fit their number."""
    _features("neuron", features, mean, scale)
    table("neuron", "weights", weights, np.float32, len(features))
    table("neuron", "sigmoid", sigmoid, np.uint16, 65536)


def net(
    features: tuple[NDArray, ...],
    mean: NDArray,
    scale: NDArray,
    hidden: Layers,
    weights: NDArray,
    sigmoid: NDArray,
) -> None:
    """Refuse features of unequal shapes, and layers that do not fit together."""
    _features("net", features, mean, scale)
    if not isinstance(hidden, tuple) or not hidden:
        raise ValueError(f"net: expected hidden as a tuple of at least one layer, got {hidden!r}")
    inputs = len(features)
    for rows, bias in hidden:
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != inputs:
            raise ValueError(
                f"net: expected weights of dtype float32 and shape (neurons, {inputs}), "
                f"got {rows.dtype.name} and {rows.shape}"
            )
        if not 1 <= len(rows) <= WIDEST_LAYER or inputs > WIDEST_LAYER:
            raise ValueError(f"net: expected 1..{WIDEST_LAYER} inputs and neurons of a layer, got {rows.shape}")
        table("net", "bias", bias, np.float32, len(rows))
        inputs = len(rows)
    table("net", "weights", weights, np.float32, inputs)
    table("net", "sigmoid", sigmoid, np.uint16, 65536)


def _features(kernel: str, features: tuple[NDArray, ...], mean: NDArray, scale: NDArray) -> None:
    if not features:
        raise ValueError(f"{kernel}: expected at least one feature, got none")
    for codes in features:
        volume(kernel, codes, np.uint16, np.int16)
        same_shape(kernel, features[0], codes)
    for name, array in (("mean", mean), ("scale", scale)):
        table(kernel, name, array, np.float32, len(features))


def sample(x: NDArray, y: NDArray, weights: NDArray, sigmoid: NDArray, softplus: NDArray | None) -> None:
    """Refuse a training sample whose arrays do not fit each other."""
    if x.dtype != np.int16 or y.dtype != np.uint8:
        raise TypeError(f"neuron_sums: expected x int16 and y uint8, got {x.dtype.name} and {y.dtype.name}")
    if x.ndim != 2 or y.shape != x.shape[1:] or y.size == 0:
        raise ValueError(f"neuron_sums: expected x (K, n) and y (n,), n >= 1, got {x.shape} and {y.shape}")
    if not (x.flags.c_contiguous and y.flags.c_contiguous):
        raise ValueError("neuron_sums: expected C-contiguous arrays; pass np.ascontiguousarray(a)")
    table("neuron_sums", "weights", weights, np.float32, x.shape[0])
    table("neuron_sums", "sigmoid", sigmoid, np.uint16, 65536)
    if softplus is not None:
        table("neuron_sums", "softplus", softplus, np.int32, 65536)


def integer(kernel: str, name: str, value: int, low: int, high: int | None = None) -> None:
    """Refuse what is not an integer (a bool is none) and what lies outside low..high.

    Raises
    ------
    TypeError
        Not an int or a NumPy integer.
    ValueError
        Out of range; `high` None is no upper bound.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{kernel}: expected {name} as an integer, got {value!r}")
    if value < low or (high is not None and value > high):
        expected = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{kernel}: expected {name} {expected}, got {value}")


def radius(kernel: str, value: tuple[int, int, int]) -> None:
    """Refuse anything but three integers (z, y, x), each >= 0."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise ValueError(f"{kernel}: expected radius as a tuple (z, y, x), got {value!r}")
    for axis, reach in zip("zyx", value, strict=True):
        integer(kernel, f"radius along {axis}", reach, 0)


def at_most_int32(kernel: str, array: NDArray) -> None:
    """Refuse a volume whose voxels cannot each carry a label of their own in int32."""
    if array.size >= 2**31:
        raise ValueError(f"{kernel}: expected less than 2^31 voxels, got {array.size}")
