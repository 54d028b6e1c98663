"""What stays of a labelled volume: feature codes and labels at voxels drawn from drawn blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import bank, load, neuron, survey, tables
from gpu_nx47.engine import Tile, tiles
from gpu_nx47.errors import InputError
from gpu_nx47.scene import orient, usable
from gpu_nx47.score import read_label_at
from gpu_nx47.train import alter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_nx47.direction import Bearing
    from gpu_nx47.engine import Engine
    from gpu_nx47.settings import Settings
    from gpu_nx47.stats import Histogram
    from gpu_nx47.train.pairs import Pair

BACKGROUND, SURFACE, IGNORE = 0, 1, 2
BLOCK_STREAM: Final = 33
VOXEL_STREAM: Final = 34
MIN_CLASS: Final = 64
"""Voxels of each class without which a volume teaches nothing."""
AXIS_SAMPLES: Final = 16_384
"""Training voxels for which the survey draws its own: the axis needs no more."""


@dataclass(frozen=True)
class Drawn:
    """The sample of one labelled volume."""

    id: str
    codes: dict[str, NDArray[Any]]
    """16-bit codes, (n,), of each feature that could be computed."""
    histograms: dict[str, Histogram]
    """Of each of them, over the blocks."""
    labels: NDArray[np.uint8]
    """0 or 1, (n,)."""
    point: NDArray[np.int64]
    """Place of each voxel in the box, (n, 3)."""
    shape: tuple[int, int, int]
    """Of the box, after alteration."""
    counts: tuple[int, int, int]
    """Voxels of the box that are background, surface, ignored, before alteration."""
    outside: int
    """Surface voxels outside of the image's valid box."""
    altered: alter.Alteration | None
    sha256: tuple[str, str]
    """Of image and labels."""

    def standardised(self, names: Sequence[str], scaling: neuron.Scaling) -> NDArray[np.int16]:
        """Return (K, n) codes in steps of 1/4096 deviation; a feature that is not here has its mean everywhere."""
        x = np.zeros((len(names), len(self.labels)), np.int16)
        here = [k for k, name in enumerate(names) if name in self.codes]
        if here:
            part = neuron.Scaling(scaling.mean[here], scaling.scale[here])
            x[here] = part.codes([self.codes[names[k]] for k in here])
        return x


def draw_sample(engine: Engine, pair: Pair, settings: Settings, wanted: int, *, altered: bool) -> Drawn:
    """Read a pair, alter it where that is drawn, and sample it.

    Parameters
    ----------
    engine : Engine
    pair : Pair
    settings : Settings
    wanted : int
        Voxels, half of them surface where there are enough.
    altered : bool
        Whether an alteration may be drawn.

    Raises
    ------
    InputError
        Image or labels cannot be used.
    """
    volume = load.load(pair.image, settings.load, threads=engine.threads)
    label, label_sha256 = read_label_at(pair.label)
    if label.shape != volume.grey.shape:
        raise _unfit(pair, "the labels do not fit the image", f"its shape {volume.grey.shape}", f"{label.shape}")
    all_surface = int(np.count_nonzero(label == SURFACE))
    grey, label = volume.grey[volume.box.slices], np.ascontiguousarray(label[volume.box.slices])
    if grey.size == 0 or int(grey.min()) == int(grey.max()):
        raise _unfit(pair, "the image is constant", "grey values that differ", "one value")
    surface, ignored = (int(np.count_nonzero(label == code)) for code in (SURFACE, IGNORE))
    counts = (label.size - surface - ignored, surface, ignored)
    if min(counts[:2]) < MIN_CLASS:
        expected = f"at least {MIN_CLASS} voxels of background and of surface"
        raise _unfit(pair, "the labels teach nothing", expected, f"{counts[0]} and {counts[1]}")
    drawn = alter.draw(settings.seed, pair.key) if altered else None
    grey = np.ascontiguousarray(grey)
    if drawn is not None:
        grey, label = alter.alter(engine, grey, label, drawn)
    blocks = _blocks(label, settings, pair.key)
    index = _voxels(label, blocks, wanted, settings.seed ^ pair.key)
    labels = label.reshape(-1)[index]
    point = np.stack(np.unravel_index(index, label.shape), axis=1)
    shape = grey.shape
    outside = all_surface - surface
    del label
    bearing = bearing_of(engine, grey, settings)
    names = usable(settings.taught, bearing.axis is not None)
    measured = bank.measure(engine.on(blocks), grey, names, bearing, index)
    codes = {
        name: values.astype(np.int16 if measured.histograms[name].low else np.uint16)
        for name, values in measured.samples.items()
    }
    z, y, x = shape
    sha256 = (volume.sha256, label_sha256)
    return Drawn(pair.id, codes, measured.histograms, labels, point, (z, y, x), counts, outside, drawn, sha256)


def bearing_of(engine: Engine, grey: NDArray[np.uint8], settings: Settings) -> Bearing:
    """Return axis and directions of a valid box, from fewer draws than a run's own."""
    draws = survey.DRAWS_PER_SAMPLE * min(settings.neuron.samples, AXIS_SAMPLES)
    index, _ = survey.draw_voxels(settings.seed, grey.size, draws)
    return orient(engine, grey, index)[1]


def _unfit(pair: Pair, what: str, expected: str, found: str) -> InputError:
    advice = "Check that the files of one name belong together."
    return InputError(str(pair.label), what, expected=expected, found=found, advice=advice)


def _blocks(label: NDArray[np.uint8], settings: Settings, key: int) -> list[Tile]:
    """Return drawn blocks of a grid with known voxels; more than asked for where these lack a class."""
    edge = settings.learning.block
    z, y, x = (-(-n // -(-n // edge)) for n in label.shape)
    height, width, depth = label.shape
    grid = tiles((height, width, depth), (z, y, x))
    drawn = tables.draws(settings.seed ^ key, BLOCK_STREAM, 0, len(grid))
    chosen: list[Tile] = []
    classes = [0, 0]
    for number in np.argsort(drawn, kind="stable").tolist():
        if len(chosen) >= settings.learning.blocks and min(classes) >= MIN_CLASS:
            break
        part = label[grid[number].core]
        found = [int(np.count_nonzero(part == code)) for code in (BACKGROUND, SURFACE)]
        if any(found):
            chosen.append(grid[number])
            classes = [a + b for a, b in zip(classes, found, strict=True)]
    return chosen


def _voxels(label: NDArray[np.uint8], blocks: Sequence[Tile], wanted: int, seed: int) -> NDArray[np.int64]:
    """Return flat indices, sorted: up to half of what is wanted surface, and as much background.

    Alike in every volume: else a volume with little surface would be judged by a bias learned from the others.
    """
    surface = _drawn_of(label, blocks, SURFACE, wanted // 2, seed)
    background = _drawn_of(label, blocks, BACKGROUND, len(surface), seed)
    return np.sort(np.concatenate([surface, background]))


def _drawn_of(label: NDArray[np.uint8], blocks: Sequence[Tile], code: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Return flat indices of voxels of a class in the blocks; all where they are no more than wanted."""
    where = [np.flatnonzero(label[block.core] == code) for block in blocks]
    ends = np.cumsum([len(part) for part in where])
    if ends[-1] <= wanted:
        picked = np.arange(ends[-1])
    else:  # a voxel drawn twice counts once
        picked = np.unique((tables.draws(seed, VOXEL_STREAM + code, 0, wanted) % np.uint64(ends[-1])).astype(np.int64))
    found = []
    for block, part, end in zip(blocks, where, ends.tolist(), strict=True):
        mine = part[picked[(picked >= end - len(part)) & (picked < end)] - (end - len(part))]
        local = np.unravel_index(mine, tuple(b - a for a, b in zip(block.start, block.stop, strict=True)))
        place = [axis + start for axis, start in zip(local, block.start, strict=True)]
        found.append(np.ravel_multi_index(tuple(place), label.shape).astype(np.int64))
    return np.concatenate(found)
