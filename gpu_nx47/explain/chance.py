"""What chance alone would give for a counter, where the log tells it (`expected_by_chance` of gpu_nx47.chance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.told import Told, mapping, number, text

VERDICTS: Final = {
    "above": Both("above what chance gives", "au-dessus de ce que donne le hasard"),
    "within": Both("no more than chance gives", "pas plus que ce que donne le hasard"),
    "below": Both("below what chance gives", "en dessous de ce que donne le hasard"),
}

OF_CUBES: Final = frozenset({"corner cube", "percent"})
"""Units of figures that are read in cubes."""


@dataclass(frozen=True)
class Expected:
    """The range that sheetless surrogates give for a counter, and how the volume stands to it."""

    low: float
    high: float
    verdict: str
    """A key of VERDICTS."""
    cube: float | None
    """The volume's own figure in cubes of one size, where the range is for these; None: for the whole volume."""

    def slots(self) -> dict[str, Any]:
        """Return the slots of a sentence."""
        found = {"low": self.low, "high": self.high, "verdict": VERDICTS[self.verdict]}
        return found if self.cube is None else {**found, "cube": self.cube}


def expected(told: Told, key: str) -> Expected | None:
    """Return what chance would give for a counter; None: the log does not tell it, or without a spread."""
    blocks = [*(told.metrics if len(told.metrics) == 1 else ()), told.stats]  # one file's is no total's
    for block in blocks:
        entry = mapping(mapping(block.get("expected_by_chance")).get(key))
        low, high, verdict = number(entry.get("low")), number(entry.get("high")), text(entry.get("verdict"))
        cube = number(entry.get("value")) if entry.get("unit") in OF_CUBES else None
        if low is not None and high is not None and verdict in VERDICTS:
            return Expected(low, high, verdict or "", cube)
    return None
