"""Scan the cleaning's settings for given probabilities: the work behind `nx47 tune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_nx47 import direction, load, outside, source
from gpu_nx47.errors import UsageError
from gpu_nx47.score import find_labels, read_label_at
from gpu_nx47.settings import LoadSettings
from gpu_nx47.train.pairs import IMAGES, LABELS
from gpu_nx47.train.scanning import Tried, Tuner
from gpu_nx47.train.tuning import Volume, piece_histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_nx47.direction import Field
    from gpu_nx47.engine import Engine
    from gpu_nx47.settings import SegmentSettings
    from gpu_nx47.volume import Box


@dataclass(frozen=True)
class Tuned:
    """What a scan found."""

    best: Tried
    tried: tuple[Tried, ...]
    volumes: tuple[str, ...]


def tune(
    probability: Path,
    labels: Path,
    engine: Engine,
    start: SegmentSettings,
    volumes: int,
    tell: Callable[[Tried], None],
    *,
    official: bool = False,
) -> Tuned:
    """Scan on the volumes that have both a probability and labels.

    Parameters
    ----------
    probability : Path
        A folder of <id>.tif or <id>.npz, or one such file.
    labels : Path
        Labels of the same names: a folder, a root with train_labels/, or one TIFF, which is then the file's label.
    engine : Engine
    start : SegmentSettings
        The settings to begin with.
    volumes : int
        Most volumes used: they are in memory together.
    tell : callable
        Told each result as it is there.
    official : bool
        Let the competition's total choose among the best (`Tuner`).

    Notes
    -----
    A run cuts within the valid box of the image, and knows directions from it. The image of labels in train_labels/ is
    looked for in train_images/; without it the whole volume is cut, and no votes are tried.

    Raises
    ------
    UsageError
        No volume has both.
    InputError
        A file cannot be used.
    """
    found = find_labels(labels)
    if probability.is_file():
        folder = outside.Folder.parse(str(probability.parent))
        names = {probability.stem: next(iter(found)) if labels.is_file() else probability.stem}
    else:
        folder = outside.Folder.parse(str(probability))
        names = {name: name for name in found if folder.has(name)}
    names = {name: label for name, label in names.items() if label in found}
    if not names:
        raise UsageError(f"no probability in {probability} has labels of its name in {labels}")
    used = dict(list(names.items())[:volumes])
    loaded = []
    for name, label_name in used.items():
        label, _ = read_label_at(found[label_name].path)
        z, y, x = label.shape
        codes = outside.read((folder,), name, (z, y, x)).codes
        box, field = _seen(engine, found[label_name].path, (z, y, x))
        inner = codes if box is None else codes[box.slices]
        loaded.append(Volume(inner, piece_histogram(inner), label, box, field, topology=official))
    best = (tuner := Tuner(engine, loaded, start, official=official)).run(tell)
    return Tuned(best, tuple(tuner.tried), tuple(used))


def _seen(engine: Engine, label: Path, shape: tuple[int, int, int]) -> tuple[Box | None, Field | None]:
    """Return valid box and directions of the image that a label belongs to; none where there is no such image."""
    image = label.parent.with_name(IMAGES) / label.name
    if label.parent.name != LABELS or not image.is_file():
        return None, None
    grey = load.load(source.stack(image), LoadSettings()).grey
    if grey.shape != shape:
        raise UsageError(f"{image}: expected the shape of its labels {shape}, found {grey.shape}")
    box = load.valid_box(grey)
    return box, direction.measure(engine, grey[box.slices]) if box.voxels else None
