"""Twins of the NX47 unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1 << 16
"""Voxels worked on at once: their float32 sums (256 kB) stay in the second cache while the features pass by; smaller
blocks spend more on calls.
"""

FEATURES = 4
"""Features added to a sum while it is in a register: half the time of one after the other."""

SAMPLES = 1024
"""Samples worked on at once: their residuals wait in the first cache level for each feature's product."""


def neuron(
    features: tuple[NDArray, ...],
    /,
    *,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> NDArray[np.uint16]:
    """Twin of law.neuron."""
    _checks.neuron(features, mean, scale, weights, sigmoid)
    flat = [codes.reshape(-1) for codes in features]
    size = flat[0].size
    result = np.empty(size, np.uint16)
    acc = np.empty(min(size, BLOCK), np.float32)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        block = acc[: stop - start]
        block[:] = bias
        k = 0
        while k < len(flat):
            four = flat[k : k + FEATURES]
            if len(four) == FEATURES and all(codes.dtype == four[0].dtype for codes in four):
                _accumulate_four(
                    block,
                    *(codes[start:stop] for codes in four),
                    mean[k : k + FEATURES],
                    scale[k : k + FEATURES],
                    weights[k : k + FEATURES],
                )
                k += FEATURES
            else:
                _accumulate(block, flat[k][start:stop], mean[k], scale[k], weights[k])
                k += 1
        _finish(block, sigmoid, result[start:stop])
    return result.reshape(features[0].shape)


def neuron_sums(
    x: NDArray[np.int16],
    y: NDArray[np.uint8],
    /,
    *,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
    softplus: NDArray[np.int32],
) -> tuple[NDArray[np.int64], int]:
    """Twin of law.neuron_sums."""
    _checks.sample(x, y, weights, sigmoid, softplus)
    gradient = np.zeros(len(weights) + 1, np.int64)
    loss = _sums(x, y, weights, np.float32(bias), sigmoid, softplus, gradient)
    return gradient, int(loss)


@compiled
def _accumulate(acc, codes, mean, scale, weight):  # type: ignore[no-untyped-def]
    low = np.float32(-8)
    high = np.float32(8)
    for i in range(acc.size):
        t = (np.float32(codes[i]) - mean) * scale
        t = min(max(t, low), high)
        acc[i] = acc[i] + weight * t


@compiled
def _accumulate_four(acc, a, b, c, d, mean, scale, weight):  # type: ignore[no-untyped-def]
    low = np.float32(-8)
    high = np.float32(8)
    for i in range(acc.size):
        total = acc[i] + weight[0] * min(max((np.float32(a[i]) - mean[0]) * scale[0], low), high)
        total = total + weight[1] * min(max((np.float32(b[i]) - mean[1]) * scale[1], low), high)
        total = total + weight[2] * min(max((np.float32(c[i]) - mean[2]) * scale[2], low), high)
        acc[i] = total + weight[3] * min(max((np.float32(d[i]) - mean[3]) * scale[3], low), high)


@compiled
def _finish(acc, sigmoid, out):  # type: ignore[no-untyped-def]
    steps = np.float32(2048)
    low = np.float32(-32767)
    high = np.float32(32767)
    for i in range(acc.size):
        z = min(max(np.rint(acc[i] * steps), low), high)
        out[i] = sigmoid[np.int32(z) + 32768]


@compiled
def _sums(x, y, weights, bias, sigmoid, softplus, gradient):  # type: ignore[no-untyped-def]
    features, samples = x.shape
    acc = np.empty(SAMPLES, np.float32)
    index = np.empty(SAMPLES, np.int32)
    residual = np.empty(SAMPLES, np.int32)
    loss = np.int64(0)
    for start in range(0, samples, SAMPLES):
        # Rows are sliced before they are looped over: an index start + i might be negative to the compiler, and its
        # check would keep the loop from being vectorised.
        length = min(SAMPLES, samples - start)
        acc[:length] = bias
        for k in range(features):
            _add(acc[:length], x[k, start : start + length], weights[k] * np.float32(1 / 4096))
        _round(acc[:length], index)
        total, part = _compare(index[:length], y[start : start + length], sigmoid, softplus, residual)
        loss += part
        gradient[features] += total
        for k in range(features):
            gradient[k] += _product(residual[:length], x[k, start : start + length])
    return loss


@compiled
def _add(acc, row, weight):  # type: ignore[no-untyped-def]
    for i in range(acc.size):
        acc[i] = acc[i] + weight * np.float32(row[i])


@compiled
def _round(acc, index):  # type: ignore[no-untyped-def]
    steps = np.float32(2048)
    low = np.float32(-32767)
    high = np.float32(32767)
    for i in range(acc.size):
        index[i] = np.int32(min(max(np.rint(acc[i] * steps), low), high)) + np.int32(32768)


@compiled
def _compare(index, y, sigmoid, softplus, residual):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    loss = np.int64(0)
    for i in range(index.size):
        at = np.int64(index[i])
        target = np.int64(y[i])
        r = np.int64(sigmoid[at] >> 1) - 32767 * target
        residual[i] = np.int32(r)
        total += r
        loss += np.int64(softplus[at]) - (at - 32768) * 32 * target
    return total, loss


@compiled
def _product(residual, row):  # type: ignore[no-untyped-def]
    product = np.int64(0)
    for i in range(residual.size):
        product += np.int64(residual[i]) * np.int64(row[i])
    return product
