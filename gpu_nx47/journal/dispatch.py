"""Stamp events and hand each to all observers, in one order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gpu_nx47.errors import OutputError
from gpu_nx47.events import Event
from gpu_nx47.journal.encoding import plain

Clock = Callable[[], tuple[int, int]]
"""Gives (wall clock, monotonic clock), both in nanoseconds."""


@dataclass(frozen=True)
class Stamped:
    """An event with its place in the run."""

    seq: int
    """Number of the event, from 0, without gaps."""
    ts_ns: int
    """Wall clock, nanoseconds since 1970: may jump."""
    mono_ns: int
    """Monotonic clock, nanoseconds since an unknown moment: never falls."""
    event: Event
    """The event; its data are plain JSON values, a copy that nobody else changes."""


class Observer(Protocol):
    """Something that is told each event. It may emit: its event is then the next one for everybody."""

    def __call__(self, stamped: Stamped) -> None:
        """Take note of one event."""

    def close(self) -> None:
        """Write what is still to be written; a second call does nothing."""


def read_clock() -> tuple[int, int]:
    """Return the wall clock and the monotonic clock, in nanoseconds."""
    return time.time_ns(), time.monotonic_ns()


class Dispatcher:
    """Stamps events from any thread and fans them out, in order.

    Parameters
    ----------
    observers : sequence of Observer
        Told in this order.
    clock : Clock, optional
        Where the stamps come from.
    first : int, optional
        Number of the first event: of those before, another process told.
    keys : mapping, optional
        Kept as `keys`, for BOOT: who signs the record.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        clock: Clock = read_clock,
        first: int = 0,
        keys: Mapping[str, str | None] | None = None,
    ) -> None:
        self.keys = dict(keys or {})
        self._observers = tuple(observers)
        self._clock = clock
        # Re-entrant, with a queue: an observer that emits in the middle of a fan-out must neither hang nor overtake.
        self._lock = threading.RLock()
        self._waiting: deque[Event] = deque()
        self._draining = False
        self._closed = False
        self._seq = first
        self._odd_seen: set[tuple[str, str]] = set()

    def emit(self, event: Event) -> None:
        """Stamp one event and hand it to every observer.

        Raises
        ------
        OutputError
            An observer failed; the others have seen the event. If it was the first, the record, nobody has.
        TypeError
            The event holds what JSON cannot say; nobody has seen it.
        """
        odd: list[str] = []
        event = Event(event.name, plain(event.data, odd))  # outside of the lock: the costly part
        failures: list[tuple[Observer, Exception]] = []
        with self._lock:
            if self._closed:
                raise OutputError(f"event {event.name} came after the record was closed; it is not recorded")
            self._waiting.append(event)
            if odd:
                self._warn_of(odd, event)
            if self._draining:
                return
            self._draining = True
            try:
                while self._waiting:
                    self._fan_out(self._waiting.popleft(), failures)
            finally:
                self._draining = False
        _raise_first(failures)

    def close(self) -> None:
        """Close every observer, once.

        Raises
        ------
        OutputError
            An observer failed to close; the others are closed.
        """
        failures: list[tuple[Observer, Exception]] = []
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for observer in self._observers:
                try:
                    observer.close()
                except Exception as error:  # noqa: BLE001 - the others must still be closed; raised below
                    failures.append((observer, error))
        _raise_first(failures)

    def _fan_out(self, event: Event, failures: list[tuple[Observer, Exception]]) -> None:
        ts_ns, mono_ns = self._clock()
        stamped = Stamped(self._seq, ts_ns, mono_ns, event)
        for place, observer in enumerate(self._observers):
            try:
                observer(stamped)
            except Exception as error:  # noqa: BLE001 - the others must still see the event; raised by emit
                failures.append((observer, error))
                if place == 0:
                    return  # what the record does not hold has not happened: its number is given again
            if place == 0:
                self._seq += 1  # it is in the record, whatever becomes of the others

    def _warn_of(self, odd: list[str], event: Event) -> None:
        """Queue one alert for the places of this kind of event that held NaN or infinity for the first time."""
        fresh = [where for where in odd if (event.name, where) not in self._odd_seen]
        self._odd_seen.update((event.name, where) for where in fresh)
        if not fresh:
            return
        names = ", ".join(fresh[:5]) + (" ..." if len(fresh) > 5 else "")
        alert = {
            "code": "NON_FINITE",
            "severity": "warning",
            "value": len(fresh),
            "limit": 0,
            "sentence": f"{event.name} holds values that are not finite: {names}; they are recorded as strings.",
            "advice": "Look at the input named in the event: such a figure is no measurement.",
            "file": event.data.get("file"),
        }
        self._waiting.append(Event("ALERT", alert))


def _raise_first(failures: list[tuple[Observer, Exception]]) -> None:
    if not failures:
        return
    observer, error = failures[0]
    more = f" ({len(failures) - 1} further failures)" if len(failures) > 1 else ""
    raise OutputError(
        f"{type(observer).__name__} failed: {type(error).__name__}: {error}{more}. "
        "If the disk is full or was taken away, free it and run again."
    ) from error
