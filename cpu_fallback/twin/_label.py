"""Twins of `law/_label.py`: what they know of a mask are its runs of true voxels along x (`_runs.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback.law._label import (
    MOMENTS,
    accept_component_moments,
    accept_hysteresis,
    accept_label,
    accept_mask_moments,
    accept_remove_small,
)
from cpu_fallback.twin._bits import AS_IT_IS, TURNED, WORD, at_least, ones, packed, unpack
from cpu_fallback.twin._jit import compiled, inner
from cpu_fallback.twin._runs import components_of, edges_of, first_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback.twin._runs import Edges


def label(
    mask: NDArray[np.bool_], /, *, connectivity: int, at: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int32], int]:
    """Twin of law.label."""
    accept_label(mask, connectivity, at)
    width = mask.shape[2]
    bits = _bits_of(mask)
    first = first_runs(bits)
    number, count = components_of(bits, first, mask.shape[1], connectivity)
    if at is not None:
        found = np.zeros(at.size, np.int32)
        _find(at, width, bits, first, number, found)
        return found, int(count)
    labels = np.zeros(mask.shape, np.int32)
    _paint(first, edges_of(bits, width, first), number, labels.reshape(-1, width))
    return labels, int(count)


def hysteresis(p: NDArray[np.uint16], /, *, weak: int, strong: int) -> NDArray[np.bool_]:
    """Twin of law.hysteresis."""
    accept_hysteresis(p, weak, strong)
    rows = p.reshape(-1, p.shape[2])
    bits = at_least(rows, np.uint16(weak))
    first = first_runs(bits)
    number, count = components_of(bits, first, p.shape[1], 26)
    edges = edges_of(bits, p.shape[2], first)
    keep = np.zeros(count + 1, np.bool_)
    _anchor(rows, np.uint16(strong), first, edges, number, keep)
    _clear(first, edges, number, keep, bits)
    del first, edges, number  # a third of the mask's bytes
    return _mask_of(bits, p.shape)


def remove_small(mask: NDArray[np.bool_], /, *, min_size: int, connectivity: int) -> NDArray[np.bool_]:
    """Twin of law.remove_small."""
    accept_remove_small(mask, min_size, connectivity)
    bits = _bits_of(mask)
    first = first_runs(bits)
    number, count = components_of(bits, first, mask.shape[1], connectivity)
    edges = edges_of(bits, mask.shape[2], first)
    # Compared here: a huge min_size need not fit in 64 bits.
    _clear(first, edges, number, _sizes_of(edges, number, count) >= min_size, bits)
    del first, edges, number  # a third of the mask's bytes
    return _mask_of(bits, mask.shape)


def component_moments(labels: NDArray[np.int32], /, *, count: int) -> NDArray[np.int64]:
    """Twin of law.component_moments."""
    accept_component_moments(labels, count)
    result = np.zeros((count, MOMENTS), np.int64)
    _moments(labels, result)
    return result


def mask_moments(mask: NDArray[np.bool_], /, *, connectivity: int) -> NDArray[np.int64]:
    """Twin of law.mask_moments."""
    accept_mask_moments(mask, connectivity)
    bits = _bits_of(mask)
    first = first_runs(bits)
    number, count = components_of(bits, first, mask.shape[1], connectivity)
    edges = edges_of(bits, mask.shape[2], first)
    result = np.zeros((count, MOMENTS), np.int64)
    _sum_runs(bits, first, edges, number, mask.shape[1], result)
    return result


def _bits_of(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return packed(mask.view(np.uint8).reshape(-1, mask.shape[2]))


def _mask_of(bits: NDArray[np.uint64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.empty(shape, np.uint8)
    unpack(bits, AS_IT_IS, mask.reshape(-1, shape[2]))
    return mask.view(np.bool_)


@compiled
def _paint(first: NDArray[np.int64], edges: Edges, number: NDArray[np.int32], labels: NDArray[np.int32]) -> None:
    for r in range(labels.shape[0]):
        row = labels[r]
        for i in range(first[r], first[r + 1]):
            row[edges[2 * i] : edges[2 * i + 1]] = number[i]


@compiled
def _find(
    at: NDArray[np.int64],
    width: int,
    bits: NDArray[np.uint64],
    first: NDArray[np.int64],
    number: NDArray[np.int32],
    found: NDArray[np.int32],
) -> None:
    one, length = np.uint64(1), np.int64(WORD)
    row, start, word, run = np.int64(0), np.int64(0), np.int64(0), first[0] - 1  # `run`: the last before `word`
    for i in range(at.size):
        x = at[i] - start
        if x < length * word or x >= width:  # another row, or further back in it: most ask in ascending order
            row = at[i] // width
            start, word, run = row * width, np.int64(0), first[row] - 1
            x = at[i] - start
        while length * (word + 1) <= x:
            run += np.int64(ones(_starts(bits, row, word)))
            word += 1
        here = one << np.uint64(x - length * word)
        if bits[row, word] & here:
            found[i] = number[run + np.int64(ones(_starts(bits, row, word) & (here | here - one)))]


@inner
def _starts(bits: NDArray[np.uint64], row: int, word: int) -> np.uint64:
    """Return the bits of a word with which a run begins."""
    before = bits[row, word - 1] >> np.uint64(WORD - 1) if word else np.uint64(0)
    return bits[row, word] & ~(bits[row, word] << np.uint64(1) | before)


@compiled
def _clear(
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    keep: NDArray[np.bool_],
    bits: NDArray[np.uint64],
) -> None:
    """Take away the bits of the runs whose components are not kept."""
    for r in range(bits.shape[0]):
        for i in range(first[r], first[r + 1]):
            if not keep[number[i]]:
                _clear_run(bits[r], np.int64(edges[2 * i]), np.int64(edges[2 * i + 1]))


@inner
def _clear_run(row: NDArray[np.uint64], start: int, end: int) -> None:
    for j in range(start // WORD, (end - 1) // WORD + 1):
        row[j] &= ~_part(j, start, end)


@compiled
def _anchor(
    p: NDArray[np.uint16],
    strong: np.uint16,
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    keep: NDArray[np.bool_],
) -> None:
    for r in range(p.shape[0]):
        row = p[r]
        for i in range(first[r], first[r + 1]):
            if keep[number[i]]:
                continue
            for x in range(np.int64(edges[2 * i]), np.int64(edges[2 * i + 1])):
                if row[x] >= strong:
                    keep[number[i]] = True
                    break


def _sizes_of(edges: Edges, number: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    sizes = np.zeros(count + 1, np.int64)
    _add_sizes(edges, number, sizes)
    return sizes


@compiled
def _add_sizes(edges: Edges, number: NDArray[np.int32], sizes: NDArray[np.int64]) -> None:
    for i in range(number.size):
        sizes[number[i]] += np.int64(edges[2 * i + 1]) - np.int64(edges[2 * i])


@compiled
def _moments(labels: NDArray[np.int32], result: NDArray[np.int64]) -> None:
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            row, x = labels[z, y], 0
            while x < width:
                if row[x] == 0:
                    x += 1
                    continue
                start, value = x, row[x]
                while x < width and row[x] == value:
                    x += 1
                faces = 2
                faces += _others(labels[z, y - 1, start:x], value) if y > 0 else x - start
                faces += _others(labels[z, y + 1, start:x], value) if y < height - 1 else x - start
                faces += _others(labels[z - 1, y, start:x], value) if z > 0 else x - start
                faces += _others(labels[z + 1, y, start:x], value) if z < depth - 1 else x - start
                _add_run(result[value - 1], z, y, start, x, faces)


@inner
def _others(row: NDArray[np.int32], value: np.int32) -> int:
    number = 0
    for x in range(row.size):
        number += row[x] != value
    return number


@inner
def _add_run(moments: NDArray[np.int64], z: int, y: int, start: int, end: int, faces: int) -> None:
    n = end - start
    xs = n * (start + end - 1) // 2
    # The sum of x^2 for x < m is (m - 1) m (2 m - 1) / 6; halved first, no product exceeds m^3, which the check holds
    # below 2^63.
    squares = (end - 1) * end // 2 * (2 * end - 1) // 3 - (start - 1) * start // 2 * (2 * start - 1) // 3
    moments[0] += n
    moments[1] += n * z
    moments[2] += n * y
    moments[3] += xs
    moments[4] += n * z * z
    moments[5] += n * y * y
    moments[6] += squares
    moments[7] += n * z * y
    moments[8] += z * xs
    moments[9] += y * xs
    moments[10] += faces


@compiled
def _sum_runs(
    bits: NDArray[np.uint64],
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    height: int,
    result: NDArray[np.int64],
) -> None:
    for r in range(bits.shape[0]):
        z, y = r // height, r % height
        for i in range(first[r], first[r + 1]):
            start, end = np.int64(edges[2 * i]), np.int64(edges[2 * i + 1])
            # Voxels that share a face are of one component: each hides a face of the other.
            hidden = _shared(bits[r - 1], start, end) if y > 0 else np.int64(0)
            hidden += _shared(bits[r - height], start, end) if z > 0 else np.int64(0)
            _add_run(result[number[i] - 1], z, y, start, end, 2 + 4 * (end - start) - 2 * hidden)


@inner
def _shared(row: NDArray[np.uint64], start: int, end: int) -> np.int64:
    """Return how many voxels a row has from `start` to `end`."""
    found = np.int64(0)
    for j in range(start // WORD, (end - 1) // WORD + 1):
        found += np.int64(ones(row[j] & _part(j, start, end)))
    return found


@inner
def _part(word: int, start: int, end: int) -> np.uint64:
    """Return the bits of a word for the voxels of a row from `start` to `end`."""
    low, high = np.uint64(max(start - WORD * word, 0)), np.uint64(max(WORD * (word + 1) - end, 0))
    return TURNED << low & TURNED >> high
