"""In which order files are done, and what is done when time runs short.

With a time budget every file first gets a cheap mask, so that a valid submission can be packed at any moment; then the
files are done in full, one after the other, until the deadline. Without one the cheap masks are left out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gpu_nx47.alerts import Alert
from gpu_nx47.errors import TimeSpentError
from gpu_nx47.mask_check import check_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_nx47.deadline import Deadline
    from gpu_nx47.filework import FileWork
    from gpu_nx47.volume import Source

STATES: Final = ("full", "quick", "empty", "failed")
MARGIN: Final = 1.5
"""Packing is given this many times what it takes to re-read the masks, which is most of it."""
LEAST_KEPT_S: Final = 1.0


def do(sources: Sequence[Source], work: FileWork, deadline: Deadline) -> None:
    """Bring every file as far as time allows; each has a state in `work.states` then."""
    if deadline.budget_s is not None:
        _quick_masks(sources, work, deadline)
    left = [(k, item) for k, item in enumerate(sources, 1) if work.states.get(item.id) not in ("full", "failed")]
    try:
        for place, (index, item) in enumerate(left, 1):
            if deadline.over:
                break
            following = left[place][1] if place < len(left) else None
            work.full(item, index, len(sources), following)
    except TimeSpentError:
        pass
    work.ahead.forget()
    for item in sources:
        if item.id not in work.states:
            work.empty(item)
    _tell(work, deadline)


def by_state(states: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the ids of the files in each state; of those done in full there is a counter."""
    return {state: [name for name, now in states.items() if now == state] for state in STATES[1:]}


def _quick_masks(sources: Sequence[Source], work: FileWork, deadline: Deadline) -> None:
    """Give each file a cheap mask; learn from them how long it takes to finish a file, and to pack them all."""
    slowest_s = check_s = 0.0
    for number, item in enumerate(sources, 1):
        if deadline.over:
            return
        started = time.monotonic()
        if item.id not in work.states:
            work.quick(item)
        made = time.monotonic()
        if item.id in work.shapes:
            check_file(work.writer.waiting / f"{item.id}.tif", work.shapes[item.id])
        slowest_s = max(slowest_s, made - started)
        check_s += time.monotonic() - made
        # Those to come get a mask too, be it an empty one: they are taken to be as large as those before them.
        deadline.keep(LEAST_KEPT_S + slowest_s + MARGIN * check_s * len(sources) / number)


def _tell(work: FileWork, deadline: Deadline) -> None:
    left = [name for state in ("quick", "empty") for name in by_state(work.states)[state]]
    if left:
        done = sum(state == "full" for state in work.states.values())
        work.emit(Alert.of("TIME_BUDGET", f"{done} of {len(work.states)} volumes", deadline.budget_s).event())
