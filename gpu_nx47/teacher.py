"""What a run has beside its images: a model, given or trained before the first volume; probabilities; an umbilicus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_nx47 import outside, umbilicus
from gpu_nx47.model import Model, from_document, read_model
from gpu_nx47.train import train

if TYPE_CHECKING:
    from gpu_nx47.engine import Engine
    from gpu_nx47.events import Emit
    from gpu_nx47.settings import Settings
    from gpu_nx47.source import Discovery


class Teacher:
    """Knows where the model of a run comes from.

    Parameters
    ----------
    settings : Settings
    found : Discovery
        The inputs; with the labelled volumes, where the run trains.

    Raises
    ------
    UsageError
        A model, a folder or an umbilicus is given that cannot be used.
    """

    def __init__(self, settings: Settings, found: Discovery) -> None:
        self.engine: Engine | None = None
        """Where to train; set before the first volume."""
        self._settings = settings
        self._root = found.root
        self._model: Model | None = read_model(Path(settings.model)) if settings.model else None
        self.folders = outside.folders(settings.probability)
        """Of probabilities that take the neuron's place."""
        self.digest = None if self._model is None else self._model.digest
        """Of the model that was given."""
        names = [item.id for item in found.sources]
        self.umbilicus = umbilicus.Given(settings.umbilicus, settings.umbilicus_origin, names)

    @property
    def idle(self) -> bool:
        """Whether each volume teaches itself: no model, none to be trained, no probability given."""
        return not (self._settings.train or self._settings.model or self.folders)

    @property
    def told(self) -> dict[str, Any]:
        """What BOOT holds: a given model whole, the umbilicus by its digest (FILE_START has its points).

        So the record alone is enough to compute the run again.
        """
        told = {} if self.umbilicus.digest is None else {"umbilicus": self.umbilicus.digest}
        if self._model is None or self._settings.train:
            return told
        return told | {"model": {"digest": self._model.digest, "document": self._model.document()}}

    @property
    def planned(self) -> Settings:
        """The settings as a memory plan takes them: with cleaning and features of the model."""
        settings, names = self._settings, self._settings.taught if self._settings.train else ()
        if self._model is not None:
            settings, names = self._model.settings(settings), self._model.unit.features
        return replace(settings, features=replace(settings.features, fixed=names)) if names else settings

    def taught(self, earlier: dict[str, Any] | None) -> None:
        """Take the model that an unfinished run had trained, from its record: it is not trained again."""
        if self._settings.train and earlier is not None:
            self._model = from_document(earlier["document"], "the model of the record")

    def model(self, emit: Emit) -> Model | None:
        """Return the model, trained first where the run asks for that; None: each volume teaches itself."""
        if self._model is None and self._settings.train:
            if self.engine is None:
                raise ValueError("the run has no engine yet")
            self._model = train(self._root, self.engine, self._settings, emit)
        return self._model
