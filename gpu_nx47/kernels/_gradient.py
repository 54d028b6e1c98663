"""Ports of `cpu_fallback/law/_gradient.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._gradient import accept_gradient_along, accept_gradient_magnitude, accept_laplacian
from gpu_nx47.kernels._launch import MARCH, columns, empty, host, i32, i64, shadow, upload
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

FILE: Final = "_gradient"


def gradient_magnitude(smooth: Any, /) -> Any:
    """Port of law.gradient_magnitude."""
    accept_gradient_magnitude(shadow(smooth))
    return _march("gradient_magnitude", np.uint16, smooth)


def laplacian(codes: Any, /, *, shift: int) -> Any:
    """Port of law.laplacian."""
    accept_laplacian(shadow(codes), shift)
    return _march(f"laplacian_{'u' if codes.dtype == np.uint16 else 'i'}16", np.int16, codes, i32(shift))


def gradient_along(smooth: Any, /, *, axis: NDArray[np.int32], origin: tuple[int, int]) -> Any:
    """Port of law.gradient_along."""
    accept_gradient_along(shadow(smooth), host(axis), origin)
    return _march("gradient_along", np.int16, smooth, upload(axis), *i64(*origin))


def _march(kernel: str, dtype: DTypeLike, codes: Any, *parameters: Any) -> Any:
    result = empty(codes.shape, dtype)
    launch(FILE, kernel, columns(codes.shape), codes, *parameters, *i64(*codes.shape, MARCH), result)
    return result
