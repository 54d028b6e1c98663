"""The events of a run: the only words stages and sinks exchange.

An event is a name of SPEC's list and a flat-enough dict of JSON values. Stages and the pipeline call an `Emit`; they do
not know who listens (console, journal, roadmap, memory tracker ... are observers of the same stream).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA: Final = "nx47-events/1"

EVENT_NAMES: Final = frozenset({
    "BOOT", "DATASET_DISCOVERY", "FILE_START", "STEP", "ARRAY_TRACE", "NX47_METRICS", "FILE_DONE", "FILE_FAILED",
    "GLOBAL_STATS", "EXEC_COMPLETE", "ALERT", "PROGRESS_UPDATE", "HEARTBEAT", "GPU_PHASE_START", "GPU_PHASE_END",
    "GPU_MEMORY_SNAPSHOT", "GPU_FALLBACK_DETECTED", "GOLDEN_NONCE_FOUND", "SUPERVISED_TRAIN", "RECOVERED",
    "SUBMISSION_VALIDATED",
})  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in EVENT_NAMES:
            raise ValueError(f"unknown event {self.name!r}; names are fixed in gpu_nx47.events")


Emit = Callable[[Event], None]
"""What a stage is handed to say that something happened."""
