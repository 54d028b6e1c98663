"""The whole run, stage by stage: what the main thread does at each moment, so that the parts sum to the wall time."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from gpu_nx47 import (
    backend,
    budget,
    filework,
    findings,
    hardware,
    inference,
    journal,
    load,
    neuron,
    overlay,
    phantom,
    pipeline,
    press,
    slices,
    source,
    submission,
)
from gpu_nx47.bench import clock
from gpu_nx47.journal.dispatch import Dispatcher
from gpu_nx47.model import Model
from gpu_nx47.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REST: Final = "rest"
"""What no stage names."""
FOUND: Final = "found"
"""In place of a model's path: the neuron that a run without a model trains on the last of the volumes."""


class Timeline:
    """Adds up the seconds of the main thread by what it is at, the innermost counting; and each one's memory peak."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, int] = {}
        self.others: dict[str, float] = defaultdict(float)
        """Processor seconds on other threads of what is watched there."""
        self._stack = [REST]
        self._since = time.perf_counter()
        self._main = threading.get_ident()
        self._lock = threading.Lock()
        self._high_water = clock.HighWater()

    def _turn(self) -> None:
        now = time.perf_counter()
        here = self._stack[-1]
        self.seconds[here] += now - self._since
        self._since = now
        peak = self._high_water()
        if peak is not None:
            self.peaks[here] = max(peak, self.peaks.get(here, 0))

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Be at `name` within the block."""
        if threading.get_ident() != self._main:
            began = time.thread_time()
            try:
                yield
            finally:
                with self._lock:
                    self.others[name] += time.thread_time() - began
            return
        self._turn()
        self._stack.append(name)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def close(self) -> None:
        """Count what is left; once."""
        self._turn()
        self._high_water.close()


_WATCHED: Final[tuple[tuple[Any, str, str], ...]] = (
    (source, "discover", "discover"),
    (source, "differing_shapes", "discover"),
    (backend, "select", "backend"),
    (hardware, "hardware", "hardware"),
    (hardware, "packages", "hardware"),
    (budget.Budget, "plan", "plan"),
    (budget.Budget, "outlook", "plan"),
    (load, "_decode", "decode"),
    (journal, "open_observers", "record"),
    (Dispatcher, "emit", "record"),
    (Dispatcher, "close", "record"),
    (journal, "outputs_digests", "record"),
    (filework, "sha256_of", "record"),
    (inference, "tile_sums", "record"),
    (press.Press, "begin", "encode"),
    (submission.SubmissionWriter, "add", "encode"),
    (press.Press, "file", "encode"),
    (submission.SubmissionWriter, "close", "package"),
    (press.Press, "checked", "check"),
    (submission, "check_submission", "check"),
    (overlay, "write", "pictures"),
    (findings, "write_picture", "pictures"),
    (slices, "write_table", "slices"),
)
"""Owner, function, what it is told as; the stages of `Story` are told by their own names."""


@contextmanager
def watched(line: Timeline) -> Iterator[None]:
    """Have the functions of a run tell the timeline that they are at work."""
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, stand_in: Any) -> None:
        real = owner.__dict__[name]
        undo.append(lambda: setattr(owner, name, real))
        setattr(owner, name, stand_in(getattr(owner, name)))

    def told(label: str) -> Any:
        def stand_in(real: Any) -> Any:
            def call(*arguments: Any, **parameters: Any) -> Any:
                with line.at(label):
                    return real(*arguments, **parameters)

            return call

        return stand_in

    def staged(real: Any) -> Any:
        @contextmanager
        def stage(story: Any, name: str, step: str | None = None) -> Iterator[Any]:
            with line.at(name), real(story, name, step) as progress:
                yield progress

        return stage

    story: Any = filework.Story
    try:
        put(story, "stage", staged)
        put(story, "trace", told("record"))
        for owner, name, label in _WATCHED:
            put(owner, name, told(label))
        yield
    finally:
        for back in reversed(undo):
            back()


def one_run(root: Path, output: Path, settings: Settings) -> dict[str, Any]:
    """Run once and return what each part took.

    Returns
    -------
    dict
        wall_s, cpu_s, stages: a list of {stage, wall_s, share, peak_bytes, calc_ops, calc_ops_executed, calc_per_sec,
        mvoxel_per_s}; their seconds sum to the wall time. `record_on_threads_s`: processor seconds of fingerprints
        within tiles, which lie within the stages that compute them.
    """
    line = Timeline()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        with watched(line):
            result = pipeline.run(root, output, settings, fresh=True)
    finally:
        line.close()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    voxels = sum(entry["valid_voxels"] for entry in result.files)
    stages = []
    for name, seconds in line.seconds.items():
        told = [entry["stages"][name] for entry in result.files if name in entry["stages"]]
        asked = sum(stage["calc_ops"] for stage in told)
        stages.append(
            {
                "stage": name,
                "wall_s": seconds,
                "share": seconds / wall,
                "peak_bytes": line.peaks.get(name),
                "calc_ops": asked,
                "calc_ops_executed": sum(stage["calc_ops_executed"] for stage in told),
                "calc_per_sec": asked / seconds if seconds else 0.0,
                "mvoxel_per_s": voxels / seconds / 1e6 if seconds else None,
            }
        )
    return {
        "files": len(result.files),
        "voxels": voxels,
        "wall_s": wall,
        "cpu_s": cpu,
        "named_share": 1 - line.seconds[REST] / wall,
        "stages": stages,
        "record_on_threads_s": line.others.get("record", 0.0),
        "calc_ops": result.stats["calc_ops"],
        "calc_ops_executed": result.stats["calc_ops_executed"],
        "calc_per_sec": result.stats["calc_ops"] / wall,
        "bytes_read": result.stats["bytes_read"],
        "bytes_written": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()),
        "mvoxel_per_s": voxels / wall / 1e6,
        "peak_bytes": max(line.peaks.values(), default=None),
        "file_s": [entry["elapsed_s"] for entry in result.files],
    }


def found_model(root: Path, output: Path, settings: Settings) -> Model:
    """Run once, without a model, and return as one what was trained on the last volume."""
    found: list[neuron.Trained] = []
    train = neuron.train

    def kept(*arguments: Any, **parameters: Any) -> neuron.Trained:
        found.append(train(*arguments, **parameters))
        return found[-1]

    with patch.object(neuron, "train", kept):
        pipeline.run(root, output, replace(settings, model=""), fresh=True)
    return Model(found[-1].unit, {}, found[-1], {})


def runs(size: int, files: int, rounds: int, settings: Settings) -> dict[str, Any]:
    """Return the middle one of a few runs on phantoms, and the time a file takes at P50, P90 and P99.

    Parameters
    ----------
    size : int
        Voxels a side.
    files : int
        Volumes of a run, one seed each.
    rounds : int
        Runs; the first, which compiles, is not counted.
    settings : Settings
        Its model may be `FOUND`.
    """
    named = settings.model
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        phantom.write_phantom_root(root, size=size, seeds=range(1, files + 1), train_seeds=[])
        if named == FOUND:
            settings = replace(settings, model=str(Path(folder) / "model.json"))
            found_model(root, Path(folder) / "out", settings).write(Path(settings.model))
        found = [one_run(root, Path(folder) / "out", settings) for _ in range(rounds + 1)][1:]
    each = [seconds for run in found for seconds in run["file_s"]]
    middle = sorted(found, key=lambda run: run["wall_s"])[len(found) // 2]
    shares = {f"p{share}": clock.percentile(each, share / 100) for share in (50, 90, 99)}
    walls = [run["wall_s"] for run in found]
    return {
        "size": size,
        "model": named,
        **middle,
        "wall_rounds_s": walls,
        "cpu_rounds_s": [run["cpu_s"] for run in found],
        "spread": clock.spread(walls),
        "files_measured": len(each),
        "file_s": shares,
    }
