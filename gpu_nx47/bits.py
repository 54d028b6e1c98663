"""A mask as bits on the host: what a whole mask is asked costs an eighth of its bytes.

Bit k of word j of a row is the voxel x = 64 j + k. A row has at least one bit beyond its voxels, which is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WORD: Final = 64
_CACHED: Final = 1 << 14
"""Words of the planes that are looked at together."""


@dataclass(frozen=True)
class Packed:
    """A mask that is kept for later, in an eighth of its bytes."""

    words: NDArray[np.uint64]
    width: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Packed:
        """Pack a mask (z, y, x)."""
        return cls(packed(mask), mask.shape[2])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the mask."""
        depth, height, _ = self.words.shape
        return depth, height, self.width

    def rows(self, part: slice) -> NDArray[np.bool_]:
        """Return the slices `part` of the mask."""
        words = self.words[part].astype("<u8", copy=False)
        found = np.unpackbits(words.view(np.uint8), axis=2, count=self.width, bitorder="little")
        return found.view(np.bool_)

    def mask(self) -> NDArray[np.bool_]:
        """Return the whole mask, C-contiguous."""
        return self.rows(slice(None))

    def count(self) -> int:
        """Return the voxels of the mask."""
        return _count(self.words)


def packed(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return a mask (z, y, x) as words, shape (z, y, x // 64 + 1)."""
    depth, height, width = mask.shape
    found = np.zeros((depth, height, 8 * (width // WORD + 1)), np.uint8)
    found[:, :, : -(-width // 8)] = np.packbits(mask, axis=2, bitorder="little")
    return found.view("<u8").astype(np.uint64, copy=False)


def listed(bits: NDArray[np.uint64], width: int) -> NDArray[np.int64]:
    """Return the flat index, in a mask with rows of `width` voxels, of each bit that is set; ascending."""
    word = np.flatnonzero(bits)
    set_bits = np.unpackbits(bits.reshape(-1)[word].astype("<u8", copy=False).view(np.uint8), bitorder="little")
    place = np.flatnonzero(set_bits.view(np.bool_))
    row, column = np.divmod(word, bits.shape[2])
    return (row * width + WORD * column)[place // WORD] + place % WORD


def moved(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return bits one voxel further along x: the bit of a voxel is what its neighbour before it had."""
    found = bits << np.uint64(1)
    # The last bit of a row is 0, so rows are one loop.
    found.reshape(-1)[1:] |= bits.reshape(-1)[:-1] >> np.uint64(WORD - 1)
    return found


def parts(bits: NDArray[np.uint64]) -> Iterator[slice]:
    """Yield runs of planes that, with what is made of them, stay in a processor's cache."""
    some = max(1, _CACHED // max(1, bits[:1].size))
    for start in range(0, len(bits), some):
        yield slice(start, min(start + some, len(bits)))


def euler_number(bits: NDArray[np.uint64], connectivity: int) -> int:
    """Return components - tunnels + cavities of a mask.

    Parameters
    ----------
    bits : numpy.ndarray of uint64
        As `packed` returns them.
    connectivity : {6, 26}

    Notes
    -----
    26: voxels are closed cubes, so a face, an edge or a vertex of the grid is there if any voxel around it is; their
    numbers count with the sign of their dimension (cubes -1, faces +1, edges -1, vertices +1). 6: voxels are vertices,
    and a pair, a square or a cube of them is there if all of its voxels are (+1, -1, +1, -1). Both walk the three axes:
    along each, cells are the voxels, or what lies between two neighbours.

    References
    ----------
    Kong and Rosenfeld, Digital topology, 1989.
    """
    joined = np.bitwise_or if connectivity == 26 else np.bitwise_and
    total = 0
    for part in parts(bits):
        here, behind = bits[part], bits[part.start + 1 : part.stop + 1]
        total += _within(here, connectivity) - _within(joined(here[: len(behind)], behind), connectivity)
    if connectivity == 6:
        return total
    return _within(bits[:1], 26) + _within(bits[-1:], 26) - total


def _within(planes: NDArray[np.uint64], connectivity: int) -> int:
    """Return cells less what lies between two of them along an axis, plus what lies between four, in planes."""
    joined = np.bitwise_or if connectivity == 26 else np.bitwise_and
    along_x = joined(planes, moved(planes))
    # What lies between two holds the cells, or they hold it: where they differ tells the difference of their numbers.
    less = np.bitwise_xor(planes, along_x)
    beside = (joined(rows[:, :-1], rows[:, 1:]) for rows in (planes, along_x))
    between = np.bitwise_xor(*beside)
    total = _count(less) - _count(between)
    if connectivity == 6:
        return total
    return _count(less[:, :1]) + _count(less[:, -1:]) - total  # at the borders, too


def _count(bits: NDArray[np.uint64]) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))
