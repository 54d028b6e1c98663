"""All settings of a run: frozen, checked once, and written whole into BOOT.

A key on the command line is the path to a field: ``--set neuron.rate=0.05``. `preset` names a set of values laid
under the user's own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

from gpu_nx47.errors import SettingsError

FIRST_SIX: Final = ("local_entropy", "grad_mag", "proj_max", "proj_mean", "laplace", "bandpass_response")
"""The features V121 chose."""

DEFAULT_BANK: Final = (
    *FIRST_SIX,
    "local_var",
    "coherence_inter_slice",
    "grad_inward",
    "gaussian",
    "grad_inward@2",
    "laplace@2",
    "along_mean",
    "step_outward",
    "face",
)

LEARNING_BANK: Final = (
    *(f"profile@{voxels}" for voxels in (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)),
    *("along_mean", "grad_mag", "laplace", "bandpass_response", "grad_inward", "gaussian", "hessian_sheetness"),
    *("grad_inward@2", "laplace@2", "proj_max", "proj_mean", "coherence_inter_slice"),
    *("hessian_sheetness@2", "local_entropy", "local_var", "face"),
)
"""What labels are learned with. The last four need no side of the axis; beside the profile, which does, entropy,
variance and face search add nothing on phantoms."""

ALONG_SHEETS: Final = ("along_mean", "step_outward", "face", "profile", "hessian_sheetness")
"""Features that need the directions of the sheets."""
SCALED_FEATURES: Final = ("grad_mag", "laplace", "bandpass_response", "grad_inward", "gaussian")
"""Features that exist at other scales, as `name@sigma`."""
OFFSET_FEATURES: Final = {"profile": (-12, 12), "hessian_sheetness": (1, 12)}
"""Features that are read voxels away along the outward normal, as `name@voxels`, and how far; negative: inward."""
KNOWN_FEATURES: Final = (*FIRST_SIX, "local_var", "coherence_inter_slice", "grad_inward", "gaussian", *ALONG_SHEETS)
SIGMA_RANGE: Final = (0.5, 8.0)
"""Voxels. Below, a Gaussian is all but its centre; above, its window of 65 voxels outgrows the sheets it looks for."""

PRESETS: Final = ("default", "v121")
BACKENDS: Final = ("auto", "gpu", "cpu", "law")
RECORDS: Final = ("light", "standard", "forensic")
NO_SIDE: Final = "unknown"
"""In place of an umbilicus: no side of the sheets is taken."""
SAVABLE: Final = ("probability", "normals", "features")


def split_feature(name: str, key: str = "feature") -> tuple[str, float | None]:
    """Split `name@sigma`, or `profile@voxels`, into the feature and its number (None: not given).

    Raises
    ------
    SettingsError
        No such feature, or no such scale of it.
    """
    base, at, text = name.partition("@")
    if base not in KNOWN_FEATURES:
        _refuse(key, f"features among {', '.join(KNOWN_FEATURES)}", name)
    if not at:
        return base, None
    if base in OFFSET_FEATURES:
        low, high = OFFSET_FEATURES[base]
        if not re.fullmatch(r"0|-?[1-9]\d?", text) or not low <= int(text) <= high:
            _refuse(key, f"{base}@voxels with whole voxels from {low} to {high}", name)
        return base, float(text)
    if base not in SCALED_FEATURES:
        _refuse(key, f"{base} without a scale; features with one are {', '.join(SCALED_FEATURES)}", name)
    least, most = SIGMA_RANGE
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not least <= float(text) <= most:
        _refuse(key, f"{base}@sigma with sigma from {least:g} to {most:g}", name)
    return base, float(text)


@dataclass(frozen=True)
class FeatureSettings:
    """Which features are offered, and how many are kept."""

    bank: tuple[str, ...] = DEFAULT_BANK
    """Candidates, `name`, `name@sigma`, or `profile@voxels`."""
    top_k: int = 6
    """Features kept."""
    redundancy: float = 0.97
    """A feature whose |r| with a better one is at least this is dropped."""
    fixed: tuple[str, ...] = ()
    """Features kept whatever their score; empty: selected."""
    measured: int = 4
    """One slab of at most 56 slices in so many of a large volume is measured to choose and learn; 1: all of any."""

    def __post_init__(self) -> None:
        _integer("features.measured", self.measured, 1, 64)
        _feature_names("features.bank", self.bank)
        _require(len(self.bank) > 0, "features.bank", "at least one feature", self.bank)
        _integer("features.top_k", self.top_k, 1, 64)
        _number("features.redundancy", self.redundancy, 0.0, 1.0, above_low=True)
        _feature_names("features.fixed", self.fixed)


@dataclass(frozen=True)
class NeuronSettings:
    """The NX47 unit and its trainings."""

    l1: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    steps: int = 120
    rate: float = 0.08
    hidden: tuple[int, ...] = (24, 12)
    """Neurons of each hidden layer of a net, tried where labels are learned from; empty: the neuron on its own."""
    samples: int = 65_536
    """Voxels drawn from each volume."""

    def __post_init__(self) -> None:
        for key, values in (("neuron.l1", self.l1), ("neuron.l2", self.l2)):
            _require(isinstance(values, tuple) and len(values) > 0, key, "at least one number", values)
            for value in values:
                _number(key, value, 0.0, 1.0)
            _require(len(set(values)) == len(values), key, "each number once", values)
        sizes = isinstance(self.hidden, tuple) and len(self.hidden) <= 3
        _require(sizes, "neuron.hidden", "up to three sizes", self.hidden)
        for size in self.hidden:
            _integer("neuron.hidden", size, 1, 256)
        _integer("neuron.steps", self.steps, 1, 100_000)
        _number("neuron.rate", self.rate, 0.0, 1.0, above_low=True)
        _integer("neuron.samples", self.samples, 16, 2**27)


@dataclass(frozen=True)
class LearningSettings:
    """Training on labelled volumes."""

    bank: tuple[str, ...] = LEARNING_BANK
    """Candidates; empty: those of features.bank. features.fixed goes before both."""
    samples: int = 2_097_152
    """Voxels that all volumes give together; a volume gives neuron.samples at most."""
    blocks: int = 8
    """Blocks drawn in each volume; its voxels come from them."""
    block: int = 96
    """Edge of a block, voxels."""
    held_out: float = 0.2
    """Share of the volumes, at least, that is held out, whole scrolls where these are known."""
    alter: bool = True
    """Half of the volumes are learned from with drawn contrast, blur and pitch."""
    scan: int = 3
    """Held-out volumes on which the cleaning's settings are scanned; 0: none, they stay as they are."""
    shuffles: int = 4
    """Trainings on shuffled labels that the training on the true ones must beat."""

    def __post_init__(self) -> None:
        _feature_names("learning.bank", self.bank)
        _integer("learning.samples", self.samples, 1024, 2**31)
        _integer("learning.blocks", self.blocks, 1, 4096)
        _integer("learning.block", self.block, 16, 1024)
        _number("learning.held_out", self.held_out, 0.0, 0.9, above_low=True)
        _require(isinstance(self.alter, bool), "learning.alter", "true or false", self.alter)
        _integer("learning.scan", self.scan, 0, 1024)
        _integer("learning.shuffles", self.shuffles, 0, 64)


@dataclass(frozen=True)
class SegmentSettings:
    """From probability to mask."""

    strong: float | None = None
    """Probability a voxel needs to anchor; None: measured (segmentation.py says how)."""
    weak: float | None = None
    """Probability a voxel needs to be carried by an anchor; None: measured."""
    ratio: float | None = None
    """Target share of active voxels; None: the mean probability, what the neuron itself expects."""
    threshold: float | None = None
    """Probability from which a voxel is active, whatever share that is; None: by the ratio."""
    votes: int | None = None
    """How often each voxel hears its neighbours along the sheet before anything is cut; None: once for the neuron's own
    probability, never for another program's."""
    dust: int = 2000
    """Pieces of fewer voxels are removed."""
    dust_connectivity: int = 6
    """What makes a piece: voxels that share a face (6, as TopoScore counts pieces), or an edge or a corner too (26)."""
    closing: tuple[int, int, int] = (0, 0, 0)
    """Radius of the closing (z, y, x), voxels; 0 is none."""
    opening: tuple[int, int, int] = (0, 0, 0)
    """Radius of the opening (z, y, x), voxels; 0 is none."""
    element: str = "box"
    """What closing and opening work with: the box of these radii, or its three segments along the axes, the cross."""
    opening_first: bool = False
    """Open before closing: specks go before what is near them is joined."""
    pinholes: int = 16
    """Voxels of a plug, at most, where a closing by one voxel would plug a hole and join no components; 0: none are."""
    loops: int = 64
    """Voxels of a filling, at most, where it closes a loop and joins no components; 0: no loop is filled."""
    bridges: int = 0
    """Voxels of a bridge that is cut, at most, where a loop or two pieces hang together by it; 0: none is."""
    cavities: bool = True
    """Fill what the mask encloses."""
    frame: int = 0
    """Voxels at the border of the valid box that are cleared; outside of it the mask is empty anyhow."""

    def __post_init__(self) -> None:
        for key in ("strong", "weak", "ratio", "threshold"):
            if (value := getattr(self, key)) is not None:
                _number(f"segment.{key}", value, 0.0, 1.0, above_low=True, or_none=True)
        if self.ratio is not None and self.threshold is not None:
            _refuse("segment.threshold", "none where segment.ratio is given", self.threshold)
        if self.strong is not None and self.weak is not None and self.weak > self.strong:
            _refuse("segment.weak", f"at most segment.strong ({self.strong:g})", self.weak)
        if self.votes is not None:
            _integer("segment.votes", self.votes, 0, 4)
        _integer("segment.dust", self.dust, 0, 2**40)
        neighbours = self.dust_connectivity
        _require(type(neighbours) is int and neighbours in (6, 26), "segment.dust_connectivity", "6 or 26", neighbours)
        _triple("segment.closing", self.closing, 0, 64)
        _triple("segment.opening", self.opening, 0, 64)
        _choice("segment.element", self.element, ("box", "cross"))
        first = self.opening_first
        _require(isinstance(first, bool), "segment.opening_first", "true or false", first)
        _integer("segment.pinholes", self.pinholes, 0, 64)
        _integer("segment.loops", self.loops, 0, 4096)
        _integer("segment.bridges", self.bridges, 0, 4096)
        _require(isinstance(self.cavities, bool), "segment.cavities", "true or false", self.cavities)
        _integer("segment.frame", self.frame, 0, 64)


@dataclass(frozen=True)
class LoadSettings:
    """How wide grey values become 0..255."""

    low_percentile: float = 0.5
    high_percentile: float = 99.8
    voxel_size_um: float | None = None
    """Edge of a voxel in micrometres, where the file does not tell."""
    untrusted: bool = False
    """Decode in a child process with limits of memory and time. Changes no bit."""

    def __post_init__(self) -> None:
        _number("load.low_percentile", self.low_percentile, 0.0, 100.0)
        _number("load.high_percentile", self.high_percentile, 0.0, 100.0)
        if self.high_percentile <= self.low_percentile:
            _refuse(
                "load.high_percentile", f"more than load.low_percentile ({self.low_percentile:g})", self.high_percentile
            )
        if self.voxel_size_um is not None:
            _number("load.voxel_size_um", self.voxel_size_um, 0.0, 1e6, above_low=True, or_none=True)
        _require(isinstance(self.untrusted, bool), "load.untrusted", "true or false", self.untrusted)


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on, apart from its inputs."""

    preset: str = "default"
    seed: int = 47
    backend: str = "auto"
    tile: tuple[int, int, int] = (56, 512, 512)
    """Output voxels of a tile (z, y, x). Changes no bit."""
    threads: int = 0
    """Tiles worked on at once; 0: one for each usable processor. Changes no bit."""
    save: tuple[str, ...] = ()
    """Further outputs: probability, normals, features."""
    golden_points: int = 11
    """Golden points listed with position and value; 0: all."""
    overlays: int = 3
    """Overlay pictures written for each volume."""
    ultra_console_log: bool = False
    """Every event on the console, as V122 did."""
    record: str = "standard"
    """How much of each array the record holds: light, standard, forensic (journal/trace.py). Changes no bit."""
    identity_key: str = ""
    """PEM file of an Ed25519 key that signs the record beside the run's own; empty: none."""
    time_budget: float | None = None
    """Seconds after which the submission is to be there; None: as long as it takes. Texts like 8h30m are understood."""
    train: bool = False
    """Train on the labelled volumes of the input first, and run with that model."""
    model: str = ""
    """Model file to run with; empty: none. Its digest, not its path, is what a run depends on."""
    probability: tuple[str, ...] = ()
    """Folders of another program's probabilities, DIR or DIR=WEIGHT, used in place of the neuron."""
    umbilicus: str = ""
    """File or folder that tells where the scroll's axis runs (umbilicus.py); empty: estimated; `unknown`: no side."""
    umbilicus_origin: tuple[int, int, int] = (0, 0, 0)
    """(z, y, x) of the stacks' first voxel in the coordinates of those files."""
    memory: int | None = None
    """Most bytes to hold; None: what the machine has left. Texts like 4GB are understood. Changes no bit."""
    features: FeatureSettings = field(default_factory=FeatureSettings)
    neuron: NeuronSettings = field(default_factory=NeuronSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    load: LoadSettings = field(default_factory=LoadSettings)

    @property
    def taught(self) -> tuple[str, ...]:
        """Features that are offered where labels are learned from."""
        return self.features.fixed or self.learning.bank or self.features.bank

    def __post_init__(self) -> None:
        _choice("preset", self.preset, PRESETS)
        _integer("seed", self.seed, 0, 2**64 - 1)
        _choice("backend", self.backend, BACKENDS)
        _triple("tile", self.tile, 1, 2**16)
        _integer("threads", self.threads, 0, 1024)
        _require(isinstance(self.save, tuple), "save", f"a list of {', '.join(SAVABLE)}", self.save)
        for value in self.save:
            _choice("save", value, SAVABLE)
        _require(len(set(self.save)) == len(self.save), "save", "each output once", self.save)
        _integer("golden_points", self.golden_points, 0, 2**40)
        _integer("overlays", self.overlays, 0, 2**16)
        _require(isinstance(self.ultra_console_log, bool), "ultra_console_log", "true or false", self.ultra_console_log)
        _choice("record", self.record, RECORDS)
        _require(isinstance(self.identity_key, str), "identity_key", "the path of a PEM file", self.identity_key)
        _require(isinstance(self.train, bool), "train", "true or false", self.train)
        _require(isinstance(self.model, str), "model", "the path of a model file", self.model)
        folders = isinstance(self.probability, tuple) and all(isinstance(f, str) and f for f in self.probability)
        _require(folders, "probability", "folders, DIR or DIR=WEIGHT", self.probability)
        ways = [key for key in ("train", "model", "probability") if getattr(self, key)]
        if len(ways) > 1:
            _refuse(ways[1], f"no {ways[1]} where {ways[0]} is given", getattr(self, ways[1]))
        _require(isinstance(self.umbilicus, str), "umbilicus", "a path, or `unknown`", self.umbilicus)
        _triple("umbilicus_origin", self.umbilicus_origin, -(2**20), 2**20)
        budget = self.time_budget
        holds = budget is None or (isinstance(budget, float) and 0 < budget <= 1e9)
        _require(holds, "time_budget", "seconds above 0, or a time such as 8h30m", budget)
        amount = self.memory
        holds = amount is None or (isinstance(amount, int) and not isinstance(amount, bool) and 0 < amount <= 2**60)
        _require(holds, "memory", "bytes above 0, or a size such as 4GB, 4GiB or 800MB", amount)
        for key, kind in _SECTIONS.items():
            _require(isinstance(getattr(self, key), kind), key, f"a table of {key} settings", getattr(self, key))


CHANGE_NO_MASK: Final = frozenset({
    "backend", "tile", "threads", "memory", "time_budget", "ultra_console_log", "record", "identity_key",
    "load.untrusted", "model",
})  # fmt: skip
"""Keys in which a run may differ from the unfinished one that it goes on with."""

_SECTIONS: Final = {
    "features": FeatureSettings,
    "neuron": NeuronSettings,
    "learning": LearningSettings,
    "segment": SegmentSettings,
    "load": LoadSettings,
}


def _refuse(key: str, expected: str, got: Any) -> None:
    """Raise for one key; what it says starts with the key."""
    raise SettingsError(f"{key}: expected {expected}, got {got!r}")


def _require(holds: bool, key: str, expected: str, got: Any) -> None:
    if not holds:
        _refuse(key, expected, got)


def _choice(key: str, value: Any, choices: tuple[str, ...]) -> None:
    _require(isinstance(value, str) and value in choices, key, f"one of {', '.join(choices)}", value)


def _integer(key: str, value: Any, low: int, high: int) -> None:
    holds = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(holds, key, f"an integer from {low} to {high}", value)


def _number(key: str, value: Any, low: float, high: float, *, above_low: bool = False, or_none: bool = False) -> None:
    holds = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
        and not (above_low and value == low)
    )
    bounds = f"a number above {low:g}, up to {high:g}" if above_low else f"a number from {low:g} to {high:g}"
    _require(holds, key, bounds + (", or none" if or_none else ""), value)


def _triple(key: str, value: Any, low: int, high: int) -> None:
    expected = f"three integers Z,Y,X from {low} to {high}"
    _require(isinstance(value, tuple) and len(value) == 3, key, expected, value)
    for part in value:
        holds = isinstance(part, int) and not isinstance(part, bool) and low <= part <= high
        _require(holds, key, expected, value)


def _feature_names(key: str, names: Any) -> None:
    texts = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
    _require(texts, key, "a list of feature names", names)
    seen: dict[tuple[str, float | None], str] = {}
    for name in names:
        split = split_feature(name, key)
        if split in seen:
            _refuse(key, f"each feature once ({seen[split]} is the same)", name)
        seen[split] = name
