"""A fingerprint of an array that is computed tile by tile, in any order, where the tile lives.

Two sums modulo 2^64 over all voxels: of code * c(x) * b_k(y) * a_k(z), k = 0, 1, where each coordinate has fixed odd
64-bit weights from the counter-based generator. Both share c, so a voxel costs one multiplication. Integers add up
in any order, so tiles and threads show in nothing. Equal arrays have equal fingerprints, and any one changed code
changes both sums. It is no cryptographic digest: whoever wants to can build another array of the same fingerprint. It
shows equality, not honesty.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

STREAM: Final = 0x66696E67
"""Of the generator: the first of five."""
X, YZ = 0, ((1, 2), (3, 4))
"""Streams, from there, of the weights along x, and of those along y and z for each sum."""
MEANING: Final = "two sums modulo 2^64 of code * weight of its place: shows equality, is not tamper-proof"


@lru_cache(maxsize=64)  # every feature of a tile asks for the same ones
def weights(stream: int, start: int, count: int) -> NDArray[np.uint64]:
    """Return the weights of coordinates start .. start + count - 1: odd, so invertible modulo 2^64; read-only."""
    found = tables.draws(0, STREAM + stream, start, count) | np.uint64(1)
    found.flags.writeable = False
    return found


def tile_sums(backend: Any, codes: Any, start: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the sums over one tile.

    Parameters
    ----------
    backend : Backend
        Where the codes live.
    codes : integer array (z, y, x)
    start : tuple of int
        Where the tile begins in the array.
    """
    (z, y, x), (z0, y0, x0) = codes.shape, start
    rows = backend.row_sums(codes, weights=weights(X, x0, x))
    return tuple(
        int((np.einsum("zy,y->z", rows, weights(along_y, y0, y)) * weights(along_z, z0, z)).sum(dtype=np.uint64))
        for along_y, along_z in YZ
    )


def joined(*parts: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sums over several tiles."""
    return tuple(sum(sums) % (1 << 64) for sums in zip(*parts, strict=True))


def fingerprint_text(sums: tuple[int, ...]) -> str:
    """Return a fingerprint as the record writes it: 32 hexadecimal digits."""
    return "".join(f"{value:016x}" for value in sums)
