"""V122's JSON files: views of the stream of events, in the old keys and types."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.journal.files import ListFile, write_json_atomically
from gpu_nx47.journal.record import RECORD_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_nx47.journal.dispatch import Stamped

LOGS_NAME: Final = "v122_execution_logs.json"
MEMORY_NAME: Final = "v122_memory_tracker.json"
METADATA_NAME: Final = "v122_execution_metadata.json"

_SUMMARY_KEYS: Final = (
    "version", "root", "input_dir", "submission_zip", "log_count", "ultra_log", "hardware", "global_stats", "config",
    "checkpoint",
)  # fmt: skip
_TRACE_KEYS: Final = ("stage", "shape", "dtype", "bytes", "min", "max", "mean", "digest", "rss")


def flat_entry(stamped: Stamped) -> dict[str, Any]:
    """Return an event in V122's flat manner: ts_ns (a number), event, and the data beside them.

    The leaves of a digest tree, 20 kB an array, stay in the record alone.
    """
    data = {key: value for key, value in stamped.event.data.items() if key not in ("ts_ns", "event", "slices")}
    return {"ts_ns": stamped.ts_ns, "event": stamped.event.name, **data}


class ClassicLogs:
    """Observer that keeps V122's flat list of all events, valid after each."""

    def __init__(self, path: Path) -> None:
        self._list = ListFile(path)

    def __call__(self, stamped: Stamped) -> None:
        """Append one entry."""
        self._list.append(flat_entry(stamped))

    def close(self) -> None:
        """Close the list."""
        self._list.close()


def memory_entry(stamped: Stamped) -> dict[str, Any] | None:
    """Return V122's entry of a traced array; None where the event is no trace."""
    if stamped.event.name != "ARRAY_TRACE":
        return None
    data = stamped.event.data
    return {"ts_ns": stamped.ts_ns, **{key: data.get(key) for key in _TRACE_KEYS}}


class MemoryTracker:
    """Observer that keeps V122's list of the arrays traced, with the memory held at that moment (`rss`, bytes)."""

    def __init__(self, path: Path) -> None:
        self._list = ListFile(path)

    def __call__(self, stamped: Stamped) -> None:
        """Append one entry where the event is a trace."""
        entry = memory_entry(stamped)
        if entry is not None:
            self._list.append(entry)

    def close(self) -> None:
        """Close the list."""
        self._list.close()


class Summary:
    """V122's summary of the run, from the events alone.

    What has not happened yet is null: a run that was cut short has no `global_stats` and no `submission_zip`.

    Parameters
    ----------
    ultra_log : str
        Path of the record.
    """

    def __init__(self, ultra_log: str) -> None:
        self.known: dict[str, Any] = dict.fromkeys(_SUMMARY_KEYS) | {"ultra_log": ultra_log, "log_count": 0}

    def see(self, stamped: Stamped) -> bool:
        """Take note of an event; say whether the summary is to be shown anew."""
        self.known["log_count"] += 1
        name, data = stamped.event.name, stamped.event.data
        match name:
            case "BOOT":
                self._take(data, "version", "root", "config", "hardware")
            case "DATASET_DISCOVERY":
                self._take(data, "root")
                self.known["input_dir"] = data.get("input_dir", _input_folder(data))
            case "GLOBAL_STATS":
                self.known["global_stats"] = data
                self._take(data, "hardware")  # BOOT's block again, with the peaks
            case "EXEC_COMPLETE":
                self.known["submission_zip"] = data.get("submission")
            case _:
                return name in ("FILE_DONE", "FILE_FAILED")  # only the count is newer
        return True

    def _take(self, data: dict[str, Any], *keys: str) -> None:
        self.known.update({key: data[key] for key in keys if data.get(key) is not None})


class Metadata:
    """Observer that keeps V122's summary of the run, with the newest checkpoint of the record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._summary = Summary(str(path.with_name(RECORD_NAME)))
        self._closed = False
        self._write()

    def checkpoint(self, note: str) -> None:
        """Keep the newest checkpoint, for the next writing."""
        self._summary.known["checkpoint"] = note

    def __call__(self, stamped: Stamped) -> None:
        """Rewrite the file where the event says something of the summary."""
        if self._summary.see(stamped):
            self._write()

    def close(self) -> None:
        """Write the last count."""
        if not self._closed:
            self._closed = True
            self._write()

    def _write(self) -> None:
        write_json_atomically(self._path, self._summary.known)


def _input_folder(discovery: dict[str, Any]) -> str | None:
    root = discovery.get("root")
    if root is None:
        return None
    return str(PurePath(root) / "test_images") if "test_images" in discovery.get("folders", ()) else str(root)
