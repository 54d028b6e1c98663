"""The classic JSON files, regenerated from the record and compared: views, that say nothing which it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from gpu_nx47.audit.lines import events
from gpu_nx47.journal import (
    CHECKPOINT_NAME,
    LOGS_NAME,
    MEMORY_NAME,
    METADATA_NAME,
    RECORD_NAME,
    ROADMAP_NAME,
)
from gpu_nx47.journal.encoding import compact
from gpu_nx47.journal.notes import split_notes
from gpu_nx47.journal.roadmap import Progress, report
from gpu_nx47.journal.views import Summary, flat_entry, memory_entry

if TYPE_CHECKING:
    from gpu_nx47.journal import Stamped


class _ListView:
    """A list of entries beside the record, compared entry by entry: it is never held whole."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb") if path.is_file() else None
        self._lead = b"[\n"
        self.state = "missing" if self._stream is None else "equal"

    def compare(self, entry: dict[str, Any] | None) -> None:
        if entry is not None:
            self._expect(self._lead + compact(entry))
            self._lead = b",\n"

    def end(self) -> None:
        self._expect(self._lead.replace(b",\n", b"").replace(b"[\n", b"[") + b"\n]\n")
        if self._stream is not None:
            if self._stream.read(1):
                self.state = "different"
            self._stream.close()

    def _expect(self, data: bytes) -> None:
        if self._stream is not None and self.state == "equal" and self._stream.read(len(data)) != data:
            self.state = "different"


def different_view(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, "missing" or "different") for each view beside a record that is not the one it gives."""
    logs, memory = _ListView(folder / LOGS_NAME), _ListView(folder / MEMORY_NAME)
    summary, progress, last_ns = Summary(""), Progress(), 0
    for stamped in events(folder / RECORD_NAME):
        logs.compare(flat_entry(stamped))
        memory.compare(memory_entry(stamped))
        _place(summary, stamped)
        summary.see(stamped)
        progress.see(stamped.event)
        last_ns = stamped.ts_ns
    for name, view in ((LOGS_NAME, logs), (MEMORY_NAME, memory)):
        view.end()
        if view.state != "equal":
            yield name, view.state
    summary.known["checkpoint"] = _last_note(folder / CHECKPOINT_NAME)
    for name, value in ((METADATA_NAME, summary.known), (ROADMAP_NAME, report(progress, last_ns))):
        path = folder / name
        if not path.is_file():
            yield name, "missing"
        elif path.read_bytes() != (json.dumps(value, indent=2) + "\n").encode("ascii"):
            yield name, "different"


def _place(summary: Summary, stamped: Stamped) -> None:
    """Take the path of the record from BOOT: the folder may have been moved since."""
    if stamped.event.name == "BOOT":
        summary.known["ultra_log"] = str(PurePath(stamped.event.data.get("output", "")) / RECORD_NAME)


def _last_note(path: Path) -> str | None:
    last = None
    if path.is_file():
        with path.open("rb") as stream:
            for raw, whole in split_notes(stream):
                last = raw if whole else last
    return None if last is None else last.decode()
