"""A sign of life while the run says nothing else, and an alert when it has said nothing for too long."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gpu_nx47.alerts import Alert
from gpu_nx47.errors import OutputError
from gpu_nx47.events import Event
from gpu_nx47.hardware import rss_bytes
from gpu_nx47.journal.roadmap import Progress

if TYPE_CHECKING:
    from gpu_nx47.events import Emit
    from gpu_nx47.journal.dispatch import Stamped

EVERY_S: Final = 30.0
STALL_S: Final = 180.0
WORKERS: Final = "nx47-tile"
"""How the names of the threads that work on tiles begin."""
_IDLE: Final = "_worker"
"""Function at the top of the stack of a pool's thread that waits for work."""


class Heartbeat:
    """Observer that learns from the events how far the run is, and a thread that tells it every now and then.

    Emits HEARTBEAT every `every_s`, and the alert STALL, once, when no other event came for `stall_s`; the next event
    arms it again. The thread is a daemon, and reads only: no bit of an answer depends on it.

    Parameters
    ----------
    every_s, stall_s : float
        Seconds.
    """

    def __init__(self, every_s: float = EVERY_S, stall_s: float = STALL_S) -> None:
        self._every_s = every_s
        self._stall_s = stall_s
        self._progress = Progress()
        self._began = self._last = time.monotonic()
        self._told = False
        self._stopped = threading.Event()
        self._run_thread = threading.current_thread()
        self._thread: threading.Thread | None = None

    def __call__(self, stamped: Stamped) -> None:
        """Take note of a sign of progress."""
        event = stamped.event
        if event.name == "HEARTBEAT" or (event.name == "ALERT" and event.data.get("code") == "STALL"):
            return
        self._progress.see(event)
        self._last = time.monotonic()
        self._told = False

    def start(self, emit: Emit) -> None:
        """Begin to beat; the thread that calls this is the one whose stack a stall shows."""
        self._run_thread = threading.current_thread()
        self._thread = threading.Thread(target=self._beat, args=(emit,), name="nx47-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the beating; when this returns no further event comes of it. A second call does nothing."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def close(self) -> None:
        """Tell the thread to end. It is not waited for: it may be waiting for who calls this."""
        self._stopped.set()

    def _beat(self, emit: Emit) -> None:
        following = self._began + self._every_s
        while True:
            stall = following if self._told else self._last + self._stall_s
            if self._stopped.wait(max(0.0, min(following, stall) - time.monotonic())):
                return
            now = time.monotonic()
            age = now - self._last
            if age >= self._stall_s and not self._told:
                self._told = True
                self._try(emit, self._stall(age))
            if now >= following:
                following = now + self._every_s
                self._try(emit, self._sign(now))

    @staticmethod
    def _try(emit: Emit, event: Event) -> None:
        # What cannot be recorded stops nothing here: the run meets the same disk with its own next event.
        with suppress(OutputError):
            emit(event)

    def _stall(self, age: float) -> Event:
        alert = Alert.of("STALL", round(age, 3), self._stall_s, self._progress.file or None).event()
        return Event(alert.name, {**alert.data, "stack": stacks(self._run_thread)})

    def _sign(self, now: float) -> Event:
        data = {
            "elapsed_s": round(now - self._began, 3),
            "rss_bytes": rss_bytes(),
            "stage": self._progress.stage or None,
            "file": self._progress.file or None,
            "last_progress_s": round(now - self._last, 3),
        }
        return Event("HEARTBEAT", data)


def stacks(thread: threading.Thread) -> list[str]:
    """Return where a thread stands, and one of those that it waits for: the first thread of a tile that has work."""
    frames = sys._current_frames()
    workers = [t for t in threading.enumerate() if t.name.startswith(WORKERS) and t is not thread]
    lines: list[str] = []
    for one in [thread, *workers]:
        frame = frames.get(one.ident or 0)
        if frame is None or (one is not thread and frame.f_code.co_name == _IDLE):
            continue
        text = "".join(traceback.format_stack(frame))
        lines += [f"thread {one.name}:", *text.splitlines()]
        if one is not thread:
            break
    return lines
