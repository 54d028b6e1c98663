"""Fresh processes: what an import takes, what help takes, and a first run that has everything to compile."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from gpu_nx47 import phantom
from gpu_nx47.bench import clock
from gpu_nx47.errors import OutputError

STARTS: Final = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import gpu_nx47": ["-c", "import gpu_nx47"],
    "import numba": ["-c", "import numba"],
    "nx47 --version": ["-m", "gpu_nx47", "--version"],
    "nx47 --help": ["-m", "gpu_nx47", "--help"],
}


def starts(rounds: int) -> dict[str, Any]:
    """Return the seconds of a process that does no more than start, in turns; `import numba` fails where it lacks."""

    def start(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    rivals = {name: (lambda arguments=arguments: start(arguments)) for name, arguments in STARTS.items()}
    times = clock.in_turns(rivals, rounds)
    return {name: {"median_s": t.median_s, "spread": t.spread, "wall_s": t.wall_s} for name, t in times.items()}


def first_runs(size: int, rounds: int, backend: str) -> dict[str, Any]:
    """Return what a first run takes with an empty cache of compiled kernels, and the next one that finds it full.

    Returns
    -------
    dict
        For `empty_cache` and `full_cache`: seconds from the start of the process to its first line and to its end;
        `compile_s`, the difference of the ends: with a thread for each tile, compiling is not all of a thread's time.
    """
    found: dict[str, list[tuple[float, float]]] = {"empty_cache": [], "full_cache": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        phantom.write_phantom_root(root, size=size, seeds=[1], train_seeds=[])
        for number in range(rounds):
            cache = Path(folder) / f"cache{number}"
            for times in found.values():  # the first fills the cache, the second finds it full
                times.append(_process(root, Path(folder) / "out", cache, backend))
    told: dict[str, Any] = {"size": size, "rounds": rounds}
    for kind, pairs in found.items():
        first, last = ([t[k] for t in pairs] for k in (0, 1))
        told[kind] = {
            "first_line_s": statistics.median(first),
            "whole_s": statistics.median(last),
            "first_line_rounds_s": first,
            "whole_rounds_s": last,
        }
    told["compile_s"] = statistics.median(
        a - b for (_, a), (_, b) in zip(found["empty_cache"], found["full_cache"], strict=True)
    )
    return told


def _process(root: Path, output: Path, cache: Path, backend: str) -> tuple[float, float]:
    """Return seconds to the first line and to the end of `nx47 run` in a process of its own."""
    command = [sys.executable, "-m", "gpu_nx47", "run", str(root), "--output", str(output), "--fresh"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "CUPY_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--backend", backend], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        first = time.perf_counter() - began
        rest = process.stdout.read()
    if process.returncode != 0:
        raise OutputError(f"a run in a fresh process failed: {(line + rest).decode(errors='replace')[-500:]}")
    return first, time.perf_counter() - began
