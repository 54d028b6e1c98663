"""OpenCV: two dimensions only. Slices are given to threads; along z the volume is one tall image of rows (y, x)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REFLECT = cv2.BORDER_REFLECT  # half-sample symmetric
ONE = np.ones(1, np.float32)


def spread(threads: int, length: int, work: Callable[[slice], None]) -> None:
    """Do the parts of 0 .. length at once. OpenCV's own threads are off: slices in threads of ours were quicker."""
    cv2.setNumThreads(1)
    step = -(-length // threads)
    parts = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    if threads == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def by_slices(threads: int, source: Any, target: Any, work: Callable[[Any, Any], Any]) -> None:
    """Do `work(slice, slice of the target)` for each slice along z."""

    def some(part: slice) -> None:
        for a, b in zip(source[part], target[part], strict=True):
            work(a, b)

    spread(threads, len(source), some)


def along_z(threads: int, source: Any, dtype: Any, work: Callable[[Any, Any], Any]) -> Any:
    """Do `work(image, target)` on blocks of rows y of the tall image (z, y x)."""
    target = np.empty(source.shape, dtype)
    depth, _, width = source.shape

    def some(part: slice) -> None:
        tall = np.ascontiguousarray(source[:, part]).reshape(depth, -1)
        found = np.empty(tall.shape, dtype)
        work(tall, found)
        target[:, part] = found.reshape(depth, -1, width)

    spread(threads * 8, source.shape[1], some) if threads > 1 else some(slice(None))
    return target


def _smooth(case: Any) -> Any:
    return case.arrays[0].astype(np.float32) / np.float32(256)


def gaussian(case: Any, threads: int) -> Any:
    grey, half = case.arrays[0], np.array(case.calls[0][1]["taps"])
    line = np.concatenate([half[:0:-1], half])

    def work() -> Any:
        planes = np.empty(grey.shape, np.float32)
        by_slices(threads, grey, planes, lambda a, b: cv2.sepFilter2D(a, cv2.CV_32F, line, line, b, borderType=REFLECT))
        return along_z(
            threads, planes, np.float32, lambda a, b: cv2.sepFilter2D(a, cv2.CV_32F, ONE, line, b, borderType=REFLECT)
        )

    return work


def _ends(v: Any, z: int) -> tuple[Any, Any]:
    return v[max(z - 1, 0)], v[min(z + 1, len(v) - 1)]


def _magnitude(v: Any, found: Any, part: slice) -> None:
    for z in range(part.start, part.stop):
        dx = cv2.Sobel(v[z], cv2.CV_32F, 1, 0, ksize=1, scale=0.5, borderType=REFLECT)
        dy = cv2.Sobel(v[z], cv2.CV_32F, 0, 1, ksize=1, scale=0.5, borderType=REFLECT)
        low, high = _ends(v, z)
        dz = cv2.addWeighted(high, 0.5, low, -0.5, 0)
        cv2.magnitude(cv2.magnitude(dx, dy), dz, found[z])


CROSS = np.array([[0, 1, 0], [1, -6, 1], [0, 1, 0]], np.float32)


def _bend(v: Any, found: Any, part: slice) -> None:
    for z in range(part.start, part.stop):
        low, high = _ends(v, z)
        plane = cv2.filter2D(v[z], cv2.CV_32F, CROSS, borderType=REFLECT)
        cv2.add(cv2.add(plane, low), high, found[z])


def _stencils(*works: Any) -> Any:
    def make(case: Any, threads: int) -> Any:
        v = _smooth(case)

        def work() -> Any:
            found = [np.empty(v.shape, np.float32) for _ in works]
            for one, target in zip(works, found, strict=True):
                spread(threads, len(v), lambda part, one=one, target=target: one(v, target, part))
            return tuple(found) if len(found) > 1 else found[0]

        return work

    return make


def local_variance(case: Any, threads: int) -> Any:
    grey, window = case.arrays[0], case.calls[0][1]["window"]
    size, tall = (window, window), (1, window)
    box = {"normalize": False, "borderType": REFLECT}

    def sums(square: bool) -> Any:
        one = cv2.sqrBoxFilter if square else cv2.boxFilter
        planes = np.empty(grey.shape, np.float32)  # exact: below 2^24
        by_slices(threads, grey, planes, lambda a, b: one(a, cv2.CV_32F, size, b, **box))
        return along_z(threads, planes, np.float64, lambda a, b: cv2.boxFilter(a, cv2.CV_64F, tall, b, **box))

    def work() -> Any:
        n = window**3
        mean, found = sums(False), sums(True)
        mean /= n
        found /= n
        mean *= mean
        found -= mean
        return found

    return work


def maximum(case: Any, threads: int) -> Any:
    grey, window = case.arrays[0], case.calls[0][1]["window"]
    tall = np.ones((window, 1), np.uint8)
    return lambda: along_z(threads, grey, np.uint8, lambda a, b: cv2.dilate(a, tall, b, borderType=REFLECT))


def mean(case: Any, threads: int) -> Any:
    grey, window = case.arrays[0], case.calls[0][1]["window"]
    return lambda: along_z(
        threads, grey, np.float32, lambda a, b: cv2.boxFilter(a, cv2.CV_32F, (1, window), b, borderType=REFLECT)
    )


def _deviation(grey: Any, window: int, threads: int, finish: Callable[[Any], Any]) -> Any:
    def work(a: Any, b: Any) -> None:
        box = {"ksize": (1, window), "normalize": False, "borderType": REFLECT}
        first, second = cv2.boxFilter(a, cv2.CV_32F, **box), cv2.sqrBoxFilter(a, cv2.CV_32F, **box)
        cv2.sqrt(cv2.subtract(second * window, cv2.multiply(first, first)), b)  # integers below 2^24 and 2^31
        finish(b)

    return along_z(threads, grey, np.float32, work)


def deviation(case: Any, threads: int) -> Any:
    grey, window = case.arrays[0], case.calls[0][1]["window"]

    def finish(root: Any) -> None:
        root /= window

    return lambda: _deviation(grey, window, threads, finish)


def coherence(case: Any, threads: int) -> Any:
    grey, window = case.arrays[0], case.calls[0][1]["window"]
    full = np.float32(255 * window)

    def finish(root: Any) -> None:
        root += full
        np.divide(full, root, out=root)

    return lambda: _deviation(grey, window, threads, finish)


def _morphology(kernel: str) -> Any:
    def make(case: Any, threads: int) -> Any:
        mask = case.arrays[0].view(np.uint8)
        plane, tall = np.ones((3, 3), np.uint8), np.ones((3, 1), np.uint8)
        steps: Sequence[Any] = {
            "dilation": [cv2.dilate],
            "erosion": [cv2.erode],
            "closing": [cv2.dilate, cv2.erode],
            "opening": [cv2.erode, cv2.dilate],
        }[kernel]

        def work() -> Any:
            found = mask
            for step in steps:  # its default border is ours: what lies outside decides nothing
                planes = np.empty(found.shape, np.uint8)
                by_slices(threads, found, planes, lambda a, b, step=step: step(a, plane, b))
                found = along_z(threads, planes, np.uint8, lambda a, b, step=step: step(a, tall, b))
            return found

        return work

    return make


def histogram(case: Any, threads: int) -> Any:
    codes = case.arrays[0]
    size = 256 if codes.dtype == np.uint8 else 65_536
    flat = codes.reshape(len(codes), -1)

    def work() -> Any:
        cv2.setNumThreads(threads)
        return cv2.calcHist([flat], [0], None, [size], [0, size]).reshape(-1)  # float32: exact below 2^24 a bin

    return work


def lookup(case: Any, threads: int) -> Any:
    codes, table = case.arrays[0], case.calls[0][1]["table"]
    flat, row = codes.reshape(len(codes), -1), np.array(table).reshape(1, -1)

    def work() -> Any:
        cv2.setNumThreads(threads)
        return cv2.LUT(flat, row).reshape(codes.shape)

    return work


def band_pass(case: Any, threads: int) -> Any:
    narrow, wide = (a.astype(np.float32) for a in case.arrays)
    found = narrow.shape

    def work() -> Any:
        target = np.empty(found, np.float32)
        spread(threads, len(target), lambda part: cv2.subtract(narrow[part], wide[part], target[part]) is None)
        return target

    return work


def count(case: Any, threads: int) -> Any:
    flat = case.arrays[0].view(np.uint8).reshape(case.arrays[0].shape[0], -1)

    def work() -> Any:
        cv2.setNumThreads(threads)
        return cv2.countNonZero(flat)

    return work


TABLE = {
    "gaussian sigma 1": gaussian,
    "gaussian sigma 3": gaussian,
    "gradient and Laplacian": _stencils(_magnitude, _bend),
    "gradient_magnitude": _stencils(_magnitude),
    "laplacian": _stencils(_bend),
    "local_variance": local_variance,
    "z_projection max": maximum,
    "z_projection mean": mean,
    "z_projection deviation": deviation,
    "z_projection coherence": coherence,
    "histogram of 8 bits": histogram,
    "histogram of 16 bits": histogram,
    "lookup": lookup,
    "band_pass": band_pass,
    "count": count,
    **{kernel: _morphology(kernel) for kernel in ("dilation", "erosion", "closing", "opening")},
}
ABSENT: dict[str, str] = {}
