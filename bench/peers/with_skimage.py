"""scikit-image, where it does more than call SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from skimage import measure, morphology
from skimage.filters import rank


def local_entropy(case: Any, _: int) -> Any:
    window = case.calls[0][1]["window"]
    radius, cube = window // 2, np.ones((window,) * 3, np.uint8)
    bins = case.arrays[0] >> 4  # 16 bins

    def work() -> Any:
        # Its window shrinks at the border; ours is mirrored there.
        found = rank.entropy(np.pad(bins, radius, mode="symmetric"), cube)
        return found[radius:-radius, radius:-radius, radius:-radius]

    return work


def label(case: Any, _: int) -> Any:
    mask, connectivity = case.arrays[0], 3 if case.calls[0][1]["connectivity"] == 26 else 1
    return lambda: measure.label(mask, connectivity=connectivity, return_num=True)


def remove_small(case: Any, _: int) -> Any:
    mask, least = case.arrays[0], case.calls[0][1]["min_size"]
    return lambda: morphology.remove_small_objects(mask, max_size=least - 1, connectivity=3)


TABLE = {"local_entropy": local_entropy, "label 6": label, "label 26": label, "remove_small": remove_small}
_SCIPY = "calls SciPy"
ABSENT = {
    **dict.fromkeys(
        ("gaussian sigma 1", "gaussian sigma 3", "laplacian", "dilation", "erosion", "closing", "opening"), _SCIPY
    ),
    "hysteresis": "joins 6 neighbours, not 26, and calls SciPy",
    "component_moments": "calls Python for each component (regionprops)",
}
