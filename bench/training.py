"""What a training and a scan of the cleaning take, stage by stage: wall and processor seconds.

A training on small phantoms goes before, so that nothing is compiled or read for the first time in what is measured.

Usage: ``python bench/training.py [--size 320] [--seeds 201,202,203,204] [--threads 2]``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tifffile
from outside import smoothed
from phantom_hardness import body
from quality import integers

from gpu_nx47.backend import Meter, select
from gpu_nx47.engine import Engine
from gpu_nx47.phantom import make_phantom, phantom_id, write_phantom_root
from gpu_nx47.settings import SegmentSettings, Settings
from gpu_nx47.train.learn import train
from gpu_nx47.train.tune import tune


class Clock:
    """Adds up what lies between two events, under the name of the later one."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._before = time.perf_counter(), time.process_time()

    def __call__(self, name: str) -> None:
        """Count what was spent since the last call under a name."""
        now = time.perf_counter(), time.process_time()
        spent = self.spent.setdefault(name, [0.0, 0.0, 0])
        for k in range(2):
            spent[k] += now[k] - self._before[k]
        spent[2] += 1
        self._before = now

    def tell(self, each: int) -> None:
        """Print it, and all of it for each of so many."""
        for name, (wall, cpu, times) in self.spent.items():
            print(f"  {name:22s} {times:4.0f} times  wall {wall:7.2f} s  processor {cpu:7.2f} s")
        wall, cpu = (sum(spent[k] for spent in self.spent.values()) for k in range(2))
        print(f"  {'all':22s} {'':10s}  wall {wall:7.2f} s  processor {cpu:7.2f} s", end="")
        print(f"; of each of {each}: {wall / each:.2f} and {cpu / each:.2f}", flush=True)


def measured(work: Callable[[Clock], Any]) -> Clock:
    """Return a clock that a work was told to call."""
    clock = Clock()
    work(clock)
    return clock


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=320)
    options.add_argument("--seeds", type=integers, default=[201, 202, 203, 204])
    options.add_argument("--threads", type=int, default=2)
    given: Any = options.parse_args()
    engine = Engine(Meter(select("cpu")[0]), Settings().tile, given.threads)
    with tempfile.TemporaryDirectory() as name:
        for size in (64, given.size):
            root, probability = Path(name) / f"{size}", Path(name) / f"{size} probability"
            write_phantom_root(root, size=size, seeds=[], train_seeds=given.seeds)
            clock = measured(
                lambda c, r=root: train(r, engine, Settings(), lambda event: c(event.data.get("step", "alert")))
            )
            phantom = make_phantom(size, given.seeds[0])
            probability.mkdir()
            whole = phantom.image.astype("float32") * 0
            whole[body(phantom)[1]] = smoothed(phantom)
            tifffile.imwrite(probability / f"{phantom_id(given.seeds[0])}.tif", whole, photometric="minisblack")
            scan = measured(
                lambda c, p=probability, r=root: tune(p, r, engine, SegmentSettings(), 1, lambda one: c(one.stage))
            )
        print(f"nx47 train, {len(given.seeds)} labelled {given.size}-cubes, {given.threads} threads")
        clock.tell(len(given.seeds))
        print(f"nx47 tune, smoothed grey values of one {given.size}-cube")
        scan.tell(int(sum(times for _, _, times in scan.spent.values())))


if __name__ == "__main__":
    main()
