"""What happens to one file, told as events, with the seconds and operations of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47 import rescue
from gpu_nx47.engine import histogram
from gpu_nx47.events import Emit, Event
from gpu_nx47.hardware import release_between
from gpu_nx47.journal.trace import STANDARD, array_trace

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine


class Story:
    """What happened to one file, as events, with the seconds and operations of each stage."""

    def __init__(
        self,
        file: str,
        emit: Emit,
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
        record: str = STANDARD,
    ) -> None:
        self.file = file
        self.record = record
        self.emit = emit
        self.stages: dict[str, dict[str, float]] = {}
        self._meter = engine.backend
        self._threads = engine.threads
        self._phase = engine.phase
        self._clock = clock

    @contextmanager
    def stage(self, name: str, step: str | None = None) -> Iterator[Callable[[int, int], None]]:
        """Time a stage; yields what to call with (done, total)."""
        if step:
            self.emit(Event("STEP", {"name": step, "file": self.file}))
        asked, executed = self._meter.exact_total()
        started = self._clock()

        def progress(done: int, total: int) -> None:
            data = {"file": self.file, "stage": name, "done": done, "total": total}
            self.emit(Event("PROGRESS_UPDATE", data))

        try:
            with self._phase(name, self.file):
                yield progress
        finally:
            release_between()
            seconds = self._clock() - started
            now_asked, now_executed = self._meter.exact_total()
            entry = self.stages.setdefault(name, {"seconds": 0.0, "calc_ops": 0, "calc_ops_executed": 0})
            entry["seconds"] += seconds
            # Rounded here: what other volumes have asked for before must not move the last digit.
            entry["calc_ops"] += round(now_asked - asked)
            entry["calc_ops_executed"] += round(now_executed - executed)
            entry["calc_per_sec"] = entry["calc_ops"] / entry["seconds"] if entry["seconds"] > 0 else 0.0

    def trace(self, stage: str, array: NDArray, counts: NDArray[np.int64] | None = None) -> None:
        """Emit ARRAY_TRACE of an array (see `journal.trace`); `counts`: its exact histogram, where it is known."""
        self.begin(stage, lambda: array, counts)()

    def begin(
        self,
        stage: str,
        make: Callable[[], NDArray],
        counts: NDArray[np.int64] | None = None,
        aside: Executor | None = None,
    ) -> Callable[[], None]:
        """Begin to look at the array that `make` returns, on a thread aside if one is given; return what tells of it.

        What is returned waits for the thread, or looks now, and emits ARRAY_TRACE.
        """

        def look() -> dict[str, Any]:
            array = make()
            known = self._counts(array) if counts is None else counts
            return array_trace(stage, array, known, self.record, 1 if aside else self._threads)

        done = aside.submit(look) if aside else None
        return lambda: self.traced(done.result() if done else look())

    def _counts(self, array: NDArray) -> NDArray[np.int64]:
        if array.dtype == np.bool_:
            active = int(np.count_nonzero(array))
            return np.array([array.size - active, active])
        if not array.size:
            return np.zeros(1, np.int64)
        # Not metered: recording is no calculation of the run.
        return rescue.whole(self._meter, "a trace", lambda: histogram(self._meter.backend, array, self._threads))

    def traced(self, told: dict[str, Any]) -> None:
        """Emit ARRAY_TRACE of what `journal.trace` tells of an array or of a tile."""
        self.emit(Event("ARRAY_TRACE", {"file": self.file, **told}))
