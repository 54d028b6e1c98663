"""The NX47 neuron: a logistic unit with L1 and L2, trained exactly, chosen from a grid on held-out octants."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.settings import NeuronSettings
    from gpu_nx47.stats import Histogram

X_STEPS: Final = 4096
"""Codes of one standard deviation in a training sample; clipped at 8 deviations, as the kernel does."""
RESIDUAL_ONE: Final = 32767
ACTIVE: Final = 1e-8
"""A weight above this is an active neuron."""
SPARSITY_PRICE: Final = 0.02
OCTANT_STREAM: Final = 2
MIN_CLASS: Final = 32
"""Voxels of each class a validation set needs to mean anything."""


@dataclass(frozen=True)
class Scaling:
    """How a feature's codes are standardised, in the kernel's own types."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, histograms: Sequence[Histogram]) -> Scaling:
        """Return mean and 1 / deviation of each feature over the whole box; a constant feature gets scale 0."""
        pairs = [h.mean_deviation() for h in histograms]
        return cls(
            np.array([m for m, _ in pairs], np.float32),
            np.array([1 / d if d else 0.0 for _, d in pairs], np.float32),
        )

    def codes(self, samples: Sequence[NDArray]) -> NDArray[np.int16]:
        """Return standardised samples, (K, n), step 1/4096, clipped at 8 deviations."""
        rows = []
        for k, codes in enumerate(samples):
            t = (codes.astype(np.float32) - self.mean[k]) * self.scale[k]
            t = np.minimum(np.maximum(t, np.float32(-8)), np.float32(8))
            rows.append(np.minimum(np.rint(t * np.float32(X_STEPS)), np.float32(32767)).astype(np.int16))
        return np.ascontiguousarray(np.stack(rows))


@dataclass(frozen=True)
class Unit:
    """A trained neuron: all that probability needs."""

    features: tuple[str, ...]
    scaling: Scaling
    weights: NDArray[np.float32]
    bias: np.float32

    def probability(self, backend: Meter, codes: tuple[Any, ...]) -> Any:
        """Return the probability codes of a tile from its feature codes, on the device."""
        return backend.neuron(
            codes,
            mean=self.scaling.mean,
            scale=self.scaling.scale,
            weights=self.weights,
            bias=self.bias,
            sigmoid=tables.sigmoid_table(),
        )


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
class Trained:
    """The grid's outcome."""

    unit: Unit
    chosen: Training
    trainings: tuple[Training, ...]
    train_samples: int
    validation_samples: int
    validation_prior_ce: float
    """Cross-entropy of always saying the validation set's own share: what learning must beat."""
    validation: str

    def info(self) -> dict[str, Any]:
        """Return the block `train_info` of NX47_METRICS."""
        return {
            "selected_hyperparams": asdict(self.chosen),
            "trainings": [asdict(t) for t in self.trainings],
            "train_samples": self.train_samples,
            "validation_samples": self.validation_samples,
            "validation_prior_ce": self.validation_prior_ce,
            "validation": self.validation,
        }


@dataclass(frozen=True)
class _Sample:
    x: NDArray[np.int16]
    y: NDArray[np.uint8]

    @classmethod
    def of(cls, x: NDArray[np.int16], y: NDArray[np.uint8]) -> _Sample:
        """Return the sample; an empty one stands as one background voxel at the mean, from which nothing is learned."""
        if len(y) == 0:
            x, y = np.zeros((len(x), 1), np.int16), np.zeros(1, np.uint8)
        return cls(np.ascontiguousarray(x), np.ascontiguousarray(y))

    def on(self, backend: Meter) -> _Sample:
        """Return the sample where the kernels want it: it goes there once, for all steps of all trainings."""
        return _Sample(backend.to_device(self.x), backend.to_device(self.y))

    @property
    def share(self) -> float:
        return int(self.y.sum()) / len(self.y)


def hold_out(
    point: NDArray, labels: NDArray, shape: tuple[int, int, int], seed: int, gap: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """Split a sample into training and validation voxels that share no window.

    Parameters
    ----------
    point : numpy.ndarray of int64, shape (n, 3)
        Voxels in the box.
    labels : numpy.ndarray of 0 and 1
    shape : tuple of int
        Shape of the box.
    seed : int
    gap : int
        Training voxels this near to a held-out octant are left out.

    Returns
    -------
    training, validation : numpy.ndarray of bool
    how : str
        A sentence for the record.

    Notes
    -----
    Two octants that touch at the middle only are held out; which pair, the seed decides; the next pair where a class is
    missing. A volume without such a pair (tiny, or of one class) is split by turns, which the sentence tells.
    """
    half = np.array(shape) // 2
    upper = point >= half
    octant = upper[:, 0] * 4 + upper[:, 1] * 2 + upper[:, 2]
    first = int(tables.draws(seed, OCTANT_STREAM, 0, 1)[0] % np.uint64(4))
    for turn in range(4):
        pair = (first + turn) % 4
        validation = (octant == pair) | (octant == 7 - pair)
        near = np.zeros(len(point), bool)
        for held in (pair, 7 - pair):
            side = np.array([held >> 2 & 1, held >> 1 & 1, held & 1], bool)
            low, high = np.where(side, half, 0), np.where(side, shape, half)
            near |= ((point >= low - gap) & (point < high + gap)).all(axis=1)
        training = ~near & ~validation
        if all(
            min(labels[part].sum(), (~labels[part].astype(bool)).sum()) >= MIN_CLASS for part in (training, validation)
        ):
            return training, validation, f"octants {pair} and {7 - pair} held out, gap {gap} voxels"
    turn_taking = np.arange(len(point)) % 5 == 0
    return ~turn_taking, turn_taking, "every fifth voxel held out: no pair of octants holds both classes"


def train(
    backend: Meter,
    features: tuple[str, ...],
    histograms: Mapping[str, Histogram],
    samples: Mapping[str, NDArray],
    labels: NDArray[np.uint8],
    split: tuple[NDArray[np.bool_], NDArray[np.bool_], str],
    settings: NeuronSettings,
    prior: float,
    progress: Callable[[int, int], Any] | None = None,
) -> Trained:
    """Train the grid and return the unit with the lowest objective.

    Parameters
    ----------
    backend : Meter
    features : tuple of str
        The selected features.
    histograms, samples : mapping of name
        Whole-box histograms; codes at the sample.
    labels : numpy.ndarray of uint8
        0 or 1 at the sample.
    split : tuple
        From `hold_out`.
    settings : NeuronSettings
    prior : float
        Share of label 1 before the sample was balanced: the bias is corrected to it.
    progress : callable, optional
        Called with (trainings done, trainings).
    """
    scaling = Scaling.of([histograms[name] for name in features])
    x = scaling.codes([samples[name] for name in features])
    training, validation, how = split
    fit, held = (_Sample.of(x[:, part], labels[part]) for part in (training, validation))
    fit_there, held_there = fit.on(backend), held.on(backend)
    done: list[Training] = []
    total = len(settings.l1) * len(settings.l2)
    for l2 in settings.l2:
        weights, bias = [0.0] * len(features), 0.0
        for l1 in sorted(settings.l1, reverse=True):  # from the strongest: each start is the path so far
            result = _descend(backend, fit_there, held_there, weights, bias, l1, l2, settings)
            weights, bias = list(result.weights), result.bias
            done.append(result)
            if progress:
                progress(len(done), total)
    chosen = min(done, key=lambda t: t.objective)
    shift = _log_odds(prior) - _log_odds(fit.share)
    unit = Unit(features, scaling, np.array(chosen.weights, np.float32), np.float32(chosen.bias + shift))
    return Trained(unit, chosen, tuple(done), len(fit.y), len(held.y), _entropy(held.share), how)


def _descend(
    backend: Meter,
    fit: _Sample,
    held: _Sample,
    weights: list[float],
    bias: float,
    l1: float,
    l2: float,
    settings: NeuronSettings,
) -> Training:
    """Run accelerated proximal steps (FISTA) from a start, and judge the end on held-out voxels.

    Notes
    -----
    All scalars are Python floats; the only sums over voxels are the kernel's exact integers.
    References: Beck and Teboulle 2009 (the momentum (t_k - 1) / t_{k+1}).
    """
    start = _active(weights)
    middle = start
    look, look_bias, momentum = list(weights), bias, 1.0
    n = len(fit.y)
    for step in range(settings.steps):
        gradient, _ = _sums(backend, fit, look, look_bias)
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
    _, loss = _sums(backend, held, weights, bias)
    end = _active(weights)
    ce = loss / (tables.LOSS_STEPS * len(held.y))
    zero_share = 1 - end / len(weights)
    objective = ce + SPARSITY_PRICE * (1 - zero_share)
    return Training(l1, l2, ce, zero_share, objective, end, start, middle, end, tuple(weights), bias)


def _sums(backend: Meter, sample: _Sample, weights: list[float], bias: float) -> tuple[NDArray[np.int64], int]:
    return backend.neuron_sums(
        sample.x,
        sample.y,
        weights=np.array(weights, np.float32),
        bias=np.float32(bias),
        sigmoid=tables.sigmoid_table(),
        softplus=tables.softplus_table(),
    )


def _shrink(weight: float, threshold: float) -> float:
    return max(0.0, weight - threshold) if weight > 0 else min(0.0, weight + threshold)


def _active(weights: Sequence[float]) -> int:
    return sum(abs(w) > ACTIVE for w in weights)


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return tables.log_scalar(share) - tables.log_scalar(1 - share)


def _entropy(share: float) -> float:
    if share in (0.0, 1.0):
        return 0.0
    return -(share * tables.log_scalar(share) + (1 - share) * tables.log_scalar(1 - share))
