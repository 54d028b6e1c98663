"""Port of `cpu_fallback/law/_direction.py`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._direction import DIRECTION_NONE, PAIRS, accept_directions, blocks_of
from gpu_nx47.kernels._launch import MARCH, blocks, each, empty, i64, lines, part, shadow
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from cpu_fallback._checks import Window

FILE: Final = "_direction"


def directions(smooth: Any, /, *, radius: int = 2, window: Window | None = None) -> tuple[Any, Any]:
    """Port of law.directions."""
    start, shape = part(smooth.shape, accept_directions(shadow(smooth), radius, window))
    z, y, x = whole = tuple(blocks_of(n) for n in smooth.shape)
    number = z * y * x
    sums, other = (empty((len(PAIRS), *whole), np.int64) for _ in range(2))
    each(FILE, "products", number, smooth, *i64(*smooth.shape, *whole), sums)
    for axis in (0, 1, 2, 0, 1, 2):
        outer, length, inner = lines((z, y, x), axis)
        rows = i64(len(PAIRS) * outer, length, inner, MARCH)
        threads = len(PAIRS) * outer * blocks(length, MARCH) * inner
        launch(FILE, "box_sum", blocks(threads), sums, *i64(radius), *rows, other)
        sums, other = other, sums
    direction, planarity = empty(shape, np.uint16), empty(shape, np.uint8)
    places = i64(*whole, *start, *shape)
    each(FILE, "leading", math.prod(shape), sums, *places, np.uint16(DIRECTION_NONE), direction, planarity)
    return direction, planarity
