"""What steps change in a mask's Betti numbers: counted once, then kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47 import corners
from gpu_nx47.betti import betti_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.backend import Backend, Meter

ONE: Any = np.zeros(1, np.int64)
"""The voxel whose label is asked for, where only their number is wanted: no volume of labels is made."""


class Tally:
    """Betti numbers of a mask, 26-connected.

    Parameters
    ----------
    backend : Backend or Meter
    mask : numpy.ndarray of bool, shape (z, y, x)
        On the host, C-contiguous.
    """

    def __init__(self, backend: Backend | Meter, mask: NDArray[np.bool_]) -> None:
        self._backend = backend
        self.components, self.tunnels, self.cavities = betti_numbers(mask, self._label)

    def after(
        self, before: NDArray[np.bool_], after: NDArray[np.bool_], unchanged: tuple[str, ...] = ()
    ) -> dict[str, list[int]]:
        """Return each Betti number before and after a step.

        Parameters
        ----------
        before, after : numpy.ndarray of bool, shape (z, y, x)
            The mask that was counted last, and what the step made of it.
        unchanged : tuple of str
            What need not be counted again: `components`, `cavities`.

        Notes
        -----
        The Euler number, components - tunnels + cavities, changes at the corners of changed voxels alone.
        """
        was = self.components, self.tunnels, self.cavities
        changed = np.flatnonzero(before != after)
        if changed.size:
            euler = was[0] - was[1] + was[2] + int(corners.euler_changes(before, after, changed)[1].sum()) // 8
            if "components" not in unchanged:
                self.components = self._label(after, connectivity=26)[1]
            if "cavities" not in unchanged:
                self.cavities = self._label(np.pad(~after, 1, constant_values=True), connectivity=6)[1] - 1
            self.tunnels = self.components + self.cavities - euler
        now = self.components, self.tunnels, self.cavities
        return {name: [a, b] for name, a, b in zip(("components", "tunnels", "cavities"), was, now, strict=True)}

    def _label(self, mask: NDArray[np.bool_], *, connectivity: int) -> tuple[Any, int]:
        backend = self._backend
        labels, count = backend.label(backend.to_device(mask), connectivity=connectivity, at=backend.to_device(ONE))
        return labels, int(count)
