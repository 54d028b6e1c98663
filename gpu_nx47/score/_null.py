"""A null beside the score: the same mask, half a pitch away from where it was found.

A mask of the right shape in the wrong place: what it scores is not skill. The volume is cut into blocks. A block's
normal is the one of 13 lattice directions (axes, diagonals of faces and of the cube) along which the label's mask
changes most; its pitch is the mean distance between the first voxels of successive sheets on lines along that
direction, where no ignored voxel lies between. A block without two sheets on a line takes the mean pitch of the others.
Each block of the moved mask is read half a pitch away along the normal; between blocks it may be torn.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK: Final = 64
"""Voxels a side: several sheets of a scan, over which their direction hardly turns."""
Vector = tuple[int, int, int]
_STEPS: Final = (-1, 0, 1)
DIRECTIONS: Final[tuple[Vector, ...]] = tuple(
    (z, y, x) for z in _STEPS for y in _STEPS for x in _STEPS if (z, y, x) > (0, 0, 0)
)
"""One of each pair of opposite lattice directions."""


@dataclass(frozen=True)
class Moved:
    """A mask moved by half a local pitch."""

    mask: NDArray[np.bool_]
    pitch: float
    """Mean pitch over the chords of all blocks, voxels."""


def moved_by_half_a_pitch(mask: NDArray[np.bool_], label: NDArray[np.uint8]) -> Moved | None:
    """Return the mask with each block moved by half the label's pitch there; None where no pitch can be measured.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
        The mask to move; what comes from outside is background.
    label : numpy.ndarray of uint8, the same shape
        0 background, 1 surface, 2 ignore.
    """
    blocks = list(_blocks(label.shape))
    tensors = [_changes(label[block] == 1) for block in blocks]
    whole = _main_direction(sum(tensors, np.zeros((3, 3), np.int64)))
    if whole is None:
        return None
    directions = [_main_direction(tensor) or whole for tensor in tensors]
    chords = [_chords(label[block], d) for block, d in zip(blocks, directions, strict=True)]
    number = sum(n for n, _ in chords)
    if number == 0:
        return None
    mean = math.fsum(steps * math.hypot(*d) for (_, steps), d in zip(chords, directions, strict=True)) / number
    moved = np.zeros_like(mask)
    for block, direction, (n, steps) in zip(blocks, directions, chords, strict=True):
        pitch = steps / n if n else mean / math.hypot(*direction)  # in steps along the direction
        _read_from(mask, moved, block, direction, max(1, round(pitch / 2)))
    return Moved(moved, mean)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield blocks of BLOCK to 2 BLOCK - 1 voxels a side: the remainder goes to the last one."""
    cuts = []
    for n in shape:
        starts = [i * BLOCK for i in range(max(1, n // BLOCK))]
        cuts.append([slice(a, b) for a, b in zip(starts, [*starts[1:], n], strict=True)])
    yield from itertools.product(*cuts)


def _changes(truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the sums of products of central differences, (3, 3): where the mask changes, along its normal."""
    values = truth.astype(np.int8)
    if min(values.shape) < 3:
        return np.zeros((3, 3), np.int64)
    slopes = []
    for axis in range(3):
        ahead, behind = ([slice(1, -1)] * 3 for _ in range(2))
        ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
        slopes.append(values[tuple(ahead)] - values[tuple(behind)])
    products = [[int(np.sum(a * b, dtype=np.int64)) for b in slopes] for a in slopes]
    return np.array(products, np.int64)


def _main_direction(tensor: NDArray[np.int64]) -> Vector | None:
    """Return the lattice direction with the greatest d T d / |d|^2, the first of equals; None where all is 0."""
    if not tensor.any():
        return None
    rows = tensor.tolist()

    def change(d: Vector) -> int:
        squared = sum(d[a] * d[b] * rows[a][b] for a in range(3) for b in range(3))
        return squared * 6 // sum(i * i for i in d)  # |d|^2 is 1, 2 or 3: no remainder

    return max(DIRECTIONS, key=change)


def _chords(label: NDArray[np.uint8], direction: Vector) -> tuple[int, int]:
    """Return the chords between first voxels of successive sheets along a direction: their number, and their steps."""
    axis = next(a for a in range(3) if direction[a])
    planes = np.moveaxis(label, axis, 0)
    across = [direction[a] * direction[axis] for a in range(3) if a != axis]
    number = total = 0
    since = np.full(planes.shape[1:], -1, np.int64)  # steps since a sheet began; -1: none yet on this line
    before = np.full(planes.shape[1:], 2, np.uint8)
    for plane in planes:
        since, before = _step(since, across, -1), _step(before, across, 2)
        since[since >= 0] += 1
        # A sheet begins where background is seen before it, not where the block or an ignored part ends.
        begins = (plane == 1) & (before == 0)
        ended = since[begins & (since > 0)]
        number, total = number + ended.size, total + int(ended.sum())
        since[begins] = 0
        since[plane == 2] = -1
        before = plane
    return number, total


def _step(values: NDArray, across: list[int], fill: int) -> NDArray:
    """Return a plane's values as the next plane sees them, one step on along the lines."""
    moved = np.full_like(values, fill)
    to = tuple(slice(max(0, d), n + min(0, d)) for d, n in zip(across, values.shape, strict=True))
    of = tuple(slice(max(0, -d), n + min(0, -d)) for d, n in zip(across, values.shape, strict=True))
    moved[to] = values[of]
    return moved


def _read_from(
    mask: NDArray[np.bool_], moved: NDArray[np.bool_], block: tuple[slice, ...], direction: Vector, steps: int
) -> None:
    """Fill a block of `moved` with the mask `steps` steps away along the direction."""
    to, of = [], []
    for cut, d, n in zip(block, direction, mask.shape, strict=True):
        low, high = max(cut.start + d * steps, 0), min(cut.stop + d * steps, n)
        of.append(slice(low, max(low, high)))
        to.append(slice(low - d * steps, max(low, high) - d * steps))
    moved[tuple(to)] = mask[tuple(of)]
