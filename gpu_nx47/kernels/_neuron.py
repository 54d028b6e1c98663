"""Ports of `cpu_fallback/law/_neuron.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback import _checks
from gpu_nx47.kernels._launch import THREADS, blocks, each, empty, host, i32, i64, shadow, upload, zeros
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Layers

FILE: Final = "_neuron"
SAMPLES: Final = 1024
"""Samples of a block, as in the .cu file."""
ROOM: Final = 8192
"""Outputs of two layers that a block of `net` keeps, as in the .cu file."""
NO_COSTS: Final = np.zeros(1, np.int32)
"""In place of the table of losses, which is not read where none is asked for."""


def neuron(
    features: tuple[Any, ...],
    /,
    *,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> Any:
    """Port of law.neuron."""
    _checks.neuron(tuple(shadow(codes) for codes in features), mean, scale, weights, sigmoid)
    result = empty(features[0].shape, np.uint16)
    arguments = (
        upload(np.array([codes.data.ptr for codes in features], np.uint64)),
        upload(np.array([codes.dtype == np.int16 for codes in features], np.uint8)),
        upload(np.concatenate([mean, scale, weights])),
        i32(len(features)),
        np.float32(bias),
        upload(sigmoid),
        *i64(result.size),
    )
    each(FILE, "neuron", result.size, *arguments, result)
    return result


def net(
    features: tuple[Any, ...],
    /,
    *,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    hidden: Layers,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> Any:
    """Port of law.net."""
    _checks.net(tuple(shadow(codes) for codes in features), mean, scale, hidden, weights, sigmoid)
    result = empty(features[0].shape, np.uint16)
    sizes = np.array([len(features), *(len(rows) for rows, _ in hidden)], np.int32)
    widest = int(sizes.max())
    # As many voxels, a power of two, as two layers of the widest leave room for: 16 of the widest there may be.
    voxels = min(THREADS, 1 << (ROOM // (2 * widest)).bit_length() - 1)
    arguments = (
        upload(np.array([codes.data.ptr for codes in features], np.uint64)),
        upload(np.array([codes.dtype == np.int16 for codes in features], np.uint8)),
        upload(np.concatenate([mean, scale])),
        upload(sizes),
        *map(i32, (len(sizes), widest, voxels)),
        upload(np.concatenate([*(rows.reshape(-1) for rows, _ in hidden), weights])),
        upload(np.array([*(one for _, offsets in hidden for one in offsets), bias], np.float32)),
        upload(sigmoid),
        *i64(result.size),
    )
    launch(FILE, "net", blocks(result.size, voxels), *arguments, result, threads=THREADS)
    return result


def neuron_sums(
    x: Any,
    y: Any,
    /,
    *,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
    softplus: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Port of law.neuron_sums."""
    _checks.sample(shadow(x), shadow(y), weights, sigmoid, softplus)
    number, n = x.shape
    sums = zeros(number + 2, np.uint64)
    asked = i32(number + 1 if softplus is None else number + 2)
    tables = (upload(sigmoid), upload(NO_COSTS if softplus is None else softplus))
    arguments = (x, y, upload(weights), i32(number), asked, np.float32(bias), *tables, *i64(n), sums)
    launch(FILE, "neuron_sums", blocks(n, SAMPLES), *arguments)
    found = host(sums).astype(np.int64)
    return found[:-1], int(found[-1])
