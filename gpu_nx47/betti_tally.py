"""What steps change in a mask's Betti numbers: each is counted once, and only where no step tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gpu_nx47 import bits
from gpu_nx47.betti import DUAL, ONE
from gpu_nx47.cavities import first_voxels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from gpu_nx47.components import Label

KEEPS: Final[dict[str, tuple[str, ...]]] = {"pinholes": ("components",), "loops": ("components", "cavities")}
"""Betti numbers that a step leaves as they are, by its own rule."""
TELLS: Final[dict[str, tuple[str, ...]]] = {"pinholes": ("components",), "cavities": ("cavities",)}
"""Betti numbers that a step tells, before and after it, because it needed them itself."""
LABELLED: Final = ("components", "cavities")


class Tally:
    """Betti numbers of a mask, 26-connected, before and after each of some steps.

    Parameters
    ----------
    label : callable
        The kernel `label` of a backend, for arrays of the host.
    steps : sequence of str
        Their names, in order.
    begin : callable
        Begins a work, perhaps on a thread; returns what gives its result.
    beside : bool
        The work is done on a thread, when masks have changed: those that it labels are made again from their bits.
    """

    def __init__(
        self,
        label: Label,
        steps: Sequence[str],
        begin: Callable[[Callable[[], dict[str, int]]], Callable[[], dict[str, int]]],
        *,
        beside: bool,
    ) -> None:
        self._label = label
        self._steps = steps
        self._begin = begin
        self._beside = beside
        self._same: list[bool] = []
        """Whether the mask is as the one before it."""
        self._counted: list[Callable[[], dict[str, int]]] = []

    def look(self, mask: NDArray[np.bool_], *, same: bool = False) -> None:
        """Begin to count in the next mask: the first, or what the next step made; `same`: that changed nothing."""
        number = len(self._counted)
        self._same.append(same)
        if same:
            self._counted.append(self._counted[-1])
            return
        wanted = [name for name in LABELLED if not self._known(number, name)]
        packed = bits.Packed.of(mask)
        here = None if self._beside else mask
        self._counted.append(self._begin(lambda: self._count(here, packed, wanted)))

    def result(self, told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what the steps told, with each Betti number before and after.

        Notes
        -----
        tunnels = components + cavities - the Euler number.
        """
        # From the end: the thread they were begun on has come to the first of them.
        counted = [count() for count in reversed(self._counted)][::-1]
        table = {name: self._values(name, told, counted) for name in LABELLED}
        euler = [one["euler"] for one in counted]
        table["tunnels"] = [a + b - e for a, b, e in zip(table["components"], table["cavities"], euler, strict=True)]
        names = ("components", "tunnels", "cavities")
        return [what | {name: table[name][k : k + 2] for name in names} for k, what in enumerate(told)]

    def _known(self, number: int, name: str) -> bool:
        """Tell whether a Betti number of a mask is that of the mask before, or will be told by a step."""
        if number and name in KEEPS.get(self._steps[number - 1], ()) + TELLS.get(self._steps[number - 1], ()):
            return True
        for step in self._steps[number:]:
            if name in TELLS.get(step, ()):
                return True
            if name not in KEEPS.get(step, ()):
                return False
        return False

    def _count(self, mask: NDArray[np.bool_] | None, packed: bits.Packed, wanted: Sequence[str]) -> dict[str, int]:
        found = {"euler": bits.euler_number(packed.words, 26)}
        if not wanted:
            return found
        mask = packed.mask() if mask is None else mask
        if "components" in wanted:
            found["components"] = self._label(mask, connectivity=26, at=ONE)[1]
        if "cavities" in wanted:
            found["cavities"] = first_voxels(mask, packed.words, self._label, connectivity=DUAL[26])[1]
        return found

    def _values(self, name: str, told: Sequence[dict[str, Any]], counted: Sequence[dict[str, int]]) -> list[int]:
        known: list[int | None] = [
            None if same else one.get(name) for one, same in zip(counted, self._same, strict=True)
        ]
        for k, what in enumerate(told):
            if name in TELLS.get(what["step"], ()):
                known[k : k + 2] = what[name]
        kept = [same or name in KEEPS.get(step, ()) for step, same in zip(self._steps, self._same[1:], strict=True)]
        for k, still in enumerate(kept):
            if still and known[k + 1] is None:
                known[k + 1] = known[k]
        for k in reversed(range(len(kept))):
            if kept[k] and known[k] is None:
                known[k] = known[k + 1]
        values = [value for value in known if value is not None]
        assert len(values) == len(known), (name, known)
        return values
