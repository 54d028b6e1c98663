"""One thing that `nx47 doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    verdict: Literal["ok", "note", "no"]
    """ok; note: it works, something is missing; no: a run would not work."""
    found: str
    advice: str = ""
