"""How much memory a volume will take: planned before it is read, by a pure function of its headers and the settings.

Nothing is measured and nothing is allocated here. Each stage is an account of the arrays that live in it at once; the
plan is the largest account, beside what the process takes already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from gpu_nx47 import accounts
from gpu_nx47.accounts import Job, Lines, Shape, Tiles

MB: Final = 10**6
SMALLEST_EDGE: Final = 32
"""Tiles are not cut below this edge, voxels: the halo would be most of the work."""
CODE_CACHED: Final = 40 * MB
"""What the compiled twins, their tables and the libraries loaded on the way take in a first file."""
CODE_COMPILED: Final = 160 * MB
"""The same where no cache holds them: the compiler stays in memory."""
POOL: Final = 32 * MB
"""What the allocator keeps of each thread's freed tiles, where it is not told to give all back."""


@dataclass(frozen=True)
class Item:
    """One line of an account."""

    name: str
    bytes: int
    """A whole number of MB, rounded up, so that the lines add up as they are shown."""

    def __str__(self) -> str:
        return f"{self.bytes // MB} MB {self.name}"


@dataclass(frozen=True)
class Stage:
    """What lives at once in a stage."""

    name: str
    items: tuple[Item, ...]

    @property
    def bytes(self) -> int:
        """Sum of the lines."""
        return sum(item.bytes for item in self.items)


@dataclass(frozen=True)
class MemoryPlan:
    """The accounts of all stages, for one tile."""

    tile: Shape
    threads: int
    tight: bool
    """The allocator must give freed memory back at once."""
    stages: tuple[Stage, ...]

    @property
    def peak(self) -> Stage:
        """The largest stage; the first of several."""
        return max(self.stages, key=lambda stage: stage.bytes)

    @property
    def bytes(self) -> int:
        """The most that the process is planned to hold."""
        return self.peak.bytes

    def beside(self, job: Job) -> MemoryPlan:
        """Return the plan with another volume read from the end of this one's loading on, a page at a time."""
        size = sum(item.bytes for item in _items(accounts.reading(replace(job, threads=1))))
        line = Item("the next volume, read ahead", size)
        stages = (s if s.name == "load" else replace(s, items=(*s.items, line)) for s in self.stages)
        return replace(self, stages=tuple(stages))

    def __str__(self) -> str:
        return f"{self.bytes // MB} MB in the stage {self.peak.name} = {' + '.join(map(str, self.peak.items))}"

    def record(self) -> dict[str, Any]:
        """Return the plan as JSON values, for the record."""
        return {
            "planned_bytes": self.bytes,
            "stage": self.peak.name,
            "tile": list(self.tile),
            "threads": self.threads,
            "tight": self.tight,
            "stages": {stage.name: {item.name: item.bytes for item in stage.items} for stage in self.stages},
        }


def plan(job: Job, base: int, tile: Shape, *, tight: bool) -> MemoryPlan:
    """Return what a volume will take with a tile.

    Parameters
    ----------
    job : Job
    base : int
        Bytes that the process takes without any volume: interpreter, libraries, compiled code.
    tile : tuple of int
        Output voxels of a tile (z, y, x).
    tight : bool
        The allocator gives freed memory back at once; else it keeps up to POOL bytes a thread.
    """
    tile = _clipped(tile, job.shape)
    work = Tiles(job, tile)
    pool = 0 if tight else work.at_once * min(POOL, work.probability)
    process = ("interpreter, libraries and compiled code", base)
    kept = ("freed, kept by the allocator", pool)
    return MemoryPlan(
        tile,
        job.threads,
        tight,
        tuple(Stage(name, _items([process, kept, *lines])) for name, lines in accounts.of_stages(job, work).items()),
    )


def fit(job: Job, base: int, tile: Shape, limit: int) -> MemoryPlan:
    """Return the first plan within a limit: the tile asked for, then smaller ones; the smallest where none is.

    Parameters
    ----------
    job : Job
    base : int
        As `plan` takes it.
    tile : tuple of int
        The tile asked for.
    limit : int
        Bytes that the process may hold.
    """
    found = plan(job, base, tile, tight=False)
    for smaller in _smaller(_clipped(tile, job.shape)):
        if found.bytes <= limit:
            break
        found = plan(job, base, smaller, tight=True)
    return found


def _smaller(tile: Shape) -> Iterator[Shape]:
    """Yield the tile, then tiles with the longest axis halved, down to the smallest edge."""
    yield tile
    edges = list(tile)
    while max(edges) > SMALLEST_EDGE:
        axis = edges.index(max(edges))
        edges[axis] = max(SMALLEST_EDGE, -(-edges[axis] // 2))
        yield edges[0], edges[1], edges[2]


def _clipped(tile: Shape, shape: Shape) -> Shape:
    z, y, x = (min(t, n) for t, n in zip(tile, shape, strict=True))
    return z, y, x


def _items(lines: Lines) -> tuple[Item, ...]:
    return tuple(Item(name, -(-size // MB) * MB) for name, size in lines if size)
