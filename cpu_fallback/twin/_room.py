"""Room that compiled code computes in, for vectors of up to 64 bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

LINE: Final = 64
"""Bytes of a line of the first cache, and of the widest vector."""


def room(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return a new array, not filled, that begins where a line of the cache does.

    NumPy's begin at any multiple of 16 bytes, wherever the process happens to find room: then most vectors lie across
    two lines, and a neuron took up to 1.45 times as long in one process as in another.
    """
    size = math.prod((shape,) if isinstance(shape, int) else shape) * np.dtype(dtype).itemsize
    held = np.empty(size + LINE, np.uint8)
    start = -held.__array_interface__["data"][0] % LINE
    return held[start : start + size].view(dtype).reshape(shape)
