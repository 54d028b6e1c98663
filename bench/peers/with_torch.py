"""PyTorch, on the CPU's threads or on a GPU: whole-array operations, as its users write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

F = torch.nn.functional


def _place(threads: int | str) -> str:
    """Return the device; on the CPU, set its threads."""
    if isinstance(threads, str):
        return threads
    torch.set_num_threads(threads)
    return "cpu"


def _done(work: Any, place: str) -> Any:
    def waited() -> Any:
        with torch.inference_mode():
            found = work()
        if place == "cuda":
            torch.cuda.synchronize()
        return found

    return waited


def _tensor(array: Any, place: str, kind: Any = None) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array)).to(place, kind)


def _padded(v: Any, axis: int, radius: int) -> Any:
    """Return v with a half-sample symmetric border along one axis."""
    n = v.shape[axis]
    ends = v.narrow(axis, 0, radius).flip(axis), v.narrow(axis, n - radius, radius).flip(axis)
    return torch.cat([ends[0], v, ends[1]], axis)


def gaussian(case: Any, threads: Any) -> Any:
    place = _place(threads)
    grey = _tensor(case.arrays[0], place, torch.float32)
    half = [float(t) for t in case.calls[0][1]["taps"]]
    radius = len(half) - 1
    line = torch.tensor(half[:0:-1] + half, device=place)
    shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))

    def by_convolution() -> Any:  # the way of a GPU
        v = grey
        for axis, shape in enumerate(shapes):
            v = F.conv3d(_padded(v, axis, radius)[None, None], line.reshape(1, 1, *shape))[0, 0]
        return v

    def by_shifts() -> Any:  # on the CPU shifted copies were several times quicker than its convolutions
        v = grey
        for axis in range(3):
            wide, n = _padded(v, axis, radius), v.shape[axis]
            v = wide.narrow(axis, radius, n) * half[0]
            for k in range(1, radius + 1):
                v.add_(wide.narrow(axis, radius - k, n), alpha=half[k])
                v.add_(wide.narrow(axis, radius + k, n), alpha=half[k])
        return v

    return _done(by_convolution if place == "cuda" else by_shifts, place)


def _ends(v: Any, axis: int) -> tuple[Any, Any]:
    wide, n = _padded(v, axis, 1), v.shape[axis]
    return wide.narrow(axis, 0, n), wide.narrow(axis, 2, n)


def _magnitude(v: Any) -> Any:
    total = None
    for axis in range(3):
        low, high = _ends(v, axis)
        part = (high - low).mul_(0.5).square_()
        total = part if total is None else total.add_(part)
    return total.sqrt_()


def _bend(v: Any) -> Any:
    total = v * -6
    for axis in range(3):
        for end in _ends(v, axis):
            total.add_(end)
    return total


def _stencils(*works: Any) -> Any:
    def make(case: Any, threads: Any) -> Any:
        place = _place(threads)
        v = _tensor(case.arrays[0], place, torch.float32) / 256
        return _done(lambda: works[0](v) if len(works) == 1 else tuple(one(v) for one in works), place)

    return make


def gradient_along(case: Any, threads: Any) -> Any:
    place = _place(threads)
    v, (y, x) = _tensor(case.arrays[0], place, torch.float32) / 256, case.calls[0][1]["axis"][0] / 8
    to_y = (y - torch.arange(v.shape[1], device=place))[:, None].float()
    to_x = (x - torch.arange(v.shape[2], device=place))[None, :].float()
    length = (to_y * to_y + to_x * to_x).sqrt().clamp_min(1 / 8)
    to_y, to_x = to_y / length, to_x / length

    def work() -> Any:
        (low_y, high_y), (low_x, high_x) = _ends(v, 1), _ends(v, 2)
        return (high_y - low_y).mul_(to_y).add_((high_x - low_x).mul_(to_x)).mul_(0.5)

    return _done(work, place)


def _run(v: Any, axis: int, window: int) -> Any:
    """Return the sums over a window along one axis, from running sums."""
    wide = _padded(v, axis, window // 2).cumsum(axis, dtype=v.dtype)
    n = v.shape[axis]
    found = wide.narrow(axis, window - 1, n).clone()
    found.narrow(axis, 1, n - 1).sub_(wide.narrow(axis, 0, n - 1))
    return found


def local_variance(case: Any, threads: Any) -> Any:
    place, window = _place(threads), case.calls[0][1]["window"]
    grey = _tensor(case.arrays[0], place, torch.int32)

    def sums(v: Any) -> Any:
        for axis in range(3):
            v = _run(v, axis, window)
        return v

    def work() -> Any:
        n = window**3
        mean = sums(grey).double().div_(n)
        return sums(grey * grey).double().div_(n).sub_(mean.square_())

    return _done(work, place)


def _z_projection(statistic: str) -> Any:
    def make(case: Any, threads: Any) -> Any:
        place, window = _place(threads), case.calls[0][1]["window"]
        grey = _tensor(case.arrays[0], place, torch.float32 if statistic == "max" else torch.int32)

        def work() -> Any:
            if statistic == "max":
                wide = _padded(grey, 0, window // 2).reshape(1, -1, grey.shape[1] * grey.shape[2])
                return F.max_pool2d(wide, (window, 1), stride=1).reshape(grey.shape)
            first = _run(grey, 0, window).float()
            if statistic == "mean":
                return first.div_(window)
            second = _run(grey * grey, 0, window).double().mul_(window).sub_(first.double().square_())
            root = second.sqrt_().float().div_(window)
            return root if statistic == "deviation" else 255 / root.add_(255)

        return _done(work, place)

    return make


def histogram(case: Any, threads: Any) -> Any:
    place = _place(threads)
    codes = _tensor(case.arrays[0], place).reshape(-1)
    size = 256 if codes.dtype == torch.uint8 else 65_536
    return _done(lambda: torch.bincount(codes if size == 256 else codes.int(), minlength=size), place)


def lookup(case: Any, threads: Any) -> Any:
    place = _place(threads)
    codes, table = _tensor(case.arrays[0], place, torch.int32), _tensor(case.calls[0][1]["table"].copy(), place)
    return _done(lambda: table[codes], place)


def gather(case: Any, threads: Any) -> Any:
    place = _place(threads)
    flat, index = _tensor(case.arrays[0].view(np.int16), place), _tensor(case.calls[0][1]["index"], place)
    return _done(lambda: flat.take(index), place)


def band_pass(case: Any, threads: Any) -> Any:
    place = _place(threads)
    narrow, wide = (_tensor(a, place, torch.float32) for a in case.arrays)
    return _done(lambda: narrow - wide, place)


def count(case: Any, threads: Any) -> Any:
    place = _place(threads)
    mask = _tensor(case.arrays[0], place)
    return _done(lambda: int(torch.count_nonzero(mask)), place)


def neuron(case: Any, threads: Any) -> Any:
    place = _place(threads)
    codes = [_tensor(a.astype(np.float32), place) for a in case.arrays[0]]
    unit = case.calls[0][1]
    rows = [[float(v) for v in unit[name]] for name in ("mean", "scale", "weights")]

    def work() -> Any:
        total = None
        for code, mean, scale, weight in zip(codes, *rows, strict=True):
            part = (code - mean).mul_(scale).clamp_(-8, 8).mul_(weight)
            total = part if total is None else total.add_(part)
        return total.add_(float(unit["bias"])).sigmoid_()

    return _done(work, place)


def neuron_sums(case: Any, threads: Any) -> Any:
    place = _place(threads)
    x, y = (_tensor(a, place, torch.float32) for a in case.arrays)
    x = x / 4096
    weights, bias = _tensor(case.calls[0][1]["weights"], place), float(case.calls[0][1]["bias"])

    def work() -> Any:
        z = weights @ x + bias
        residual = z.sigmoid() - y
        return x @ residual, residual.sum(), (F.softplus(z) - z * y).sum()

    return _done(work, place)


def _morphology(kernel: str) -> Any:
    def make(case: Any, threads: Any) -> Any:
        place = _place(threads)
        mask = _tensor(case.arrays[0].view(np.uint8), place)
        steps = {"dilation": "g", "erosion": "s", "closing": "gs", "opening": "sg"}[kernel]

        def grown(v: Any, outside: int) -> Any:
            for axis in range(3):
                n = v.shape[axis]
                found = v.clone()
                view = (found.narrow(axis, 1, n - 1), found.narrow(axis, 0, n - 1))
                view[0].bitwise_or_(v.narrow(axis, 0, n - 1))
                view[1].bitwise_or_(v.narrow(axis, 1, n - 1))
                v = found
            return v

        def work() -> Any:
            v = mask
            for step in steps:
                v = grown(v, 0) if step == "g" else grown(v ^ 1, 0) ^ 1
            return v

        return _done(work, place)

    return make


TABLE = {
    "gaussian sigma 1": gaussian,
    "gaussian sigma 3": gaussian,
    "gradient and Laplacian": _stencils(_magnitude, _bend),
    "gradient_magnitude": _stencils(_magnitude),
    "laplacian": _stencils(_bend),
    "gradient_along": gradient_along,
    "local_variance": local_variance,
    **{f"z_projection {s}": _z_projection(s) for s in ("max", "mean", "deviation", "coherence")},
    "histogram of 8 bits": histogram,
    "histogram of 16 bits": histogram,
    "lookup": lookup,
    "gather": gather,
    "band_pass": band_pass,
    "count": count,
    "neuron of 6 features": neuron,
    "neuron_sums": neuron_sums,
    **{kernel: _morphology(kernel) for kernel in ("dilation", "erosion", "closing", "opening")},
}
ABSENT: dict[str, str] = {}
