"""Tiles: a volume cut into pieces, worked on by threads, with the bits it would have in one piece.

A piece is a `Tile`: the core it must produce, and `crop(margin)`, the core with a margin of voxels, clipped at the
volume's edge. Kernels reflect at the edges of what they are given; at a clipped edge that is the volume's border,
elsewhere it spoils only voxels within the kernel's radius, which `trim` cuts away. So no bit depends on the tiling.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from gpu_nx47 import rescue
from gpu_nx47.backend import Meter
from gpu_nx47.hardware import release_between
from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import DTypeLike, NDArray

    from gpu_nx47.backend import Backend

Result = TypeVar("Result")
Shape = tuple[int, int, int]
Slices = tuple[slice, slice, slice]
DEVICE_BYTES: Final = 40
"""Of a device's memory for each voxel of a tile: all features of the default bank at once take 38.4 (tests/shim)."""
SMALLEST_TILE: Final = 1 << 15
"""Voxels under which no tile is cut for lack of memory alone: its halo would be most of the work."""
ASIDE_VOXELS: Final = 1 << 27
"""Volumes up to this have their masks counted on a thread beside the cleaning, in copies."""
SLAB_VOXELS: Final = 1 << 20
"""Voxels that a whole-box statistic looks at together, at least one slice: its temporary arrays stay this small."""


@dataclass(frozen=True)
class Tile:
    """One piece of a volume of `shape`: its core is start <= index < stop."""

    start: Shape
    stop: Shape
    shape: Shape

    @property
    def voxels(self) -> int:
        """Voxels of the core."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z * y * x

    @property
    def core(self) -> Slices:
        """Index of the core in the volume."""
        return self.crop(0)

    def crop(self, margin: int) -> Slices:
        """Index in the volume of the core with a margin, clipped at the volume's edges."""
        z, y, x = (
            slice(max(0, a - margin), min(n, b + margin))
            for a, b, n in zip(self.start, self.stop, self.shape, strict=True)
        )
        return z, y, x

    def inside(self, point: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of some points, (3, n), lie in the core, ascending."""
        inside = np.arange(point.shape[1])
        for at, start, stop in zip(point, self.start, self.stop, strict=True):
            here = at[inside]  # of few only, behind the first axis
            inside = inside[(here >= start) & (here < stop)]
        return inside

    def halves(self) -> list[Tile]:
        """Return the tile in two parts, cut across its longest axis; one voxel is no longer cut."""
        axis = max(range(3), key=lambda a: self.stop[a] - self.start[a])
        middle = (self.start[axis] + self.stop[axis]) // 2
        if middle == self.start[axis]:
            return [self]
        end, begin = list(self.stop), list(self.start)
        end[axis] = begin[axis] = middle
        return [
            Tile(self.start, (end[0], end[1], end[2]), self.shape),
            Tile((begin[0], begin[1], begin[2]), self.stop, self.shape),
        ]

    def parts(self, voxels: int) -> list[Tile]:
        """Cut the tile along z into parts of at most so many voxels, or of one slice."""
        (z0, y0, x0), (z1, y1, x1) = self.start, self.stop
        step = max(1, voxels // ((y1 - y0) * (x1 - x0)))
        return [Tile((z, y0, x0), (min(z + step, z1), y1, x1), self.shape) for z in range(z0, z1, step)]

    def within(self, inner: int, outer: int, held: Tile | None = None) -> Slices:
        """Index of `crop(inner)` inside an array that holds `crop(outer)` of this tile or of `held`, which holds it."""
        small, large = self.crop(inner), (held or self).crop(outer)
        z, y, x = (slice(s.start - t.start, s.stop - t.start) for s, t in zip(small, large, strict=True))
        return z, y, x

    def cut(self, array: Any, inner: int, outer: int, held: Tile | None = None) -> Any:
        """Return `crop(inner)`, C-contiguous, of a host or device array that holds `crop(outer)` (of `held`)."""
        if inner == outer and held in (None, self):
            return array
        part = array[self.within(inner, outer, held)]
        return part if part.flags.c_contiguous else part.copy()


def tiles(shape: Shape, tile: Shape, within: Sequence[slice] = ()) -> list[Tile]:
    """Cut a volume, or some of its slices alone, into tiles of at most `tile` voxels an axis, in raster order."""
    rows, columns = (range(0, n, max(1, t)) for n, t in zip(shape[1:], tile[1:], strict=True))
    return [
        Tile((z, y, x), _stop((z, y, x), tile, (slab.stop, *shape[1:])), shape)
        for slab in within or [slice(0, shape[0])]
        for z in range(slab.start, slab.stop, max(1, tile[0]))
        for y in rows
        for x in columns
    ]


def _stop(start: Shape, tile: Shape, end: Shape) -> Shape:
    z, y, x = (min(a + t, n) for a, t, n in zip(start, tile, end, strict=True))
    return z, y, x


def slabs(shape: Shape | tuple[int, ...]) -> Iterator[slice]:
    """Yield runs of slices along z that cover a volume, of about SLAB_VOXELS voxels each."""
    step = max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def where(shape: tuple[int, ...], found: Callable[[slice], NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Return the flat index of each voxel that is found, ascending; `found` is asked for a slab at a time."""
    plane = shape[1] * shape[2]
    return np.concatenate([np.flatnonzero(found(rows)) + rows.start * plane for rows in slabs(shape)])


def histogram(backend: Backend | Meter, array: NDArray, threads: int = 1) -> NDArray[np.int64]:
    """Return the exact histogram of a volume on the host, from the kernel's of its slabs.

    Parameters
    ----------
    backend : Backend or Meter
    array : numpy.ndarray of uint8, uint16 or int16, shape (z, y, x)
        Not empty; it may be a view: no copy of the whole is made.
    threads : int
        Slabs counted at once; on a GPU one.
    """
    if isinstance(backend, Meter):
        return rescue.whole(backend, "a histogram", lambda: _histogram(backend, array, threads))
    return _histogram(backend, array, threads)


def _histogram(backend: Backend | Meter, array: NDArray, threads: int) -> NDArray[np.int64]:
    parts = list(slabs(array.shape))

    def some(run: range) -> NDArray[np.int64]:
        found = (backend.histogram(backend.to_device(np.ascontiguousarray(array[parts[k]]))) for k in run)
        total: NDArray[np.int64] = reduce(np.add, found)
        return total

    found = spread(len(parts), some, 1 if backend.NAME == "gpu" else threads, "nx47-count")
    total: NDArray[np.int64] = reduce(np.add, found)
    return total


def _released(work: Callable[[], Result]) -> Result:
    """Return what work returns, its freed memory given back: other work goes on beside what comes next."""
    try:
        return work()
    finally:
        release_between()


class Engine:
    """Runs work over tiles on a pool of threads.

    Parameters
    ----------
    backend : Meter
        The kernels, counted.
    tile : tuple of int
        Output voxels of a tile (z, y, x).
    threads : int
        Tiles worked on at once, >= 1.
    """

    def __init__(self, backend: Meter, tile: Shape, threads: int) -> None:
        self.backend = backend
        self.phase: Callable[[str, str | None], AbstractContextManager[None]] = lambda _stage, _file: nullcontext()
        """Entered around each stage of a volume, with the names of stage and file."""
        self.tile = tile
        self.threads = threads
        self._pieces: Sequence[Tile] | None = None
        self._slabs: Sequence[slice] = ()

    def on(self, pieces: Sequence[Tile]) -> Engine:
        """Return an engine that works on these tiles alone, in raster order, whatever the size of its own."""
        other = copy(self)
        other._pieces = sorted(pieces, key=lambda tile: tile.start)
        return other

    def within(self, slabs: Sequence[slice]) -> Engine:
        """Return an engine that works on these slices alone, in tiles of its own size."""
        other = copy(self)
        other._slabs = slabs
        return other

    def shaped(self, tile: Shape) -> Engine:
        """Return an engine with tiles of another shape, everywhere: of a grid that is coarser than voxels, say."""
        other = copy(self)
        other.tile, other._pieces = tile, None
        return other

    def thinner(self, parts: int) -> Engine:
        """Return an engine whose tiles are so many times thinner: for what needs hardly any margin."""
        other = copy(self)
        z, y, x = self.tile
        other.tile = (max(1, z // parts), y, x)
        return other

    @property
    def thickest(self) -> int:
        """Slices that a tile has at most."""
        return self.tile[0] if self._pieces is None else max(p.stop[0] - p.start[0] for p in self._pieces)

    def room(self, shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
        """Return an array for what tiles will put into it; 0 where this engine does not work."""
        everywhere = self._pieces is None and not self._slabs
        return np.empty(shape, dtype) if everywhere else np.zeros(shape, dtype)

    @contextmanager
    def aside(self, shape: tuple[int, ...] = ()) -> Iterator[ThreadPoolExecutor | None]:
        """Give a thread beside a serial work, on a volume of a shape.

        None where one thread, or one GPU's memory, is all there is, and for large volumes: it works on copies.
        """
        if self.threads == 1 or self.backend.NAME == "gpu" or math.prod(shape) > ASIDE_VOXELS:
            yield None
            return
        with ThreadPoolExecutor(1, "nx47-aside", self.backend.enter_thread) as pool:
            yield pool

    def together(self, *works: Callable[[], Any]) -> list[Any]:
        """Return what each of some independent works returns; as many are done at once as tiles are.

        They are begun in order, so the longest should stand first; an exception of one is raised here.
        """
        if self.threads == 1 or self.backend.NAME == "gpu":  # there, one volume at a time is what fits
            return [work() for work in works]
        release_between()
        with ThreadPoolExecutor(self.threads, "nx47-work", self.backend.enter_thread) as pool:
            return [future.result() for future in [pool.submit(_released, work) for work in works]]

    def map(
        self,
        shape: Shape,
        work: Callable[[Tile], Result],
        progress: Callable[[int, int], Any] | None = None,
    ) -> Iterator[tuple[Tile, Result]]:
        """Yield (tile, work(tile)) in raster order, at most twice as many in flight as there are threads.

        In place of a tile for which a GPU had no memory come its parts (`rescue.tile`). An exception of a tile is
        raised here; tiles not begun are dropped.
        """
        pieces = tiles(shape, self._fitting(shape), self._slabs) if self._pieces is None else list(self._pieces)

        def counted(tile: Tile) -> list[tuple[Tile, Result]]:
            return rescue.tile(self.backend, tile, work)

        try:
            yield from self._results(pieces, counted, progress)
        finally:
            if len(pieces) > 1:  # what one tile alone took, the next work takes again
                release_between()

    def _fitting(self, shape: Shape) -> Shape:
        """Return the tile's size, halved until those worked on at once fit into what the devices have free."""
        free = self.backend.free_bytes()
        z, y, x = (min(size, length) for size, length in zip(self.tile, shape, strict=True))
        tile = Tile((0, 0, 0), (z, y, x), shape)
        if free is None or tile.voxels * self.threads * DEVICE_BYTES <= free:
            return self.tile
        while tile.voxels * self.threads * DEVICE_BYTES > free and tile.voxels > SMALLEST_TILE:
            tile = tile.halves()[0]
        return tile.stop

    def _results(
        self,
        pieces: list[Tile],
        counted: Callable[[Tile], list[tuple[Tile, Result]]],
        progress: Callable[[int, int], Any] | None,
    ) -> Iterator[tuple[Tile, Result]]:
        if self.threads == 1 or len(pieces) == 1:  # where one is all there is, its caller may be one of many
            for done, tile in enumerate(pieces, 1):
                yield from counted(tile)
                if progress:
                    progress(done, len(pieces))
            return
        with ThreadPoolExecutor(self.threads, "nx47-tile", self.backend.enter_thread) as pool:
            waiting: deque[Future[list[tuple[Tile, Result]]]] = deque()
            queue = iter(pieces)
            try:
                for done in range(1, len(pieces) + 1):
                    while len(waiting) < 2 * self.threads and (following := next(queue, None)) is not None:
                        waiting.append(pool.submit(counted, following))
                    yield from waiting.popleft().result()
                    if progress:
                        progress(done, len(pieces))
            finally:
                for future in waiting:
                    future.cancel()
