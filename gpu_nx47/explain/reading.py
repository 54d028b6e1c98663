"""From a log's bytes to entries, one at a time: our record, its flat view, and the flat logs of the old program.

What is hurt costs only itself: the reader says where it lies and goes on behind it.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from gpu_nx47.errors import UsageError
from gpu_nx47.journal import LOGS_NAME, RECORD_NAME

LONGEST_LINE: Final = 16 << 20
"""Bytes of a line or an entry; an event holds small exact numbers, and what is longer was not written by a run."""
CHUNK: Final = 1 << 20
SEALS: Final = frozenset({"signature", "prev_merkle", "merkle"})
"""Keys by which the old program chained its entries: unkeyed hashes, no part of what an event says."""

_START: Final = re.compile(r'\{\s*"(?:ts_ns|event|seq)"')
_NO_DATA: Final = SEALS | {"ts_ns", "event"}
_FIRST_PREV: Final = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One event as a log tells it."""

    name: str
    data: dict[str, Any]
    ts_ns: int | None
    """Wall clock, nanoseconds since 1970; None where it is missing or no number."""
    own: bool
    """In the form of our record: the data apart, a hash of the line before."""
    sealed: bool
    """With a hash of the old program."""


@dataclass
class Health:
    """What a reader noticed of the file itself."""

    unreadable: int = 0
    """Lines or entries that are no events."""
    first_unreadable: list[tuple[str, int]] = field(default_factory=list)
    """Of the first few: "line" or "entry", and its number from 1."""
    torn: bool = False
    """The last line or entry is cut off."""
    chained: int = 0
    """Lines that name the hash of the line before, correctly."""
    broken: list[int] = field(default_factory=list)
    """Numbers, from 1, of the first few lines that name another hash."""
    last_digest: str | None = None
    """SHA-256, in hex, of the last line of a record."""

    def refuse(self, kind: str, number: int) -> None:
        """Note one unreadable place."""
        self.unreadable += 1
        if len(self.first_unreadable) < 5:
            self.first_unreadable.append((kind, number))


def find_log(path: Path) -> Path:
    """Return the log that a path names: a file, or the one in a run's folder.

    Raises
    ------
    UsageError
        There is no such file, or no log in the folder.
    """
    if path.is_dir():
        for name in (RECORD_NAME, LOGS_NAME):
            if (path / name).is_file():
                return path / name
        old = sorted(path.glob("v*_execution_logs.json"))
        if old:
            return old[-1]
        raise UsageError(f"{path}: expected a log, or a folder that holds {RECORD_NAME}; found a folder without one")
    if not path.is_file():
        raise UsageError(f"{path}: expected a log, found no file")
    return path


def read_entries(path: Path, health: Health) -> Iterator[Entry]:
    """Yield the events of a log, in order, holding one at a time.

    Parameters
    ----------
    path : Path
        JSON lines, or one JSON list.
    health : Health
        Told what cannot be read, as it is met.

    Raises
    ------
    UsageError
        The file cannot be opened, or holds no event at all.
    """
    found = False
    try:
        with path.open("rb") as stream:
            opening = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            stream.seek(0)
            reader = _list_entries if opening == b"[" else _line_entries
            for entry in reader(stream, health):
                found = True
                yield entry
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not found:
        raise UsageError(
            f"{path}: this is no log of nx47; expected lines of JSON, or a list, of events with `event` and `ts_ns`, "
            f"found none among {health.unreadable:,} lines or entries"
        )


def _line_entries(stream: IO[bytes], health: Health) -> Iterator[Entry]:
    """Yield the events of JSON lines, and follow the chain of hashes where there is one."""
    before: str | None = _FIRST_PREV
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        whole = line.endswith(b"\n")
        raw = line.rstrip(b"\r\n") if line.endswith(b"\r\n") else line.removesuffix(b"\n")
        if not raw.strip():
            continue
        entry, prev = _parsed(raw)
        digest = hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
        if entry is None:
            health.refuse("line", number)
            health.torn = not whole
        else:
            if prev is not None:
                _follow(health, number, prev == before)
                health.last_digest = digest
            yield entry
        before = digest


def _follow(health: Health, number: int, holds: bool) -> None:
    if holds:
        health.chained += 1
    elif len(health.broken) < 5:
        health.broken.append(number)


def _parsed(raw: bytes) -> tuple[Entry | None, str | None]:
    """Return the event of a line, and the hash it names; None where it is no event."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None, None
    entry = as_entry(value)
    prev = value.get("prev") if entry is not None and entry.own else None
    return entry, prev if isinstance(prev, str) else None


def _list_entries(stream: IO[bytes], health: Health) -> Iterator[Entry]:
    """Yield the events of a JSON list, decoded entry by entry from a window that moves over the file."""
    decoder = json.JSONDecoder()
    text, ended, number = _Window(stream), False, 0
    text.skip("[")
    while not ended:
        text.skip(",")
        if text.at_end() or text.peek() == "]":
            break
        number += 1
        value = text.decode(decoder)
        if value is None:
            health.refuse("entry", number)
            ended = not text.jump(_START)
            health.torn = ended
        elif (entry := as_entry(value[0])) is None:
            health.refuse("entry", number)
        else:
            yield entry
    if text.at_end():
        health.torn = True  # the closing bracket is missing


class _Window:
    """The part of a text that is being looked at."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._text = ""
        self._place = 0
        self._ended = False

    def _more(self, size: int = 0) -> bool:
        """Read a chunk, or more; say whether something came."""
        if self._ended:
            return False
        data = self._stream.read(max(size, CHUNK))
        self._ended = not data
        self._text = self._text[self._place :] + self._decoder.decode(data, final=self._ended)
        self._place = 0
        return not self._ended

    def skip(self, mark: str) -> None:
        """Pass blanks and one kind of mark."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in mark + " \t\r\n":
                self._place += 1
            if self._place < len(self._text) or not self._more():
                return

    def at_end(self) -> bool:
        """Say whether nothing is left."""
        return self._place >= len(self._text) and not self._more()

    def peek(self) -> str:
        """Return the next character."""
        return self._text[self._place]

    def decode(self, decoder: json.JSONDecoder) -> tuple[Any] | None:
        """Return the next value, or None where it is no JSON or longer than an entry can be."""
        while True:
            try:
                value, self._place = decoder.raw_decode(self._text, self._place)
            except (ValueError, RecursionError):
                held = len(self._text) - self._place
                # Doubled, so that a long entry is not tried once for each chunk.
                if held > LONGEST_LINE or not self._more(held):
                    return None
            else:
                return (value,)

    def jump(self, mark: re.Pattern[str]) -> bool:
        """Go to the next place, behind this one, where a mark stands; False where there is none."""
        self._place += 1
        while True:
            if found := mark.search(self._text, self._place):
                self._place = found.start()
                return True
            self._place = max(self._place, len(self._text) - 64)  # a mark may lie across the edge
            if not self._more():
                self._place = len(self._text)
                return False


def as_entry(value: Any) -> Entry | None:
    """Return a parsed JSON value as an event; None where it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        return None
    if "ts_ns" not in value and "seq" not in value:
        return None
    stamp = value.get("ts_ns")
    number = str(stamp)  # of a truth value no digits
    ts_ns = int(number) if isinstance(stamp, int | str) and number.isdecimal() and len(number) <= 20 else None
    if "prev" in value and isinstance(value.get("data"), dict):
        return Entry(value["event"], value["data"], ts_ns, own=True, sealed=False)
    data = {key: item for key, item in value.items() if key not in _NO_DATA}
    return Entry(value["event"], data, ts_ns, own=False, sealed=not SEALS.isdisjoint(value))
