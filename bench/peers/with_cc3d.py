"""cc3d: components only."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np


def label(case: Any, _: int) -> Any:
    mask, connectivity = case.arrays[0], case.calls[0][1]["connectivity"]
    return lambda: cc3d.connected_components(mask, connectivity=connectivity, return_N=True)


def hysteresis(case: Any, _: int) -> Any:
    p, codes = case.arrays[0], case.calls[0][1]

    def work() -> Any:
        labels, count = cc3d.connected_components(p >= codes["weak"], connectivity=26, return_N=True)
        keep = np.zeros(count + 1, bool)
        keep[labels[p >= codes["strong"]]] = True
        keep[0] = False
        return keep[labels]

    return work


def remove_small(case: Any, _: int) -> Any:
    mask, least = case.arrays[0], case.calls[0][1]["min_size"]
    return lambda: cc3d.dust(mask, threshold=least, connectivity=26, in_place=False)


def moments(case: Any, _: int) -> Any:
    labels = case.arrays[0].view(np.uint32)
    return lambda: cc3d.statistics(labels)


def mask_moments(case: Any, _: int) -> Any:
    mask = case.arrays[0].view(np.uint8)
    return lambda: cc3d.statistics(cc3d.connected_components(mask, connectivity=26))


TABLE = {
    "label 6": label,
    "label 26": label,
    "hysteresis": hysteresis,
    "remove_small": remove_small,
    "component_moments": moments,
    "mask_moments": mask_moments,
}
ABSENT: dict[str, str] = {}
