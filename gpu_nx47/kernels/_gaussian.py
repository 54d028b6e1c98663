"""Ports of `cpu_fallback/law/_gaussian.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._gaussian import accept_band_pass, accept_gaussian, accept_gaussians
from gpu_nx47.kernels._launch import blocks, each, empty, groups, i32, i64, lines, part, shadow, upload
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

FILE: Final = "_gaussian"
SAMPLES: Final = 4
"""Samples of a thread along z and y, as in the .cu file."""
TOGETHER: Final = 2
"""Kernels that share the first pass: one more would keep one more float32 volume, and read as many grey values."""
ROWS: Final = 8
ACROSS: Final = 192
REACH: Final = 32
"""Tile and greatest radius of `gaussian_yx`, as in the .cu file."""


def gaussian(grey: Any, /, *, taps: NDArray[np.float32]) -> Any:
    """Port of law.gaussian."""
    accept_gaussian(shadow(grey), taps)
    return _smooth(grey, (taps,), None)[0]


def gaussians(grey: Any, /, *, taps: tuple[NDArray[np.float32], ...], window: Window | None = None) -> tuple[Any, ...]:
    """Port of law.gaussians."""
    return _smooth(grey, taps, accept_gaussians(shadow(grey), taps, window))


def _smooth(grey: Any, taps: tuple[NDArray[np.float32], ...], window: Window | None) -> tuple[Any, ...]:
    start, shape = part(grey.shape, window)
    widest_first = sorted(range(len(taps)), key=lambda i: len(taps[i]), reverse=True)
    results = {}
    for first in range(0, len(taps), TOGETHER):
        together = widest_first[first : first + TOGETHER]
        weights = [upload(taps[i]) for i in together]
        along_z = _along_z(grey, weights, start[0], shape[0])
        for i, half in zip(together, weights, strict=True):
            results[i] = _across(along_z.pop(0), half, start, shape)
    return tuple(results[i] for i in range(len(taps)))


def _along_z(grey: Any, weights: list[Any], start: int, count: int) -> list[Any]:
    """Return the first pass of one or two kernels, the wider one first: slices of the window, whole in y and x."""
    new = [empty((count, *grey.shape[1:]), np.float32) for _ in weights]
    kernel = "gaussian_z" if len(weights) == 1 else "gaussian_z_two"
    halves = [value for half in weights for value in (half, i32(len(half) - 1))]
    geometry = i64(*lines(grey.shape, 0), start, count)
    launch(FILE, kernel, groups(new[0].shape, 0, SAMPLES), grey, *halves, *geometry, *new)
    return new


def _across(along_z: Any, weights: Any, start: tuple[int, ...], shape: tuple[int, int, int]) -> Any:
    """Return the window of a volume that is smooth along z, whole in y and x."""
    (slices, height, width), (_, rows, across) = along_z.shape, shape
    radius, result = len(weights) - 1, empty(shape, np.uint16)
    if radius > REACH:
        along_y = _pass("y", 1, SAMPLES, along_z, weights, start[1], empty((slices, rows, width), np.float32))
        return _pass("x", 2, 1, along_y, weights, start[2], result)
    grid = slices * blocks(rows, ROWS) * blocks(across, ACROSS)
    window = i64(height, width, *start[1:], rows, across)
    launch(FILE, "gaussian_yx", grid, along_z, weights, i32(radius), *window, result)
    return result


def _pass(name: str, axis: int, samples: int, values: Any, weights: Any, start: int, result: Any) -> Any:
    """Smooth along one axis into `result`, from `start` on, and return it."""
    geometry = i32(len(weights) - 1), *i64(*lines(values.shape, axis), start, result.shape[axis])
    launch(FILE, f"gaussian_{name}", groups(result.shape, axis, samples), values, weights, *geometry, result)
    return result


def band_pass(narrow: Any, wide: Any, /) -> Any:
    """Port of law.band_pass."""
    accept_band_pass(shadow(narrow), shadow(wide))
    result = empty(narrow.shape, np.int16)
    each(FILE, "band_pass", narrow.size, narrow, wide, *i64(narrow.size), result)
    return result
