"""The next volume, read while the run works on the one before: at most one, on a thread of its own.

Whatever fails there fails silently: the volume is then read again in its turn, and what is wrong with it is told there.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gpu_nx47 import load

if TYPE_CHECKING:
    from gpu_nx47.settings import LoadSettings
    from gpu_nx47.volume import Source, Volume


class Ahead:
    """Holds the volume that is read ahead, or none."""

    def __init__(self) -> None:
        self._reading: _Reading | None = None
        self.seconds: float | None = None
        """How long the volume last taken was read for beside other work; None where it was not read ahead."""

    def begin(self, item: Source, settings: LoadSettings, limit_bytes: int) -> None:
        """Begin to read a volume, as `load.load` does with one page at a time; forget any other."""
        self._reading = _Reading(item, settings, limit_bytes)
        self._reading.start()

    def take(self, item: Source) -> Volume | None:
        """Return the volume of a source, waiting for it, if it was begun and read well; forget it in any case."""
        reading, self._reading, self.seconds = self._reading, None, None
        if reading is None or reading.item != item:
            return None
        reading.join()
        if reading.volume is not None:
            self.seconds = reading.seconds
        return reading.volume

    def forget(self) -> None:
        """Let go of what was begun; it is not waited for."""
        self._reading = None


class _Reading(threading.Thread):
    """A daemon: a run that is cut short waits for no file that it will not need."""

    def __init__(self, item: Source, settings: LoadSettings, limit_bytes: int) -> None:
        super().__init__(name="nx47-ahead", daemon=True)
        self.item = item
        self.volume: Volume | None = None
        self.seconds = 0.0
        self._settings = settings
        self._limit_bytes = limit_bytes

    def run(self) -> None:
        """Read the volume, or leave it to its turn."""
        started = time.monotonic()
        try:
            # One page at a time: the other processors belong to the volume in work.
            self.volume = load.load(self.item, self._settings, limit_bytes=self._limit_bytes, threads=1)
        except Exception:  # noqa: BLE001 - told when the file is read in its turn, as if nobody had read ahead
            return
        self.seconds = time.monotonic() - started
