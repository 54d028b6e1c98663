"""What lies around each corner of the voxel grid: a code of 2x2x2 voxels; areas and Euler numbers are sums over them.

A mask of (z, y, x) voxels has (z + 1, y + 1, x + 1) corners; outside of it is background. Bit 4 a + 2 b + c of the code
of corner (i, j, k) is the voxel (i - 1 + a, j - 1 + b, k - 1 + c).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODES: Final = 256
Voxel = tuple[int, int, int]
_VOXELS: Final[tuple[Voxel, ...]] = tuple((a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1))


def corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the code of every corner of a mask (z, y, x), shape (z + 1, y + 1, x + 1)."""
    codes = mask.view(np.uint8)
    for axis, bits in ((2, 1), (1, 2), (0, 4)):
        shape = list(codes.shape)
        shape[axis] += 1
        paired = np.zeros(shape, np.uint8)
        # Seen along the axis: the voxel before the corner in the low bits, the one behind it in the high ones.
        before, behind = (np.moveaxis(paired, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
        along = np.moveaxis(codes, axis, 0)
        before[...] = along
        behind |= along << np.uint8(bits)
        codes = paired
    return codes


def count_codes(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each code occurs."""
    return np.bincount(codes.reshape(-1), minlength=CODES)


def _voxels_of(code: int) -> frozenset[Voxel]:
    return frozenset(v for bit, v in enumerate(_VOXELS) if code >> bit & 1)


def _touch(a: Voxel, b: Voxel) -> bool:
    """Tell whether two voxels of a 2x2x2 cube share a face."""
    return sum(i != j for i, j in zip(a, b, strict=True)) == 1


def _face_connected(voxels: frozenset[Voxel]) -> list[frozenset[Voxel]]:
    """Return the components of voxels joined by faces."""
    parts: list[frozenset[Voxel]] = []
    left = set(voxels)
    while left:
        part = {left.pop()}
        while grown := {v for v in left - part if any(_touch(v, p) for p in part)}:
            part |= grown
        left -= part
        parts.append(frozenset(part))
    return parts


def _piece_area(voxels: frozenset[Voxel]) -> float:
    """Return the area of the surface that cuts one face-connected piece of at most four voxels off its cube.

    Its vertices are the middles of the cut edges, as in marching cubes with spacing 1.
    """
    neighbours = sorted(sum(_touch(v, other) for other in voxels) for v in voxels)
    small = math.sqrt(3) / 8  # the triangle that cuts one corner off
    match neighbours:
        case [0]:
            return small
        case [1, 1]:  # a rectangle of 1 x sqrt(1/2)
            return math.sqrt(2) / 2
        case [1, 1, 2]:  # a bent pentagon: half a square and three small triangles
            return 1 / 2 + 3 * small
        case [2, 2, 2, 2]:  # the unit square
            return 1.0
        case [1, 1, 1, 3]:  # the regular hexagon of side sqrt(1/2)
            return 6 * small
        case _:  # [1, 1, 2, 2], a chain: a skew hexagon of two triangles of 1 / sqrt(8) each and four small ones
            return math.sqrt(2) / 2 + 4 * small


def _area(code: int) -> float:
    """Return the surface area at a corner: of the foreground's pieces, or the background's where that is smaller."""
    inside, outside = _voxels_of(code), _voxels_of(CODES - 1 - code)
    return math.fsum(_piece_area(piece) for piece in _face_connected(min(inside, outside, key=len)))


AREA: Final = tuple(_area(code) for code in range(CODES))
"""Surface area of each code, voxels^2: equal to the table of surface-distance-based-measures at spacing 1."""


def area(counts: NDArray[np.int64]) -> float:
    """Return the surface area of counted codes."""
    return math.fsum(n * a for n, a in zip(counts.tolist(), AREA, strict=True) if n)


def _eighths(code: int) -> int:
    """Return a code's share of the Euler number of closed cubes (26-connected), times 8.

    Notes
    -----
    A vertex, an edge or a face of the grid is there if any voxel around it is. A corner sees 1 whole vertex, 6 halves
    of an edge, 12 quarters of a face, 8 eighths of a voxel.
    """
    inside = _voxels_of(code)
    faces = [{a, b} for a, b in itertools.combinations(_VOXELS, 2) if _touch(a, b)]
    fours = [{v for v in _VOXELS if v[axis] == side} for axis in range(3) for side in (0, 1)]
    return (
        8 * bool(inside)
        - 4 * sum(bool(four & inside) for four in fours)
        + 2 * sum(bool(pair & inside) for pair in faces)
        - len(inside)
    )


_EIGHTHS: Final = np.array([_eighths(code) for code in range(CODES)])
_CUBES: Final = np.array(
    [
        [sum(3**k * (1 + v - o) for k, v, o in zip((2, 1, 0), near, own, strict=True)) for near in _VOXELS]
        for own in _VOXELS
    ]
)
"""Where in the 27 voxels around one lie those of the corner that sees it as bit 0, 1 ...: in the order of bits."""
_BITS: Final = np.arange(8, dtype=np.uint8)[:, None]
_SOME: Final = 4096
"""Voxels that are looked at together: what is read around them stays in a processor's cache."""


def euler_changes(mask: NDArray[np.bool_], differ: NDArray[np.bool_], index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return by how much the 26-connected Euler number of a mask changes, voxel by voxel.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (z, y, x)
        As it is before; C-contiguous, as the next.
    differ : numpy.ndarray of bool, shape (z, y, x)
        Where it changes.
    index : numpy.ndarray of int64
        Flat indices of voxels that change, each once.

    Returns
    -------
    numpy.ndarray of int64
        The change at corners of each of these, times 8: of those around which no changing voxel has a lower bit, so
        each corner counts once. Groups of voxels that do not touch one another share none: their changes add up.
    """
    parts = np.split(index, range(_SOME, len(index), _SOME))
    return np.concatenate([_changes_at(mask, differ, part) for part in parts])


def _changes_at(mask: NDArray[np.bool_], differ: NDArray[np.bool_], index: NDArray[np.int64]) -> NDArray[np.int64]:
    around: list[Any] = []
    for axis, (place, n) in enumerate(zip(np.unravel_index(index, mask.shape), mask.shape, strict=True)):
        beside = np.expand_dims(place + np.array([[-1], [0], [1]]), [k for k in range(3) if k != axis])
        around.append((np.clip(beside, 0, n - 1), (beside >= 0) & (beside < n)))
    (z, z_in), (y, y_in), (x, x_in) = around
    there, inside = ((z * mask.shape[1] + y) * mask.shape[2] + x).reshape(27, -1), (z_in & y_in & x_in).reshape(27, -1)
    before, change = ((m.reshape(-1)[there] & inside).view(np.uint8) for m in (mask, differ))
    was, turned = (np.bitwise_or.reduce(m[_CUBES] << _BITS, axis=1) for m in (before, change))
    own = turned & ((1 << _BITS) - 1) == 0
    changes: NDArray[np.int64] = np.where(own, _EIGHTHS[was ^ turned] - _EIGHTHS[was], 0).sum(axis=0)
    return changes
