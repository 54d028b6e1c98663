"""The lines of a record, each checked against the one before; raw bytes are hashed, nothing is written anew."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn

from gpu_nx47.events import Event
from gpu_nx47.journal import Stamped
from gpu_nx47.journal.merkle import GrowingTree, leaf_hash
from gpu_nx47.journal.notes import NoteError, VerifierKey
from gpu_nx47.journal.record import FIRST_PREV

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIELDS: Final = ("seq", "ts_ns", "mono_ns", "event", "data", "prev")
LONGEST_LINE: Final = 1 << 26
"""Bytes. The longest event, a trace with the leaves of a deep volume, takes some hundred thousand."""


class TamperedError(Exception):
    """The record is not what a run wrote.

    Parameters
    ----------
    where : str
        Line (from 1), checkpoint or output.
    sentence : str
        What is wrong there, a clause whose subject is `where`.
    """

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(f"{where} {sentence}")
        self.where = where
        self.sentence = sentence


@dataclass
class Segment:
    """The lines that one process wrote."""

    first: int
    """Number of its first line, from 1."""
    own: VerifierKey
    """The process's own key."""
    identity: VerifierKey | None
    """The user's key, where it signs too."""
    last: int = 0
    """Number of the last of its lines that is signed."""

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """Whose signatures each checkpoint must bear."""
        return (self.own,) if self.identity is None else (self.own, self.identity)


@dataclass
class Chain:
    """What the lines read so far say; its size does not grow with them."""

    tree: GrowingTree = field(default_factory=GrowingTree)
    origin: str | None = None
    """Name of the record."""
    segments: list[Segment] = field(default_factory=list)
    unsigned: bool = False
    """A process wrote lines that nobody signs."""
    event: str = ""
    """The last event."""
    end: dict[str, Any] = field(default_factory=dict)
    """EXEC_COMPLETE, the last one."""
    boot: dict[str, Any] = field(default_factory=dict)
    """BOOT, the last one."""
    _prev: str = FIRST_PREV
    _named: Any = None

    @property
    def size(self) -> int:
        """Lines read."""
        return self.tree.size

    def take(self, line: bytes) -> None:
        """Check the next line, without its newline, and add it; TamperedError where it cannot be the next."""
        if line.endswith(b"\r"):
            self._refuse("ends in CR LF, where a run writes LF")
        fields = self._fields(line)
        seq = fields["seq"]
        if not isinstance(seq, int) or isinstance(seq, bool) or seq != self.size:
            self._refuse(f"has the number {seq!r}, expected {self.size}: a line was put in, left out or moved")
        if fields["prev"] != self._prev:
            if self.size == 0:
                self._refuse("names a line before it")
            raise TamperedError(f"line {self.size}", f"was changed: line {self.size + 1} names it by another hash")
        self._follow(fields["event"], fields["data"])
        self.event = fields["event"]
        self._prev = hashlib.sha256(line).hexdigest()
        self.tree.append(leaf_hash(line))

    def _fields(self, line: bytes) -> dict[str, Any]:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            self._refuse("is no JSON")
        if not isinstance(fields, dict) or tuple(fields) != FIELDS or not isinstance(fields["data"], dict):
            self._refuse(f"has other fields than {', '.join(FIELDS)}")
        return fields

    def _follow(self, event: Any, data: dict[str, Any]) -> None:
        """Check that the event may stand here."""
        after_recovery = self.event == "RECOVERED"
        again = after_recovery and event == "RECOVERED"  # killed before its BOOT, and gone on with once more
        if not again and (event == "BOOT") != (self.size == 0 or after_recovery):
            self._refuse(f"is {event}, but BOOT stands first, or behind RECOVERED, and nowhere else")
        if self.event == "EXEC_COMPLETE" and (event != "RECOVERED" or "reason" not in self.end):
            self._refuse(f"is {event}, behind the end of the run")
        match event:
            case "EXEC_COMPLETE":
                self.end = data
            case "RECOVERED":
                if (data.get("size"), data.get("root")) != (self.size, self.tree.root().hex()):
                    self._refuse("is RECOVERED, but the lines before it have another size or root than it says")
                self._signed_from_here(data)
            case "BOOT":
                self.boot = data
                if not after_recovery:
                    self._signed_from_here(data)
                elif data.get("public_key") != self._named:
                    self._refuse("names another key than RECOVERED does")

    def _signed_from_here(self, data: dict[str, Any]) -> None:
        self.origin = self.origin or str(data.get("origin"))
        self._named = data.get("public_key")
        if self._named is None:
            self.unsigned = True
            return
        try:
            own = VerifierKey.parse(str(self._named))
            named = data.get("identity_key")
            identity = None if named is None else VerifierKey.parse(str(named))
        except NoteError as error:
            self._refuse(f"names a key that is none: {error}")
        if own.name != self.origin:
            self._refuse(f"names a key of {own.name}, but the record is {self.origin}")
        self.segments.append(Segment(self.size + 1, own, identity))

    def _refuse(self, sentence: str) -> NoReturn:
        raise TamperedError(f"line {self.size + 1}", sentence)


def events(path: Path) -> Iterator[Stamped]:
    """Yield the events of a record that was verified."""
    with path.open("rb") as stream:
        for line in whole_lines(stream):
            if line is not None:
                fields = json.loads(line)
                event = Event(fields["event"], fields["data"])
                yield Stamped(fields["seq"], int(fields["ts_ns"]), int(fields["mono_ns"]), event)


def whole_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield each line without its newline; None, last, for one that was being written when the process died."""
    number = 0
    while raw := stream.readline(LONGEST_LINE):
        number += 1
        if raw.endswith(b"\n"):
            yield raw[:-1]
        elif len(raw) < LONGEST_LINE:
            yield None
        else:
            raise TamperedError(f"line {number}", f"is longer than {LONGEST_LINE} bytes, as no line of a run is")
