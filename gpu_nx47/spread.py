"""Work on threads: small pieces in a row, shared out as runs (a task for each would cost more), or one work aside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

Result = TypeVar("Result")
RUNS: Final = 8
"""Runs a thread gets at least, where there are pieces enough: none waits long for the slowest."""


def spread(number: int, work: Callable[[range], Result], threads: int, name: str, runs: int = RUNS) -> list[Result]:
    """Return what `work` returns for each run of the pieces 0 to `number` - 1, in order.

    Parameters
    ----------
    number : int
        Pieces.
    work : callable
        Takes a run of them; it should let go of the interpreter.
    threads : int
        Most runs worked on at once; with 1 there is one run, on the caller's thread.
    name : str
        Of the threads.
    runs : int
        For each thread, at least; 1: as many as there are threads, where to begin one costs.

    Raises
    ------
    Exception
        What the lowest run that failed raised; runs not begun are dropped.
    """
    if threads <= 1 or number <= 1:
        return [work(range(number))]
    step = -(-number // threads) if runs == 1 else max(1, number // (runs * threads))
    parts = [range(start, min(start + step, number)) for start in range(0, number, step)]
    with ThreadPoolExecutor(min(threads, len(parts)), name) as pool:
        # In order: what lies below the first failure that shows here has ended without one. Map cancels the rest.
        return list(pool.map(work, parts))


@contextmanager
def beside(work: Callable[[], object], threads: int | None, name: str) -> Iterator[None]:
    """Do one work on a thread of that name beside the block, or before it where one thread is all there is.

    It has ended when the block has; what it raised is raised then, unless the block raised.
    """
    if threads == 1:
        work()
        yield
        return
    with ThreadPoolExecutor(1, name) as pool:
        done = pool.submit(work)
        yield
        done.result()


def begun(aside: Executor | None, work: Callable[[], Result]) -> Callable[[], Result]:
    """Begin a work on the thread there is for it, in order, or do it; returns what gives its result.

    Who asks for a work that nobody has begun yet does it: two threads share what is left.
    """
    if aside is None:
        done = work()
        return lambda: done
    future = aside.submit(work)
    return cache(lambda: work() if future.cancel() else future.result())
