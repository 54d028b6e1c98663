"""A time budget: when work must stop, so that what comes after it is still done in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpu_nx47.errors import TimeSpentError
from gpu_nx47.events import Emit, Event


class Deadline:
    """When the work on volumes must end; without a budget never.

    Parameters
    ----------
    budget_s : float or None
        Seconds from `started` until the submission is to be there.
    started : float
        Monotonic clock, seconds.
    clock : callable, optional
        Gives it.
    """

    def __init__(self, budget_s: float | None, started: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget_s = budget_s
        self._started = started
        self._clock = clock
        self._kept_s = 0.0
        self._binding = False
        self._thread = threading.get_ident()

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def over(self) -> bool:
        """Whether no more work may be begun."""
        return self.budget_s is not None and self.spent_s >= self.budget_s - self._kept_s

    def keep(self, seconds: float) -> None:
        """Keep this much of the budget for what comes after the work."""
        self._kept_s = seconds

    @contextmanager
    def binding(self) -> Iterator[None]:
        """Let the block be cut off by the deadline, at its next `watched` event."""
        self._binding = True
        try:
            yield
        finally:
            self._binding = False

    def watched(self, emit: Emit) -> Emit:
        """Return an `emit` that raises TimeSpentError behind an event of a binding block when time is up.

        Events are the joints of the work: a stage begun, a tile done. What other threads emit cuts nothing off.
        """

        def told(event: Event) -> None:
            emit(event)
            if self._binding and threading.get_ident() == self._thread and self.over:
                self._binding = False
                raise TimeSpentError(f"{self.spent_s:.1f} s of {self.budget_s:g} s are spent")

        return told
