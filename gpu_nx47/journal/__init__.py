"""The record of a run: observers of one stream of events, each writing one file of SPEC's list."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gpu_nx47.errors import OutputError
from gpu_nx47.journal.checkpoints import CHECKPOINT_NAME, Checkpoints, Signing, begin, verified_size
from gpu_nx47.journal.dispatch import Dispatcher, Observer, Stamped
from gpu_nx47.journal.heartbeat import Heartbeat
from gpu_nx47.journal.outputs import VERIFIER_NAME, outputs_digests, write_verifier
from gpu_nx47.journal.record import RECORD_NAME, Record, tree_of
from gpu_nx47.journal.recovery import Earlier, read_record
from gpu_nx47.journal.roadmap import ROADMAP_NAME, Roadmap
from gpu_nx47.journal.views import LOGS_NAME, MEMORY_NAME, METADATA_NAME, ClassicLogs, MemoryTracker, Metadata

__all__ = [
    "CHECKPOINT_NAME",
    "LOGS_NAME",
    "MEMORY_NAME",
    "METADATA_NAME",
    "RECORD_NAME",
    "ROADMAP_NAME",
    "VERIFIER_NAME",
    "Checkpoints",
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
    "outputs_digests",
    "read_record",
]


def open_observers(
    output: Path,
    console: Observer | None,
    *further: Observer,
    earlier: Earlier | None = None,
    identity: str = "",
) -> Dispatcher:
    """Return a dispatcher to every file of the record in `output`, to the console, and to further observers.

    Its `keys` are what BOOT (or RECOVERED) must say for the record to be verifiable.

    Files of an earlier run in the same folder are begun anew at once: a crash never leaves the record of one run beside
    the views of another. Where the run goes on behind an unfinished one, its record grows, and the views, which follow
    from the record alone, are told the earlier events again.

    Parameters
    ----------
    output : Path
        Folder of the results; made if it is not there.
    console : Observer or None
        What the user watches; None: nothing. One that has a method `checkpoint(note)` is told each signed checkpoint.
    *further : Observer
        Told last.
    earlier : Earlier, optional
        The unfinished record to go on with.
    identity : str, optional
        Path of the PEM file of an Ed25519 key that signs the checkpoints too.

    Raises
    ------
    OutputError
        The folder or one of the files cannot be written, or the unfinished record was changed.
    UsageError
        The identity key cannot be used.
    """
    opened: list[Observer] = []
    signing = begin(Path(identity) if identity else None, None if earlier is None else _origin(earlier))
    try:
        output.mkdir(parents=True, exist_ok=True)
        if earlier is not None:
            earlier.cut()
        _open_files(output, console, signing, earlier, opened)
    except OSError as error:
        raise OutputError(
            f"{output}: the record cannot be written here; expected a writable folder, got: {error}. "
            "Choose another folder with --output."
        ) from error
    if console is not None:
        opened.append(console)
    said = signing.public
    if earlier is not None:
        said |= {"root": tree_of(earlier.path, earlier.lines).root().hex()}
    return Dispatcher([*opened, *further], first=0 if earlier is None else earlier.lines, keys=said)


def _open_files(
    output: Path, console: Observer | None, signing: Signing, earlier: Earlier | None, opened: list[Observer]
) -> None:
    """Open every file of the record into `opened`; none stays open where one cannot be."""
    try:
        notes = output / CHECKPOINT_NAME
        size = 0
        if earlier is not None:
            size = verified_size(notes, earlier, lambda lines: tree_of(earlier.path, lines).root())
        # The record comes first: what the others show is always in it already. The views come last: they show the
        # checkpoint too.
        record = Record(output / RECORD_NAME, earlier)
        opened.append(record)
        views = []
        for kind, name in (
            (ClassicLogs, LOGS_NAME),
            (MemoryTracker, MEMORY_NAME),
            (Metadata, METADATA_NAME),
            (Roadmap, ROADMAP_NAME),
        ):
            views.append(kind(output / name))
            opened.append(views[-1])
        if signing.signers:
            told = (getattr(each, "checkpoint", None) for each in (*views, console))
            opened.insert(1, Checkpoints(notes, record, signing, [tell for tell in told if tell], size))
        elif size == 0:
            notes.unlink(missing_ok=True)  # those of an earlier run
        write_verifier(output)
        for stamped in earlier.events() if earlier is not None else ():
            for view in views:
                view(stamped)
    except BaseException:
        for observer in opened:
            with suppress(OSError):  # the first error is the one to tell
                observer.close()
        raise


def _origin(earlier: Earlier) -> str | None:
    """Return the name that an unfinished record has, if any."""
    for stamped in earlier.events():
        found = stamped.event.data.get("origin")
        return found if isinstance(found, str) else None
    return None
