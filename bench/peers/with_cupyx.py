"""cupyx.scipy.ndimage: SciPy's functions on the GPU."""

from __future__ import annotations

from typing import Any

import cupy
from cupyx.scipy import ndimage


def _done(work: Any) -> Any:
    def waited() -> Any:
        found = work()
        cupy.cuda.Device().synchronize()
        return found

    return waited


def _array(case: Any, kind: Any = None) -> Any:
    array = cupy.asarray(case.arrays[0])
    return array if kind is None else array.astype(kind)


def gaussian(case: Any, _: Any) -> Any:
    wide, sigma, radius = _array(case, "f4"), float(case.name[-1]), len(case.calls[0][1]["taps"]) - 1
    return _done(lambda: ndimage.gaussian_filter(wide, sigma, radius=radius))


def _magnitude(v: Any) -> Any:
    parts = [ndimage.correlate1d(v, [-0.5, 0.0, 0.5], axis) for axis in range(3)]
    return cupy.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2)


def _stencils(*works: Any) -> Any:
    def make(case: Any, _: Any) -> Any:
        v = _array(case, "f4") / 256
        return _done(lambda: [one(v) for one in works])

    return make


def local_variance(case: Any, _: Any) -> Any:
    wide, window = _array(case, "f8"), case.calls[0][1]["window"]
    return _done(lambda: ndimage.uniform_filter(wide * wide, window) - ndimage.uniform_filter(wide, window) ** 2)


def maximum(case: Any, _: Any) -> Any:
    grey, window = _array(case), case.calls[0][1]["window"]
    return _done(lambda: ndimage.maximum_filter1d(grey, window, axis=0))


def mean(case: Any, _: Any) -> Any:
    wide, window = _array(case, "f4"), case.calls[0][1]["window"]
    return _done(lambda: ndimage.uniform_filter1d(wide, window, axis=0))


def histogram(case: Any, _: Any) -> Any:
    codes = _array(case).reshape(-1)
    return _done(lambda: cupy.bincount(codes, minlength=256 if codes.dtype == "u1" else 65_536))


def lookup(case: Any, _: Any) -> Any:
    codes, table = _array(case), cupy.asarray(case.calls[0][1]["table"])
    return _done(lambda: table[codes])


def count(case: Any, _: Any) -> Any:
    mask = _array(case)
    return _done(lambda: int(cupy.count_nonzero(mask)))


def label(case: Any, _: Any) -> Any:
    mask, corners = _array(case), case.calls[0][1]["connectivity"] == 26
    return _done(lambda: ndimage.label(mask, cupy.ones((3, 3, 3), bool) if corners else None))


def _morphology(kernel: str) -> Any:
    def make(case: Any, _: Any) -> Any:
        mask, box = _array(case), cupy.ones((3, 3, 3), bool)
        one = getattr(ndimage, f"binary_{kernel}")
        border = {"border_value": 1} if kernel == "erosion" else {}
        return _done(lambda: one(mask, box, **border))

    return make


TABLE = {
    "gaussian sigma 1": gaussian,
    "gaussian sigma 3": gaussian,
    "gradient and Laplacian": _stencils(_magnitude, ndimage.laplace),
    "gradient_magnitude": _stencils(_magnitude),
    "laplacian": _stencils(ndimage.laplace),
    "local_variance": local_variance,
    "z_projection max": maximum,
    "z_projection mean": mean,
    "histogram of 8 bits": histogram,
    "histogram of 16 bits": histogram,
    "lookup": lookup,
    "count": count,
    "label 6": label,
    "label 26": label,
    **{kernel: _morphology(kernel) for kernel in ("dilation", "erosion")},
}
ABSENT = dict.fromkeys(("closing", "opening"), "its erosion takes what lies outside for background")
