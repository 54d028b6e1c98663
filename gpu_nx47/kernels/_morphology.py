"""Ports of `cpu_fallback/law/_morphology.py`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cpu_fallback.law._morphology import accept
from gpu_nx47.kernels._launch import MARCH, empty, groups, i64, lines, shadow
from gpu_nx47.kernels._loader import launch

FILE: Final = "_morphology"
GROW: Final = np.uint8(0)
SHRINK: Final = np.uint8(1)
"""Whether the mask is inverted: an erosion is the dilation of the background."""


def erosion(mask: Any, /, *, radius: tuple[int, int, int], shape: str) -> Any:
    """Port of law.erosion."""
    accept("erosion", shadow(mask), radius, shape)
    return _apply(SHRINK, mask, radius, shape)


def dilation(mask: Any, /, *, radius: tuple[int, int, int], shape: str) -> Any:
    """Port of law.dilation."""
    accept("dilation", shadow(mask), radius, shape)
    return _apply(GROW, mask, radius, shape)


def opening(mask: Any, /, *, radius: tuple[int, int, int], shape: str) -> Any:
    """Port of law.opening."""
    accept("opening", shadow(mask), radius, shape)
    return _apply(GROW, _apply(SHRINK, mask, radius, shape), radius, shape)


def closing(mask: Any, /, *, radius: tuple[int, int, int], shape: str) -> Any:
    """Port of law.closing."""
    accept("closing", shadow(mask), radius, shape)
    return _apply(SHRINK, _apply(GROW, mask, radius, shape), radius, shape)


def _apply(flip: np.uint8, mask: Any, radius: tuple[int, int, int], shape: str) -> Any:
    """Dilate along each axis: of the result so far for a box, of the mask itself, joined, for a cross."""
    cross = shape == "cross"
    result = mask
    for axis, reach in enumerate(radius):
        if not cross and reach == 0 and axis < 2:
            continue  # nothing moves; the last axis writes the new array at the latest
        joined = cross and axis > 0
        source, target = (mask if cross else result), (result if joined else empty(mask.shape, np.bool_))
        arguments = (
            *i64(min(int(reach), mask.shape[axis])),
            flip,
            np.uint8(joined),
            *i64(*lines(mask.shape, axis), MARCH),
        )
        launch(FILE, "segment", groups(mask.shape, axis, MARCH), source, *arguments, target)
        result = target
    return result
