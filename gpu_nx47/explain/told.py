"""What a log tells, gathered in one pass: figures by their keys, never a guess; what is of a wrong type is absent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from gpu_nx47.explain.reading import Entry, Health, find_log, read_entries
from gpu_nx47.explain.slices import Slices, summary

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_LIST: Final = 64
"""Longer lists of an event (points, rows of a table) are not kept: their lengths are counted elsewhere."""
LARGEST: Final = 1e30
"""What is beyond was counted by no run; a float may not hold it."""
MOST_NAMES: Final = 5
"""Names of files kept for each alert."""
COUNTED: Final = frozenset({"golden_nonce_points_topk", "stages", "slices"})
"""Keys of NX47_METRICS that grow with the volume, and are not kept as they are."""


@dataclass
class AlertTold:
    """One code of alert, over all files that raised it."""

    code: str
    severity: str
    sentence: str
    advice: str
    value: Any
    limit: Any
    count: int = 0
    files: list[str] = field(default_factory=list)
    """The first few."""


@dataclass
class Told:
    """Everything in a log that a sentence can be made of; of several runs in one file, the last."""

    name: str
    """File name of the log."""
    health: Health
    kind: Literal["record", "view", "old"] = "old"
    """Our record; its flat view in V122's keys; a flat log of the old program."""
    events: int = 0
    runs: int = 0
    """BOOT events."""
    first_ns: int | None = None
    last_ns: int | None = None
    sealed: bool = False
    """Entries carry the old program's unkeyed hashes."""
    traced: int = 0
    """ARRAY_TRACE events with a digest."""
    boot: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    complete: dict[str, Any] | None = None
    """Data of EXEC_COMPLETE; None: there is none."""
    validated: dict[str, Any] = field(default_factory=dict)
    recovered: bool = False
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each file, what FILE_START, NX47_METRICS and FILE_DONE say, together."""
    measured: set[str] = field(default_factory=set)
    """Files with NX47_METRICS."""
    done: set[str] = field(default_factory=set)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: dict[str, AlertTold] = field(default_factory=dict)
    slices: dict[str, Slices] = field(default_factory=dict)
    """Of each file whose table of slices is in the log."""

    @property
    def ours(self) -> bool:
        """Whether this program wrote it."""
        return self.kind != "old"

    @property
    def version(self) -> str | None:
        """What BOOT calls the program's version."""
        return text(self.boot.get("version"))

    @property
    def old_number(self) -> int | None:
        """The number of the old program's version, as 121 of "NX47 V121"."""
        found = re.search(r"[vV](\d{2,4})\b", self.version or ("" if self.ours else self.name))
        return int(found[1]) if found and not self.ours else None

    @property
    def exit_code(self) -> int | None:
        """How the run ended, where the log says."""
        code = number((self.complete or {}).get("exit_code"))
        return None if code is None else int(code)

    @property
    def hardware(self) -> dict[str, Any]:
        """The hardware block, with the peaks where the run came that far."""
        return {**mapping(self.boot.get("hardware")), **mapping(self.stats.get("hardware"))}

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The entries of files that have figures."""
        return [entry for file, entry in self.files.items() if file in self.measured]

    def total(self, key: str) -> float | int | None:
        """Return a figure over all files: of GLOBAL_STATS, else the sum of the files' own; None: nowhere."""
        if (told := number(self.stats.get(key))) is not None:
            return told
        known = [value for entry in self.metrics if (value := number(entry.get(key))) is not None]
        return sum(known) if known else None

    def share(self, key: str) -> float | None:
        """Return a ratio over all files: of GLOBAL_STATS, else the only file's, else the mean over their voxels."""
        if (told := number(self.stats.get(key))) is not None:
            return told
        known = [(value, entry) for entry in self.metrics if (value := number(entry.get(key))) is not None]
        if len(known) == 1:
            return known[0][0]
        weights = [number(entry.get("valid_voxels")) for _, entry in known]
        whole = math.fsum(weight for weight in weights if weight is not None)
        if None in weights or whole <= 0:
            return None
        return math.fsum(value * (weight or 0) for (value, _), weight in zip(known, weights, strict=True)) / whole

    def has(self, key: str) -> bool:
        """Say whether GLOBAL_STATS or a file carries a key with a figure."""
        return self.total(key) is not None

    def setting(self, *keys: str) -> Any:
        """Return the first of these settings (`section.name`) that BOOT tells; None: none of them."""
        for key in keys:
            value: Any = self.boot.get("config")
            for part in key.split("."):
                value = mapping(value).get(part)
            if value is not None:
                return value
        return None


def tell(path: Path) -> Told:
    """Read a log, or the log in a run's folder, and gather what it tells.

    Raises
    ------
    UsageError
        There is no log at `path`.
    """
    log = find_log(path)
    health = Health()
    return gather(read_entries(log, health), Told(log.name, health))


def gather(entries: Iterable[Entry], told: Told) -> Told:
    """Put what entries say into `told`, and return it; of several runs, what the last one says."""
    for entry in entries:
        if entry.name == "BOOT":
            told = _begun(told, entry)
        told.events += 1
        told.sealed = told.sealed or entry.sealed
        if entry.own:
            told.kind = "record"
        if entry.ts_ns is not None:
            told.first_ns = entry.ts_ns if told.first_ns is None else told.first_ns
            told.last_ns = entry.ts_ns
        _take(told, entry.name, entry.data)
    return told


def _begun(told: Told, entry: Entry) -> Told:
    """Return what to put a run into: a BOOT behind another one is another run in the same file."""
    if told.runs:
        told = Told(told.name, told.health, runs=told.runs)
    told.runs += 1
    told.kind = "view" if "schema" in entry.data else "old"
    return told


def _take(told: Told, name: str, data: dict[str, Any]) -> None:
    match name:
        case "BOOT":
            told.boot = data
        case "DATASET_DISCOVERY":
            told.discovery = data
        case "GLOBAL_STATS":
            told.stats = _kept(data)
        case "EXEC_COMPLETE":
            told.complete = data
        case "SUBMISSION_VALIDATED":
            told.validated = data
        case "RECOVERED":
            told.recovered, told.complete = True, None
        case "ARRAY_TRACE":
            told.traced += isinstance(data.get("digest"), str)
        case "FILE_START" | "NX47_METRICS" | "FILE_DONE":
            file = text(data.get("file")) or "?"
            told.files.setdefault(file, {}).update(_kept(data))
            if name == "NX47_METRICS":
                told.measured.add(file)
                if (table := summary(data.get("slices"))) is not None:
                    told.slices[file] = table
            elif name == "FILE_DONE":
                told.done.add(file)
        case "FILE_FAILED":
            told.failed[text(data.get("file")) or "?"] = data
        case "ALERT":
            _alert(told, data)


def _alert(told: Told, data: dict[str, Any]) -> None:
    code = text(data.get("code")) or "?"
    severity, sentence, advice = (text(data.get(key)) or "" for key in ("severity", "sentence", "advice"))
    new = AlertTold(code, severity, sentence, advice, data.get("value"), data.get("limit"))
    alert = told.alerts.setdefault(code, new)
    alert.count += 1
    file = text(data.get("file"))
    if file and len(alert.files) < MOST_NAMES and file not in alert.files:
        alert.files.append(file)


def _kept(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data without what grows with a volume and is in no sentence."""
    kept = {key: value for key, value in data.items() if key not in COUNTED}
    return {k: v for k, v in kept.items() if not isinstance(v, list) or len(v) <= LONGEST_LIST}


def number(value: Any) -> float | int | None:
    """Return a number that a run can have counted, as it is; None for anything else, a truth value and NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return value


def text(value: Any) -> str | None:
    """Return a text that says something; None for anything else."""
    return value if isinstance(value, str) and value.strip() else None


def texts(value: Any) -> list[str]:
    """Return the texts of a list; nothing for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def first_number(block: Mapping[str, Any], *keys: str) -> float | int | None:
    """Return the first figure found under these keys; None: under none of them."""
    return next((value for key in keys if (value := number(block.get(key))) is not None), None)
