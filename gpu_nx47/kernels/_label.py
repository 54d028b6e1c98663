"""Ports of `cpu_fallback/law/_label.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._label import (
    MOMENTS,
    accept_component_moments,
    accept_hysteresis,
    accept_label,
    accept_mask_moments,
    accept_remove_small,
)
from gpu_nx47.kernels._launch import THREADS, blocks, each, empty, host, i64, shadow, zeros
from gpu_nx47.kernels._loader import cupy, launch
from gpu_nx47.kernels._table import bounds, gather, judged

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE: Final = "_label"
LINK: Final = 32
STRETCH: Final = 16
"""Voxels of a thread, as in the .cu file."""
EVERYTHING: Final = 2**31
"""More voxels than a volume to be labelled may have."""


def label(mask: Any, /, *, connectivity: int, at: Any = None) -> tuple[Any, int]:
    """Port of law.label."""
    accept_label(shadow(mask), connectivity, None if at is None else judged(at))
    parent, n = _components(mask, connectivity == 26), i64(mask.size)
    grid = blocks(mask.size, THREADS * STRETCH)
    counts = empty((grid + 1,), np.uint32)
    labels = empty(mask.shape, np.int32)
    launch(FILE, "count_roots", grid, parent, *n, counts)
    launch(FILE, "sum_counts", 1, *i64(grid), counts)
    launch(FILE, "number_roots", grid, parent, counts, *n, labels)
    each(FILE, "paint", mask.size, parent, *n, labels)
    return labels if at is None else gather(labels, index=at), int(host(counts[grid:])[0])


def hysteresis(p: Any, /, *, weak: int, strong: int) -> Any:
    """Port of law.hysteresis."""
    accept_hysteresis(shadow(p), weak, strong)
    n = i64(p.size)
    mask = empty(p.shape, np.bool_)
    each(FILE, "at_least", p.size, p, np.uint16(weak), *n, mask)
    parent, marks = _components(mask, True), zeros(p.size, np.uint32)
    each(FILE, "mark", p.size, parent, p, np.uint16(strong), *n, marks)
    each(FILE, "keep", p.size, parent, marks, np.uint32(1), *n, mask)
    return mask


def remove_small(mask: Any, /, *, min_size: int, connectivity: int) -> Any:
    """Port of law.remove_small."""
    accept_remove_small(shadow(mask), min_size, connectivity)
    n = i64(mask.size)
    parent, size = _components(mask, connectivity == 26), zeros(mask.size, np.uint32)
    launch(FILE, "sizes", blocks(mask.size, THREADS * STRETCH), parent, *n, size)
    kept = empty(mask.shape, np.bool_)
    each(FILE, "keep", mask.size, parent, size, np.uint32(min(int(min_size), EVERYTHING)), *n, kept)
    return kept


def component_moments(labels: Any, /, *, count: int) -> NDArray[np.int64]:
    """Port of law.component_moments."""
    measurable = isinstance(labels, cupy().ndarray) and labels.dtype == np.int32 and labels.size
    accept_component_moments(shadow(labels, bounds=bounds(labels) if measurable else (0, 0)), count)
    sums = zeros((int(count), MOMENTS), np.uint64)
    if count:
        depth, height, width = labels.shape
        grid = blocks(depth * height * blocks(width, LINK))
        launch(FILE, "moments", grid, labels, *i64(depth, height, width), sums)
    result: NDArray[np.int64] = host(sums).astype(np.int64)
    return result


def mask_moments(mask: Any, /, *, connectivity: int) -> NDArray[np.int64]:
    """Port of law.mask_moments."""
    accept_mask_moments(shadow(mask), connectivity)
    labels, count = label(mask, connectivity=connectivity)
    return component_moments(labels, count=count)


def _components(mask: Any, corners: bool) -> Any:
    """Return for each voxel the flat index of its component's first voxel; -1 outside the mask."""
    n, parent = mask.size, empty(mask.shape, np.int32)
    each(FILE, "plant", n, mask, *i64(n, mask.shape[2]), parent)
    each(FILE, "hook", n, mask, *i64(*mask.shape), np.uint8(corners), parent)
    each(FILE, "flatten", n, *i64(n), parent)
    return parent
