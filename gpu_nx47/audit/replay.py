"""Compute a run again from its inputs and compare: a run on a GPU is audited on a laptop, by anyone.

Settings come from BOOT, inputs from the caller, everything else is computed by the stages of a run. The record is only
compared with: no digest of it goes into what is computed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import backend, configure, hardware, load, metrics, outside, source
from gpu_nx47._version import __version__
from gpu_nx47.audit.lines import events
from gpu_nx47.audit.masks import mask_differences
from gpu_nx47.audit.tiles import tile_differences
from gpu_nx47.audit.verify import CANNOT, COMPLETE, INCOMPLETE, TAMPERED, record_folder
from gpu_nx47.engine import Engine
from gpu_nx47.errors import InputError, UsageError
from gpu_nx47.journal import RECORD_NAME
from gpu_nx47.journal.merkle import tree_root
from gpu_nx47.model import Model, from_document
from gpu_nx47.quick import quick_mask
from gpu_nx47.settings import CHANGE_NO_MASK
from gpu_nx47.solve import Solved, Story, solve
from gpu_nx47.solve_outside import solve_outside
from gpu_nx47.umbilicus import Umbilicus, from_record

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.events import Event
    from gpu_nx47.journal import Stamped
    from gpu_nx47.settings import Settings
    from gpu_nx47.volume import Source, Volume

APART: Final = frozenset({"file", "stage", "rss", "slices"})
"""Keys of a trace that are compared otherwise, or belong to the machine."""
ELSEWHERE: Final = CHANGE_NO_MASK - {"tile", "record"}
"""Settings that belong to the machine of the run."""
MOST_SLICES: Final = 8


@dataclass(frozen=True)
class Machine:
    """Where to compute: nothing of it changes a bit."""

    backend: str = "auto"
    tile: tuple[int, int, int] | None = None
    """None: as the run."""
    threads: int = 0


@dataclass
class _Told:
    """What the record tells of one file."""

    state: str = "begun"
    """begun, quick, full, failed."""
    sha256: str | None = None
    mask_sha256: str | None = None
    error: str | None = None
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    umbilicus: Umbilicus | None = None
    tiles: list[dict[str, Any]] = field(default_factory=list)
    """Traces of tiles, as the run cut them."""


def draw(names: Sequence[str], share: float) -> list[str]:
    """Return a share of the names, one at least, drawn so that whoever wrote the record could not know which."""
    count = min(len(names), max(1, round(share * len(names))))
    return sorted(random.SystemRandom().sample(list(names), count), key=list(names).index)


def replay_record(
    path: Path,
    root: Path,
    machine: Machine,
    choose: Callable[[Sequence[str]], Sequence[str]],
    say: Callable[[str], None],
) -> int:
    """Compute volumes of a record again.

    Parameters
    ----------
    path : Path
        The record, or its folder; a submission.zip there is compared too.
    root : Path
        The inputs.
    machine : Machine
    choose : callable
        Given the ids of the record's volumes, returns those to do.
    say : callable
        Told what came of each, in sentences.

    Returns
    -------
    int
        0: all equal; 1: something differs; 2: the record names no volumes, or a volume was not ended; 3: an input is
        not here.

    Raises
    ------
    UsageError
        There is no record, no input, or the record's settings are not understood here.
    """
    folder = record_folder(path)
    boot, names, model = _outline(folder / RECORD_NAME)
    if not names:
        say("The record names no volumes: there is nothing to compute.")
        return INCOMPLETE
    if boot.get("version") != __version__:
        say(f"The record was written by version {boot.get('version')}, this is {__version__}: answers may differ.")
    chosen = list(choose(names))
    found = {item.id: item for item in source.discover(root).sources}
    computer = _Computer(_settings(boot, machine), folder, model)
    say(f"Computing {len(chosen)} of {len(names)} volumes on {computer.engine.backend.NAME}.")
    told = _told(folder / RECORD_NAME, chosen)
    codes = [_one(name, found.get(name), told[name], computer, say) for name in chosen]
    worst = next((code for code in (TAMPERED, CANNOT, INCOMPLETE) if code in codes), COMPLETE)
    ends = {
        COMPLETE: f"equal: {len(chosen)} of {len(names)} volumes computed again",
        TAMPERED: f"different: {codes.count(TAMPERED)} of {len(chosen)} volumes",
        INCOMPLETE: "incomplete: what the record holds of these volumes is equal",
        CANNOT: "cannot be checked: inputs are missing",
    }
    say(ends[worst])
    return worst


def _outline(record: Path) -> tuple[dict[str, Any], list[str], Model | None]:
    """Return BOOT, the ids of the volumes, and the model that the run was given or trained."""
    boot: dict[str, Any] = {}
    names: list[str] = []
    model: Any = None
    for stamped in events(record):
        data = stamped.event.data
        if stamped.event.name == "BOOT":
            boot = data
            model = data.get("model", model)
        elif stamped.event.name == "SUPERVISED_TRAIN" and data.get("step") == "model":
            model = data
        elif stamped.event.name == "DATASET_DISCOVERY":
            names = [str(name) for name in data.get("volumes") or ()]
    return boot, names, None if model is None else from_document(model.get("document"), "the model of the record")


def _told(record: Path, names: Sequence[str]) -> dict[str, _Told]:
    """Return what the record tells of the named files; of one that was done twice, the last."""
    told = {name: _Told() for name in names}
    for stamped in events(record):
        file = told.get(str(stamped.event.data.get("file")))
        if file is not None:
            _take(file, stamped)
    return told


def _take(file: _Told, stamped: Stamped) -> None:
    data = stamped.event.data
    match stamped.event.name:
        case "FILE_START":  # begun anew, where a run goes on behind one that was cut short in this file
            file.sha256, file.traces, file.tiles = data.get("sha256"), {}, []
            file.umbilicus = from_record(data.get("umbilicus"))
        case "ARRAY_TRACE" if "tile" in data:
            file.tiles.append(data)
        case "ARRAY_TRACE":
            file.traces[str(data.get("stage"))] = data
        case "FILE_DONE":
            file.state, file.mask_sha256 = "full", data.get("mask_sha256")
        case "FILE_FAILED":
            file.state, file.error = "failed", data.get("error")
        case "STEP" if data.get("name") == "quick_done" and file.state != "full":
            file.state, file.sha256, file.mask_sha256 = "quick", data.get("sha256"), data.get("mask_sha256")


def _settings(boot: dict[str, Any], machine: Machine) -> Settings:
    """Return the run's settings on this machine, without what only writes."""
    if not isinstance(boot.get("config"), dict):
        raise UsageError("BOOT holds no settings: the run cannot be computed again")
    mask = {key: value for key, value in configure.flatten(boot["config"]).items() if key not in ELSEWHERE}
    recorded = configure.from_mapping(mask)
    here = replace(recorded, backend=machine.backend, threads=machine.threads, save=(), overlays=0)
    return here if machine.tile is None else replace(here, tile=machine.tile)


class _Computer:
    """Does to a volume what a run does, and keeps the traces."""

    def __init__(self, settings: Settings, folder: Path, model: Model | None) -> None:
        chosen, _ = backend.select(settings.backend)
        self.settings = settings
        self.folder = folder
        self.model = model
        self.engine = Engine(backend.Meter(chosen), settings.tile, settings.threads or hardware.usable_processors())

    def load(self, item: Source) -> Volume:
        return load.load(item, self.settings.load, threads=self.engine.threads)

    def full(
        self, volume: Volume, drawn: Umbilicus | None
    ) -> tuple[dict[str, dict[str, Any]], NDArray[np.bool_], dict[str, NDArray]]:
        """Return the traces by stage, the mask, and the whole arrays that a forensic record holds the tiles of."""
        traces: dict[str, dict[str, Any]] = {}

        def keep(event: Event) -> None:
            if event.name == "ARRAY_TRACE" and "tile" not in event.data:
                traces[event.data["stage"]] = event.data

        story = Story(volume.source.id, keep, self.engine, record=self.settings.record)
        story.trace("volume", volume.grey)
        grey = _inner(volume)
        solved = None if grey is None else self._solve(volume, grey, story, drawn)
        mask = metrics.full_mask(volume, None if solved is None else solved.final)
        if solved is None or solved.alone is None:
            return traces, mask, {}
        features = {f"feature_{name}": codes for name, codes in solved.saved.items()}
        return traces, mask, {**features, "neuron_output": solved.alone}

    def _solve(self, volume: Volume, grey: NDArray[np.uint8], story: Story, drawn: Umbilicus | None) -> Solved:
        if not self.settings.probability:
            line = None if drawn is None else drawn.eighths(volume.box)
            return solve(grey, self.engine, self.settings, story, None, self.model, line)
        z, y, x = volume.grey.shape
        given = outside.read(outside.folders(self.settings.probability), volume.source.id, (z, y, x))
        inner = np.ascontiguousarray(given.codes[volume.box.slices])
        return solve_outside(grey, inner, self.engine, self.settings, story)

    def quick(self, volume: Volume) -> NDArray[np.bool_]:
        """Return the cheap mask."""
        grey = _inner(volume)
        return metrics.full_mask(volume, None if grey is None else quick_mask(self.engine, grey))


def _inner(volume: Volume) -> NDArray[np.uint8] | None:
    """Return the valid box; None where there is nothing to find in it."""
    grey = np.ascontiguousarray(volume.grey[volume.box.slices])
    return grey if grey.size and grey.min() < grey.max() else None


def _one(name: str, item: Source | None, told: _Told, computer: _Computer, say: Callable[[str], None]) -> int:
    """Compute one volume again, say what differs, and return the code for it."""
    if told.state == "begun" and not told.traces:
        say(f"{name}: the run did not come to it")
        return INCOMPLETE
    if item is None:
        say(f"{name}: the input is not here")
        return CANNOT
    try:
        volume = computer.load(item)
    except InputError as error:
        same = told.error == type(error).__name__
        say(f"{name}: {'refused again' if same else 'cannot be read here, the run could'}: {error}")
        return COMPLETE if same else TAMPERED
    if told.state == "failed":
        say(f"{name}: can be read here, the run could not ({told.error})")
        return TAMPERED
    wrong: list[str] = []
    if told.state == "quick":
        mask = computer.quick(volume)
    else:
        traces, mask, arrays = computer.full(volume, told.umbilicus)
        for stage, recorded in told.traces.items():
            wrong += compare(stage, recorded, traces.get(stage))
        if told.state == "full":  # else the run was cut short before it came to them
            wrong += [f"{stage}: computed here, not in the record" for stage in traces if stage not in told.traces]
        wrong += tile_differences(told.tiles, arrays, told.state == "full")
    if told.mask_sha256 is not None:
        wrong += mask_differences(computer.folder, name, mask, told.mask_sha256)
    for sentence in wrong:
        say(f"{name} {sentence}")
    if volume.sha256 != told.sha256 and told.sha256 is not None:
        say(f"{name}: the input's bytes are not those of the run ({told.sha256[:16]}, here {volume.sha256[:16]})")
    if not wrong:
        tiles = f", {len(told.tiles)} tiles" if told.tiles else ""
        say(f"{name}: equal ({len(told.traces)} arrays{tiles}{', mask' if told.mask_sha256 else ''})")
    return TAMPERED if wrong else COMPLETE if told.state in ("full", "quick") else INCOMPLETE


def compare(stage: str, recorded: dict[str, Any], computed: dict[str, Any] | None) -> list[str]:
    """Return what differs between two traces of a stage, in sentences; a difference is found in its slices."""
    if computed is None:
        return [f"{stage}: in the record, not computed here"]
    leaves = recorded.get("slices")
    if leaves is not None and tree_root([bytes.fromhex(leaf) for leaf in leaves]).hex() != recorded.get("digest"):
        return [f"{stage}: the record's slices do not give its digest"]
    others = [key for key in recorded if key not in APART and recorded[key] != computed.get(key)]
    if not others:
        return []  # the leaves too: they give the digest
    if leaves is not None and len(leaves) == len(computed.get("slices") or ()):
        bad = [z for z, (a, b) in enumerate(zip(leaves, computed["slices"], strict=True)) if a != b]
        if bad:
            shown = ", ".join(map(str, bad[:MOST_SLICES])) + (" ..." if len(bad) > MOST_SLICES else "")
            return [f"{stage}: differs in {len(bad)} of {len(leaves)} slices, z = {shown}"]
    return [f"{stage}: differs in {', '.join(others)}"]
