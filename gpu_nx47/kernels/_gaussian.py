"""Ports of `cpu_fallback/law/_gaussian.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._gaussian import accept_band_pass, accept_gaussian
from gpu_nx47.kernels._launch import blocks, each, empty, groups, i32, i64, lines, shadow, upload
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE: Final = "_gaussian"
SAMPLES: Final = 4
"""Samples of a thread along z and y, as in the .cu file."""
ROWS: Final = 8
ACROSS: Final = 192
REACH: Final = 32
"""Tile and greatest radius of `gaussian_yx`, as in the .cu file."""


def gaussian(grey: Any, /, *, taps: NDArray[np.float32]) -> Any:
    """Port of law.gaussian."""
    accept_gaussian(shadow(grey), taps)
    weights, radius = upload(taps), len(taps) - 1
    along_z = _pass("z", 0, SAMPLES, grey, weights, empty(grey.shape, np.float32))
    result = empty(grey.shape, np.uint16)
    if radius > REACH:
        along_y = _pass("y", 1, SAMPLES, along_z, weights, empty(grey.shape, np.float32))
        return _pass("x", 2, 1, along_y, weights, result)
    depth, height, width = grey.shape
    grid = depth * blocks(height, ROWS) * blocks(width, ACROSS)
    launch(FILE, "gaussian_yx", grid, along_z, weights, i32(radius), *i64(depth, height, width), result)
    return result


def _pass(name: str, axis: int, samples: int, values: Any, weights: Any, result: Any) -> Any:
    """Smooth along one axis into `result` and return it."""
    geometry = i32(len(weights) - 1), *i64(*lines(values.shape, axis))
    launch(FILE, f"gaussian_{name}", groups(values.shape, axis, samples), values, weights, *geometry, result)
    return result


def band_pass(narrow: Any, wide: Any, /) -> Any:
    """Port of law.band_pass."""
    accept_band_pass(shadow(narrow), shadow(wide))
    result = empty(narrow.shape, np.int16)
    each(FILE, "band_pass", narrow.size, narrow, wide, *i64(narrow.size), result)
    return result
