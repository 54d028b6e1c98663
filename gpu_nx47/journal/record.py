"""The record of a run, `v122_ultra_authentic_360_merkle.jsonl`: one line an event, each naming the line before it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.journal.encoding import compact
from gpu_nx47.journal.files import LineFile
from gpu_nx47.journal.merkle import GrowingTree, leaf_hash

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_nx47.journal.dispatch import Stamped
    from gpu_nx47.journal.recovery import Earlier

RECORD_NAME: Final = "v122_ultra_authentic_360_merkle.jsonl"
FIRST_PREV: Final = "0" * 64
"""`prev` of the first line."""


def record_fields(stamped: Stamped) -> dict[str, Any]:
    """Return the fields that depend on the event alone; clocks are strings, as numbers in JavaScript end at 2^53."""
    return {
        "seq": stamped.seq,
        "ts_ns": str(stamped.ts_ns),
        "mono_ns": str(stamped.mono_ns),
        "event": stamped.event.name,
        "data": stamped.event.data,
    }


class Record:
    """Observer that writes each event as a line of compact ASCII JSON, visible at once.

    Notes
    -----
    Fields: seq, ts_ns, mono_ns, event, data, prev; `prev` is the SHA-256, in hex, of the raw bytes of the line before,
    without its newline. With `earlier` the lines go on behind those of an unfinished run.
    """

    def __init__(self, path: Path, earlier: Earlier | None = None) -> None:
        self._file = LineFile(path, 0 if earlier is None else earlier.size)
        self._prev = FIRST_PREV if earlier is None else earlier.prev
        self._tree = GrowingTree() if earlier is None else tree_of(path, earlier.lines)

    @property
    def size(self) -> int:
        """Lines written."""
        return self._tree.size

    def root(self) -> bytes:
        """Return the root of RFC 6962's tree over the lines, without their newlines."""
        return self._tree.root()

    def sync(self) -> None:
        """Bring the lines to the disk."""
        self._file.sync()

    def __call__(self, stamped: Stamped) -> None:
        """Append one line."""
        line = compact({**record_fields(stamped), "prev": self._prev})
        self._file.append(line)
        self._prev = hashlib.sha256(line).hexdigest()  # only now: a line that was taken back is no one's predecessor
        self._tree.append(leaf_hash(line))

    def close(self) -> None:
        """Bring the record to the disk."""
        self._file.close()


def tree_of(path: Path, lines: int) -> GrowingTree:
    """Return the tree over the first lines of a record."""
    tree = GrowingTree()
    with path.open("rb") as stream:
        for _ in range(lines):
            tree.append(leaf_hash(stream.readline()[:-1]))
    return tree
