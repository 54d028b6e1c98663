"""The record of a run: observers of one stream of events, each writing one file of SPEC's list."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpu_nx47.errors import OutputError
from gpu_nx47.journal.dispatch import Dispatcher, Observer, Stamped
from gpu_nx47.journal.heartbeat import Heartbeat
from gpu_nx47.journal.recovery import Earlier, read_record
from gpu_nx47.journal.record import RECORD_NAME, Record
from gpu_nx47.journal.roadmap import ROADMAP_NAME, Roadmap
from gpu_nx47.journal.views import LOGS_NAME, MEMORY_NAME, METADATA_NAME, ClassicLogs, MemoryTracker, Metadata

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LOGS_NAME",
    "MEMORY_NAME",
    "METADATA_NAME",
    "RECORD_NAME",
    "ROADMAP_NAME",
    "ClassicLogs",
    "Dispatcher",
    "Earlier",
    "Heartbeat",
    "MemoryTracker",
    "Metadata",
    "Observer",
    "Record",
    "Roadmap",
    "Stamped",
    "open_observers",
    "read_record",
]


def open_observers(
    output: Path, console: Observer | None, *further: Observer, earlier: Earlier | None = None
) -> Dispatcher:
    """Return a dispatcher to every file of the record in `output`, to the console, and to further observers.

    Files of an earlier run in the same folder are begun anew at once: a crash never leaves the record of one run beside
    the views of another. Where the run goes on behind an unfinished one, its record grows, and the views, which follow
    from the record alone, are told the earlier events again.

    Parameters
    ----------
    output : Path
        Folder of the results; made if it is not there.
    console : Observer or None
        What the user watches; None: nothing.
    *further : Observer
        Told last.
    earlier : Earlier, optional
        The unfinished record to go on with.

    Raises
    ------
    OutputError
        The folder or one of the files cannot be written.
    """
    opened: list[Observer] = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        if earlier is not None:
            earlier.cut()
        # The record comes first: what the others show is always in it already.
        opened.append(Record(output / RECORD_NAME, earlier))
        for kind, name in (
            (ClassicLogs, LOGS_NAME),
            (MemoryTracker, MEMORY_NAME),
            (Metadata, METADATA_NAME),
            (Roadmap, ROADMAP_NAME),
        ):
            opened.append(kind(output / name))
        for stamped in earlier.events() if earlier is not None else ():
            for view in opened[1:]:
                view(stamped)
    except OSError as error:
        for observer in opened:
            with suppress(OSError):  # the first error is the one to tell
                observer.close()
        raise OutputError(
            f"{output}: the record cannot be written here; expected a writable folder, got: {error}. "
            "Choose another folder with --output."
        ) from error
    if console is not None:
        opened.append(console)
    return Dispatcher([*opened, *further], first=0 if earlier is None else earlier.lines)
