"""Ctrl-C and SIGTERM: an orderly end at the next moment that can bear one.

A signal may strike between any two steps of Python: between the bytes of a line of the record and the note that it was
written, for one. So a run says when it may be interrupted; elsewhere the signal waits.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

from gpu_nx47.errors import Terminated
from gpu_nx47.events import Emit, Event

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S: Final = 5.0
"""A second signal later than this after the first ends the process at once: the orderly end seems to hang."""


def exit_code(end: BaseException) -> int:
    """Return the code of a run that was interrupted: 128 + the signal, as shells have it."""
    return 128 + (signal.SIGTERM if isinstance(end, Terminated) else signal.SIGINT)


class Interruptions:
    """Turns SIGINT into KeyboardInterrupt and SIGTERM into Terminated, inside of `allowed()` alone.

    Handlers are put in place in the main thread, and only where nobody has put his own; what was there before comes
    back at the end of the block.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._since = 0.0
        self._open = False  # an exception may be raised right now
        self._over = True  # nothing is raised any more
        self._before: dict[int, Any] = {}
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let signals interrupt the block; one that came before it does so at its first `shielded` call."""
        self._over, self._open = False, True
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Raise nothing from now on: what follows is to be done whole."""
        self._open, self._over = False, True

    def shielded(self, emit: Emit) -> Emit:
        """Return an `emit` that no signal cuts in two: one that comes meanwhile interrupts behind it."""

        def whole(event: Event) -> None:
            if threading.get_ident() != self._thread:  # signals come in one thread only
                emit(event)
                return
            before, self._open = self._open, False
            try:
                emit(event)
            finally:
                self._open = before
            # Also where Python swallowed the exception, as it does in destructors.
            if self._number is not None and not self._over:
                self._open = False
                raise self._end_of(self._number)

        return whole

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > PATIENCE_S:
            os._exit(128 + number)
        if self._open:
            self._open = False
            raise self._end_of(self._number)

    @staticmethod
    def _end_of(number: int) -> KeyboardInterrupt:
        return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
