"""Twins of the NX47 unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback.twin._jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1 << 14
"""Voxels worked on at once: their float32 sums (64 kB) stay in the first two cache levels while the features pass by.
"""


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
        for k, codes in enumerate(flat):
            _accumulate(block, codes[start:stop], mean[k], scale[k], weights[k])
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
    steps = np.float32(2048)
    low = np.float32(-32767)
    high = np.float32(32767)
    block = 1024  # residuals of a block wait in the cache for each feature's product
    acc = np.empty(block, np.float32)
    residual = np.empty(block, np.int32)
    loss = np.int64(0)
    for start in range(0, samples, block):
        length = min(block, samples - start)
        for i in range(length):
            acc[i] = bias
        for k in range(features):
            small = weights[k] * np.float32(1 / 4096)
            for i in range(length):
                acc[i] = acc[i] + small * np.float32(x[k, start + i])
        total = np.int64(0)
        for i in range(length):
            z = np.int64(min(max(np.rint(acc[i] * steps), low), high))
            target = np.int64(y[start + i])
            r = np.int64(sigmoid[z + 32768] >> 1) - 32767 * target
            residual[i] = np.int32(r)
            total += r
            loss += np.int64(softplus[z + 32768]) - z * 32 * target
        gradient[features] += total
        for k in range(features):
            product = np.int64(0)
            for i in range(length):
                product += np.int64(residual[i] * np.int32(x[k, start + i]))
            gradient[k] += product
    return loss
