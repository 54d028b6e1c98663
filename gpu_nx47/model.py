"""A trained model, frozen: what it looks at, how it weighs it, where it cuts, and how it was trained, as one JSON file.

Numbers that decide a bit stand as exact hexadecimal floats, so a model has one digest wherever it was trained.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from gpu_nx47.atomic import write_whole
from gpu_nx47.descent import Training
from gpu_nx47.errors import SettingsError, UsageError
from gpu_nx47.neuron import SUPERVISED, Layer, Scaling, Trained, Unit
from gpu_nx47.settings import SegmentSettings, split_feature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_nx47.settings import Settings

FORMAT: Final = "nx47-model/1"
LARGEST: Final = 64 << 20
"""Bytes of a file that is looked into at all."""
PHANTOMS: Final = "phantoms"
CUTS: Final = tuple(item.name for item in fields(SegmentSettings))
_ADVICE: Final = "Give a file that `nx47 train` wrote."


@dataclass(frozen=True)
class Model:
    """A trained model."""

    unit: Unit
    """With every feature of the model."""
    segment: Mapping[str, Any]
    """Settings of the cleaning found on held-out volumes, by their names; those not found are not there."""
    trained: Trained
    """How the unit was trained and chosen."""
    facts: Mapping[str, Any]
    """JSON values: what it was trained on, and what shows that it learned."""

    def document(self) -> dict[str, Any]:
        """Return the model as JSON values; `from_document` takes them back."""
        unit = self.unit
        return {
            "format": FORMAT,
            "features": list(unit.features),
            "scaling": {"mean": _hex(unit.scaling.mean), "scale": _hex(unit.scaling.scale)},
            "hidden": [
                {"weights": [_hex(row) for row in layer.weights], "bias": _hex(layer.bias)} for layer in unit.hidden
            ],
            "neuron": {"weights": _hex(unit.weights), "bias": float(unit.bias).hex()},
            "segment": dict(self.segment),
            "train_info": {key: value for key, value in self.trained.info().items() if key != "selected_hyperparams"}
            | {"chosen": self.trained.trainings.index(self.trained.chosen)},
            "facts": dict(self.facts),
        }

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the document as JSON with sorted keys and no spaces."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def encoded(self) -> bytes:
        """Return the bytes of the model's file: the same model has the same."""
        return (json.dumps(self.document(), indent=1, allow_nan=False) + "\n").encode()

    def write(self, path: Path) -> None:
        """Write the model's file; OutputError where the disk does not take it."""
        write_whole(path, self.encoded())

    def settings(self, settings: Settings) -> Settings:
        """Return settings in which the model's cleaning stands wherever the user's is the default.

        Where the user gave a ratio or a threshold, neither of the model's is taken: they exclude one another.
        """
        default = SegmentSettings()
        given = {name for name in CUTS if getattr(settings.segment, name) != getattr(default, name)}
        if given & {"ratio", "threshold"}:
            given |= {"ratio", "threshold"}
        taken = {name: value for name, value in self.segment.items() if name not in given}
        if "weak" in given or "strong" in given:  # a pair: half of another pair would mean nothing
            taken = {name: value for name, value in taken.items() if name not in ("weak", "strong")}
        return replace(settings, segment=replace(settings.segment, **taken))

    def unit_of(self, names: Sequence[str]) -> Unit:
        """Return the unit with these of its features alone; the others count as if they had their mean everywhere."""
        keep = [k for k, name in enumerate(self.unit.features) if name in names]
        whole = self.unit
        scaling = Scaling(whole.scaling.mean[keep].copy(), whole.scaling.scale[keep].copy())
        features = tuple(whole.features[k] for k in keep)
        if not whole.hidden:
            return Unit(features, scaling, whole.weights[keep].copy(), whole.bias)
        first = replace(whole.hidden[0], weights=np.ascontiguousarray(whole.hidden[0].weights[:, keep]))
        return replace(whole, features=features, scaling=scaling, hidden=(first, *whole.hidden[1:]))

    def trained_on(self, names: Sequence[str]) -> Trained:
        """Return how the model was trained, with the unit of these of its features."""
        return replace(self.trained, unit=self.unit_of(names), mode=SUPERVISED, model=self.digest)


def read_model(path: Path) -> Model:
    """Read a model file; `phantoms`, where no file is called so, is the model of phantoms that comes with the program.

    Raises
    ------
    UsageError
        It cannot be read, or is no whole model of this version of the format; says where.
    """
    if str(path) == PHANTOMS and not path.exists():
        path = Path(str(files("gpu_nx47.models").joinpath(f"{PHANTOMS}.json")))
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path}: expected a model file of at most {LARGEST} bytes. {_ADVICE}")
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the model cannot be read: {error}. {_ADVICE}") from error
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: expected a model as JSON, got: {error}. {_ADVICE}") from error
    return from_document(document, str(path))


def from_document(document: Any, name: str) -> Model:
    """Return the model of a document; `name` is what an error calls it by.

    Raises
    ------
    UsageError
        Says what is missing or wrong.
    """
    reader = _Reader(name)
    got = document.get("format") if isinstance(document, dict) else type(document).__name__
    if got != FORMAT:
        reader.refuse("format", repr(FORMAT), got)
    features = tuple(reader.take(document, "features", list))
    if not features or not all(isinstance(f, str) for f in features) or len(set(features)) < len(features):
        reader.refuse("features", "different names", features)
    for feature in features:
        try:
            split_feature(feature)
        except SettingsError as error:
            raise UsageError(f"{name}: this version lacks a feature of the model: {error}. {_ADVICE}") from error
    scaling, neuron = reader.take(document, "scaling", dict), reader.take(document, "neuron", dict)
    count = len(features)
    hidden = reader.layers(reader.take(document, "hidden", list), count)
    unit = Unit(
        features,
        Scaling(reader.floats(scaling, "mean", count), reader.floats(scaling, "scale", count)),
        reader.floats(neuron, "weights", len(hidden[-1].bias) if hidden else count),
        reader.float32("bias", neuron.get("bias")),
        hidden,
    )
    segment = reader.segment(reader.take(document, "segment", dict))
    trained = reader.trained(reader.take(document, "train_info", dict), unit)
    return Model(unit, segment, trained, reader.take(document, "facts", dict))


class _Reader:
    """Takes a document apart; refuses by name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def refuse(self, key: str, expected: str, got: Any) -> NoReturn:
        text = repr(got)
        shown = text if len(text) <= 60 else text[:56] + " ..."
        raise UsageError(f"{self._name}: {key}: expected {expected}, got {shown}. {_ADVICE}")

    def take(self, document: Any, key: str, kind: type) -> Any:
        value = document.get(key)
        if not isinstance(value, kind):
            self.refuse(key, f"a JSON {'object' if kind is dict else 'array'}", value)
        return value

    def float32(self, key: str, text: Any) -> np.float32:
        """Return the float32 that a hexadecimal text stands for, exactly."""
        try:
            value = float.fromhex(text)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if (
            not math.isfinite(value)
            or abs(value) > float(np.finfo(np.float32).max)
            or float(np.float32(value)) != value
        ):
            self.refuse(key, "a float32 in hexadecimal, such as 0x1.8p-1", text)
        return np.float32(value)

    def floats(self, document: dict[str, Any], key: str, count: int) -> NDArray[np.float32]:
        texts = self.take(document, key, list)
        if len(texts) != count:
            self.refuse(key, f"{count} numbers, one for each feature", f"{len(texts)} numbers")
        return np.array([self.float32(key, text) for text in texts], np.float32)

    def layers(self, rows: list[Any], inputs: int) -> tuple[Layer, ...]:
        """Return the hidden layers, each of which takes what the one before gives."""
        layers = []
        for row in rows:
            if not isinstance(row, dict) or not self.take(row, "weights", list):
                self.refuse("hidden", "objects of weights and bias", row)
            weights = np.stack([self.floats({"weights": one}, "weights", inputs) for one in row["weights"]])
            layers.append(Layer(weights, self.floats(row, "bias", len(weights))))
            inputs = len(weights)
        return tuple(layers)

    def segment(self, values: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(values) - set(CUTS))
        if unknown:
            self.refuse("segment", f"settings among {', '.join(CUTS)}", unknown)
        taken: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        try:
            SegmentSettings(**taken)
        except SettingsError as error:
            raise UsageError(f"{self._name}: {error}. {_ADVICE}") from error
        return taken

    def trained(self, info: dict[str, Any], unit: Unit) -> Trained:
        names = {item.name for item in fields(Training)}
        rows = self.take(info, "trainings", list)
        chosen = info.get("chosen")
        if not rows or not isinstance(chosen, int) or not 0 <= chosen < len(rows):
            self.refuse("train_info.chosen", "the place of a training", chosen)
        trainings = []
        for row in rows:
            if not isinstance(row, dict) or set(row) != names or not isinstance(row["weights"], list):
                self.refuse("train_info.trainings", f"objects of {', '.join(sorted(names))}", row)
            numbers = [value for key, value in row.items() if key != "weights"] + row["weights"]
            if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
                self.refuse("train_info.trainings", "numbers", row)
            trainings.append(Training(**{**row, "weights": tuple(row["weights"])}))
        for key, kind in (("train_samples", int), ("validation_samples", int), ("validation_prior_ce", float)):
            if not isinstance(info.get(key), int | kind):
                self.refuse(f"train_info.{key}", "a number", info.get(key))
        return Trained(
            unit,
            trainings[chosen],
            tuple(trainings),
            info["train_samples"],
            info["validation_samples"],
            float(info["validation_prior_ce"]),
            str(info.get("validation")),
        )


def _hex(values: NDArray[np.float32]) -> list[str]:
    return [float(value).hex() for value in values]


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")
