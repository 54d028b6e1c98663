"""What the record and the null cost: their shares of a run's processor time, and memory for a million events.

    python bench/record.py share [--size 320] [--record standard]
    python bench/record.py memory [--events 1000000]

Processor time, not the clock on the wall: it is the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_nx47
from gpu_nx47 import fake, inference, journal, phantom, story
from gpu_nx47.events import Event
from gpu_nx47.hardware import peak_rss_bytes
from gpu_nx47.journal.dispatch import Dispatcher
from gpu_nx47.settings import Settings


class Spent:
    """Adds up the processor seconds of functions, over all threads that call them, the outermost call counting."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._local = threading.local()

    def watch(self, owner: Any, name: str) -> None:
        """Put a function of a class or module under the clock."""
        real = getattr(owner, name)

        def watched(*arguments: Any, **parameters: Any) -> Any:
            if getattr(self._local, "inside", False):
                return real(*arguments, **parameters)
            self._local.inside = True
            began = self.clock()
            try:
                return real(*arguments, **parameters)
            finally:
                self._local.inside = False
                with self._lock:
                    self.seconds[name] += self.clock() - began

        setattr(owner, name, watched)


def share(size: int, level: str) -> None:
    """Run on a phantom and print what traces, fingerprints and events cost of it, and what the null does."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        phantom.write_phantom_root(root, size=size, seeds=[1], train_seeds=[])
        gpu_nx47.run(root, Path(folder) / "warm", Settings(threads=1))  # kernels are compiled and cached
        spent, chances = Spent(time.thread_time), Spent(time.process_time)  # the null works in threads of its own
        for owner, name in ((story, "array_trace"), (inference, "tile_sums"), (Dispatcher, "emit")):
            spent.watch(owner, name)
        for owner, name in ((fake, "said"), (fake, "compared")):
            chances.watch(owner, name)
        began, wall = time.process_time(), time.monotonic()
        gpu_nx47.run(root, Path(folder) / "out", Settings(record=level, threads=1))  # what threads do is counted too
        total, wall = time.process_time() - began, time.monotonic() - wall
        size_bytes = (Path(folder) / "out" / journal.RECORD_NAME).stat().st_size
    parts = {name: round(seconds, 3) for name, seconds in spent.seconds.items()}
    percent, null = (100 * sum(part.seconds.values()) / total for part in (spent, chances))
    print(json.dumps({"size": size, "record": level, "cpu_s": round(total, 2), "wall_s": round(wall, 2), **parts}))
    print(f"recording: {percent:.2f} % of the processor time; the record takes {size_bytes} bytes. Null: {null:.2f} %")


def write_events(folder: Path, events: int) -> None:
    """Write a record of so many events."""
    observers = journal.open_observers(folder, None)
    observers.emit(Event("BOOT", {"version": "1", "output": str(folder), **observers.keys}))
    for done in range(events - 2):
        observers.emit(Event("PROGRESS_UPDATE", {"file": "a", "stage": "features", "done": done, "total": events}))
    observers.emit(Event("EXEC_COMPLETE", {"submission": None, "digests": {}, "exit_code": 0}))
    observers.close()


def memory(events: int) -> None:
    """Write and verify records in children, and print the most memory that each held."""
    for count in (1_000, events):
        with tempfile.TemporaryDirectory() as folder:
            for act in ("write", "verify", "stand-alone"):
                command = [sys.executable, __file__, "child", "--act", act, "--folder", folder, "--events", str(count)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(done.stdout.strip().splitlines()[-1])


def child(act: str, folder: Path, events: int) -> None:
    """Do one thing, and print what it took."""
    began = time.process_time()
    verdict = None
    if act == "write":
        write_events(folder, events)
    elif act == "verify":
        from gpu_nx47.audit.verify import verify

        verdict = verify(folder).sentence
    else:
        from gpu_nx47.journal import verify_record

        verdict = verify_record.check(folder, [], None)[1]
    seconds = time.process_time() - began
    said = {"act": act, "events": events, "peak_rss_bytes": peak_rss_bytes(), "cpu_s": round(seconds, 2)}
    print(json.dumps(said | {"verdict": verdict}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["share", "memory", "child"])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--record", default="standard")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--act")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.what == "share":
        share(asked.size, asked.record)
    elif asked.what == "memory":
        memory(asked.events)
    else:
        child(asked.act, asked.folder, asked.events)


if __name__ == "__main__":
    main()
