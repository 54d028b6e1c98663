"""A training by itself: backend, events, model file, and beside it the events as lines of JSON."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from gpu_nx47 import backend, configure, hardware, journal
from gpu_nx47._version import __version__
from gpu_nx47.atomic import write_whole
from gpu_nx47.engine import Engine
from gpu_nx47.errors import OutputError
from gpu_nx47.events import SCHEMA, Event
from gpu_nx47.journal.encoding import compact
from gpu_nx47.journal.record import record_fields
from gpu_nx47.train.learn import train

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_nx47.journal import Observer, Stamped
    from gpu_nx47.model import Model
    from gpu_nx47.settings import Settings

LOG_SUFFIX: Final = ".events.jsonl"


class _Lines:
    """Keeps every event, to be written whole."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __call__(self, stamped: Stamped) -> None:
        self.lines.append(compact(record_fields(stamped)) + b"\n")

    def close(self) -> None:
        """Do nothing: the file is written where the training came to its end."""


def train_model(root: Path, output: Path, settings: Settings, console: Observer, table: Path | None = None) -> Model:
    """Train on the volumes under a root; write the model, and its events beside it.

    Parameters
    ----------
    root : Path
        A folder with train_images/ and train_labels/.
    output : Path
        The model file; `<output>.events.jsonl` is written too.
    settings : Settings
    console : Observer
    table : Path, optional
        Table of id and scroll_id.

    Raises
    ------
    UsageError
        There is nothing to learn from.
    OutputError
        A file cannot be written.
    """
    if not output.absolute().parent.is_dir():  # told now, not after hours
        raise OutputError.of(output, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    lines = _Lines()
    observers = journal.Dispatcher([lines, console])
    try:
        chosen, reason = backend.select(settings.backend)
        engine = Engine(backend.Meter(chosen), settings.tile, settings.threads or hardware.usable_processors())
        boot = {
            "schema": SCHEMA,
            "version": __version__,
            "root": str(root),
            "output": str(output),
            "config": configure.to_json(settings),
            "hardware": hardware.hardware(),
            "packages": hardware.packages(),
            "backend": engine.backend.NAME,
            "backend_reason": reason,
            "threads": engine.threads,
        }
        observers.emit(Event("BOOT", boot))
        model = train(root, engine, settings, observers.emit, table)
        model.write(output)
        write_whole(output.with_name(output.name + LOG_SUFFIX), b"".join(lines.lines))
    finally:
        observers.close()
    return model
