"""All settings of a run: frozen, checked once, and written whole into BOOT.

A key on the command line is the path to a field: ``--set neuron.rate=0.05``. `preset` names a set of values laid under the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

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
)


@dataclass(frozen=True)
class FeatureSettings:
    """Which features are offered, and how many are kept."""

    bank: tuple[str, ...] = DEFAULT_BANK
    """Candidates, `name` or `name@sigma`."""
    top_k: int = 6
    """Features kept."""
    redundancy: float = 0.97
    """A feature whose |r| with a better one is at least this is dropped."""
    fixed: tuple[str, ...] = ()
    """Features kept whatever their score; empty: selected."""


@dataclass(frozen=True)
class NeuronSettings:
    """The NX47 unit and its trainings."""

    l1: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    steps: int = 120
    rate: float = 0.08
    samples: int = 65_536
    """Voxels drawn from each volume."""


@dataclass(frozen=True)
class SegmentSettings:
    """From probability to mask."""

    strong: float | None = None
    """Probability a voxel needs to anchor; None: measured (segmentation.py says how)."""
    weak: float | None = None
    """Probability a voxel needs to be carried by an anchor; None: measured."""
    ratio: float | None = None
    """Target share of active voxels; None: measured against the null."""
    dust: int = 100
    """Components of fewer voxels are removed."""
    closing: tuple[int, int, int] = (0, 0, 0)
    """Radius of the closing box (z, y, x), voxels; 0 is none."""
    opening: tuple[int, int, int] = (0, 0, 0)
    """Radius of the opening box (z, y, x), voxels; 0 is none."""


@dataclass(frozen=True)
class LoadSettings:
    """How wide grey values become 0..255."""

    low_percentile: float = 0.5
    high_percentile: float = 99.8
    voxel_size_um: float | None = None
    """Edge of a voxel in micrometres, where the file does not tell."""


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on, apart from its inputs."""

    preset: str = "default"
    seed: int = 47
    backend: str = "auto"
    tile: tuple[int, int, int] = (64, 512, 512)
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
    features: FeatureSettings = field(default_factory=FeatureSettings)
    neuron: NeuronSettings = field(default_factory=NeuronSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    load: LoadSettings = field(default_factory=LoadSettings)
