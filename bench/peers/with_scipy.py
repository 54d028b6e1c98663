"""SciPy's ndimage: one thread, sums in float64 within."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

EVERYWHERE = np.ones((3, 3, 3), bool)


def _grey(case: Any) -> Any:
    return case.arrays[0]


def _smooth(case: Any) -> Any:
    return case.arrays[0].astype(np.float32) / np.float32(256)


def gaussian(case: Any, _: int) -> Any:
    grey, sigma, radius = _grey(case), float(case.name[-1]), len(case.calls[0][1]["taps"]) - 1
    return lambda: ndimage.gaussian_filter(grey, sigma, radius=radius, output=np.float32)


def _slope(v: Any, axis: int) -> Any:
    return ndimage.correlate1d(v, [-0.5, 0.0, 0.5], axis)


def _magnitude(v: Any) -> Any:
    total = _slope(v, 0) ** 2
    for axis in (1, 2):
        part = _slope(v, axis)
        part *= part
        total += part
    return np.sqrt(total, out=total)


def gradient_magnitude(case: Any, _: int) -> Any:
    v = _smooth(case)
    return lambda: _magnitude(v)


def laplacian(case: Any, _: int) -> Any:
    v = _smooth(case)
    return lambda: ndimage.laplace(v)


def both(case: Any, _: int) -> Any:
    v = _smooth(case)
    return lambda: (_magnitude(v), ndimage.laplace(v))


def gradient_along(case: Any, _: int) -> Any:
    v, (y, x) = _smooth(case), case.calls[0][1]["axis"][0] / 8
    to_y = (y - np.arange(v.shape[1], dtype=np.float32))[:, None]
    to_x = (x - np.arange(v.shape[2], dtype=np.float32))[None, :]
    length = np.maximum(np.sqrt(to_y * to_y + to_x * to_x), 1 / 8)
    to_y, to_x = (to_y / length).astype(np.float32), (to_x / length).astype(np.float32)

    def work() -> Any:
        found = _slope(v, 1)
        found *= to_y
        part = _slope(v, 2)
        part *= to_x
        found += part
        return found

    return work


def local_variance(case: Any, _: int) -> Any:
    wide, window = _grey(case).astype(np.float64), case.calls[0][1]["window"]  # in float32 E[x^2] - E[x]^2 loses digits

    def work() -> Any:
        mean = ndimage.uniform_filter(wide, window)
        found = ndimage.uniform_filter(wide * wide, window)
        mean *= mean
        found -= mean
        return found

    return work


def maximum(case: Any, _: int) -> Any:
    grey, window = _grey(case), case.calls[0][1]["window"]
    return lambda: ndimage.maximum_filter1d(grey, window, axis=0)


def mean(case: Any, _: int) -> Any:
    grey, window = _grey(case), case.calls[0][1]["window"]
    return lambda: ndimage.uniform_filter1d(grey, window, axis=0, output=np.float32)


def _deviation(wide: Any, window: int) -> Any:
    mean = ndimage.uniform_filter1d(wide, window, axis=0)
    found = ndimage.uniform_filter1d(wide * wide, window, axis=0)
    mean *= mean
    found -= mean
    return np.sqrt(np.maximum(found, 0, out=found), out=found)


def deviation(case: Any, _: int) -> Any:
    wide, window = _grey(case).astype(np.float64), case.calls[0][1]["window"]
    return lambda: _deviation(wide, window)


def coherence(case: Any, _: int) -> Any:
    wide, window = _grey(case).astype(np.float64), case.calls[0][1]["window"]
    return lambda: 255 / (255 + _deviation(wide, window))


def label(case: Any, _: int) -> Any:
    mask, connectivity = case.arrays[0], case.calls[0][1]["connectivity"]
    structure = EVERYWHERE if connectivity == 26 else None
    return lambda: ndimage.label(mask, structure)


def hysteresis(case: Any, _: int) -> Any:
    p, codes = case.arrays[0], case.calls[0][1]

    def work() -> Any:
        labels, count = ndimage.label(p >= codes["weak"], EVERYWHERE)
        keep = np.zeros(count + 1, bool)
        keep[labels[p >= codes["strong"]]] = True
        keep[0] = False
        return keep[labels]

    return work


def remove_small(case: Any, _: int) -> Any:
    mask, least = case.arrays[0], case.calls[0][1]["min_size"]

    def work() -> Any:
        labels, _ = ndimage.label(mask, EVERYWHERE)
        keep = np.bincount(labels.reshape(-1)) >= least
        keep[0] = False
        return keep[labels]

    return work


def _morphology(kernel: str) -> Any:
    def make(case: Any, _: int) -> Any:
        mask = case.arrays[0].view(np.uint8)  # a maximum is taken axis by axis, binary_dilation's 27 neighbours are not
        grow = lambda a: ndimage.maximum_filter(a, 3, mode="constant", cval=0)  # noqa: E731
        shrink = lambda a: ndimage.minimum_filter(a, 3, mode="constant", cval=1)  # noqa: E731
        steps = {"dilation": [grow], "erosion": [shrink], "closing": [grow, shrink], "opening": [shrink, grow]}[kernel]

        def work() -> Any:
            found = mask
            for step in steps:
                found = step(found)
            return found

        return work

    return make


TABLE = {
    "gaussian sigma 1": gaussian,
    "gaussian sigma 3": gaussian,
    "gradient and Laplacian": both,
    "gradient_magnitude": gradient_magnitude,
    "laplacian": laplacian,
    "gradient_along": gradient_along,
    "local_variance": local_variance,
    "z_projection max": maximum,
    "z_projection mean": mean,
    "z_projection deviation": deviation,
    "z_projection coherence": coherence,
    "label 6": label,
    "label 26": label,
    "hysteresis": hysteresis,
    "remove_small": remove_small,
    **{kernel: _morphology(kernel) for kernel in ("dilation", "erosion", "closing", "opening")},
}
ABSENT = {
    "local_entropy": "calls Python at each voxel (generic_filter)",
    "histogram of 8 bits": "calls NumPy",
    "histogram of 16 bits": "calls NumPy",
}
