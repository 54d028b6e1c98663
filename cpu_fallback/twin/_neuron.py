"""Twins of the NX47 unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback.law import _neuron as law
from cpu_fallback.twin._dots import AT_ONCE, add_products, nothing, total_of
from cpu_fallback.twin._floats import (
    WIDTH,
    add_product,
    load,
    load_signed,
    ramp,
    same,
    standardised,
    store,
    store_logits,
)
from cpu_fallback.twin._jit import compiled, inner
from cpu_fallback.twin._room import room

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Layers

SAMPLES = 1024
"""Samples worked on at once: their residuals wait in the first cache level for each feature's product."""

_NO_COSTS = np.zeros(0, np.int32)
"""In place of the table of losses where none is asked for; read-only, as tables are in a run."""
_NO_COSTS.flags.writeable = False

_FIRST, _STRIDE = np.uint64(0), np.uint64(WIDTH)


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
    return _say(features, mean, scale, (), weights, bias, sigmoid)


def net(
    features: tuple[NDArray, ...],
    /,
    *,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    hidden: Layers,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> NDArray[np.uint16]:
    """Twin of law.net."""
    _checks.net(features, mean, scale, hidden, weights, sigmoid)
    return _say(features, mean, scale, hidden, weights, bias, sigmoid)


def _say(
    features: tuple[NDArray, ...],
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    hidden: Layers,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> NDArray[np.uint16]:
    layers = (
        np.array([len(features), *(len(rows) for rows, _ in hidden)]),
        np.concatenate([*(rows.reshape(-1) for rows, _ in hidden), weights]),
        np.array([*(one for _, offsets in hidden for one in offsets), bias], np.float32),
    )
    flips = np.array([0x8000 * (codes.dtype == np.int16) for codes in features], np.int32)
    rooms = room((2, WIDTH * int(layers[0].max())), np.float32), room(WIDTH, np.int32)
    given = (flips, mean.copy(), scale.copy(), *layers, sigmoid, *rooms)
    flat = [codes.reshape(-1) for codes in features]
    result = np.empty(flat[0].size, np.uint16)
    whole = result.size // WIDTH * WIDTH
    _of_groups(_addresses(flat), *given, result[:whole].reshape(-1, WIDTH))
    if whole < result.size:
        # What is left is read from copies as long as a group.
        rest = [np.resize(codes[whole:], WIDTH) for codes in flat]
        last = np.empty((1, WIDTH), np.uint16)
        _of_groups(_addresses(rest), *given, last)
        result[whole:] = last[0, : result.size - whole]
    return result.reshape(features[0].shape)


def _addresses(arrays: list[NDArray]) -> NDArray[np.uint64]:
    # One argument for any number of arrays of either dtype: a tuple would be compiled anew for each kind.
    return np.array([one.__array_interface__["data"][0] for one in arrays], np.uint64)


def neuron_sums(
    x: NDArray[np.int16],
    y: NDArray[np.uint8],
    /,
    *,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
    softplus: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Twin of law.neuron_sums."""
    _checks.sample(x, y, weights, sigmoid, softplus)
    if y.max() > 1:  # no label, and 16 bits do not hold its residual
        return law.neuron_sums(x, y, weights=weights, bias=bias, sigmoid=sigmoid, softplus=softplus)
    gradient = np.zeros(len(weights) + 1, np.int64)
    rooms = [room(SAMPLES, kind) for kind in (np.int32, np.int32, np.int16)]
    small = weights * np.float32(1 / 4096)  # a power of two: exact
    costs = _NO_COSTS if softplus is None else softplus
    loss = _sums(x.reshape(-1), y, small, np.float32(bias), sigmoid, costs, *rooms, gradient)
    return gradient, int(loss)


@compiled
def _of_groups(  # type: ignore[no-untyped-def]
    addresses, flips, mean, scale, sizes, weights, bias, sigmoid, rooms, logits, out
):
    """Take each group of voxels through all layers: what is between them never leaves the first cache level."""
    inputs, outputs = rooms[0], rooms[1]
    for group in range(len(out)):
        for k in range(sizes[0]):
            t = standardised(addresses[k], np.uint64(group) * _STRIDE, flips[k], mean[k], scale[k])
            store(t, inputs, np.uint64(k) * _STRIDE)
        weight = neuron = 0
        for layer in range(1, sizes.size):
            before, size = sizes[layer - 1], sizes[layer]
            rows = weights[weight : weight + size * before].reshape(size, before)
            _layer(inputs, rows, bias[neuron : neuron + size], outputs)
            inputs, outputs = outputs, inputs
            weight += size * before
            neuron += size
        store_logits(_sum(inputs, weights[weight:], bias[neuron]), logits, _FIRST)
        row = out[group]
        for i in range(WIDTH):
            row[i] = sigmoid[logits[i]]


@inner
def _layer(inputs, weights, bias, outputs):  # type: ignore[no-untyped-def]
    neuron = 0
    while neuron + 4 <= bias.size:  # four sums at once keep both units busy while each waits for its last addition
        a, b, c, d = same(bias[neuron]), same(bias[neuron + 1]), same(bias[neuron + 2]), same(bias[neuron + 3])
        of_a, of_b, of_c, of_d = weights[neuron], weights[neuron + 1], weights[neuron + 2], weights[neuron + 3]
        for k in range(of_a.size):
            t = load(inputs, np.uint64(k) * _STRIDE)
            a = add_product(a, of_a[k], t)
            b = add_product(b, of_b[k], t)
            c = add_product(c, of_c[k], t)
            d = add_product(d, of_d[k], t)
        at = np.uint64(neuron) * _STRIDE
        store(ramp(a), outputs, at)
        store(ramp(b), outputs, at + _STRIDE)
        store(ramp(c), outputs, at + _STRIDE + _STRIDE)
        store(ramp(d), outputs, at + _STRIDE + _STRIDE + _STRIDE)
        neuron += 4
    while neuron < bias.size:
        store(ramp(_sum(inputs, weights[neuron], bias[neuron])), outputs, np.uint64(neuron) * _STRIDE)
        neuron += 1


@inner
def _sum(inputs, weights, bias):  # type: ignore[no-untyped-def]
    total = same(bias)
    for k in range(weights.size):
        total = add_product(total, weights[k], load(inputs, np.uint64(k) * _STRIDE))
    return total


@compiled
def _sums(  # type: ignore[no-untyped-def]
    x, y, weights, bias, sigmoid, softplus, index, cost, residual, gradient
):
    features, samples = weights.size, y.size
    loss = np.int64(0)
    for start in range(0, samples, SAMPLES):
        length = min(SAMPLES, samples - start)
        whole = length - length % AT_ONCE
        _logits(x, start, samples, weights, bias, whole, index)
        for i in range(whole, length):
            _logit(x, start + i, samples, weights, bias, index, i)
        total, part = _compare(index[:length], y[start : start + length], sigmoid, softplus, cost, residual)
        loss += part
        gradient[features] += total
        for k in range(features):
            first = k * samples + start
            sums = nothing()
            for i in range(0, whole, AT_ONCE):
                sums = add_products(sums, residual, np.uint64(i), x, np.uint64(first + i))
            gradient[k] += total_of(sums)
            for i in range(whole, length):
                gradient[k] += np.int64(residual[i]) * np.int64(x[first + i])
    return loss


@inner
def _logits(x, start, samples, weights, bias, whole, index):  # type: ignore[no-untyped-def]
    for i in range(0, whole, AT_ONCE):
        a, b = same(bias), same(bias)
        at = np.uint64(start + i)
        for k in range(weights.size):
            a = add_product(a, weights[k], load_signed(x, at))
            b = add_product(b, weights[k], load_signed(x, at + _STRIDE))
            at += np.uint64(samples)
        store_logits(a, index, np.uint64(i))
        store_logits(b, index, np.uint64(i) + _STRIDE)


@inner
def _logit(x, at, samples, weights, bias, index, i):  # type: ignore[no-untyped-def]
    total = bias
    for k in range(weights.size):
        total = total + weights[k] * np.float32(x[k * samples + at])
    total = min(max(np.rint(total * np.float32(2048)), np.float32(-32767)), np.float32(32767))
    index[i] = np.int32(total) + np.int32(32768)


@inner
def _compare(index, y, sigmoid, softplus, cost, residual):  # type: ignore[no-untyped-def]
    """Put the residuals; return their sum, and the loss where there are costs. SAMPLES residuals make 2^25 at most."""
    for i in range(index.size):
        residual[i] = np.int16(sigmoid[np.uint64(index[i])] >> np.uint16(1))
    total, loss = np.int32(0), np.int64(0)
    for i in range(index.size):
        r = np.int32(np.int32(residual[i]) - np.int32(32767) * np.int32(y[i]))
        residual[i] = np.int16(r)
        total = np.int32(total + r)
    if softplus.size:
        for i in range(index.size):
            cost[i] = softplus[np.uint64(index[i])]
        for i in range(index.size):
            whole = np.int32(index[i] - np.int32(32768)) * np.int32(32) * np.int32(y[i])
            loss += np.int64(cost[i]) - np.int64(whole)
    return np.int64(total), loss
