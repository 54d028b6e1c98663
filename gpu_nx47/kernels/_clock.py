"""How long the devices worked: an event of the device before and after each kernel.

An event is recorded in the stream without waiting, so the time is the device's own; it is read when it is asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING: Final = 4096
"""Pairs of events kept before those that have happened are added up."""


class _Clock:
    def __init__(self) -> None:
        self.pairs: deque[tuple[Any, Any, Any]] = deque()
        self.total_ms = 0.0
        self.lock = threading.Lock()

    def add_up(self, *, wait: bool) -> None:
        """Add up the pairs that have happened, oldest first; or wait for all."""
        while self.pairs and (wait or self.pairs[0][2].done):
            cuda, start, end = self.pairs.popleft()
            end.synchronize()
            self.total_ms += cuda.get_elapsed_time(start, end)


_CLOCK: Final = _Clock()


@contextmanager
def timed(cuda: Any) -> Iterator[None]:
    """Time what the block launches on this thread's stream; `cuda` is cupy.cuda."""
    start, end = cuda.Event(), cuda.Event()
    start.record()
    yield
    end.record()
    with _CLOCK.lock:
        _CLOCK.pairs.append((cuda, start, end))
        if len(_CLOCK.pairs) > WAITING:
            _CLOCK.add_up(wait=False)


def device_seconds() -> float:
    """Return the seconds that kernels of this process ran so far, all devices added up; waits for those under way."""
    with _CLOCK.lock:
        _CLOCK.add_up(wait=True)
        return _CLOCK.total_ms / 1000
