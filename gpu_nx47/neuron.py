"""The NX47 neuron: a logistic unit with L1 and L2, trained exactly, chosen from a grid on held-out octants."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.descent import X_STEPS, Descent, Sample, Training, entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.settings import NeuronSettings
    from gpu_nx47.stats import Histogram

AUTONOMOUS: Final = "autonomous"
"""Trained on pseudo-labels of the volume itself."""
SUPERVISED: Final = "supervised"
"""Trained on the labels of other volumes."""
OUTSIDE: Final = "outside"
"""Not trained: the probability is another program's."""
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
class Layer:
    """Hidden neurons side by side: ramps, min(max(a, 0), 8), of weighted sums of the layer before."""

    weights: NDArray[np.float32]
    """(neurons, inputs)."""
    bias: NDArray[np.float32]
    """(neurons,)."""


@dataclass(frozen=True)
class Unit:
    """A trained neuron, perhaps behind hidden ones: all that probability needs."""

    features: tuple[str, ...]
    scaling: Scaling
    weights: NDArray[np.float32]
    """Of the features, or of the last hidden layer."""
    bias: np.float32
    hidden: tuple[Layer, ...] = ()

    def probability(self, backend: Meter, codes: tuple[Any, ...]) -> Any:
        """Return the probability codes of a tile from its feature codes, on the device."""
        given = {
            "mean": self.scaling.mean,
            "scale": self.scaling.scale,
            "weights": self.weights,
            "bias": self.bias,
            "sigmoid": tables.sigmoid_table(),
        }
        if not self.hidden:
            return backend.neuron(codes, **given)
        return backend.net(codes, hidden=tuple((layer.weights, layer.bias) for layer in self.hidden), **given)


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
    mode: str = AUTONOMOUS
    model: str | None = None
    """Digest of the model that the unit was taken from."""

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
    threads: int = 1,
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
    threads : int
        As `fit` takes them.
    """
    scaling = Scaling.of([histograms[name] for name in features])
    x = scaling.codes([samples[name] for name in features])
    training, validation, how = split
    learned, held = (Sample.of(x[:, part], labels[part]) for part in (training, validation))
    return fit(backend, features, scaling, learned, held, how, settings, prior, progress, threads)


def fit(
    backend: Meter,
    features: tuple[str, ...],
    scaling: Scaling,
    learned: Sample,
    held: Sample,
    how: str,
    settings: NeuronSettings,
    prior: float,
    progress: Callable[[int, int], Any] | None = None,
    threads: int = 1,
) -> Trained:
    """Train the grid on standardised samples and return the unit with the lowest objective.

    Parameters
    ----------
    backend : Meter
    features : tuple of str
    scaling : Scaling
        By which both samples were standardised.
    learned, held : Sample
        To learn from, and to choose by.
    how : str
        How the samples were parted, a sentence for the record.
    settings : NeuronSettings
    prior : float
        Share of label 1 before the samples were balanced: the bias is corrected to it.
    progress : callable, optional
        Called with (trainings done, trainings).
    threads : int
        Parts of a sample summed at once; of a sample in one part, paths gone at once. Changes no bit.
    """
    done: list[Training] = []
    total = len(settings.l1) * len(settings.l2)
    with Descent(backend, learned, held, settings, threads) as descent:

        def path(l2: float) -> Iterator[Training]:
            weights, bias = [0.0] * len(features), 0.0
            for l1 in sorted(settings.l1, reverse=True):  # from the strongest: each start is the path so far
                found = descent.run(weights, bias, l1, l2)
                yield found
                weights, bias = list(found.weights), found.bias

        for found in descent.along([path(l2) for l2 in settings.l2]):
            done += found
            if progress:
                progress(len(done), total)
    chosen = min(done, key=lambda t: t.objective)
    shifted = np.float32(chosen.bias + prior_shift(prior, learned.share))
    unit = Unit(features, scaling, np.array(chosen.weights, np.float32), shifted)
    return Trained(unit, chosen, tuple(done), learned.voxels, held.voxels, entropy(held.share), how)


def prior_shift(prior: float, share: float) -> float:
    """Return what a bias gains where a sample of a share of label 1 stands for a whole of another, the prior."""
    return _log_odds(prior) - _log_odds(share)


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return tables.log_scalar(share) - tables.log_scalar(1 - share)
