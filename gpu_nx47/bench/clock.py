"""Clocks: rounds in which rivals take turns, the peak of memory, and what the machine can do at best."""

from __future__ import annotations

import math
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.hardware import release_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REST_S: Final = 0.01
"""Before each call: threads of a library called before spin for a while, and would be in the next one's way."""
SHORT_S: Final = 2.0
"""A first call under it is warm-up and forgotten; a longer one counts: what it warms is lost in it."""
COPY_BYTES: Final = 1 << 28
CHAIN: Final = 4096
"""float32 of the arithmetic loop: 16 kB stay in the first cache level."""
CHAIN_STEPS: Final = 20_000
LONG_ROUNDS: Final = 5
"""Rounds of a rival whose first call was not short."""
REFERENCE_BYTES: Final = 1 << 22


@dataclass
class Times:
    """What one rival took, round by round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Of all threads of the process: what others do on the machine hardly enters."""

    def add(self, taken: tuple[float, float]) -> None:
        """Take note of one call: (wall, processor) seconds."""
        self.wall_s.append(taken[0])
        self.cpu_s.append(taken[1])

    @property
    def median_s(self) -> float:
        """Median on the wall."""
        return statistics.median(self.wall_s)

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        return spread(self.wall_s)


def spread(values: Sequence[float]) -> float:
    """Return the interquartile range over the median."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float((high - low) / middle) if middle > 0 else 0.0


def in_turns(rivals: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Time every rival once a round, each round in another order, so that a change of the machine meets all.

    Parameters
    ----------
    rivals : mapping of name to callable
        What they return is dropped. On a device they wait for their result.
    rounds : int
        Calls of each, without a short first one; of one that is long, LONG_ROUNDS at most.
    """
    found = {name: Times() for name in rivals}
    names = list(rivals)
    wanted = {}
    for name in names:
        first = _timed(rivals[name])
        wanted[name] = rounds if first[0] < SHORT_S else min(rounds, LONG_ROUNDS)
        if first[0] >= SHORT_S:
            found[name].add(first)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if len(found[name].wall_s) <= turn < wanted[name]:
                found[name].add(_timed(rivals[name]))
    return found


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    time.sleep(REST_S)
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    del result
    return wall, cpu


def shortest(work: Callable[[], Any], read: Callable[[], float], tries: int = 5) -> float:
    """Return the least seconds of a few calls, by a clock of the caller's choice."""
    found = []
    for _ in range(tries):
        began = read()
        result = work()
        found.append(read() - began)
        del result
    return min(found)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how many times longer they took: the median over the rounds, each against its own round."""
    return statistics.median(b / max(a, 1e-12) for a, b in zip(ours, theirs, strict=False))


def reference(backend: Any) -> Callable[[], Any]:
    """Return a work that no change of ours makes slower: what else happens on the machine is read from it.

    A sort of 16-bit numbers and a copy, of some milliseconds: the first waits for arithmetic and branches, the other
    for memory.
    """
    room = import_module("cupy") if backend.NAME == "gpu" else np
    numbers = room.asarray((np.arange(REFERENCE_BYTES // 8, dtype=np.int64) * 40_503 % 65_536).astype(np.uint16))
    source = room.zeros(REFERENCE_BYTES, np.uint8)

    def work() -> None:
        for _ in range(2):
            room.sort(numbers)
            source.copy()

    return work


def peak_bytes(work: Callable[[], Any]) -> int | None:
    """Return how much more memory the process held at most while `work` ran; None where the kernel does not say.

    Linux resets its high-water mark on request; the result of `work` counts, its arguments do not.
    """
    status = Path("/proc/self/status")
    release_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _field(status.read_text(encoding="ascii"), "VmRSS")
    except OSError:
        return None
    result = work()
    after = _field(status.read_text(encoding="ascii"), "VmHWM")
    del result
    return max(0, after - before)


class HighWater:
    """Tells the most memory the process held since it was asked last.

    The kernel's two files stay open: asked a hundred and sixty times a run, opening them anew took 1 % of it.
    """

    def __init__(self) -> None:
        self._status: int | None = None
        with suppress(OSError):
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY)
            self._status = os.open("/proc/self/status", os.O_RDONLY)

    def __call__(self) -> int | None:
        """Return it in bytes, and begin anew; None where the kernel does not say."""
        if self._status is None:
            return None
        found = _field(os.pread(self._status, 1 << 14, 0).decode("ascii"), "VmHWM")
        os.write(self._reset, b"5")
        return found

    def close(self) -> None:
        """Close the files; nothing is told any more."""
        if self._status is not None:
            os.close(self._status)
            os.close(self._reset)
            self._status = None


def _field(status: str, name: str) -> int:
    for line in status.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def limits(backend: Any, threads: int, *, copy_bytes: int = COPY_BYTES) -> dict[str, Any]:
    """Return the copy bandwidth and the arithmetic rate of a backend's machine, for one thread and for all.

    Returns
    -------
    dict
        `copy_bytes_per_s` and `arithmetic_per_s`, each a mapping from the number of threads to the rate. Copied bytes
        count twice, read and written. Arithmetic is float32 `a * b + c` in two operations, as the laws round it, on
        16 kB in registers and the first cache level: integer kernels on narrower lanes may surpass it.
    """
    if backend.NAME == "gpu":
        return _device_limits(copy_bytes)
    counts = sorted({1, threads})
    return {
        "copy_bytes_per_s": {str(n): _copy(n, copy_bytes) for n in counts},
        "arithmetic_per_s": {str(n): _arithmetic(n) for n in counts},
    }


def _best(work: Callable[[], Any], repeats: int = 5) -> float:
    """Return the shortest time: a limit is what the machine does undisturbed."""
    return min(_timed(work)[0] for _ in range(repeats + 1))


def _copy(threads: int, size: int) -> float:
    source, target = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    step = -(-size // threads)
    parts = [slice(start, start + step) for start in range(0, size, step)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)))
    return 2 * size / seconds


def _arithmetic(threads: int) -> float:
    loop = _loop()
    rows = [np.full(CHAIN, 0.5, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(lambda row: loop(row, CHAIN_STEPS), rows)))
    return 2 * CHAIN * CHAIN_STEPS * threads / seconds


def _loop() -> Callable[[Any, int], None]:
    """Return the arithmetic loop, compiled where Numba is here."""
    try:
        numba = import_module("numba")
    except ImportError:

        def plain(row: Any, steps: int) -> None:
            for _ in range(steps):
                np.multiply(row, np.float32(0.999), out=row)
                np.add(row, np.float32(0.001), out=row)

        return plain

    def chains(row: Any, steps: int) -> None:
        # Eight steps on a voxel before the next: registers, not loads, are what is measured.
        a, b = np.float32(0.999), np.float32(0.001)
        for _ in range(steps // 8):
            for i in range(row.size):
                v = row[i]
                v = v * a + b
                v = v * a + b
                v = v * a + b
                v = v * a + b
                v = v * a + b
                v = v * a + b
                v = v * a + b
                v = v * a + b
                row[i] = v

    compiled: Callable[[Any, int], None] = numba.njit(nogil=True)(chains)
    compiled(np.zeros(8, np.float32), 8)
    return compiled


def _device_limits(size: int) -> dict[str, Any]:
    cupy = import_module("cupy")
    source = cupy.zeros(size, np.uint8)
    wait = cupy.cuda.Device().synchronize

    def copied() -> None:
        source.copy()
        wait()

    text = "float v = y; for (int i = 0; i < 1024; i++) v = __fadd_rn(__fmul_rn(v, 0.999f), 0.001f); y = v;"
    row, chain = cupy.zeros(1 << 22, np.float32), None
    chain = cupy.ElementwiseKernel("", "float32 y", text, "nx47_bench_chain")

    def added() -> None:
        chain(row)
        wait()

    return {
        "copy_bytes_per_s": {"1": 2 * size / _best(copied)},
        "arithmetic_per_s": {"1": 2 * 1024 * row.size / _best(added)},
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
