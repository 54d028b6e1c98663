"""A small net of NX47 neurons, trained in integers: the same bits on every machine.

Values and gradients that are summed over samples are integers; every matrix product is exact (`exact_product`). What is
not summed (the steps of the weights) is float64 element by element, with + - * / sqrt.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.descent import Training
from gpu_nx47.neuron import Layer, Scaling, Unit, prior_shift

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from gpu_nx47.descent import Sample
    from gpu_nx47.engine import Engine
    from gpu_nx47.neuron import Trained
    from gpu_nx47.settings import Settings

INIT_STREAM: Final = 300
BATCH_STREAM: Final = 310
BATCH: Final = 4096
STEPS: Final = 1500
RATE: Final = 0.01
"""Of the first step; it falls to a tenth at the last one."""
FIRST, SECOND = 0.9, 0.999
"""Decay of the two moments (Kingma and Ba 2015)."""
ONE: Final = 4096
"""Codes of 1: of standardised features, of weights while they are multiplied, of a hidden neuron's output."""
TOP: Final = 32767
"""Highest code of a hidden neuron, 8: the next neuron clips there."""
EXACT: Final = 2.0**53
ALONE: Final = 1 << 17
"""Products for which a library starts no threads of its own: six times faster here than with them."""
WATCHED: Final = 8


def exact_product(a: NDArray[np.float64], b: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Return the matrix product of integers held as float64.

    Parameters
    ----------
    a, b : numpy.ndarray of float64, shapes (m, k), (k, n)
        Integers.
    bound : float
        Of |a| times |b|.

    Raises
    ------
    ValueError
        A sum might reach 2^53.

    Notes
    -----
    Every product and every partial sum is an integer below 2^53 and so a float64: no order of the additions, no
    blocking and no fused operation rounds anything. This is the one product that a library may compute as it likes.
    """
    (rows, inner), columns = a.shape, b.shape[1]
    if bound * inner >= EXACT:
        raise ValueError(f"a sum of {inner} products up to {bound:g} may not be exact")
    result = np.zeros((rows, columns))
    if inner > columns:
        width = max(1, ALONE // (rows * columns))
        for start in range(0, inner, width):
            result += a[:, start : start + width] @ b[start : start + width]
    else:
        width = max(1, ALONE // (rows * inner))
        for start in range(0, columns, width):
            result[:, start : start + width] = a @ b[:, start : start + width]
    return result


@dataclass
class _Moments:
    """Adam's memory of one array of parameters."""

    value: NDArray[np.float64]
    mean: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, value: NDArray[np.float64]) -> _Moments:
        return cls(value, np.zeros_like(value), np.zeros_like(value))

    def step(self, gradient: NDArray[np.float64], rate: float, first: float, second: float) -> None:
        """Move against a gradient; `first` and `second` are the products of the decays so far."""
        self.mean = FIRST * self.mean + (1 - FIRST) * gradient
        self.square = SECOND * self.square + (1 - SECOND) * (gradient * gradient)
        self.value = self.value - rate * (self.mean / (1 - first)) / (np.sqrt(self.square / (1 - second)) + 1e-8)


@dataclass(frozen=True)
class Net:
    """A trained net: hidden layers, and the weights of the neuron behind them."""

    hidden: tuple[Layer, ...]
    weights: NDArray[np.float32]
    bias: float
    active: tuple[int, int, int]
    """Hidden neurons that were not silent on a whole batch, at the start, the middle and the end."""
    curve: tuple[tuple[int, float], ...]
    """Step, and cross-entropy of its batch, nats."""


def fit_net(x: NDArray[np.int16], y: NDArray[np.uint8], hidden: Sequence[int], seed: int) -> Net:
    """Train a net on standardised samples.

    Parameters
    ----------
    x : numpy.ndarray of int16, shape (K, n)
        Step 1/4096.
    y : numpy.ndarray of uint8, shape (n,)
        0 or 1.
    hidden : sequence of int
        Neurons of each hidden layer.
    seed : int

    Notes
    -----
    Hidden neurons are ramps, min(max(a, 0), 8), as `neuron.Unit` computes them. Batches are drawn from a counter;
    logistic loss; Adam.
    """
    sizes = [len(x), *hidden, 1]
    layers = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        drawn = tables.draws(seed, INIT_STREAM + number, 0, inputs * outputs) >> np.uint64(11)
        spread = math.sqrt(6 / inputs)
        values = (drawn.astype(np.float64) / 2.0**52 - 1.0) * spread
        layers.append((_Moments.of(values.reshape(outputs, inputs)), _Moments.of(np.zeros((outputs, 1)))))
    counts: dict[int, int] = {}
    curve = []
    first = second = 1.0
    n = x.shape[1]
    for step in range(STEPS):
        picked = (tables.draws(seed, BATCH_STREAM, step * BATCH, BATCH) % np.uint64(n)).astype(np.int64)
        first, second = first * FIRST, second * SECOND
        rate = RATE * (1 - 0.9 * step / STEPS)
        gradients, silent, loss = _gradients(layers, x.take(picked, axis=1), y[picked])
        counts[step] = sum(hidden) - silent
        if step * WATCHED % STEPS < WATCHED:
            curve.append((step, loss))
        for (weights, biases), (of_weights, of_biases) in zip(layers, gradients, strict=True):
            weights.step(of_weights, rate, first, second)
            biases.step(of_biases, rate, first, second)
    made = [Layer(w.value.astype(np.float32), b.value[:, 0].astype(np.float32)) for w, b in layers]
    active = (counts[0], counts[STEPS // 2], counts[STEPS - 1])
    return Net(tuple(made[:-1]), made[-1].weights[0], float(made[-1].bias[0]), active, tuple(curve))


def _gradients(
    layers: list[tuple[_Moments, _Moments]], x: NDArray[np.int16], y: NDArray[np.uint8]
) -> tuple[list[tuple[NDArray[np.float64], NDArray[np.float64]]], int, float]:
    """Return the mean gradient of each layer's weights and biases, the silent hidden neurons, and the mean loss.

    Notes
    -----
    Weights are rounded to 1/4096 and at most 16 for the products, outputs to 1/4096; a residual is Q1.15, as the
    kernel's. The error handed back through a layer is rounded to the same step.
    """
    n = len(y)
    outputs = [x.astype(np.float64)]
    rounded = []
    for number, (weights, biases) in enumerate(layers):
        w = np.clip(np.rint(weights.value * ONE), -16 * ONE, 16 * ONE)
        rounded.append(w)
        summed = exact_product(w, outputs[-1], 16.0 * ONE * (TOP + 1))
        summed *= 1 / ONE  # a power of two: exact
        summed += np.rint(biases.value * ONE)
        if number < len(layers) - 1:
            _bounded(np.rint(summed, out=summed), 0.0, TOP)
        outputs.append(summed)
    logit = np.clip(np.rint(outputs[-1][0] / 2), -TOP, TOP).astype(np.int64) + 32768
    target = y.astype(np.int64)
    loss = tables.softplus_table()[logit].astype(np.int64) - (logit - 32768) * 32 * target
    error = (((tables.sigmoid_table()[logit] >> 1).astype(np.int64) - TOP * target)[None]).astype(np.float64)
    silent = sum(int((ramp.max(axis=1) == 0).sum()) for ramp in outputs[1:-1])
    gradients = []
    for number in range(len(layers) - 1, -1, -1):
        before = outputs[number]
        summed = exact_product(error, before.T, 2.0**17 * (TOP + 1))
        totals = error.astype(np.int64).sum(axis=1, keepdims=True).astype(np.float64)
        gradients.append((summed / (float(TOP) * ONE * n), totals / (float(TOP) * n)))
        if number:
            error = exact_product(rounded[number].T, error, 16.0 * ONE * 2.0**17)
            error *= 1 / ONE
            _bounded(np.rint(error, out=error), -(2.0**17), 2.0**17)
            error[(before <= 0) | (before >= TOP)] = 0
    return gradients[::-1], silent, int(loss.sum()) / (tables.LOSS_STEPS * n)


def _bounded(values: NDArray[np.float64], low: float, high: float) -> None:
    """Clip in place: in these loops new arrays took a third of the time."""
    np.maximum(values, low, out=values)
    np.minimum(values, high, out=values)


def begun(aside: Executor | None, learned: Sample, settings: Settings) -> Callable[[], Net] | None:
    """Begin to train the net that the settings ask for.

    Parameters
    ----------
    aside : Executor or None
        The thread to train on; None: it is trained when it is asked for.
    learned : Sample
        On the host.
    settings : Settings

    Returns
    -------
    callable or None
        Waits for the net, and returns it; None where no net is asked for.
    """
    if not settings.neuron.hidden:
        return None

    def fitted() -> Net:
        return fit_net(*learned.joined(), settings.neuron.hidden, settings.seed)

    return fitted if aside is None else aside.submit(fitted).result


def with_net(
    engine: Engine, trained: Trained, net: Net, learned: Sample, held: Sample, settings: Settings, prior: float
) -> tuple[Trained, dict[str, Any]]:
    """Take a net where it beats the neuron on the held-out voxels.

    Parameters
    ----------
    engine : Engine
    trained : Trained
        The neuron's grid.
    net : Net
    learned, held : Sample
        On the host.
    settings : Settings
    prior : float
        Share of surface before the samples were balanced.

    Returns
    -------
    trained : Trained
    told : dict
        What the record holds of it.
    """
    count = len(trained.unit.features)
    plain = Scaling(np.zeros(count, np.float32), np.full(count, 1 / ONE, np.float32))
    bare = Unit(trained.unit.features, plain, net.weights, np.float32(net.bias), net.hidden)
    ce = _cross_entropy(engine, bare, *held.joined())
    taken = ce < trained.chosen.val_ce
    start, middle, end = net.active
    told = {
        "hidden": list(settings.neuron.hidden),
        "val_ce": ce,
        "neuron_val_ce": trained.chosen.val_ce,
        "taken": taken,
        "active_neurons": {"start": start, "mid": middle, "end": end},
        "curve": [{"step": step, "train_ce": loss} for step, loss in net.curve],
    }
    if not taken:
        return trained, told
    weights = sum(int(np.count_nonzero(layer.weights)) for layer in net.hidden) + int(np.count_nonzero(net.weights))
    chosen = Training(0.0, 0.0, ce, 0.0, ce, weights, start, middle, end, (), net.bias)
    bias = np.float32(net.bias + prior_shift(prior, learned.share))
    unit = replace(bare, scaling=trained.unit.scaling, bias=bias)
    return replace(trained, unit=unit, chosen=chosen, trainings=(*trained.trainings, chosen)), told


def _cross_entropy(engine: Engine, unit: Unit, x: NDArray[np.int16], y: NDArray[np.uint8]) -> float:
    """Return the mean cross-entropy of the codes that the kernels give, nats; a code of 0 counts as one half."""
    backend = engine.backend
    rows = tuple(backend.to_device(np.ascontiguousarray(row.reshape(1, 1, -1))) for row in x)
    p = backend.to_host(unit.probability(backend, rows)).reshape(-1)
    p = np.where(y == 1, p, tables.PROBABILITY_ONE - p)
    counts = np.bincount(p, minlength=tables.PROBABILITY_ONE + 1)
    share = np.maximum(np.arange(tables.PROBABILITY_ONE + 1), 0.5) / tables.PROBABILITY_ONE
    loss = np.rint(-tables.log(share) * tables.LOSS_STEPS).astype(np.int64)
    return int((counts * loss).sum()) / (tables.LOSS_STEPS * len(y))
