"""Direction: which way the sheets face, in each block of 4 x 4 x 4 voxels of the valid box.

A sheet is seen along a whole surface and is thin across it, so what is averaged along it loses noise and no edge. The
field of directions is measured once, from the structure tensor of the smoothed grey values; it is turned so that it
points away from the scroll's axis, and every kernel that looks along or across a sheet takes it as a parameter: one
of each cell of 2 x 2 x 2 voxels, eight of which a block has.

Notes
-----
A tensor is summed over 36 voxels an axis, so that its direction hardly differs from one cell to the next. Measured in
each cell it took four times as long, and sixteen phantoms scored a little less (bench/results/quality.txt).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law import DIRECTION_BLOCK, DIRECTION_NONE, DIRECTION_OPPOSITE
from gpu_nx47 import tables
from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Shape, Slices, Tile

BLOCK: Final = DIRECTION_BLOCK
"""Edge of a block, voxels."""
CELL: Final = 2
"""Edge of a cell, voxels: what kernels that look along a sheet know directions of."""
SIGMA: Final = 1.0
"""Scale of the Gaussian whose gradients make the tensor, voxels."""
RADIUS: Final = 2
"""Of each of the two box sums over the tensor, blocks: a Gaussian of 8 voxels."""
HALO: Final = 2 * RADIUS + 2
"""Blocks around a block that can change its direction: both boxes, the gradient and G(1)."""
THICKER: Final = 3
"""Times the slices of the features' tiles, at most: of a voxel a seventh as many bytes are held, and the margin of 24
voxels to either side is measured again by each tile."""


@dataclass(frozen=True)
class Field:
    """The directions of a valid box, one a block."""

    direction: NDArray[np.uint16]
    """Code of the normal (`tables.direction_vectors`)."""
    planarity: NDArray[np.uint8]
    """(l1 - l2) / l1 of the structure tensor, 1/255: 0 no sheet, 255 a perfect plane."""
    outward: bool = False
    """The normals point away from the scroll's axis; else their sign means nothing."""

    @cached_property
    def cells(self) -> NDArray[np.uint16]:
        """The direction of each cell, that of its block."""
        cells = self.direction
        for axis in range(3):
            cells = np.repeat(cells, BLOCK // CELL, axis=axis)
        return cells

    def cut(self, crop: Slices) -> tuple[NDArray[np.uint16], tuple[int, int, int]]:
        """Return the directions that a crop of the box needs, and the place of its first voxel in their first cell."""
        z, y, x = (slice(s.start // CELL, -(-s.stop // CELL)) for s in crop)
        phase = (crop[0].start % CELL, crop[1].start % CELL, crop[2].start % CELL)
        return np.ascontiguousarray(self.cells[z, y, x]), phase


def tile_of(tile: Shape, shape: tuple[int, ...], threads: int) -> Shape:
    """Return the blocks of a tile that directions are measured in: thicker than those of features, one size for all.

    Parameters
    ----------
    tile : tuple of int
        Voxels of the features' tiles.
    shape : tuple of int
        Voxels of the box.
    threads : int
        Tiles worked on at once; each gets as many of them, if they need not be thinner than `tile` for that.
    """
    z, y, x = (max(1, size // BLOCK) for size in tile)
    depth = -(-shape[0] // BLOCK)
    pieces = -(-depth // (THICKER * z))
    pieces = min(-(-pieces // threads) * threads, -(-depth // z))
    return -(-depth // pieces), y, x


def measure(engine: Engine, grey: NDArray[np.uint8], progress: Callable[[int, int], Any] | None = None) -> Field:
    """Measure the directions of a valid box, not yet turned.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    progress : callable, optional
        Called with (tiles done, tiles).
    """
    backend = engine.backend
    shape = (-(-grey.shape[0] // BLOCK), -(-grey.shape[1] // BLOCK), -(-grey.shape[2] // BLOCK))

    def work(tile: Tile) -> tuple[NDArray, NDArray]:
        ends = zip(tile.start, tile.stop, grey.shape, strict=True)
        with backend.asking(math.prod(min(BLOCK * stop, n) - BLOCK * start for start, stop, n in ends)):
            return blocks(tile)

    def blocks(tile: Tile) -> tuple[NDArray, NDArray]:
        z, y, x = (slice(BLOCK * s.start, BLOCK * s.stop) for s in tile.crop(HALO))
        smooth = backend.gaussian(backend.to_device(grey[z, y, x].copy()), taps=tables.gaussian_taps(SIGMA))
        inner = zip(tile.within(0, HALO), smooth.shape, strict=True)
        window = tuple(slice(BLOCK * s.start, min(BLOCK * s.stop, n)) for s, n in inner)
        direction, planarity = backend.directions(smooth, radius=RADIUS, window=window)
        return backend.to_host(direction), backend.to_host(planarity)

    field = Field(np.empty(shape, np.uint16), np.empty(shape, np.uint8))
    pieces = engine.shaped(tile_of(engine.tile, grey.shape, engine.threads))
    for tile, (direction, planarity) in pieces.map(shape, work, progress):
        field.direction[tile.core], field.planarity[tile.core] = direction, planarity
    return field


def turned(field: Field, axis: NDArray[np.int32], threads: int = 1) -> Field:
    """Turn every normal so that it points away from the axis.

    Parameters
    ----------
    field : Field
    axis : numpy.ndarray of int32, shape (Z, 2)
        The scroll's axis in each slice of the box, (y, x) in 1/8 voxel.
    threads : int
        Slices turned at once.
    """
    vector = np.rint(tables.direction_vectors() * (1 << 14)).astype(np.int64)
    along_y, along_x = (np.ascontiguousarray(vector[:, k]) for k in (1, 2))
    other = opposite(np.arange(len(vector), dtype=np.uint16))
    direction = np.empty_like(field.direction)
    # The middle of a block lies one and a half voxels behind its first one.
    here_y, here_x = (8 * BLOCK * np.arange(n, dtype=np.int64) + 12 for n in field.direction.shape[1:])

    def some(run: range) -> None:
        for z in run:  # a slice at a time stays in the cache
            code = field.direction[z]
            line_y, line_x = axis[min(BLOCK * z + BLOCK // 2, len(axis) - 1)]
            away = along_y.take(code) * (here_y - line_y)[:, None]
            away += along_x.take(code) * (here_x - line_x)
            direction[z] = np.where(away < 0, other.take(code), code)

    spread(len(direction), some, threads, "nx47-turn")
    return replace(field, direction=direction, outward=True)


def normals_at(field: Field, index: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the normals (z, y, x), times their planarity, at voxels of a box given by flat indices: shape (n, 3)."""
    z, y, x = (i // BLOCK for i in np.unravel_index(index, shape))
    _, rows, columns = field.direction.shape
    block = (z * rows + y) * columns + x
    normal = tables.direction_vectors().take(field.direction.reshape(-1).take(block), axis=0)
    normal *= (field.planarity.reshape(-1).take(block) / 255.0)[:, None]
    return normal


def opposite(code: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the codes of the opposite directions; no direction stays none."""
    half = np.uint16(DIRECTION_OPPOSITE)
    other = np.where(code < half, code + half, code - half)
    return np.where(code == DIRECTION_NONE, code, other).astype(np.uint16)


@dataclass(frozen=True)
class Bearing:
    """What is known of the sheets' direction when features of a box are computed."""

    axis: NDArray[np.int32] | None = None
    """The scroll's axis in each slice, shape (Z, 2), (y, x) in 1/8 voxel of the box; None: its side is unknown."""
    field: Field | None = None
    """None: no feature that needs it will be asked for."""

    @classmethod
    def of(cls, axis: NDArray[np.int32] | None, field: Field, threads: int = 1) -> Bearing:
        """Return axis and directions, these turned away from it where it is known."""
        return cls(axis, field if axis is None else turned(field, axis, threads))
