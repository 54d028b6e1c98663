"""An earlier, unfinished record: read back event by event, so that a run can go on where another was cut off."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.atomic import write_whole
from gpu_nx47.errors import OutputError
from gpu_nx47.events import Event
from gpu_nx47.journal.dispatch import Stamped
from gpu_nx47.journal.record import FIRST_PREV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ADVICE: Final = "Begin anew with --fresh, or give another folder with --output."


@dataclass(frozen=True)
class Earlier:
    """The whole lines of a record that another process wrote."""

    path: Path
    lines: int
    size: int
    """Bytes of the whole lines."""
    prev: str
    """SHA-256 of the last whole line, in hex: what the next line names."""
    torn: int
    """Bytes behind them: a line that was being written when the process died."""

    def events(self) -> Iterator[Stamped]:
        """Yield the events again, with the stamps they had."""
        with self.path.open("rb") as stream:
            for seq in range(self.lines):
                yield _stamped(json.loads(stream.readline()), seq)

    def cut(self) -> None:
        """Keep the torn line beside the record, as `*.torn`, and take it off the record."""
        if not self.torn:
            return
        try:
            with self.path.open("r+b") as stream:
                stream.seek(self.size)
                write_whole(self.path.with_name(f"{self.path.name}.{self.size}.torn"), stream.read())
                stream.truncate(self.size)
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError.of(self.path, error) from error


def read_record(path: Path, see: Callable[[Stamped], None]) -> Earlier:
    """Read a record, line by line, checking that each follows from the one before.

    Parameters
    ----------
    path : Path
        Nothing is written to it.
    see : callable
        Told each event, in order.

    Raises
    ------
    OutputError
        The record cannot be read, or a line of it was changed.
    """
    prev, size, lines = FIRST_PREV, 0, 0
    try:
        with path.open("rb") as stream:
            for raw in stream:
                if not raw.endswith(b"\n"):
                    break
                stamped = _checked(raw[:-1], lines, prev, path)
                prev = hashlib.sha256(raw[:-1]).hexdigest()
                size, lines = size + len(raw), lines + 1
                see(stamped)
            stream.seek(0, os.SEEK_END)
            return Earlier(path, lines, size, prev, stream.tell() - size)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror or error}. {ADVICE}") from error


def _checked(line: bytes, seq: int, prev: str, path: Path) -> Stamped:
    try:
        fields = json.loads(line)
        if (fields["seq"], fields["prev"]) == (seq, prev):
            return _stamped(fields, seq)
        found = "a line that follows from another"
    except (ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
    where = f"{path}, line {seq + 1}"
    raise OutputError(f"{where}: expected the line that follows from those before, found {found}. {ADVICE}")


def _stamped(fields: dict[str, Any], seq: int) -> Stamped:
    return Stamped(seq, int(fields["ts_ns"]), int(fields["mono_ns"]), Event(fields["event"], fields["data"]))
