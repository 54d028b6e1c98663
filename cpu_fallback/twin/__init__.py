"""The twins: every law compiled with Numba. Importing this room imports Numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.twin._direction import directions
from cpu_fallback.twin._directional import directional_peak, directional_profile, directional_sum
from cpu_fallback.twin._entropy import local_entropy
from cpu_fallback.twin._gaussian import band_pass, gaussian, gaussians
from cpu_fallback.twin._gradient import gradient_along, gradient_magnitude, laplacian, stencils
from cpu_fallback.twin._label import component_moments, hysteresis, label, mask_moments, remove_small
from cpu_fallback.twin._morphology import closing, dilation, erosion, opening
from cpu_fallback.twin._neuron import net, neuron, neuron_sums
from cpu_fallback.twin._projection import z_projection
from cpu_fallback.twin._table import count, gather, histogram, lookup, row_sums
from cpu_fallback.twin._variance import local_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NAME",
    "band_pass",
    "closing",
    "component_moments",
    "count",
    "dilation",
    "directional_peak",
    "directional_profile",
    "directional_sum",
    "directions",
    "erosion",
    "gather",
    "gaussian",
    "gaussians",
    "gradient_along",
    "gradient_magnitude",
    "histogram",
    "hysteresis",
    "label",
    "laplacian",
    "local_entropy",
    "local_variance",
    "lookup",
    "mask_moments",
    "net",
    "neuron",
    "neuron_sums",
    "opening",
    "probe",
    "remove_small",
    "row_sums",
    "stencils",
    "to_device",
    "to_host",
    "z_projection",
]

NAME = "cpu"


def probe() -> None:
    """Compile two small kernels, run them and compare them with the law.

    Raises
    ------
    RuntimeError
        Numba cannot compile here, or what it compiled gives other bits than the law.
    """
    from cpu_fallback import law

    grey = (np.arange(5 * 6 * 19, dtype=np.int64) * 47 % 251).astype(np.uint8).reshape(5, 6, 19)
    taps = np.array([0.5, 0.1875, 0.0625], np.float32)
    smooth = law.gaussian(grey, taps=taps)
    try:
        pairs = {
            "gaussian": (gaussian(grey, taps=taps), smooth),
            "gradient_magnitude": (gradient_magnitude(smooth), law.gradient_magnitude(smooth)),
        }
    except Exception as error:
        # Numba and LLVM raise classes of their own, and any of them means the same: this machine has no twins.
        raise RuntimeError(f"cpu: Numba cannot compile the twins here: {error}") from error
    for kernel, (twin, defined) in pairs.items():
        if twin.dtype != defined.dtype or not np.array_equal(twin, defined):
            raise RuntimeError(f"cpu: the compiled {kernel} gives other bits than the law on this machine")


def to_device(array: NDArray) -> NDArray:
    """Return `array` itself: the host is the device.

    Raises
    ------
    TypeError
        Not a NumPy array.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"cpu: expected a NumPy array, got {type(array).__name__}")
    return array


def to_host(array: NDArray) -> NDArray:
    """Return `array` itself: the host is the device.

    Raises
    ------
    TypeError
        Not a NumPy array.
    """
    return to_device(array)
