"""How far the run is: V122's roadmap, and the same figures for whoever shows progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.journal.files import write_json_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_nx47.events import Event
    from gpu_nx47.journal.dispatch import Stamped

ROADMAP_NAME: Final = "v122_roadmap_realtime.json"
STEPS: Final = {
    "discovery": "Find the volumes and take stock of the dataset",
    "load": "Read each volume and find its valid box",
    "features": "Compute the features and choose the best",
    "train": "Train the NX47 neuron",
    "segment": "Probability, hysteresis, calibration, cleaning",
    "package": "Write the submission and check it",
}
FILE_STEPS: Final = ("load", "features", "train", "segment")
"""The steps gone through once for each file."""

_SPANS: Final = {
    "discover": ("discovery", 0.0, 1.0),
    "load": ("load", 0.0, 1.0),
    "features_extract": ("features", 0.0, 0.3),  # the step's name while the survey runs
    "survey": ("features", 0.0, 0.3),
    "feature": ("features", 0.3, 0.9),
    "select": ("features", 0.9, 1.0),
    "train": ("train", 0.0, 1.0),
    "probability": ("segment", 0.0, 0.4),
    "segment": ("segment", 0.4, 0.7),
    "hysteresis": ("segment", 0.4, 0.6),
    "calibrat": ("segment", 0.6, 0.65),
    "clean": ("segment", 0.65, 0.7),
    "null": ("segment", 0.7, 0.9),
    "write": ("segment", 0.9, 0.95),
    "count": ("segment", 0.95, 1.0),
    "package": ("package", 0.0, 1.0),
    "submission": ("package", 0.0, 1.0),
}
"""The part of a roadmap step that each stage is, by the beginning of its name; a rough share of the time."""
_INTERVAL_NS: Final = 300_000_000


def span_of(stage: str) -> tuple[str, float, float] | None:
    """Return (roadmap step, begin, end) of a stage or STEP name; None for one that is not known."""
    return next((span for word, span in _SPANS.items() if stage.startswith(word)), None)


class Progress:
    """Percent done of each step, from the events seen so far."""

    def __init__(self) -> None:
        self.files_total = 0
        self.files_done = 0
        self.file: str = ""
        self.stage: str = ""
        self._share = dict.fromkeys(STEPS, 0.0)  # of the file in work; of the run for discovery and package

    def see(self, event: Event) -> None:
        """Take note of one event."""
        data = event.data
        match event.name:
            case "DATASET_DISCOVERY":
                self.files_total = int(data.get("file_count") or 0)
                self._share["discovery"] = 1.0
            case "RECOVERED":
                self.files_done = sum(state == "full" for state in (data.get("files_kept") or {}).values())
            case "FILE_START":
                self.files_total = max(self.files_total, int(data.get("total") or 0))
                self._begin_file(data.get("file"))
            case "STEP":
                self._begin_file(data.get("file"))  # a file is loaded before its FILE_START can tell its shape
                self._enter(str(data.get("name", "")), 0.0)
            case "PROGRESS_UPDATE":
                done, total = data.get("done") or 0, data.get("total") or 0
                self._begin_file(data.get("file"))
                self._enter(str(data.get("stage", "")), min(1.0, done / total) if total else 0.0)
            case "FILE_DONE" | "FILE_FAILED":
                self.files_done += 1
                self.files_total = max(self.files_total, self.files_done)
                self._end_file()
            case "GLOBAL_STATS":
                self._enter("package", 0.0)
            case "SUBMISSION_VALIDATED":
                self._enter("package", 0.9)
            case "EXEC_COMPLETE":
                self._end(data.get("submission") is not None)

    def percent(self, step: str) -> float:
        """Return how much of a step is done over all files, 0 to 100."""
        share = self._share[step]
        if step in FILE_STEPS:
            share = min(1.0, (self.files_done + share) / self.files_total) if self.files_total else share
        return 100.0 * share

    def overall(self) -> float:
        """Return the mean over the steps, 0 to 100 (V122's figure)."""
        return sum(map(self.percent, STEPS)) / len(STEPS)

    def work(self) -> float:
        """Return the mean over the steps that take the time, 0 to 100."""
        return sum(map(self.percent, FILE_STEPS)) / len(FILE_STEPS)

    def _begin_file(self, file: str | None) -> None:
        if file and file != self.file:
            self._end_file()
            self.file = file

    def _end_file(self) -> None:
        self.file = self.stage = ""
        self._share.update(dict.fromkeys(FILE_STEPS, 0.0))

    def _enter(self, stage: str, share: float) -> None:
        """Set how much of a stage is done; the steps of this file before it are over then. Nothing ever falls."""
        span = span_of(stage)
        if span is None:
            return
        step, begin, end = span
        self.stage = stage.removesuffix("_start")
        self._share[step] = max(self._share[step], begin + (end - begin) * share)
        if step in FILE_STEPS:
            self._share.update(dict.fromkeys(FILE_STEPS[: FILE_STEPS.index(step)], 1.0))

    def _end(self, packed: bool) -> None:
        self._end_file()
        self.files_done = self.files_total = max(1, self.files_total)
        self._share["discovery"] = 1.0
        if packed:
            self._share["package"] = 1.0


def report(progress: Progress, generated_ns: int) -> dict[str, Any]:
    """Return V122's roadmap: each step with its percent, and their mean."""
    percents = {step: round(progress.percent(step), 2) for step in STEPS}
    roadmap: list[dict[str, Any]] = [
        {"name": step, "description": STEPS[step], "progress_percent": percent, "done": percent >= 100.0}
        for step, percent in percents.items()
    ]
    overall = round(progress.overall(), 2)
    return {"generated_at_ns": generated_ns, "roadmap": roadmap, "overall_progress_percent": overall}


class Roadmap:
    """Observer that rewrites the roadmap as the run goes on, a few times a second at most, and at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._progress = Progress()
        self._written_ns: int | None = None
        self._generated_ns = time.time_ns()
        self._stale = False
        self._write()

    def __call__(self, stamped: Stamped) -> None:
        """Move on, and rewrite the file where it is time."""
        self._progress.see(stamped.event)
        self._generated_ns = stamped.ts_ns
        self._stale = True
        recent = self._written_ns is not None and stamped.mono_ns - self._written_ns < _INTERVAL_NS
        if not recent or stamped.event.name in ("FILE_DONE", "EXEC_COMPLETE"):
            self._write()
            self._written_ns = stamped.mono_ns

    def close(self) -> None:
        """Write what the last events changed."""
        if self._stale:
            self._write()

    def _write(self) -> None:
        write_json_atomically(self._path, report(self._progress, self._generated_ns))
        self._stale = False
