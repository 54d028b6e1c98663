"""Port of `cpu_fallback/law/_projection.py`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cpu_fallback.law._projection import accept_z_projection
from gpu_nx47.kernels._launch import MARCH, empty, groups, i32, i64, shadow
from gpu_nx47.kernels._loader import launch

FILE: Final = "_projection"
GROUP: Final = 4
"""Voxels of a thread in `run_maximum`, as in the .cu file."""


def z_projection(grey: Any, /, *, window: int, statistic: str) -> Any:
    """Port of law.z_projection."""
    accept_z_projection(shadow(grey), window, statistic)
    result = empty(grey.shape, np.uint16)
    depth, plane = grey.shape[0], grey.shape[1] * grey.shape[2]
    if statistic == "max":
        geometry = i64(depth, plane)
        launch(FILE, "run_maximum", groups(grey.shape, 0, GROUP), grey, i32(window), *geometry, result)
        return result
    # The law's quotients: in float64, then rounded to float32 once.
    constants = {
        "mean": (),
        "deviation": (np.float32(256 / window),),
        "coherence": (np.float32(32768 * 255 * window), np.float32(255 * window)),
    }[statistic]
    geometry = i64(depth, plane, MARCH)
    launch(FILE, f"run_{statistic}", groups(grey.shape, 0, MARCH), grey, i32(window), *constants, *geometry, result)
    return result
