"""Twins of `law/_label.py`: union-find over runs of true voxels along x, the smallest run as the root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpu_fallback.law._label import (
    MOMENTS,
    accept_component_moments,
    accept_hysteresis,
    accept_label,
    accept_mask_moments,
    accept_remove_small,
)
from cpu_fallback.twin._bits import at_least, count_runs, find_runs, packed
from cpu_fallback.twin._jit import compiled, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Edges = NDArray[Any]
    """Where each run begins and where it has ended: uint16, or int32 of longer rows."""


def label(
    mask: NDArray[np.bool_], /, *, connectivity: int, at: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int32], int]:
    """Twin of law.label."""
    accept_label(mask, connectivity, at)
    width = mask.shape[2]
    first, edges = _runs_of(_bits_of(mask), width)
    number, count = _components_of(first, edges, mask.shape, connectivity)
    if at is not None:
        found = np.zeros(at.size, np.int32)
        _find(at, width, first, edges, number, found)
        return found, int(count)
    labels = np.zeros(mask.shape, np.int32)
    _paint(first, edges, number, labels.reshape(-1, width))
    return labels, int(count)


def hysteresis(p: NDArray[np.uint16], /, *, weak: int, strong: int) -> NDArray[np.bool_]:
    """Twin of law.hysteresis."""
    accept_hysteresis(p, weak, strong)
    rows = p.reshape(-1, p.shape[2])
    first, edges = _runs_of(at_least(rows, np.uint16(weak)), p.shape[2])
    number, count = _components_of(first, edges, p.shape, 26)
    keep = np.zeros(count + 1, np.bool_)
    _anchor(rows, np.uint16(strong), first, edges, number, keep)
    return _kept(first, edges, number, keep, p.shape)


def remove_small(mask: NDArray[np.bool_], /, *, min_size: int, connectivity: int) -> NDArray[np.bool_]:
    """Twin of law.remove_small."""
    accept_remove_small(mask, min_size, connectivity)
    first, edges = _runs_of(_bits_of(mask), mask.shape[2])
    number, count = _components_of(first, edges, mask.shape, connectivity)
    # Compared here: a huge min_size need not fit in 64 bits.
    return _kept(first, edges, number, _sizes_of(edges, number, count) >= min_size, mask.shape)


def component_moments(labels: NDArray[np.int32], /, *, count: int) -> NDArray[np.int64]:
    """Twin of law.component_moments."""
    accept_component_moments(labels, count)
    result = np.zeros((count, MOMENTS), np.int64)
    _moments(labels, result)
    return result


def mask_moments(mask: NDArray[np.bool_], /, *, connectivity: int) -> NDArray[np.int64]:
    """Twin of law.mask_moments."""
    accept_mask_moments(mask, connectivity)
    first, edges = _runs_of(_bits_of(mask), mask.shape[2])
    number, count = _components_of(first, edges, mask.shape, connectivity)
    result = np.zeros((count, MOMENTS), np.int64)
    _sum_runs(first, edges, number, mask.shape[0], mask.shape[1], result)
    return result


def _bits_of(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return packed(mask.view(np.uint8).reshape(-1, mask.shape[2]))


def _runs_of(bits: NDArray[np.uint64], width: int) -> tuple[NDArray[np.int64], Edges]:
    """Return the first run of each row of a mask (last: how many there are), and the ends of the runs."""
    first = np.zeros(len(bits) + 1, np.int64)
    count_runs(bits, first)
    edges = np.empty(2 * int(first[-1]), np.uint16 if width < 2**16 else np.int32)
    find_runs(bits, width, first, edges)
    return first, edges


def _kept(
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    keep: NDArray[np.bool_],
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Return the mask of the runs whose components are kept."""
    mask = np.zeros(shape, np.uint8)
    _draw(first, edges, number, keep, mask.reshape(-1, shape[2]))
    return mask.view(np.bool_)


def _components_of(
    first: NDArray[np.int64], edges: Edges, shape: tuple[int, ...], connectivity: int
) -> tuple[NDArray[np.int32], int]:
    """Return the component of each run, from 1, and the number of components."""
    number = np.empty(int(first[-1]), np.int32)
    return number, _components(first, edges, number, shape[0], shape[1], connectivity == 26)


@compiled
def _components(
    first: NDArray[np.int64], edges: Edges, parent: NDArray[np.int32], depth: int, height: int, corners: bool
) -> int:
    """Write the component of each run, from 1; return the number of components."""
    runs = parent.size
    for i in range(runs):
        parent[i] = i
    reach = 1 if corners else 0
    for z in range(depth):
        for y in range(height):
            r = z * height + y
            if first[r] == first[r + 1]:
                continue
            if y > 0:
                _join(first, edges, parent, r, r - 1, reach)
            if z > 0:
                if corners and y > 0:
                    _join(first, edges, parent, r, r - height - 1, reach)
                _join(first, edges, parent, r, r - height, reach)
                if corners and y < height - 1:
                    _join(first, edges, parent, r, r - height + 1, reach)
    count = 0
    for i in range(runs):
        # A parent is no greater than its child: its number is there already.
        if parent[i] == i:
            count += 1
            parent[i] = count
        else:
            parent[i] = parent[parent[i]]
    return count


@inner
def _join(first: NDArray[np.int64], edges: Edges, parent: NDArray[np.int32], row: int, other: int, reach: int) -> None:
    j, last = first[other], first[other + 1]
    for i in range(first[row], first[row + 1]):
        low, high = np.int64(edges[2 * i]) - reach, np.int64(edges[2 * i + 1]) + reach
        while j < last and edges[2 * j + 1] <= low:
            j += 1
        k = j
        while k < last and edges[2 * k] < high:
            _unite(parent, i, k)
            k += 1


@inner
def _unite(parent: NDArray[np.int32], a: int, b: int) -> None:
    if parent[a] == parent[b]:
        return
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    while parent[b] != b:
        parent[b] = parent[parent[b]]
        b = parent[b]
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


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
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    found: NDArray[np.int32],
) -> None:
    row, start, before, run = np.int64(0), np.int64(0), np.int64(width), np.int64(0)
    for i in range(at.size):
        x = at[i] - start
        if x < before or x >= width:  # another row, or further back in it: most ask in ascending order
            row = at[i] // width
            start, run = row * width, first[row]
            x = at[i] - start
        before = x
        # The last run of the row that starts at x or before lies before `run`.
        while run < first[row + 1] and edges[2 * run] <= x:
            run += 1
        if run > first[row] and x < edges[2 * run - 1]:
            found[i] = number[run - 1]


@compiled
def _draw(
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    keep: NDArray[np.bool_],
    rows: NDArray[np.uint8],
) -> None:
    for r in range(rows.shape[0]):
        row = rows[r]
        for i in range(first[r], first[r + 1]):
            if keep[number[i]]:
                row[edges[2 * i] : edges[2 * i + 1]] = 1


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
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    depth: int,
    height: int,
    result: NDArray[np.int64],
) -> None:
    for z in range(depth):
        for y in range(height):
            r = z * height + y
            for i in range(first[r], first[r + 1]):
                start, end = np.int64(edges[2 * i]), np.int64(edges[2 * i + 1])
                _add_run(result[number[i] - 1], z, y, start, end, 2 + 4 * (end - start))
            if y > 0:
                _cover(first, edges, number, r, r - 1, result)
            if z > 0:
                _cover(first, edges, number, r, r - height, result)


@inner
def _cover(
    first: NDArray[np.int64],
    edges: Edges,
    number: NDArray[np.int32],
    row: int,
    other: int,
    result: NDArray[np.int64],
) -> None:
    """Take off the faces that two rows hide from each other: voxels that share one are of one component."""
    i, j = first[row], first[other]
    while i < first[row + 1] and j < first[other + 1]:
        low, high = max(edges[2 * i], edges[2 * j]), min(edges[2 * i + 1], edges[2 * j + 1])
        shared = np.int64(high) - np.int64(low)
        if shared > 0:
            result[number[i] - 1, 10] -= 2 * shared
        if edges[2 * i + 1] < edges[2 * j + 1]:
            i += 1
        else:
            j += 1
