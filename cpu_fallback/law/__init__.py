"""The laws: every kernel in NumPy alone. This room defines each bit; the others repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law import (
    _direction,
    _directional,
    _entropy,
    _gaussian,
    _gradient,
    _label,
    _morphology,
    _neuron,
    _projection,
    _table,
    _variance,
)
from cpu_fallback.law._direction import (
    DIRECTION_BLOCK,
    DIRECTION_NONE,
    DIRECTION_OPPOSITE,
    DIRECTION_STEPS,
    directions,
)
from cpu_fallback.law._directional import directional_peak, directional_profile, directional_sum
from cpu_fallback.law._entropy import local_entropy
from cpu_fallback.law._gaussian import band_pass, gaussian, gaussians
from cpu_fallback.law._gradient import gradient_along, gradient_magnitude, laplacian, stencils
from cpu_fallback.law._label import component_moments, hysteresis, label, mask_moments, remove_small
from cpu_fallback.law._morphology import closing, dilation, erosion, opening
from cpu_fallback.law._neuron import net, neuron, neuron_sums
from cpu_fallback.law._projection import z_projection
from cpu_fallback.law._table import count, gather, histogram, lookup, row_sums
from cpu_fallback.law._variance import local_variance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "DIRECTION_BLOCK",
    "DIRECTION_NONE",
    "DIRECTION_OPPOSITE",
    "DIRECTION_STEPS",
    "NAME",
    "OPERATIONS",
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

NAME = "law"

OPERATIONS: dict[str, Callable[..., float]] = {
    **_direction.OPERATIONS,
    **_directional.OPERATIONS,
    **_entropy.OPERATIONS,
    **_gaussian.OPERATIONS,
    **_gradient.OPERATIONS,
    **_label.OPERATIONS,
    **_morphology.OPERATIONS,
    **_neuron.OPERATIONS,
    **_projection.OPERATIONS,
    **_table.OPERATIONS,
    **_variance.OPERATIONS,
}


def probe() -> None:
    """Return: NumPy is a dependency and the law is its own proof."""


def to_device(array: NDArray) -> NDArray:
    """Return `array` itself: the host is the device.

    Raises
    ------
    TypeError
        Not a NumPy array.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"law: expected a NumPy array, got {type(array).__name__}")
    return array


def to_host(array: NDArray) -> NDArray:
    """Return `array` itself: the host is the device.

    Raises
    ------
    TypeError
        Not a NumPy array.
    """
    return to_device(array)
