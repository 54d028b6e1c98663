"""The settings of the cleaning, found on held-out volumes by the real score."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import load
from gpu_nx47.engine import Tile, tiles
from gpu_nx47.events import Emit, Event
from gpu_nx47.inference import infer, votes_of
from gpu_nx47.scene import usable
from gpu_nx47.score import read_label_at
from gpu_nx47.train.sample import IGNORE, bearing_of
from gpu_nx47.train.scanning import Tried, Tuner
from gpu_nx47.train.tuning import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine
    from gpu_nx47.model import Model
    from gpu_nx47.settings import Settings
    from gpu_nx47.train.pairs import Pair

PIECE: Final = 192
"""Edge of the piece of a volume that is scored, voxels: a whole 320-cube takes five times as long."""
BLOCK: Final = 96


@dataclass(frozen=True)
class Cut:
    """What the scan found."""

    segment: dict[str, Any]
    best: Tried
    start: Tried
    """With the settings as they were."""
    volumes: tuple[str, ...]
    tried: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        told = {name: {**asdict(one), "mean": one.mean} for name, one in (("best", self.best), ("start", self.start))}
        return {**told, "volumes": list(self.volumes), "settings_tried": self.tried, "piece": PIECE}


def scan(engine: Engine, model: Model, held: Sequence[Pair], settings: Settings, emit: Emit) -> Cut | None:
    """Scan the cleaning's settings with a model on pieces of held-out volumes; None where there is none to scan on.

    Parameters
    ----------
    engine : Engine
    model : Model
    held : sequence of Pair
        Those that could be sampled; the first `learning.scan` of them are used.
    settings : Settings
    emit : Emit
    """
    used = list(held)[: settings.learning.scan]
    if not used:
        return None
    volumes = [_volume(engine, model, pair, settings) for pair in used]
    tuner = Tuner(engine, volumes, settings.segment, brief=True)

    def tell(one: Tried) -> None:
        data = {"step": "scan", **asdict(one), "mean": one.mean}
        emit(Event("SUPERVISED_TRAIN", data))

    best = tuner.run(tell)
    return Cut(best.segment, best, tuner.tried[0], tuple(pair.id for pair in used), len(tuner.tried))


def _volume(engine: Engine, model: Model, pair: Pair, settings: Settings) -> Volume:
    """Return the piece of a volume with most known voxels, with its probability."""
    volume = load.load(pair.image, settings.load, threads=engine.threads)
    label, _ = read_label_at(pair.label)
    inside = np.ascontiguousarray(label[volume.box.slices])
    grey = np.ascontiguousarray(volume.grey[volume.box.slices])
    del volume, label
    piece = _piece(inside)
    bearing = bearing_of(engine, grey, settings)
    unit = model.unit_of(usable(model.unit.features, bearing.axis is not None))
    blocks = _blocks(piece)
    found = infer(engine.on(blocks), grey, unit, bearing, votes=votes_of(settings))
    return Volume(found.probability[piece.core], found.histogram, inside[piece.core])


def _piece(label: NDArray[np.uint8]) -> Tile:
    """Return the piece, of eight that reach into the corners and one in the middle, with most known voxels."""
    z, y, x = label.shape
    best, most = None, -1
    for at in ("middle", *range(8)):
        start = []
        for axis, n in enumerate(label.shape):
            room = max(0, n - PIECE)
            start.append(room // 2 if at == "middle" else room * (int(at) >> axis & 1))
        low = (start[0], start[1], start[2])
        tile = Tile(low, (min(z, low[0] + PIECE), min(y, low[1] + PIECE), min(x, low[2] + PIECE)), (z, y, x))
        known = int(np.count_nonzero(label[tile.core] != IGNORE))
        if known > most:
            best, most = tile, known
    assert best is not None
    return best


def _blocks(piece: Tile) -> list[Tile]:
    """Return the piece in blocks that the engine's threads share."""
    z, y, x = (b - a for a, b in zip(piece.start, piece.stop, strict=True))

    def moved(place: tuple[int, int, int]) -> tuple[int, int, int]:
        a, b, c = (p + s for p, s in zip(place, piece.start, strict=True))
        return a, b, c

    return [Tile(moved(one.start), moved(one.stop), piece.shape) for one in tiles((z, y, x), (BLOCK, BLOCK, BLOCK))]
