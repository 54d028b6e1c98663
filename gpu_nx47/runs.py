"""The registry: every run under a folder, what it ran on, how it ended, and what changed since the run before.

Only runs on the same inputs, by their SHA-256, are compared: a difference of masks on other volumes says nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gpu_nx47.configure import flatten
from gpu_nx47.delta import Delta, compare
from gpu_nx47.errors import InputError, UsageError
from gpu_nx47.explain.numbers import date
from gpu_nx47.explain.told import Told, mapping, number, tell, text
from gpu_nx47.journal import RECORD_NAME
from gpu_nx47.journal.notes import Checkpoint, NoteError, split_notes

SUBMISSION_NAME: Final = "submission.zip"
SCORE_NAME: Final = "score.json"
OLD: Final = "old log: unsigned, not replayable"
_LOG: Final = re.compile(r"(v\d+)_(?:execution_logs\.json|ultra\w*\.jsonl)")
_SHORT: Final = 12
MOST_CHANGES: Final = 8
"""Changed settings that a line of the table names; the JSON has all."""


@dataclass
class Run:
    """One run, by its log and the files beside it."""

    log: Path
    kind: str
    """record, view, old (a log of the old program), or unreadable."""
    started_ns: int | None = None
    version: str | None = None
    backend: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str | None] = field(default_factory=dict)
    """SHA-256 of each file; None: it could not be read whole, or the log does not tell."""
    done: int = 0
    failed: int = 0
    exit_code: int | None = None
    ended: bool = False
    """EXEC_COMPLETE is there."""
    last_digest: str | None = None
    """SHA-256 of the last line of a record."""
    root: str | None = None
    """Root of the tree over the lines, in hex, by the last checkpoint beside the record."""
    score: float | None = None
    """Mean total of the score.json beside it (`nx47 score --json`); None: there is none, or without a TopoScore."""
    submission: Path | None = None
    """The zip, where it is the one that the record names."""
    problem: str | None = None
    """Why the log cannot be read."""
    before: int | None = None
    """Index of the run that it is compared with: the latest earlier one on the same inputs."""
    changes: dict[str, list[Any]] = field(default_factory=dict)
    """Settings that differ: [before, now]."""
    delta: Delta | None = None
    note: str = ""
    """Why there is no delta."""

    @property
    def end(self) -> str:
        """How it ended, as a word or a code."""
        if self.exit_code is not None:
            return str(self.exit_code)
        return "unfinished" if not self.ended else "complete"

    @property
    def inputs_digest(self) -> str | None:
        """Digest over names and digests of all inputs, in hex; None where the log tells none."""
        if not any(self.inputs.values()):
            return None
        return hashlib.sha256(json.dumps(sorted(self.inputs.items())).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        values = asdict(self) | {"log": str(self.log), "end": self.end, "inputs_digest": self.inputs_digest}
        values["submission"] = None if self.submission is None else str(self.submission)
        values["date"] = None if self.started_ns is None else date(self.started_ns)
        if self.delta is not None:
            values["delta"] |= {"dice": self.delta.dice, "iou": self.delta.iou, "xor": self.delta.xor}
        if self.kind == "old":
            values["trust"] = OLD
        return values


def registry(folder: Path) -> list[Run]:
    """Return every run under a folder, the earliest first, each compared with the one before it on the same inputs.

    Raises
    ------
    UsageError
        There is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder that holds runs, found no folder")
    found = [_read(log) for log in _logs(folder)]
    if not found:
        raise UsageError(f"{folder}: expected runs, found no {RECORD_NAME} and no old v*_execution_logs.json under it")
    found.sort(key=lambda run: (run.started_ns is None, run.started_ns or 0, str(run.log)))
    for index, run in enumerate(found):
        _relate(run, found[:index])
    return found


def _logs(folder: Path) -> list[Path]:
    """Return one log for each run: in a folder, one for each version that wrote there, its lines before its list."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        best: dict[str, str] = {}
        for name in sorted(names, reverse=True):  # v..._ultra before v..._execution
            if match := _LOG.fullmatch(name):
                best.setdefault(match[1], name)
        found += [Path(place) / name for name in best.values()]
    return sorted(found)


def _read(log: Path) -> Run:
    try:
        told = tell(log)
    except UsageError as error:
        return Run(log, "unreadable", problem=str(error), note="the log cannot be read")
    run = Run(
        log,
        told.kind,
        started_ns=told.first_ns,
        version=told.version,
        backend=text(told.boot.get("backend")),
        settings=flatten(mapping(told.boot.get("config"))),
        inputs=_inputs(told),
        done=len(told.done),
        failed=len(told.failed),
        exit_code=told.exit_code,
        ended=told.complete is not None,
        last_digest=told.health.last_digest,
        root=_root(log.with_suffix(".checkpoint")),
        score=_score(log.with_name(SCORE_NAME)),
    )
    run.submission, run.note = _submission(told, log.with_name(SUBMISSION_NAME))
    return run


def _inputs(told: Told) -> dict[str, str | None]:
    known: dict[str, str | None] = {file: text(entry.get("sha256")) for file, entry in told.files.items()}
    return known | {file: None for file in told.failed if file not in known}


def _submission(told: Told, path: Path) -> tuple[Path | None, str]:
    """Return the zip beside a log where its bytes are those that the log names, else why there is none."""
    if not told.ours:
        return None, "an old log names no input, and its zip is not vouched for"
    named = text(mapping((told.complete or {}).get("digests")).get(SUBMISSION_NAME))
    if named is None:
        return None, "the run names no submission.zip"
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None, "its submission.zip is not beside the log"
    return (path, "") if digest == named else (None, "the submission.zip beside the log is not the one it names")


def _root(path: Path) -> str | None:
    """Return the root that the last whole checkpoint of a file names; None where there is none."""
    root = None
    try:
        with path.open("rb") as stream:
            for note, whole in split_notes(stream):
                if whole:
                    root = Checkpoint.parse(note.decode("utf-8")).root.hex()
    except (OSError, NoteError, UnicodeDecodeError):
        return root
    return root


def _score(path: Path) -> float | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    totals = [number(mapping(mapping(found).get(block)).get("total")) for block in ("mean", "all")]
    return next((float(total) for total in totals if total is not None), None)


def _relate(run: Run, earlier: list[Run]) -> None:
    """Compare a run with the latest earlier one on the same inputs, one with a submission where there is any."""
    if run.kind in ("old", "unreadable"):
        return
    digest = run.inputs_digest
    if digest is None:
        run.note = "the log names no input"
        return
    same = [k for k, other in enumerate(earlier) if other.inputs_digest == digest and other.kind != "old"]
    if not same:
        run.note = "no earlier run on the same inputs, and runs on different inputs are not compared"
        return
    packed = [k for k in same if earlier[k].submission is not None]
    run.before = (packed or same)[-1]
    before = earlier[run.before]
    keys = sorted({*before.settings, *run.settings})
    values = {key: [before.settings.get(key), run.settings.get(key)] for key in keys}
    run.changes = {key: pair for key, pair in values.items() if pair[0] != pair[1]}
    if run.submission is None or before.submission is None:
        run.note = run.note or "no earlier run on the same inputs has a submission.zip"
        return
    try:
        run.delta = compare(before.submission, run.submission)
    except InputError as error:
        run.note = str(error)


def table(found: list[Run]) -> str:
    """Return the registry as text, a few lines a run."""
    return "\n".join(line for number, run in enumerate(found, 1) for line in _lines(number, run)) + "\n"


def _lines(number: int, run: Run) -> list[str]:
    started = "no date" if run.started_ns is None else date(run.started_ns)
    if run.kind == "unreadable":
        return [f"#{number}  {run.log}", f"    cannot be read: {run.problem}"]
    if run.kind == "old":
        head = f"#{number}  {started}  {run.version or 'version not given'}  {run.log.parent}"
        return [head, f"    {OLD}; files done: {run.done}; not compared"]
    program = f"gpu-nx47 {run.version or '?'} on {run.backend or '?'}"
    score = "no score" if run.score is None else f"score {run.score:.4f}"
    digests = "; ".join(f"{name} {value[:_SHORT]}" for name, value in _digests(run) if value)
    lines = [
        f"#{number}  {started}  {program}  {run.log.parent}",
        f"    files: {run.done} done, {run.failed} failed; end: {run.end}; {score}; {digests}",
    ]
    if run.before is not None:
        lines.append(f"    settings against #{run.before + 1}: {_changes(run)}")
    if run.delta is None:
        return [*lines, f"    mask not compared: {run.note}"]
    d = run.delta
    share = f"XOR {d.xor:,} of {d.voxels:,} voxels"
    against = f"mask against #{(run.before or 0) + 1}"
    return [*lines, f"    {against}: Dice {d.dice:.4f}, IoU {d.iou:.4f}, {share}"]


def _digests(run: Run) -> list[tuple[str, str | None]]:
    return [("inputs", run.inputs_digest), ("root", run.root), ("last line", run.last_digest)]


def _changes(run: Run) -> str:
    shown = [f"{key} {_value(a)} -> {_value(b)}" for key, (a, b) in list(run.changes.items())[:MOST_CHANGES]]
    more = len(run.changes) - len(shown)
    return ("; ".join(shown) or "the same") + (f"; and {more} more" if more > 0 else "")


def _value(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
