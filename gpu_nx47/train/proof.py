"""Whether a training learned anything: against shuffled labels, and what each feature is worth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.descent import Sample, Watch, cross_entropy, fit_once

if TYPE_CHECKING:
    from gpu_nx47.engine import Engine
    from gpu_nx47.neuron import Trained
    from gpu_nx47.settings import Settings

SHUFFLE_STREAM: Final = 40
PERMUTE_STREAM: Final = 200
FACTOR: Final = 3.0
"""The gain must lie above those of shuffled labels by more than this many times their range."""
MOST_ABLATED: Final = 12
"""Features, the most telling first, without which a training is repeated."""


@dataclass(frozen=True)
class Worth:
    """What a feature is worth on held-out voxels."""

    weight: float
    permuted: float
    """Cross-entropy added where its values are shuffled among the held-out voxels, nats."""
    without: float | None
    """Cross-entropy added where a training from zero weights never had it, nats; None: not among the most telling."""


@dataclass(frozen=True)
class Proof:
    """What shows that a training learned, or that it did not."""

    learned: bool
    gain: float
    """Cross-entropy of the prior less that of the unit, on held-out voxels, nats."""
    shuffled: tuple[float, ...]
    """The same of trainings on shuffled labels."""
    features: dict[str, Worth]
    curve: tuple[tuple[int, float, float], ...]
    """Step, cross-entropy of the learned and of the held-out voxels, of a training from zero weights."""

    def as_json(self) -> dict[str, Any]:
        """Return the proof as JSON values."""
        curve = [{"step": step, "train_ce": one, "val_ce": two} for step, one, two in self.curve]
        return {**asdict(self), "shuffled": list(self.shuffled), "curve": curve}


def prove(engine: Engine, trained: Trained, learned: Sample, held: Sample, settings: Settings) -> Proof:
    """Compare a training with trainings that cannot have learned, and ask what each feature is worth.

    Parameters
    ----------
    engine : Engine
    trained : Trained
        With all features of the samples.
    learned, held : Sample
        On the host.
    settings : Settings
    """
    backend, chosen = engine.backend, trained.chosen

    def once(sample: Sample, judged: Sample, watch: Watch | None = None) -> float:
        at = (chosen.l1, chosen.l2, settings.neuron, engine.threads)
        return fit_once(backend, sample, judged, *at, watch).val_ce

    prior = trained.validation_prior_ce
    gain = prior - chosen.val_ce
    shuffled = tuple(
        prior - once(_with_labels(learned, settings.seed, number), held) for number in range(settings.learning.shuffles)
    )
    proved = chosen.active_neurons_end > 0 and _stands_out(gain, shuffled)
    x, y = held.joined()
    permuted = {}
    for k, weight in enumerate(chosen.weights):
        other = x.copy()
        other[k] = x[k][_order(settings.seed, PERMUTE_STREAM + k, x.shape[1])]
        changed = cross_entropy(backend, Sample.of(other, y), chosen.weights, chosen.bias) if weight else chosen.val_ce
        permuted[k] = changed - chosen.val_ce
    asked = sorted((k for k in permuted if chosen.weights[k]), key=lambda k: (-permuted[k], k))[:MOST_ABLATED]
    fit_x, fit_y = learned.joined()
    curve: list[tuple[int, float, float]] = []
    whole = once(learned, held, lambda *point: curve.append(point))
    without = {
        k: once(Sample.of(np.delete(fit_x, k, 0), fit_y), Sample.of(np.delete(x, k, 0), y)) - whole
        for k in asked
        if len(x) > 1
    }
    worth = {
        name: Worth(chosen.weights[k], permuted[k], without.get(k)) for k, name in enumerate(trained.unit.features)
    }
    return Proof(proved, gain, shuffled, worth, tuple(curve))


def _stands_out(gain: float, shuffled: tuple[float, ...]) -> bool:
    """Return whether a gain is one, and not of those that shuffled labels come to.

    Their gains are mostly below 0, alike: voxels held out have another share of surface than those learned from.
    """
    if not shuffled:
        return gain > 0
    best, worst = max(shuffled), min(shuffled)
    return gain > 0 and gain - best > FACTOR * (best - worst)


def _with_labels(sample: Sample, seed: int, number: int) -> Sample:
    """Return the sample with its labels shuffled."""
    x, y = sample.joined()
    return Sample.of(x, y[_order(seed, SHUFFLE_STREAM + number, len(y))])


def _order(seed: int, stream: int, count: int) -> Any:
    return np.argsort(tables.draws(seed, stream, 0, count), kind="stable")
