"""Port of `cpu_fallback/law/_entropy.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._entropy import accept_local_entropy
from gpu_nx47.kernels._launch import MARCH, columns, empty, i32, i64, shadow, upload
from gpu_nx47.kernels._loader import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE: Final = "_entropy"


def local_entropy(grey: Any, /, *, window: int, bins: int, table: NDArray[np.uint32]) -> Any:
    """Port of law.local_entropy."""
    accept_local_entropy(shadow(grey), window, bins, table)
    result = empty(grey.shape, np.uint16)
    entries = upload(np.ascontiguousarray(table))
    geometry = i64(*grey.shape, MARCH)
    launch(FILE, f"local_entropy_{bins}", columns(grey.shape), grey, entries, i32(window), *geometry, result)
    return result
