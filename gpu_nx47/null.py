"""The null: volumes with this one's grey values and roughness and no sheets, to tell what chance would give.

A surrogate is the sum of many pieces of the volume itself, drawn anywhere from it, half of them negative, mapped rank
by rank to the volume's exact histogram. A sum of randomly placed copies has the volume's power spectrum, at every
scale, and random phases: roughness stays, edges, faces and all that is sharp in common go. There are two families:

- `isotropic`: each piece is turned and mirrored at random, so that no direction is left: no sheet of any kind.
- `directional`: each piece is laid as it lay, or turned end for end, which changes no direction: the texture is layered
  as the volume is, slanting layers too. A volume with its phases randomised does not stand out from this one.

There are eight of each, so that their spread can be seen: how much a texture's counts vary from one draw of its phases
to the next, no single surrogate tells, however it is cut up.

Notes
-----
Pieces mirrored along single axes mix a slanting layer with its mirror images. While faces were looked for without their
directions that told no difference; since then three or four in ten of the phantoms with random phases exceeded their
golden interval. Sums of parallel sheets are sheets again, but blurred ones, and phantoms stand out from these.

Noise through Gaussians of sigma 0, 1, 2, 4, weighted to the volume's variances, was tried first: mapped to a phantom's
histogram it had from a sixteenth to twice its fine variance, and a phase-randomised phantom stood out from it by ten
deviations. Shuffled voxels are no null at all: plain blurred noise beats them many times over.

References
----------
Theiler et al., Testing for nonlinearity in time series: the method of surrogate data, Physica D 58, 1992.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from gpu_nx47.stats import Histogram

EDGE: Final = 48
"""Edge of a surrogate, voxels; a smaller volume gives smaller ones."""
CUBES: Final = 8
"""Surrogates of each family: as many voxels as a cube of 96, and each drawn anew, so that their spread is chance's."""
PLACES: Final = 32
"""Voxels by which pieces can be moved along an axis that is long enough not to be mirrored."""
COPIES: Final = 32
"""Pieces in a sum. 16 positive pieces stay within 16 x 255, far inside int16."""
TURNED_FROM: Final = 24
"""Shortest axis that is exchanged with another: pieces of a flat volume are mirrored only."""
GOLDEN_QUANTILE: Final = 0.9999
FAMILIES: Final[dict[str, int]] = {"isotropic": 16, "directional": 17}
"""The families, and the stream of draws of each."""
TURNS: Final = tuple(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
"""The 48 ways to lay a cube: which axis comes first, second, third, and which run backwards."""
ENDS: Final = (TURNS[0], TURNS[7])
"""As it lies, and all three axes backwards."""


def golden_limit(histogram: Histogram) -> int:
    """Return the code that a golden voxel exceeds: the 99.99th percentile of the isotropic surrogates.

    Notes
    -----
    Where that percentile is p = 1 itself, nothing could be above it: then golden is p = 1. How many voxels chance puts
    there is counted, not assumed (`chance`).
    """
    return min(histogram.quantile(GOLDEN_QUANTILE), tables.PROBABILITY_ONE - 1)


def drawn(
    grey: NDArray[np.uint8],
    counts: NDArray[np.int64],
    seed: int,
    each: Callable[..., Iterable[NDArray[np.int16]]] = map,
) -> dict[str, NDArray[np.uint8]]:
    """Return the `surrogates` of each family."""
    return {family: surrogates(grey, counts, seed, family, each) for family in FAMILIES}


def surrogates(
    grey: NDArray[np.uint8],
    counts: NDArray[np.int64],
    seed: int,
    family: str,
    each: Callable[..., Iterable[NDArray[np.int16]]] = map,
) -> NDArray[np.uint8]:
    """Return sheetless volumes like `grey`.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
        The valid box.
    counts : numpy.ndarray of int64, shape (256,)
        Its exact histogram.
    seed : int
    family : {"isotropic", "directional"}
    each : callable
        As `map`; sums the surrogates.

    Returns
    -------
    numpy.ndarray of uint8, shape (8, at most 48 voxels an axis)

    Notes
    -----
    The eight are mapped to the histogram together: what changes slowly in the volume makes them differ from each other.
    One by one they would be stretched until each has all grey values, and be too rough.

    Pieces of an axis of fewer than 80 voxels begin anywhere and see the volume mirrored beyond its ends, half-sample
    symmetric and repeated, as every kernel does. Where they are mirrored they are rougher than the volume (white noise
    by 3 %), so longer axes give pieces that lie within them. Integers all through: the same voxels on every machine.
    """
    draws = tables.draws(seed, FAMILIES[family], 0, CUBES * COPIES * 4).reshape(CUBES, COPIES, 4)
    turns = _turns(grey.shape) if family == "isotropic" else ENDS
    totals = each(lambda drawn: _sum(grey, drawn.tolist(), turns), draws)
    return _ranked(np.stack(list(totals)), counts)


def _sum(grey: NDArray[np.uint8], draws: list[list[int]], turns: tuple[Any, ...]) -> NDArray[np.int16]:
    """Return the sum of pieces, every other one negative.

    Pieces are added up as they lie in the volume, and what is turned alike is turned once: of a piece that is turned by
    itself each voxel is fetched from afar.
    """
    shape = tuple(min(EDGE, n) for n in grey.shape)
    sums: dict[tuple[tuple[int, ...], int], NDArray[np.int16]] = {}
    for number, (*start, turn) in enumerate(draws):
        axes, steps = turns[turn % len(turns)]
        lengths, ways = ([of[axes.index(a)] for a in range(3)] for of in (shape, steps))
        piece = grey
        for axis, (first, length) in enumerate(zip(start, lengths, strict=True)):
            piece = _run(piece, axis, first, length)
        piece = _copied(piece[:: ways[0], :: ways[1]])
        if (axes, ways[2]) not in sums:
            sums[axes, ways[2]] = np.zeros(lengths, np.int16)
        total = sums[axes, ways[2]]
        if number % 2:
            total += piece
        else:
            total -= piece
    result = np.zeros(shape, np.int16)
    for (axes, way), total in sums.items():
        result += total[:, :, ::way].transpose(axes)
    return result


def _turns(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the turns that exchange long axes only."""
    return tuple(
        (axes, steps)
        for axes, steps in TURNS
        if all(a == b or min(shape[a], shape[b]) >= TURNED_FROM for a, b in enumerate(axes))
    )


def _run(array: NDArray[np.uint8], axis: int, draw: int, length: int) -> NDArray[np.uint8]:
    """Return `length` places of an axis, drawn; a view where they follow one another, which most do."""
    whole = array.shape[axis]
    before = (slice(None),) * axis
    if whole >= length + PLACES:
        start = draw % (whole - length + 1)
        return array[(*before, slice(start, start + length))]
    fold = np.concatenate([np.arange(whole), np.arange(whole)[::-1]])
    index = fold[(draw % len(fold) + np.arange(length)) % len(fold)]
    step = int(index[1] - index[0]) if length > 1 else 1
    if step == 0 or index[-1] - index[0] != step * (length - 1):
        return array.take(index, axis=axis)
    stop = int(index[-1]) + step
    return array[(*before, slice(int(index[0]), None if stop < 0 else stop, step))]


def _copied(piece: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a C-contiguous copy. Rows are moved whole: byte by byte it takes NumPy three times as long."""
    if piece.strides[2] != 1:
        return np.ascontiguousarray(piece)
    return np.ascontiguousarray(piece.view(f"V{piece.shape[2]}")).view(np.uint8)


def _ranked(total: NDArray[np.int16], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the grey value of each voxel's rank; ties stand in order of their index.

    Rank r of n stands where the volume's sorted voxels have passed the share (r + 1/2) / n.
    """
    n, whole = total.size, int(counts.sum())
    # Ranks whose place (2 r + 1) whole // (2 n) lies below the cumulated count c: r < (2 n c - whole) / (2 whole).
    below = [max(0, -((whole - 2 * n * int(c)) // (2 * whole))) for c in np.cumsum(counts)]
    grey = np.empty(n, np.uint8)
    grey[np.argsort(total.reshape(-1), kind="stable")] = np.repeat(
        np.arange(256, dtype=np.uint8), np.diff(below, prepend=0)
    )
    return grey.reshape(total.shape)
