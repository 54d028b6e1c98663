"""Ports of `cpu_fallback/law/_gradient.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._gradient import (
    STENCILS,
    accept_gradient_along,
    accept_gradient_magnitude,
    accept_laplacian,
    accept_stencils,
)
from gpu_nx47.kernels._launch import MARCH, columns, empty, host, i32, i64, part, shadow, upload
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

FILE: Final = "_gradient"


def gradient_magnitude(smooth: Any, /) -> Any:
    """Port of law.gradient_magnitude."""
    accept_gradient_magnitude(shadow(smooth))
    return _march(smooth, ("gradient_magnitude",))[0]


def laplacian(codes: Any, /, *, shift: int) -> Any:
    """Port of law.laplacian."""
    accept_laplacian(shadow(codes), shift)
    if codes.dtype == np.uint16:
        return _march(codes, ("laplacian",), shift=shift)[0]
    result = empty(codes.shape, np.int16)
    launch(FILE, "laplacian_i16", columns(codes.shape), codes, i32(shift), *i64(*codes.shape, MARCH), result)
    return result


def gradient_along(smooth: Any, /, *, axis: NDArray[np.int32], origin: tuple[int, int]) -> Any:
    """Port of law.gradient_along."""
    accept_gradient_along(shadow(smooth), host(axis), origin)
    return _march(smooth, ("gradient_along",), axis=axis, origin=origin)[0]


def stencils(
    narrow: Any,
    wide: Any = None,
    /,
    *,
    results: tuple[str, ...],
    shift: int = 0,
    axis: NDArray[np.int32] | None = None,
    origin: tuple[int, int] | None = None,
    window: Window | None = None,
) -> tuple[Any, ...]:
    """Port of law.stencils."""
    within, _ = accept_stencils(shadow(narrow), shadow(wide), results, shift, host(axis), origin, window)
    return _march(narrow, results, wide, shift, axis, origin, within)


def _march(
    narrow: Any,
    results: tuple[str, ...],
    wide: Any = None,
    shift: int = 0,
    axis: Any = None,
    origin: tuple[int, int] | None = None,
    window: Window | None = None,
) -> tuple[Any, ...]:
    """Return what was asked for; in the place of an array that only something else would need stands an empty one."""
    start, shape = part(narrow.shape, window)
    along = origin is not None and "gradient_along" in results
    new = {name: empty(shape if name in results else (0,), _dtype(name)) for name in STENCILS}
    launch(
        FILE,
        "stencils",
        columns(shape),
        narrow,
        wide if "band_pass" in results else empty((0,), np.uint16),
        upload(axis) if along else empty((0,), np.int32),
        np.uint32(sum(1 << STENCILS.index(name) for name in results)),
        i32(shift if "laplacian" in results else 0),
        *i64(*(origin if along and origin is not None else (0, 0))),
        *i64(*narrow.shape, *start, *shape, MARCH),
        *new.values(),
    )
    return tuple(new[name] for name in results)


def _dtype(result: str) -> type[np.generic]:
    return np.uint16 if result == "gradient_magnitude" else np.int16
