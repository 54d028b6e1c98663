"""What the table of slices in NX47_METRICS shows: slices without a mask, and some far denser or thinner than others."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

FAR: Final = 6.0
"""Robust deviations beyond which a slice stands out."""
MAD_TO_DEVIATION: Final = 1.4826
MOST_RUNS: Final = 8
"""Runs of neighbouring slices that are named."""


@dataclass(frozen=True)
class Slices:
    """The slices of one volume."""

    rows: int
    """Of the stack."""
    boxed: int
    """With voxels of the valid box."""
    empty: tuple[int, ...]
    """z of those in the box without one voxel of the final mask."""
    thin: tuple[int, ...]
    """z of those whose density is far below the others'."""
    dense: tuple[int, ...]
    low: float
    """Least density of the final mask in a slice that has one; 0 where none has."""
    middle: float
    high: float


def summary(table: Any) -> Slices | None:
    """Return what the columns `z`, `voxels` and `final` of a table show; None where they are missing or make no sense.

    Notes
    -----
    A density is far where it lies more than 6 robust deviations (1.4826 MAD, at least one voxel) from the median of the
    slices that have a mask.
    """
    columns = [_counts(table.get(name)) for name in ("z", "voxels", "final")] if isinstance(table, dict) else [[]]
    if not columns[0] or any(len(column) != len(columns[0]) for column in columns):
        return None
    rows = [row for row in zip(*columns, strict=True) if row[1] > 0]
    if any(final > voxels for _, voxels, final in rows):
        return None
    known = [(z, final / voxels) for z, voxels, final in rows if final]
    middle = median(share for _, share in known) if known else 0.0
    deviation = MAD_TO_DEVIATION * median(abs(share - middle) for _, share in known) if known else 0.0
    reach = FAR * max(deviation, 1 / max((voxels for _, voxels, _ in rows), default=1))
    return Slices(
        rows=len(columns[0]),
        boxed=len(rows),
        empty=tuple(z for z, _, final in rows if not final),
        thin=tuple(z for z, share in known if share < middle - reach),
        dense=tuple(z for z, share in known if share > middle + reach),
        low=min((share for _, share in known), default=0.0),
        middle=middle,
        high=max((share for _, share in known), default=0.0),
    )


def places(slices: tuple[int, ...]) -> str:
    """Return ascending z as text, neighbours as runs: 3, 7-12, 40; the first few runs."""
    runs: list[list[int]] = []
    for z in slices:
        if runs and z == runs[-1][1] + 1:
            runs[-1][1] = z
        else:
            runs.append([z, z])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:MOST_RUNS])
    return shown + (" ..." if len(runs) > MOST_RUNS else "")


def _counts(column: Any) -> list[int]:
    """Return a column of counts; an empty one for anything else."""
    known = column if isinstance(column, list) else []
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 53 for n in known)
    return known if whole else []
