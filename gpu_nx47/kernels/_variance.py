"""Port of `cpu_fallback/law/_variance.py`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cpu_fallback.law._variance import accept_local_variance
from gpu_nx47.kernels._launch import MARCH, columns, empty, i32, i64, shadow
from gpu_nx47.kernels._loader import launch

FILE: Final = "_variance"


def local_variance(grey: Any, /, *, window: int) -> Any:
    """Port of law.local_variance."""
    accept_local_variance(shadow(grey), window)
    result = empty(grey.shape, np.uint16)
    scale = np.float64(4 / int(window) ** 6)
    geometry = i64(*grey.shape, MARCH)
    launch(FILE, "local_variance", columns(grey.shape), grey, i32(window), scale, *geometry, result)
    return result
