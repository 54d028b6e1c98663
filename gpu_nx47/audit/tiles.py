"""Compare the tiles of a forensic record with whole arrays: whoever computes again may cut them otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.journal.merkle import slice_hashes
from gpu_nx47.journal.trace import TILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

MOST_TOLD: Final = 4
"""Differing tiles named for each array."""


def tile_differences(tiles: Iterable[Mapping[str, Any]], arrays: Mapping[str, NDArray], whole: bool) -> list[str]:
    """Return what differs between recorded tiles and the arrays computed here, in sentences.

    Parameters
    ----------
    tiles : iterable of mapping
        Data of ARRAY_TRACE with `tile`.
    arrays : mapping of str to numpy.ndarray (z, y, x)
        By the name of the stage.
    whole : bool
        The tiles of each array must make up all of it; where False, a part will do, as of a run that was cut short.
    """
    seen = {stage: np.zeros(array.shape, np.bool_) for stage, array in arrays.items()}
    bad: dict[str, list[str]] = {}
    for told in tiles:
        stage = str(told.get("stage")).removesuffix(TILE)
        place = _place(told.get("tile"), arrays[stage].shape) if stage in arrays else None
        if place is None:
            bad.setdefault(stage, []).append(f"{told.get('tile')}, which is none of it")
            continue
        if seen[stage][place].any():
            bad.setdefault(stage, []).append(f"{told['tile']}, told twice")
        seen[stage][place] = True
        if _digest(arrays[stage][place]) != told.get("digest"):
            bad.setdefault(stage, []).append(str(told["tile"]))
    found = []
    for stage, places in bad.items():
        more = " ..." if len(places) > MOST_TOLD else ""
        found.append(f"{stage}: differs in {len(places)} tiles: {'; '.join(places[:MOST_TOLD])}{more}")
    missing = {stage: int(np.count_nonzero(~mask)) for stage, mask in seen.items()}
    if whole:
        found += [f"{stage}: no tile in the record holds {n} of its voxels" for stage, n in missing.items() if n]
    return found


def _digest(part: NDArray) -> str:
    return slice_hashes(np.ascontiguousarray(part)[None])[0].hex()


def _place(tile: Any, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Return where a tile lies; None where it is no tile of an array of this shape."""
    try:
        place = tuple(slice(int(start), int(stop)) for start, stop in tile)
    except (TypeError, ValueError):
        return None
    inside = len(place) == len(shape) and all(
        0 <= part.start < part.stop <= n for part, n in zip(place, shape, strict=True)
    )
    return place if inside else None
