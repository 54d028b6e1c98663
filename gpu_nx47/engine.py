"""Tiles: a volume cut into pieces, worked on by threads, with the bits it would have in one piece.

A piece is a `Tile`: the core it must produce, and `crop(margin)`, the core with a margin of voxels, clipped at the
volume's edge. Kernels reflect at the edges of what they are given; at a clipped edge that is the volume's border,
elsewhere it spoils only voxels within the kernel's radius, which `trim` cuts away. So no bit depends on the tiling.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_nx47.backend import Meter

Result = TypeVar("Result")
Shape = tuple[int, int, int]
Slices = tuple[slice, slice, slice]


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

    def within(self, inner: int, outer: int) -> Slices:
        """Index of `crop(inner)` inside an array that holds `crop(outer)`."""
        small, large = self.crop(inner), self.crop(outer)
        z, y, x = (slice(s.start - t.start, s.stop - t.start) for s, t in zip(small, large, strict=True))
        return z, y, x


def tiles(shape: Shape, tile: Shape) -> list[Tile]:
    """Cut a volume into tiles of at most `tile` voxels an axis, in raster order."""
    counts = [range(0, n, max(1, t)) for n, t in zip(shape, tile, strict=True)]
    return [
        Tile((z, y, x), _stop((z, y, x), tile, shape), shape) for z in counts[0] for y in counts[1] for x in counts[2]
    ]


def _stop(start: Shape, tile: Shape, shape: Shape) -> Shape:
    z, y, x = (min(a + t, n) for a, t, n in zip(start, tile, shape, strict=True))
    return z, y, x


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
        self.tile = tile
        self.threads = threads

    def map(
        self,
        shape: Shape,
        work: Callable[[Tile], Result],
        progress: Callable[[int, int], Any] | None = None,
    ) -> Iterator[tuple[Tile, Result]]:
        """Yield (tile, work(tile)) in raster order, at most twice as many in flight as there are threads.

        An exception of a tile is raised here; tiles not begun are dropped.
        """
        pieces = tiles(shape, self.tile)

        def counted(tile: Tile) -> Result:
            with self.backend.asking(tile.voxels):
                return work(tile)

        if self.threads == 1:
            for done, tile in enumerate(pieces, 1):
                yield tile, counted(tile)
                if progress:
                    progress(done, len(pieces))
            return
        with ThreadPoolExecutor(self.threads, thread_name_prefix="nx47-tile") as pool:
            waiting: deque[tuple[Tile, Future[Result]]] = deque()
            queue = iter(pieces)
            try:
                for done in range(1, len(pieces) + 1):
                    while len(waiting) < 2 * self.threads and (following := next(queue, None)) is not None:
                        waiting.append((following, pool.submit(counted, following)))
                    tile, future = waiting.popleft()
                    yield tile, future.result()
                    if progress:
                        progress(done, len(pieces))
            finally:
                for _, future in waiting:
                    future.cancel()
