"""Which labelled volumes there are, which of them can be used, and which whole volumes are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47 import source, tables
from gpu_nx47._tiff import inspect_file
from gpu_nx47.errors import InputError, UsageError
from gpu_nx47.score import find_scrolls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_nx47.volume import Source

IMAGES: Final = "train_images"
LABELS: Final = "train_labels"
HOLD_STREAM: Final = 31


@dataclass(frozen=True)
class Pair:
    """A volume and its labels, on the disk."""

    image: Source
    label: Path
    scroll: str | None
    """None: no table tells."""

    @property
    def id(self) -> str:
        """The volume's name."""
        return self.image.id

    @property
    def key(self) -> int:
        """Of the random choices made for this volume: they depend on its name, not on the other volumes."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:8], "little")


@dataclass(frozen=True)
class Audit:
    """What was found: every image and every label of the folders is in one of the lists."""

    pairs: tuple[Pair, ...]
    """To be used, in natural order."""
    refused: tuple[tuple[str, str], ...]
    """(id, why) of the others."""
    scrolls_from: str
    """Where the scrolls are told, a sentence."""

    @property
    def seen(self) -> int:
        """Ids that were found."""
        return len(self.pairs) + len(self.refused)

    def as_json(self) -> dict[str, Any]:
        """Return what the record holds of it."""
        refused = [{"file": name, "why": why} for name, why in self.refused]
        return {"seen": self.seen, "pairs": len(self.pairs), "refused": refused, "scrolls": self.scrolls_from}


def audit(root: Path, table: Path | None = None) -> Audit:
    """Find the labelled volumes under a root; only headers are read.

    Parameters
    ----------
    root : Path
        A folder with train_images/ and train_labels/.
    table : Path, optional
        Table of id and scroll_id; None: train.csv beside the labels, if it is there.

    Raises
    ------
    UsageError
        The folders are missing or empty, or no pair can be used.
    """
    for name in (IMAGES, LABELS):
        if not (root / name).is_dir():
            raise UsageError(
                f"{root}: expected the folders {IMAGES}/ and {LABELS}/, found no {name}/. "
                "Give the competition's root, or a folder laid out like it."
            )
    images = {path.stem: path for path in source.tiffs(root / IMAGES)}
    labels = {path.stem: path for path in source.tiffs(root / LABELS)}
    scrolls = find_scrolls(root / LABELS, table)
    pairs, refused = [], []
    for name in sorted({*images, *labels}, key=source.natural_key):
        why = _unfit(name, images.get(name), labels.get(name))
        if why is not None:
            refused.append((name, why))
        else:
            pairs.append(Pair(source.stack(images[name]), labels[name], scrolls.get(name)))
    if not pairs:
        first = f": {refused[0][0]}: {refused[0][1]}" if refused else ""
        raise UsageError(f"{root}: no labelled volume can be used ({len(refused)} refused{first})")
    known = sum(pair.scroll is not None for pair in pairs)
    told = f"train.csv tells the scroll of {known} of {len(pairs)} volumes" if scrolls else "no table tells the scrolls"
    return Audit(tuple(pairs), tuple(refused), told)


def _unfit(name: str, image: Path | None, label: Path | None) -> str | None:
    """Return why an id cannot be used, by the headers; None where it can."""
    if image is None:
        return f"a label without an image: expected {IMAGES}/{name}.tif"
    if label is None:
        return f"an image without labels: expected {LABELS}/{name}.tif"
    try:
        one, two = inspect_file(image), inspect_file(label)
    except InputError as error:
        return str(error)
    if one.shape != two.shape:
        return f"the labels do not fit the image: expected its shape {one.shape}, found {two.shape} in {label}"
    return None


@dataclass(frozen=True)
class Split:
    """Which volumes are learned from, and which are held out."""

    learned: tuple[Pair, ...]
    held: tuple[Pair, ...]
    """Empty: there is one volume only."""
    how: str


def split(pairs: Sequence[Pair], share: float, seed: int) -> Split:
    """Hold out whole scrolls where several are known, else whole volumes, until they are a share of the volumes.

    Parameters
    ----------
    pairs : sequence of Pair
    share : float
        Of the volumes, at least.
    seed : int
        Decides which.
    """
    names = {pair.scroll for pair in pairs}
    by_scroll = len(names) > 1 and None not in names
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(str(pair.scroll) if by_scroll else pair.id, []).append(pair)
    order = sorted(groups, key=lambda name: (_drawn(name, seed), name))
    held: list[str] = []
    count = 0
    for name in order[:-1]:  # one is learned from, whatever the share
        if count >= share * len(pairs):
            break
        held.append(name)
        count += len(groups[name])
    what = "scrolls" if by_scroll else "volumes"
    how = f"{count} of {len(pairs)} volumes held out, whole {what}: {', '.join(held[:8])}"
    how += " ..." if len(held) > 8 else ""
    if not held:
        how = "one volume only: octants of it are held out"
    kept = {pair.id for name in held for pair in groups[name]}
    return Split(
        tuple(pair for pair in pairs if pair.id not in kept), tuple(pair for pair in pairs if pair.id in kept), how
    )


def _drawn(name: str, seed: int) -> int:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return int(tables.draws(seed ^ key, HOLD_STREAM, 0, 1)[0])
