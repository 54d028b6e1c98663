"""What an unfinished run left in its folder: which files are done, and whether this run may go on with it.

A run is unfinished where its record does not end in EXEC_COMPLETE, or ends in one that gives a `reason`. What it did is
believed only as far as digests in its record say so: of the settings, of each input, of each output.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47 import configure, journal
from gpu_nx47.errors import InputError, UsageError
from gpu_nx47.load import digest
from gpu_nx47.settings import CHANGE_NO_MASK
from gpu_nx47.submission import waiting_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_nx47.journal import Earlier, Stamped
    from gpu_nx47.settings import Settings
    from gpu_nx47.volume import Source

MOST_NAMED: Final = 10
"""Differences told in a refusal."""


@dataclass
class Left:
    """What the record tells of one file."""

    input_sha256: str | None = None
    shape: tuple[int, int, int] | None = None
    voxel_size_um: tuple[float, float, float] | None = None
    probability: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file of another program's probability, by its path."""
    state: str = "begun"
    """`begun`, `quick` (a cheap mask is there), `full`."""
    mask_sha256: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each further file, by its path in the folder of results."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """NX47_METRICS."""


class Unfinished:
    """An unfinished run, from its record."""

    def __init__(self, output: Path, submission: str) -> None:
        self.output = output
        self.earlier: Earlier | None = None
        self.elapsed_s = 0.0
        """Seconds that its sessions lasted, as far as the record knows."""
        self.files: dict[str, Left] = {}
        self.model: dict[str, Any] | None = None
        """The model that the run had, or had trained: digest and document."""
        self._umbilicus: str | None = None
        self._masks = waiting_folder(output / submission)
        self._config: dict[str, Any] = {}
        self._version = ""
        self._volumes: list[str] = []
        self._ended = False
        self._began_ns = self._last_ns = 0

    @classmethod
    def find(cls, output: Path, submission: str) -> Unfinished | None:
        """Return the unfinished run whose record lies in a folder; None where there is none.

        Raises
        ------
        OutputError
            The record is damaged.
        """
        path = output / journal.RECORD_NAME
        if not path.exists():
            return None
        found = cls(output, submission)
        found.earlier = journal.read_record(path, found._see)
        found.elapsed_s += (found._last_ns - found._began_ns) / 1e9
        return None if found._ended or not found._volumes else found

    def _see(self, stamped: Stamped) -> None:
        data, name = stamped.event.data, stamped.event.name
        self._ended = name == "EXEC_COMPLETE" and "reason" not in data
        file = self.files.setdefault(str(data.get("file")), Left()) if data.get("file") else Left()
        match name:
            case "BOOT" | "RECOVERED":  # a new process has a new clock
                if name == "RECOVERED" or not self._volumes:
                    self.elapsed_s += (self._last_ns - self._began_ns) / 1e9
                    self._began_ns = stamped.mono_ns
                self._config = data.get("config", self._config)
                self._version = data.get("version", self._version)
                self.model = data.get("model", self.model)
                self._umbilicus = data.get("umbilicus", self._umbilicus)
            case "SUPERVISED_TRAIN" if data.get("step") == "model":
                self.model = {"digest": data["digest"], "document": data["document"]}
            case "DATASET_DISCOVERY":
                self._volumes = data.get("volumes", [])
            case "FILE_START":
                file.probability = {one["path"]: one["sha256"] for one in data.get("probability", ())}
                file.input_sha256 = data["sha256"]
                file.shape = _three(data["shape"])
                file.voxel_size_um = data["voxel_size_um"] and _three(data["voxel_size_um"])
            case "NX47_METRICS":
                file.metrics = data
            case "STEP" if data["name"] == "quick_done":
                file.input_sha256, file.shape = data["sha256"], _three(data["shape"])
                file.state, file.mask_sha256 = "quick", data["mask_sha256"]
            case "FILE_DONE":
                file.state, file.mask_sha256, file.outputs = "full", data["mask_sha256"], data["outputs"]
        self._last_ns = stamped.mono_ns

    def require_same(
        self, settings: Settings, version: str, sources: Sequence[Source], beside: Mapping[str, str | None]
    ) -> None:
        """Refuse to go on with other settings, inputs, another version, or another model or umbilicus (their digests).

        Raises
        ------
        UsageError
            Says what differs.
        """
        differs = _differences(self._config, configure.to_json(settings))
        if version != self._version:
            differs.append(f"the version was {self._version}, is {version}")
        model = None if self.model is None or settings.train else self.model["digest"]
        for what, before in (("model", model), ("umbilicus", self._umbilicus)):
            if before != beside.get(what):
                differs.append(f"the {what} was {_short(before)}, is {_short(beside.get(what))}")
        names = [source.id for source in sources]
        if names != self._volumes:
            gone, new = sorted(set(self._volumes) - set(names)), sorted(set(names) - set(self._volumes))
            differs.append(f"the volumes differ: {', '.join(gone) or 'none'} gone, {', '.join(new) or 'none'} new")
        else:
            differs += self._changed_inputs(sources)
        if differs:
            more = f"; and {len(differs) - MOST_NAMED} more" if len(differs) > MOST_NAMED else ""
            raise UsageError(
                f"{self.output} holds an unfinished run that this one cannot go on with: "
                f"{'; '.join(differs[:MOST_NAMED])}{more}. Run as before to go on, add --fresh to begin anew (what is "
                "done there is lost), or give another folder with --output."
            )

    def _changed_inputs(self, sources: Sequence[Source]) -> list[str]:
        changed = []
        for source in sources:
            left = self.files.get(source.id)
            if left is None or left.input_sha256 is None:
                continue
            try:
                now = digest(source)
            except InputError as error:
                changed.append(str(error))
                continue
            changed += [f"{path} has changed" for path, sha in left.probability.items() if sha256_of(Path(path)) != sha]
            if now != left.input_sha256:
                changed.append(f"{source.path} has changed (sha256 was {left.input_sha256[:16]}, is {now[:16]})")
        return changed

    def kept(self, sources: Sequence[Source]) -> dict[str, Left]:
        """Return the files that need not be done again, by id: outputs verified by their digests.

        Of the files done in full only those before the first that must be done again: the discoveries of a volume are
        told against the volumes before it.
        """
        kept: dict[str, Left] = {}
        broken = False
        for source in sources:
            left = self.files.get(source.id, Left())
            if left.state == "begun":
                broken = broken or left.input_sha256 is not None
            elif not self._is_whole(source.id, left):
                broken = True
            elif left.state == "quick" or not broken:
                kept[source.id] = left
                broken = broken or left.state == "quick"
        return kept

    def _is_whole(self, name: str, left: Left) -> bool:
        paths = {self.output / path: sha256 for path, sha256 in left.outputs.items()}
        paths[self._masks / f"{name}.tif"] = left.mask_sha256 or ""
        return all(sha256_of(path) == sha256 for path, sha256 in paths.items())


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file, in hex; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    old, new = configure.flatten(before), configure.flatten(now)
    keys = sorted((old.keys() | new.keys()) - CHANGE_NO_MASK)
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys if old.get(key) != new.get(key)]


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:16]


def _three(values: list[Any]) -> tuple[Any, Any, Any]:
    z, y, x = values
    return z, y, x
