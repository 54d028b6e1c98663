"""Betti numbers of a mask: how many components, tunnels and cavities it has, exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import bits
from gpu_nx47.cavities import first_voxels
from gpu_nx47.components import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

Betti = tuple[int, int, int]
"""Components, tunnels, cavities."""

DUAL: Final = {26: 6, 6: 26}
"""Connectivity of the background that belongs to the foreground's."""
ONE: Final[Any] = np.zeros(1, np.int64)
"""The voxel whose label is asked for, where only their number is wanted: no volume of labels is made."""


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
    inside = np.ascontiguousarray(mask)
    packed = bits.packed(inside)
    components = label(inside, connectivity=connectivity, at=ONE)[1]
    cavities = first_voxels(inside, packed, label, connectivity=DUAL[connectivity])[1]
    return components, components + cavities - bits.euler_number(packed, connectivity), cavities
