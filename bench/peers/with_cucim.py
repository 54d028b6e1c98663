"""cuCIM: scikit-image's functions on the GPU, where they do more than call cupyx."""

from __future__ import annotations

from typing import Any

import cupy
from cucim.skimage import measure, morphology


def _done(work: Any) -> Any:
    def waited() -> Any:
        found = work()
        cupy.cuda.Device().synchronize()
        return found

    return waited


def label(case: Any, _: Any) -> Any:
    mask = cupy.asarray(case.arrays[0])
    connectivity = 3 if case.calls[0][1]["connectivity"] == 26 else 1
    return _done(lambda: measure.label(mask, connectivity=connectivity, return_num=True))


def remove_small(case: Any, _: Any) -> Any:
    mask, least = cupy.asarray(case.arrays[0]), case.calls[0][1]["min_size"]
    return _done(lambda: morphology.remove_small_objects(mask, min_size=least, connectivity=3))


TABLE = {"label 6": label, "label 26": label, "remove_small": remove_small}
ABSENT = {"local_entropy": "its rank.entropy, where there is one, is for two dimensions"}
