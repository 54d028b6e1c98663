"""Supervised training, told in order: audit, sample each volume, learn, prove, scan the cleaning, freeze."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import bank, descent, neuron
from gpu_nx47.alerts import Alert
from gpu_nx47.errors import InputError, UsageError
from gpu_nx47.events import Emit, Event
from gpu_nx47.model import Model
from gpu_nx47.neuron import Scaling
from gpu_nx47.stats import Histogram
from gpu_nx47.train import pairs as found
from gpu_nx47.train.net import begun, with_net
from gpu_nx47.train.proof import Proof, prove
from gpu_nx47.train.sample import Drawn, draw_sample
from gpu_nx47.train.validate import scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine
    from gpu_nx47.neuron import Trained
    from gpu_nx47.settings import Settings
    from gpu_nx47.train.pairs import Pair, Split

ODD_CE: Final = 1.0
"""Cross-entropy of a volume, in that of its prior, from which its labels are told to be odd."""


@dataclass
class _Set:
    """The samples of the learned, or of the held-out volumes."""

    drawn: list[Drawn] = field(default_factory=list)

    def histograms(self) -> dict[str, Histogram]:
        """Return the histogram of each feature over all volumes that have it."""
        joined: dict[str, Histogram] = {}
        for one in self.drawn:
            for name, histogram in one.histograms.items():
                before = joined.get(name)
                counts = histogram.counts if before is None else before.counts + histogram.counts
                joined[name] = Histogram(counts, histogram.low)
        return joined

    def sample(self, names: Sequence[str], scaling: Scaling) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return standardised codes (K, n) and labels (n,) of all volumes, in their order."""
        if not self.drawn:
            return np.zeros((len(names), 0), np.int16), np.zeros(0, np.uint8)
        x = np.concatenate([one.standardised(names, scaling) for one in self.drawn], axis=1)
        return x, np.concatenate([one.labels for one in self.drawn])


def train(root: Path, engine: Engine, settings: Settings, emit: Emit, table: Path | None = None) -> Model:
    """Train on the labelled volumes under a root.

    Parameters
    ----------
    root : Path
        A folder with train_images/ and train_labels/.
    engine : Engine
    settings : Settings
    emit : Emit
        Told each step as an event SUPERVISED_TRAIN, and alerts.
    table : Path, optional
        Table of id and scroll_id; None: train.csv of the root, if it is there.

    Returns
    -------
    Model
        The same bits for any tile, number of threads and backend.

    Raises
    ------
    UsageError
        There is nothing to learn from.
    """
    audit = found.audit(root, table)
    split = found.split(audit.pairs, settings.learning.held_out, settings.seed)
    _tell(emit, "audit", **audit.as_json(), validation=split.how)
    work = _Work(engine, settings, emit, len(audit.pairs))
    learned, held = work.samples(split.learned, altered=settings.learning.alter), work.samples(split.held)
    if not learned.drawn:
        raise UsageError(f"{root}: none of the {len(audit.pairs)} labelled volumes can be learned from")
    if split.held and not held.drawn:
        raise UsageError(f"{root}: none of the {len(split.held)} volumes held out can be used")
    names, scaling, samples, how = _prepared(learned, held, split, settings)
    counts = [sum(one.counts[k] for one in learned.drawn) for k in (0, 1)]
    prior = counts[1] / sum(counts)
    with engine.aside() as aside:
        net = begun(aside, samples[0], settings)  # on one thread: what follows hardly waits for it
        trained = neuron.fit(
            engine.backend, names, scaling, *samples, how, settings.neuron, prior, threads=engine.threads
        )
        _tell(emit, "learned", **_learned(trained))
        proof = prove(engine, trained, *samples, settings)
        _tell(emit, "proof", **proof.as_json())
        if not proof.learned:
            chosen = trained.chosen
            emit(Alert.of("NO_LEARNING", chosen.val_ce, trained.validation_prior_ce).event())
        work.odd_labels(trained, scaling, [*learned.drawn, *held.drawn])
        if net is not None:
            trained, told = with_net(engine, trained, net(), *samples, settings, prior)
            _tell(emit, "net", **told)
    trained = _pruned(trained)
    facts = work.facts(audit, split, learned, held, prior, proof)
    model = Model(trained.unit, {}, trained, facts)
    usable = [pair for pair in split.held if pair.id in {one.id for one in held.drawn}]
    cut = scan(engine, model, usable, settings, emit) if proof.learned else None
    if cut is not None:
        model = replace(model, segment=cut.segment, facts={**facts, "scan": cut.as_json()})
    _tell(emit, "model", volumes=len(learned.drawn), digest=model.digest, document=model.document())
    return model


def _prepared(
    learned: _Set, held: _Set, split: Split, settings: Settings
) -> tuple[tuple[str, ...], Scaling, tuple[descent.Sample, descent.Sample], str]:
    """Return features, scaling, the two samples, and how they were parted."""
    histograms = learned.histograms()
    names = tuple(name for name in settings.taught if name in histograms)
    scaling = Scaling.of([histograms[name] for name in names])
    x, y = learned.sample(names, scaling)
    if split.held:
        return names, scaling, (descent.Sample.of(x, y), descent.Sample.of(*held.sample(names, scaling))), split.how
    one = learned.drawn[0]
    first, second, how = neuron.hold_out(one.point, one.labels, one.shape, settings.seed, bank.halo(names))
    samples = descent.Sample.of(x[:, first], y[first]), descent.Sample.of(x[:, second], y[second])
    return names, scaling, samples, f"one volume: {how}"


def _learned(trained: Trained) -> dict[str, Any]:
    chosen = trained.chosen
    return {
        "chosen": asdict(chosen),
        "train_samples": trained.train_samples,
        "validation_samples": trained.validation_samples,
        "validation_prior_ce": trained.validation_prior_ce,
        "trainings": [asdict(one) for one in trained.trainings],
    }


def _pruned(trained: Trained) -> Trained:
    """Return the training with a unit of the features that have a weight; one stays where none has."""
    unit = trained.unit
    if unit.hidden:
        return trained
    keep = [k for k, weight in enumerate(unit.weights.tolist()) if weight != 0.0] or [0]
    scaling = Scaling(unit.scaling.mean[keep].copy(), unit.scaling.scale[keep].copy())
    names = tuple(unit.features[k] for k in keep)
    return replace(trained, unit=neuron.Unit(names, scaling, unit.weights[keep].copy(), unit.bias))


class _Work:
    """What the steps of one training share."""

    def __init__(self, engine: Engine, settings: Settings, emit: Emit, volumes: int) -> None:
        self._engine = engine
        self._settings = settings
        self._emit = emit
        self._wanted = min(settings.neuron.samples, settings.learning.samples // volumes)
        self._refused: list[tuple[str, str]] = []

    def samples(self, pairs: Sequence[Pair], *, altered: bool = False) -> _Set:
        """Return the samples of the pairs that can be used; say what came of each."""
        one_set = _Set()
        for pair in pairs:
            try:
                drawn = draw_sample(self._engine, pair, self._settings, self._wanted, altered=altered)
            except InputError as error:
                self._refused.append((pair.id, str(error)))
                _tell(self._emit, "refused", file=pair.id, why=str(error))
                continue
            one_set.drawn.append(drawn)
            self._tell(pair, drawn)
        return one_set

    def _tell(self, pair: Pair, drawn: Drawn) -> None:
        background, surface, ignored = drawn.counts
        _tell(
            self._emit,
            "volume",
            file=pair.id,
            scroll=pair.scroll,
            sha256_image=drawn.sha256[0],
            sha256_labels=drawn.sha256[1],
            background=background,
            surface=surface,
            ignored=ignored,
            samples=len(drawn.labels),
            surface_samples=int(drawn.labels.sum()),
            altered=None if drawn.altered is None else asdict(drawn.altered),
        )
        if drawn.outside:
            self._emit(Alert.of("LABELS_MISPLACED", drawn.outside, 0, drawn.id).event())

    def odd_labels(self, trained: Trained, scaling: Scaling, drawn: Sequence[Drawn]) -> None:
        """Alert on volumes whose labels the model of all volumes explains no better than their share does."""
        chosen = trained.chosen
        for one in drawn:
            sample = descent.Sample.of(one.standardised(trained.unit.features, scaling), one.labels)
            ce = descent.cross_entropy(self._engine.backend, sample, chosen.weights, chosen.bias)
            limit = ODD_CE * descent.entropy(sample.share)
            if chosen.active_neurons_end and ce >= limit:
                self._emit(Alert.of("LABELS_ODD", ce, limit, one.id).event())

    def facts(
        self, audit: found.Audit, split: Split, learned: _Set, held: _Set, prior: float, proof: Proof
    ) -> dict[str, Any]:
        """Return what the model says of its training."""
        digest = hashlib.sha256()
        for one in [*learned.drawn, *held.drawn]:
            digest.update(f"{one.id} {' '.join(one.sha256)}\n".encode())
        return {
            "volumes_seen": audit.seen,
            "volumes_learned": len(learned.drawn),
            "volumes_held_out": len(held.drawn),
            "volumes_refused": len(audit.refused) + len(self._refused),
            "volumes_altered": sum(one.altered is not None for one in learned.drawn),
            "inputs_digest": digest.hexdigest(),
            "validation": split.how,
            "prior": prior,
            "seed": self._settings.seed,
            "proof": proof.as_json(),
        }


def _tell(emit: Emit, step: str, **data: Any) -> None:
    emit(Event("SUPERVISED_TRAIN", {"step": step, **data}))
