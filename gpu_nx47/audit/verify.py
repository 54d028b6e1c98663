"""Say whether a record is whole, unchanged and signed, and whether outputs and views beside it are those it gives.

One pass over lines and checkpoints together, in memory that does not grow with their number.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from gpu_nx47.audit.lines import Chain, Segment, TamperedError, whole_lines
from gpu_nx47.audit.views import different_view
from gpu_nx47.errors import UsageError
from gpu_nx47.journal import CHECKPOINT_NAME, RECORD_NAME, keys
from gpu_nx47.journal.notes import Checkpoint, NoteError, VerifierKey, read_held, split_notes
from gpu_nx47.journal.outputs import file_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPLETE, TAMPERED, INCOMPLETE, CANNOT = 0, 1, 2, 3
SUBMISSION: Final = "submission.zip"


@dataclass
class Verdict:
    """What the verification came to."""

    code: int
    """0 complete, 1 tampered, 2 incomplete, 3 cannot be checked."""
    sentence: str
    """What it comes to, or the first thing that is wrong."""
    where: str | None = None
    """Where it is wrong: `line 7`, `lines 3 to 9`, `checkpoint 2`, the path of an output."""
    notes: list[str] = field(default_factory=list)
    """What else is to be known, in sentences."""
    lines: int = 0
    root: str = ""
    """Of the tree over all lines, in hex."""


class _Reader:
    """The lines and the checkpoints of one record, read side by side."""

    def __init__(self, record: BinaryIO, notes: BinaryIO, held: Checkpoint | None) -> None:
        self.chain = Chain()
        self.torn: list[str] = []
        self.signed = 0
        self._record = record
        self._notes = split_notes(notes)
        self._held = held
        self._number = 0
        self._waiting: Checkpoint | None = None

    def read(self) -> None:
        """Go through all; TamperedError at the first thing that is wrong."""
        for line in whole_lines(self._record):
            if line is None:
                self.torn.append("the last line is torn: the process died while it wrote")
                break
            self.chain.take(line)
            if self.chain.size == 1 and not self.chain.unsigned:
                self._advance()
            if self._waiting is not None and self._waiting.size == self.chain.size:
                self._check(self._waiting)
                self._advance()
            self._compare_held()
        if self.chain.size == 0:
            self._advance()
        if self._waiting is not None:
            missing, size = f"line {self.chain.size + 1}", self._waiting.size
            raise TamperedError(missing, f"is missing: checkpoint {self._number} is of {size} lines")
        if self._held is not None and self._held.size > self.chain.size:
            missing, size = f"line {self.chain.size + 1}", self._held.size
            raise TamperedError(missing, f"is missing: you hold a checkpoint of {size} lines")

    def _advance(self) -> None:
        """Fetch the next checkpoint."""
        self._waiting = None
        raw, whole = next(self._notes, (b"", True))
        if not whole:
            self.torn.append("the last checkpoint is torn")
        if not raw or not whole:
            return
        self._number += 1
        where = f"checkpoint {self._number}"
        try:
            found = Checkpoint.parse(raw.decode())
        except (NoteError, UnicodeDecodeError) as error:
            raise TamperedError(where, f"cannot be read: {error}") from None
        if self.chain.size and found.origin != self.chain.origin:
            raise TamperedError(where, f"is of the record {found.origin}, this is {self.chain.origin}")
        if found.size <= self.signed:
            raise TamperedError(where, f"is of {found.size} lines, behind one of {self.signed}")
        self._waiting = found

    def _check(self, note: Checkpoint) -> None:
        where, first = f"checkpoint {self._number}", self.signed + 1
        if self.chain.tree.root() != note.root:
            lines = f"line {first}" if first == note.size else f"lines {first} to {note.size}"
            raise TamperedError(lines, f"{'is' if first == note.size else 'are'} not what {where} signs")
        segment = self.chain.segments[-1]
        for key in segment.keys:
            if not any(keys.is_signed_by(key, note.text(), one) for one in note.signatures):
                raise TamperedError(where, f"is not signed by {key}, as the record says it is")
        self.signed = segment.last = note.size

    def _compare_held(self) -> None:
        held, chain = self._held, self.chain
        if held is None:
            return
        if held.origin != chain.origin:
            raise TamperedError(
                "line 1", f"names the record {chain.origin}; the checkpoint you hold is of {held.origin}"
            )
        if held.size == chain.size and held.root != chain.tree.root():
            raise TamperedError(f"lines 1 to {held.size}", "are not those of the checkpoint that you hold")


def verify(path: Path, expected: Sequence[str] = (), held: Path | None = None) -> Verdict:
    """Verify a record, its checkpoints, the outputs it names and the views beside it.

    Parameters
    ----------
    path : Path
        The record, or its folder.
    expected : sequence of str
        Verifier keys (`name+id+base64`) that the caller trusts: a run's own, as its console or BOOT showed it, or the
        user's. Without one the key in BOOT is believed.
    held : Path, optional
        A checkpoint that the caller kept.

    Returns
    -------
    Verdict

    Raises
    ------
    UsageError
        There is no record, or a key or checkpoint cannot be read: nothing can be checked.
    """
    folder = record_folder(path)
    trusted = _trusted(expected)
    kept = None if held is None else _held(held)
    if not keys.can_verify():
        return Verdict(CANNOT, "cannot be checked: the package cryptography is missing. pip install cryptography")
    notes = folder / CHECKPOINT_NAME
    try:
        with (
            (folder / RECORD_NAME).open("rb") as record,
            notes.open("rb") if notes.exists() else io.BytesIO() as stream,
        ):
            reader = _Reader(record, stream, kept)
            return _judged(reader, folder, trusted, kept)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error


def record_folder(path: Path) -> Path:
    """Return the folder of a record that is named by its own path or by its folder's."""
    folder = path if path.is_dir() else path.parent
    if not (folder / RECORD_NAME).is_file() or (path != folder and path.name != RECORD_NAME):
        raise UsageError(f"{path}: expected a record, {RECORD_NAME}, or its folder")
    return folder


def _judged(reader: _Reader, folder: Path, trusted: Collection[VerifierKey], held: Checkpoint | None) -> Verdict:
    try:
        reader.read()
        return _judge(reader, folder, trusted, held)
    except TamperedError as error:
        return Verdict(TAMPERED, str(error), error.where, lines=reader.chain.size)


def _judge(reader: _Reader, folder: Path, trusted: Collection[VerifierKey], held: Checkpoint | None) -> Verdict:
    """Judge a record whose lines and checkpoints agree; TamperedError where outputs or views do not."""
    chain = reader.chain
    ended = chain.event == "EXEC_COMPLETE"
    missing = _check_outputs(folder, chain) if ended else []
    whole = ended and not reader.torn and reader.signed == chain.size
    good = {segment.first: _vouched(segment, trusted, held, chain) for segment in chain.segments}
    found = Verdict(COMPLETE, "", lines=chain.size, root=chain.tree.root().hex())
    found.notes += [_told(segment, good[segment.first]) for segment in chain.segments]
    if trusted and not any(key in trusted for segment in chain.segments for key in segment.keys):
        raise TamperedError("the record", "is not signed by the key that you expect")
    if whole:
        found.notes += _check_views(folder)
    if chain.unsigned:
        found.code, found.sentence = CANNOT, "cannot be checked: the record is not signed"
    elif trusted and not all(good.values()):
        found.code, found.sentence = CANNOT, "cannot be checked: the key that you expect did not sign every part"
    elif not whole:
        found.code, found.sentence = INCOMPLETE, f"incomplete: {'; '.join(_gaps(reader))}"
    elif missing:
        found.code, found.sentence = INCOMPLETE, f"incomplete: outputs are missing: {', '.join(missing)}"
        found.where = missing[0]
    else:
        found.sentence = _complete(chain, all(good.values()))
    return found


def _complete(chain: Chain, vouched: bool) -> str:
    count = len(chain.segments)
    gap = "" if count == 1 else f", {count} keys" if vouched else f", {count} keys, continuity unproven"
    end = f"; the run was cut short ({chain.end['reason']})" if "reason" in chain.end else ""
    return f"complete: {chain.size} lines, {len(chain.end.get('digests') or {})} outputs{gap}{end}"


def _gaps(reader: _Reader) -> Iterator[str]:
    chain = reader.chain
    yield from reader.torn
    if chain.size == 0:
        yield "the record is empty"
    elif chain.event != "EXEC_COMPLETE":
        yield f"it ends at line {chain.size} with {chain.event}, not with EXEC_COMPLETE"
    if reader.signed < chain.size:
        yield f"lines {reader.signed + 1} to {chain.size} are not signed"


def _vouched(segment: Segment, trusted: Collection[VerifierKey], held: Checkpoint | None, chain: Chain) -> bool:
    """Say whether somebody but the record vouches for the lines of a segment."""
    if any(key in trusted for key in segment.keys):
        return True
    if held is None:
        return False
    following = next((other.first for other in chain.segments if other.first > segment.first), chain.size + 1)
    return held.size >= following - 1 or any(
        keys.is_signed_by(segment.own, held.text(), signature) for signature in held.signatures
    )


def _told(segment: Segment, good: bool) -> str:
    lines = f"lines {segment.first} to {segment.last}" if segment.last else f"from line {segment.first}, nothing signed"
    by = "vouched for by what you hold" if good else "self-signed: the record itself is all that vouches for this key"
    also = "" if segment.identity is None else f", and by {segment.identity}"
    return f"{lines}: signed by {segment.own}{also}; {by}"


def _check_outputs(folder: Path, chain: Chain) -> list[str]:
    """Hash the outputs beside the record; return those that are not there."""
    digests = chain.end.get("digests")
    digests = digests if isinstance(digests, dict) else {}
    missing = []
    for name, digest in digests.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name:
            raise TamperedError(name, "is named as an output, but leads out of the record's folder")
        path = folder / pure
        if path.exists() and not path.is_file():
            raise TamperedError(name, "is no file")
        if not path.exists():
            missing.append(name)
        elif file_digest(path) != digest:
            raise TamperedError(name, "is not what the run wrote: its SHA-256 differs from the one in EXEC_COMPLETE")
    if SUBMISSION not in digests and (folder / SUBMISSION).exists():
        raise TamperedError(SUBMISSION, "lies beside the record, which does not name it")
    return missing


def _check_views(folder: Path) -> list[str]:
    """Compare the views with those the record gives; return a note for each that is not there."""
    notes = []
    for name, state in different_view(folder):
        if state == "different":
            raise TamperedError(name, "is not the view that the record gives")
        notes.append(f"{name} is not here, and was not compared")
    return notes


def _trusted(expected: Sequence[str]) -> tuple[VerifierKey, ...]:
    try:
        return tuple(map(VerifierKey.parse, expected))
    except NoteError as error:
        raise UsageError(f"--expect-key: {error}") from error


def _held(path: Path) -> Checkpoint:
    try:
        return read_held(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NoteError) as error:
        raise UsageError(f"--checkpoint {path}: {error}") from error
