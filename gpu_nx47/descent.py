"""Exact descent of a logistic unit: gradients are integer sums; no order of voxels, parts or threads changes a bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.settings import NeuronSettings

X_STEPS: Final = 4096
"""Codes of one standard deviation in a training sample; clipped at 8 deviations, as the kernel does."""
RESIDUAL_ONE: Final = 32767
ACTIVE: Final = 1e-8
"""A weight above this is an active neuron."""
SPARSITY_PRICE: Final = 0.02
WATCHED: Final = 8
"""Points of a learning curve."""
PART: Final = 1 << 16
"""Voxels of a sample summed by one call of the kernel: the sums are integers, so parts change no bit."""

Watch = Callable[[int, float, float], None]
"""Told step, cross-entropy of the learned and of the held voxels."""


@dataclass(frozen=True)
class Training:
    """One training of the grid."""

    l1: float
    l2: float
    val_ce: float
    """Cross-entropy on the held-out voxels, nats."""
    sparsity: float
    """Share of zero weights."""
    objective: float
    non_zero_weights: int
    active_neurons_start: int
    active_neurons_mid: int
    active_neurons_end: int
    weights: tuple[float, ...]
    bias: float


@dataclass(frozen=True)
class Sample:
    """Standardised voxels and their labels, in parts that may be worked on at once."""

    parts: tuple[tuple[Any, Any], ...]
    """x, int16 (K, n), and y, uint8 (n,), of each part."""
    voxels: int
    surface: int
    """Voxels of label 1."""

    @classmethod
    def of(cls, x: NDArray[np.int16], y: NDArray[np.uint8]) -> Sample:
        """Return the sample; an empty one stands as one background voxel at the mean, from which nothing is learned."""
        if len(y) == 0:
            x, y = np.zeros((len(x), 1), np.int16), np.zeros(1, np.uint8)
        ends = range(0, len(y), PART)
        parts = [(np.ascontiguousarray(x[:, a : a + PART]), np.ascontiguousarray(y[a : a + PART])) for a in ends]
        return cls(tuple(parts), len(y), int(y.sum()))

    def on(self, backend: Meter) -> Sample:
        """Return the sample where the kernels want it: it goes there once, for all steps of all trainings."""
        there = tuple((backend.to_device(x), backend.to_device(y)) for x, y in self.parts)
        return Sample(there, self.voxels, self.surface)

    def joined(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return x (K, n) and y (n,) of a sample on the host, in one part."""
        return np.concatenate([x for x, _ in self.parts], axis=1), np.concatenate([y for _, y in self.parts])

    @property
    def share(self) -> float:
        """Share of label 1."""
        return self.surface / self.voxels


def fit_once(
    backend: Meter,
    learned: Sample,
    held: Sample,
    l1: float,
    l2: float,
    settings: NeuronSettings,
    threads: int = 1,
    watch: Watch | None = None,
) -> Training:
    """Train once from zero weights, told of at WATCHED steps."""
    with Descent(backend, learned, held, settings, threads, watch) as descent:
        return descent.run([0.0] * len(learned.parts[0][0]), 0.0, l1, l2)


def cross_entropy(backend: Meter, sample: Sample, weights: Sequence[float], bias: float) -> float:
    """Return the mean cross-entropy of a sample, nats: weights of standardised features, bias before the prior."""
    return _loss(_sums(map, backend, sample, weights, bias)[1], sample)


class Descent:
    """Accelerated proximal steps (FISTA) on one pair of samples.

    Notes
    -----
    All scalars are Python floats; the only sums over voxels are the kernel's exact integers.
    References: Beck and Teboulle 2009 (the momentum (t_k - 1) / t_{k+1}).
    """

    def __init__(
        self,
        backend: Meter,
        learned: Sample,
        held: Sample,
        settings: NeuronSettings,
        threads: int,
        watch: Watch | None = None,
    ) -> None:
        self._backend = backend
        self._learned, self._held = learned.on(backend), held.on(backend)
        self._settings = settings
        self._watch = watch
        # On a GPU one thread feeds it; what is done there when memory lacks is decided for that thread.
        alone = threads == 1 or backend.NAME == "gpu"
        self._pool = None if alone else ThreadPoolExecutor(threads, "nx47-train", backend.enter_thread)
        of_all: Any = map if self._pool is None else self._pool.map
        of_parts = len(learned.parts) > 1
        self._map: Any = of_all if of_parts else map
        self._at_once = 1 if alone or of_parts else threads

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def along(self, paths: Sequence[Iterator[Training]]) -> Iterator[list[Training]]:
        """Yield the trainings of each path, in the order of the paths; some are gone at once where parts are not.

        A step of a path is a training, and the path that is least far goes on: two threads share three paths evenly.
        """
        if self._pool is None or self._at_once == 1:
            yield from map(list, paths)
            return
        found: list[list[Training]] = [[] for _ in paths]
        waiting, running = set(range(len(paths))), dict[Future[Training | None], int]()
        while waiting or running:
            while waiting and len(running) < self._at_once:
                number = min(waiting, key=lambda k: (len(found[k]), k))
                waiting.remove(number)
                running[self._pool.submit(next, paths[number], None)] = number
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                number, training = running.pop(done), done.result()
                if training is not None:
                    found[number].append(training)
                    waiting.add(number)
        yield from found

    def run(self, weights: list[float], bias: float, l1: float, l2: float) -> Training:
        """Descend from a start, and judge the end on the held voxels."""
        settings, n = self._settings, self._learned.voxels
        start = _active(weights)
        middle = start
        look, look_bias, momentum = list(weights), bias, 1.0
        for step in range(settings.steps):
            watch = self._watch if step * WATCHED % settings.steps < WATCHED else None
            gradient, loss = self._sums(self._learned, look, look_bias, judged=watch is not None)
            if watch is not None:
                watch(step, _loss(loss, self._learned), self._judge(look, look_bias))
            slope = [int(g) / (RESIDUAL_ONE * X_STEPS * n) + l2 * w for g, w in zip(gradient[:-1], look, strict=True)]
            moved = [w - settings.rate * s for w, s in zip(look, slope, strict=True)]
            new = [_shrink(w, settings.rate * l1) for w in moved]
            new_bias = look_bias - settings.rate * (int(gradient[-1]) / (RESIDUAL_ONE * n))
            following = (1.0 + math.sqrt(1.0 + 4.0 * momentum * momentum)) / 2.0
            pull = (momentum - 1.0) / following
            look = [a + pull * (a - b) for a, b in zip(new, weights, strict=True)]
            look_bias = new_bias + pull * (new_bias - bias)
            weights, bias, momentum = new, new_bias, following
            if step + 1 == settings.steps // 2:
                middle = _active(weights)
        end = _active(weights)
        ce = self._judge(weights, bias)
        zero_share = 1 - end / len(weights)
        objective = ce + SPARSITY_PRICE * (1 - zero_share)
        return Training(l1, l2, ce, zero_share, objective, end, start, middle, end, tuple(weights), bias)

    def _judge(self, weights: Sequence[float], bias: float) -> float:
        return _loss(self._sums(self._held, weights, bias, judged=True)[1], self._held)

    def _sums(
        self, sample: Sample, weights: Sequence[float], bias: float, *, judged: bool
    ) -> tuple[NDArray[np.int64], int]:
        return _sums(self._map, self._backend, sample, weights, bias, judged=judged)


def _sums(
    mapped: Any, backend: Meter, sample: Sample, weights: Sequence[float], bias: float, *, judged: bool = True
) -> tuple[NDArray[np.int64], int]:
    """Return the gradient and, where it is `judged`, the loss of a sample, the parts mapped by `mapped`."""

    def part(xy: tuple[Any, Any]) -> tuple[NDArray[np.int64], int]:
        return backend.neuron_sums(
            *xy,
            weights=np.array(weights, np.float32),
            bias=np.float32(bias),
            sigmoid=tables.sigmoid_table(),
            softplus=tables.softplus_table() if judged else None,
        )

    gradients, losses = zip(*mapped(part, sample.parts), strict=True)
    return sum(gradients[1:], gradients[0]), sum(losses)


def _loss(total: int, sample: Sample) -> float:
    return total / (tables.LOSS_STEPS * sample.voxels)


def _shrink(weight: float, threshold: float) -> float:
    return max(0.0, weight - threshold) if weight > 0 else min(0.0, weight + threshold)


def _active(weights: Sequence[float]) -> int:
    return sum(abs(w) > ACTIVE for w in weights)


def entropy(share: float) -> float:
    """Return the cross-entropy of always saying a share, nats."""
    if share in (0.0, 1.0):
        return 0.0
    return -(share * tables.log_scalar(share) + (1 - share) * tables.log_scalar(1 - share))
