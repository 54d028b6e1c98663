"""Runs of a mask along x, and the components that they are in: union-find, the smallest run as the root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpu_fallback.twin._bits import count_runs, find_runs, ones
from cpu_fallback.twin._jit import compiled, inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Edges = NDArray[Any]
    """Where each run begins and where it has ended: uint16, or int32 of longer rows."""


def first_runs(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the first run of each row of a mask; last: how many there are."""
    first = np.zeros(len(bits) + 1, np.int64)
    count_runs(bits, first)
    return first


def edges_of(bits: NDArray[np.uint64], width: int, first: NDArray[np.int64]) -> Edges:
    """Return the ends of the runs."""
    edges = np.empty(2 * int(first[-1]), np.uint16 if width < 2**16 else np.int32)
    find_runs(bits, width, first, edges)
    return edges


def components_of(
    bits: NDArray[np.uint64], first: NDArray[np.int64], height: int, connectivity: int
) -> tuple[NDArray[np.int32], int]:
    """Return the component of each run, from 1, and the number of components; a plane has `height` rows."""
    number = np.empty(int(first[-1]), np.int32)
    news = np.zeros((3, height * bits.shape[1]), np.uint64)
    return number, _components(bits, first, number, height, connectivity == 26, news)


@compiled
def _components(
    bits: NDArray[np.uint64],
    first: NDArray[np.int64],
    parent: NDArray[np.int32],
    height: int,
    corners: bool,
    news: NDArray[np.uint64],
) -> int:
    """Write the component of each run, from 1; return the number of components."""
    runs = parent.size
    for i in range(runs):
        parent[i] = i
    words = bits.reshape(-1)
    length = bits.shape[1]
    for z in range(bits.shape[0] // height):
        if z > 0 and height > 2:
            _find_news(words, (z * height + 1) * length, length, height, corners, news)
        for y in range(height):
            r = z * height + y
            if first[r] == first[r + 1]:
                continue
            if y > 0:
                _join(bits, first, parent, r, r - 1, corners)
            if z > 0:
                here = slice((y - 1) * length, y * length)
                edge = y == 0 or y == height - 1
                if corners and y > 0 and (edge or _any(news[0, here])):
                    _join(bits, first, parent, r, r - height - 1, corners)
                if edge or _any(news[1, here]):
                    _join(bits, first, parent, r, r - height, corners)
                if corners and y < height - 1 and (edge or _any(news[2, here])):
                    _join(bits, first, parent, r, r - height + 1, corners)
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
def _any(words: NDArray[np.uint64]) -> bool:
    some = np.uint64(0)
    for word in words:
        some |= word
    return some != 0


@inner
def _find_news(
    words: NDArray[np.uint64], start: int, length: int, height: int, corners: bool, news: NDArray[np.uint64]
) -> None:
    """Mark where rows of a plane, but its first and last, may join what nothing else joins in the plane before it.

    Rows of one plane are always joined. So two rows need not be where voxels of both touch others that touch, too: of
    the rows before them, or of those beside one of them. Each such detour leads to planes and rows before, or within a
    plane. What is lost where words end only marks more.
    """
    plane, size = height * length, (height - 2) * length
    row, above, under = words[start:][:size], words[start - length :][:size], words[start + length :][:size]
    start -= plane
    before, over, next_ = words[start:][:size], words[start - length :][:size], words[start + length :][:size]
    if not corners:
        for k in range(size):
            both = row[k] & before[k]
            news[1, k] = _bare(both, both & above[k] & over[k])
        return
    start += plane
    left, right = words[start - 1 :][:size], words[start + 1 :][:size]
    one, top = np.uint64(1), np.uint64(63)
    for k in range(size):
        up, down = row[k] << one | left[k] >> top, row[k] >> one | right[k] << top
        a, b, c = above[k], over[k], before[k]
        a_up, a_down, b_up, b_down = a | a << one, a | a >> one, b | b << one, b | b >> one
        both = row[k] & c
        found = _bare(both, both & (a & (b_up | b_down) | (a_up | a_down) & b))
        slant = up & ~(c << one) & ~(a_up & b_up) | down & ~(c >> one) & ~(a_down & b_down)
        news[1, k] = found | slant & c & ~row[k]
        news[0, k] = b & _apart(row[k], up, down, a | c)
        news[2, k] = next_[k] & _apart(row[k], up, down, under[k] | c)


@inner
def _apart(row: np.uint64, up: np.uint64, down: np.uint64, others: np.uint64) -> np.uint64:
    """Return where a voxel would touch one of a row, or of it moved up or down, and none of others that touches it."""
    up_to, down_to = others | others << np.uint64(1), others | others >> np.uint64(1)
    return row & ~(up_to | down_to) | up & ~up_to | down & ~down_to


@inner
def _bare(runs: np.uint64, marks: np.uint64) -> np.uint64:
    """Return a bit for each run of a word, perhaps behind it, that has none of the marks in it; their last at 63."""
    total = runs + marks  # a run with a mark carries beyond its end
    open_end = np.uint64(total >= runs) & runs >> np.uint64(63)
    return runs << np.uint64(1) & ~runs & ~total | open_end << np.uint64(63)


@inner
def _join(
    bits: NDArray[np.uint64], first: NDArray[np.int64], parent: NDArray[np.int32], row: int, other: int, corners: bool
) -> None:
    """Unite the runs of two rows that touch: a bit for each pair of them; how many begin up to it, tells which."""
    one = np.uint64(1)
    i, k = first[row] - 1, first[other] - 1  # the runs before the word
    last, last_there = np.uint64(0), np.uint64(0)
    for j in range(bits.shape[1]):
        here, there = bits[row, j], bits[other, j]
        left, left_there = here << one | last, there << one | last_there
        last, last_there = here >> np.uint64(63), there >> np.uint64(63)
        starts, starts_there = here & ~left, there & ~left_there
        pairs = here & there & ~(left & left_there)  # where both have begun
        if corners:  # where one begins behind the other's end
            pairs |= left & ~here & starts_there | starts & left_there & ~there
        while pairs:
            upto = pairs ^ (pairs - one)  # to the lowest of them
            _unite(parent, i + np.int64(ones(starts & upto)), k + np.int64(ones(starts_there & upto)))
            pairs &= pairs - one
        i += np.int64(ones(starts))
        k += np.int64(ones(starts_there))


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
