"""Betti numbers of a mask: how many components, tunnels and cavities it has, exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import corners

if TYPE_CHECKING:
    from numpy.typing import NDArray

Betti = tuple[int, int, int]
"""Components, tunnels, cavities."""
Label = Callable[..., tuple[Any, int]]
"""The kernel `label` of a backend."""

DUAL: Final = {26: 6, 6: 26}
"""Connectivity of the background that belongs to the foreground's."""


def betti_numbers(mask: NDArray[np.bool_], label: Label, *, connectivity: int = 26) -> Betti:
    """Return the Betti numbers of a mask, exact.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
        Outside of it is background.
    label : callable
        The kernel `label` of a backend.
    connectivity : {6, 26}
        Of the foreground; the background has the other one.

    Returns
    -------
    tuple of int
        Components; tunnels (independent loops around which the background runs); cavities (components of the
        background that do not reach the outside).

    Notes
    -----
    Components and cavities are counted by labelling, tunnels = components + cavities - Euler number. In R^3 there are
    no further ones, and cavities are the bounded components of the complement (Alexander duality).
    """
    codes = corners.corner_codes(mask)
    counts = corners.count_codes(codes[(codes != 0) & (codes != corners.CODES - 1)])  # all or none adds nothing
    inside = np.ascontiguousarray(mask)
    outside = np.pad(~inside, 1, constant_values=True)
    components = label(inside, connectivity=connectivity)[1]
    cavities = label(outside, connectivity=DUAL[connectivity])[1] - 1
    return components, components + cavities - corners.euler_number(counts, connectivity), cavities
