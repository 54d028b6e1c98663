"""What lives in each stage of a volume at once: names and bytes, from its headers and the settings alone.

The factors are the itemsizes of the arrays that the stages hold, read off their code; what is no array of ours
(temporaries of NumPy, runs of a mask) is a stated allowance. The plan sums and compares these accounts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import across, anomalies, bank, components, counters, direction, load, null, survey
from gpu_nx47._tiff.decoding import PAGE_COPIES
from gpu_nx47._tiff.untrusted import SPARE_BYTES
from gpu_nx47.engine import ASIDE_VOXELS
from gpu_nx47.journal.trace import FORENSIC

if TYPE_CHECKING:
    from gpu_nx47.settings import Settings

DRAW_HELD: Final = 80
"""Bytes for each voxel that the survey draws: its position, gradient and profile."""
DRAW_WORK: Final = 300
"""Bytes of temporaries for each of them, while the axis is fitted and where they are labelled."""
RUN_SHARE: Final = 1 / 11
"""Runs of a mask for each voxel that are allowed for: smooth noise has up to 0.085, sheets 0.034."""
RUN_BYTES: Final = 8
"""Ends of a run, 16 bits each, and its parent."""
ANOMALY_SHARE: Final = 1 / 12
"""Anomalous voxels that are allowed for: phantoms have up to 0.074."""
ANOMALY_BYTES: Final = 14
"""Of each its place, its bend and its cluster."""
ANOMALY_LISTED: Final = 10
"""The same before there are clusters: in parts, and once more together."""

Shape = tuple[int, int, int]
Lines = list[tuple[str, int]]
"""What lives at once: what it is, and its bytes."""


@dataclass(frozen=True)
class Job:
    """What a plan depends on."""

    shape: Shape
    """Of the stack; the valid box is not known before it is read, and no larger."""
    dtype: np.dtype[Any]
    """As stored."""
    file_bytes: int
    """Of the file, or of the largest slice: what is held while its voxels are decoded."""
    features: tuple[str, ...]
    """Candidates."""
    kept: int
    """Selected features, at most."""
    draws: int
    """Voxels that the survey draws."""
    threads: int
    law: bool
    """The NumPy law computes: its temporaries are wider."""
    cells: bool
    """Joint cells are kept, to compare the volume with others."""
    save: tuple[str, ...]
    codes: bool
    """The codes of the selected features are kept until they are written or traced."""
    child: bool
    """A child process decodes."""

    @classmethod
    def of(
        cls,
        shape: Shape,
        dtype: np.dtype[Any],
        file_bytes: int,
        settings: Settings,
        *,
        threads: int,
        law: bool,
        others: bool,
    ) -> Job:
        """Return the job of a volume under these settings; `others`: it is not the only one of the run."""
        names = settings.features.fixed or settings.features.bank
        kept = len(settings.features.fixed) or min(settings.features.top_k, len(names))
        return cls(
            shape=shape,
            dtype=dtype,
            file_bytes=file_bytes,
            features=names,
            kept=kept,
            draws=min(survey.DRAWS_PER_SAMPLE * settings.neuron.samples, math.prod(shape)),
            threads=threads,
            law=law,
            cells=others and counters.CELL_BITS * kept <= 16,
            save=settings.save,
            codes="features" in settings.save or settings.record == FORENSIC,
            child=settings.load.untrusted,
        )

    @property
    def voxels(self) -> int:
        """Voxels of the stack."""
        return math.prod(self.shape)


def of_stages(job: Job, work: Tiles) -> dict[str, Lines]:
    """Return the account of each stage, beside what the process takes anyhow."""
    # A direction of 2 bytes and a planarity of 1 for each block, and the direction of each of its eight cells.
    blocks = math.prod(-(-n // direction.BLOCK) for n in job.shape)
    seen = [("grey values", job.voxels), ("directions of the sheets", 19 * blocks)]
    found = [*seen, ("probability", 2 * job.voxels)]
    if job.cells:
        found.append(("joint cells", 2 * job.voxels))
    # And, at forensic, what the neuron said before the vote.
    codes = ("feature codes", 2 * (job.kept + 1) * job.voxels if job.codes else 0)
    return {
        "load": reading(job),
        "survey": [*seen, ("drawn voxels", DRAW_HELD * job.draws), work.survey],
        "features": [
            *seen,
            ("drawn voxels", DRAW_HELD * job.draws),
            ("histograms and sample", work.histograms),
            work.features,
        ],
        "probability": [*found, codes, work.neuron],
        "segment": [*found, codes, *_segment(job)],
        "null": [*found, codes, *_masks(job, 2), ("surrogates", work.surrogates)],
        "write": [*found, codes, *_masks(job, 2), *_write(job, work)],
        "count": [*found, *_masks(job, 1), *_count(job)],
    }


def reading(job: Job) -> Lines:
    """Return what is held while a volume is read and decoded."""
    stored = job.dtype.itemsize * job.voxels
    pages = PAGE_COPIES * (job.threads - 1) * (stored // job.shape[0])
    read = load.reading_bytes(job.shape, job.dtype, job.file_bytes)
    child = stored + 2 * job.file_bytes + SPARE_BYTES if job.child else 0
    return [("file, voxels and grey values", read), ("pages of further threads", pages), ("decoding process", child)]


def _around(shape: Shape, tile: Shape, margin: int) -> int:
    """Return the voxels of a tile with a margin."""
    return math.prod(min(n, t + 2 * margin) for n, t in zip(shape, tile, strict=True))


class Tiles:
    """What the tiles in work take."""

    def __init__(self, job: Job, tile: Shape) -> None:
        self.job = job
        self.tile = tile
        pieces = math.prod(-(-n // t) for n, t in zip(job.shape, tile, strict=True))
        self.at_once = min(job.threads, pieces)
        margin = bank.halo(job.features)
        scales = {scale for name in job.features for scale in bank.scales(name)}
        core = self.crop(0)
        # The grey values, G at each scale in uint16, and what one feature needs beside: of the law float64 and int64.
        shared = self.crop(margin) + 2 * len(scales) * self.crop(1)
        beside = (40 if job.law else 5) * self.crop(margin)
        part = min(core, max(bank.PART_VOXELS, core // min(tile[0], job.shape[0])))
        # What one pass over a Gaussian, or along the profile, gave beside the feature that it was made for.
        together = [len(results) for results in bank.shared(job.features).values()]
        together.append(sum(bank.base(name) == "profile" for name in job.features))
        waiting = sum(2 * part * max(0, number - 1) for number in together)
        # Codes of the whole tile where a part alone would cost more; at forensic of all features.
        whole = min(job.kept, sum(bank.base(name) not in bank.IN_PARTS for name in job.features))
        codes = 2 * (job.kept - 1) * core if job.codes else 2 * whole * core + 2 * job.kept * part
        # Probability and cells go to their place from the tile; the codes that are kept wait for their turn.
        result = 2 * core * (1 + job.cells + 2 * job.kept * job.codes)
        self._features = shared + beside + waiting
        self.probability = shared + beside + codes + result
        # Grey values, G(1), and of each block of 64 voxels the six sums of the tensor, int64, twice.
        blocks = direction.tile_of(tile, job.shape, job.threads)
        thick = direction.BLOCK * blocks[0], *tile[1:]
        self._survey = (40 if job.law else 5) * _around(
            job.shape, thick, direction.BLOCK * direction.HALO
        ) + 40 * job.draws

    def crop(self, margin: int) -> int:
        """Voxels of a tile with a margin."""
        return _around(self.job.shape, self.tile, margin)

    def line(self, purpose: str, each: int) -> tuple[str, int]:
        """Return the line of the tiles in work."""
        z, y, x = self.tile
        number = "1 tile" if self.at_once == 1 else f"{self.at_once} tiles"
        return f"{number} of {z} x {y} x {x} for {purpose}", self.at_once * each

    @property
    def survey(self) -> tuple[str, int]:
        """The survey's tiles, or what the fit of the axis takes behind them where that is more."""
        return _longest(self.line("the survey", self._survey), ("the fit of the axis", DRAW_WORK * self.job.draws))

    @property
    def neuron(self) -> tuple[str, int]:
        """The tiles that the neuron eats, or those of the vote behind them: of wide volumes its waiting slices."""
        depth, height, width = self.job.shape
        # Means wait in three layers of thin tiles, and in those in flight; a tile in work has codes and directions.
        slices = min(depth, 3 * -(-self.tile[0] // across.VOTE_PARTS) + across.VOTE_REACH)
        thin = 4 * self.crop(across.VOTE_REACH) + 4 * self.crop(0)
        voted = 2 * slices * height * width + self.at_once * thin
        return _longest(self.line("the neuron", self.probability), ("means along the sheets", voted))

    @property
    def features(self) -> tuple[str, int]:
        """The tiles that measure every candidate, or the labelling behind them."""
        tiles = self.line("one feature after the other", self._features)
        return _longest(tiles, ("labelling", DRAW_WORK * self.job.draws))

    @property
    def histograms(self) -> int:
        """Of the candidates: the sum, and those of the tiles in flight; and their codes at the drawn voxels."""
        one = 8 * 65_536 * len(self.job.features)
        # int32 at every drawn voxel, and again at the sample: a quarter of them.
        return one * (1 + 2 * self.at_once) + 5 * self.job.draws * (1 + len(self.job.features))

    @property
    def surrogates(self) -> int:
        """Of the null: grey values and probabilities of two families, masks and bends of one, and ranks in int64."""
        return 60 * null.CUBES * math.prod(min(null.EDGE, n) for n in self.job.shape)


def _longest(*lines: tuple[str, int]) -> tuple[str, int]:
    """Return the line of the most bytes, of those that are not held at once."""
    return max(lines, key=lambda line: line[1])


def _runs(voxels: int) -> int:
    return math.ceil(RUN_SHARE * RUN_BYTES * voxels)


def _masks(job: Job, whole: int) -> Lines:
    """Return the lines of some masks of a byte a voxel, and of the hysteresis mask, which is kept as bits."""
    return [("masks", whole * job.voxels), ("hysteresis mask", -(-job.voxels // 8))]


def _segment(job: Job) -> Lines:
    if job.law:  # labels, their int64 copy in a count of sizes, and padded masks
        return [("masks, labels and runs", 32 * job.voxels)]
    # A mask and what a step makes of it; on a thread beside, a mask alone is cleaned too, or one is counted in.
    aside = job.threads > 1 and job.voxels <= ASIDE_VOXELS
    runs = ("runs of a mask", (1 + aside) * _runs(job.voxels))
    return [*_masks(job, 5 if aside else 2), ("masks as bits", (1 + aside) * job.voxels // 8), runs]


def _write(job: Job, work: Tiles) -> Lines:
    lines = [("encoded mask", job.voxels // 4)]
    if job.save:
        lines.append(("an array to save", 2 * job.voxels))
    if "normals" in job.save:
        lines.append(("a part of the normals", 3 * job.voxels))
    return lines


def _count(job: Job) -> Lines:
    if job.law:
        return [("labels, anomalies and runs", 36 * job.voxels)]
    number, slab = math.ceil(ANOMALY_SHARE * job.voxels), min(job.voxels, components.SLAB)
    runs = ("runs of a mask", _runs(job.voxels) + job.voxels // 8)
    clusters = ("anomalies", ANOMALY_BYTES * number + slab + _runs(slab))
    # A large volume's runs have gone before; a small one's bends are held until anomalies are listed.
    beside = [runs, clusters] if job.voxels <= ASIDE_VOXELS else [_longest(runs, clusters)]
    held = 2 * job.voxels if job.voxels <= anomalies.HELD_VOXELS else 0
    listed = ("bends and anomalies", held + 2 * ANOMALY_LISTED * number)
    return beside if sum(size for _, size in beside) >= listed[1] else [listed]
