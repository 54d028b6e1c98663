"""Many volumes: each label with its prediction and its nulls, then the means by scroll and over all."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.errors import InputError
from gpu_nx47.score import _files, _null
from gpu_nx47.score._volume import Reference, Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

MEASURES: Final = ("surface_dice", "voi_score", "mean", "topo_bound", "topo", "total")


@dataclass(frozen=True)
class Nulls:
    """What masks score that cannot have found anything; None where there is none."""

    moved: Score | None
    """The prediction, moved by half a local pitch along the normal."""
    pitch: float | None
    """The label's mean pitch, voxels; None where no line crosses two sheets."""
    other: Score | None
    """Another volume's prediction of the same shape."""
    other_id: str | None


@dataclass(frozen=True)
class Result:
    """What came of one label."""

    id: str
    scroll: str | None
    score: Score | None
    """None where the prediction or the label could not be used."""
    counts: bool
    """Part of the means: with its score, or with 0 where the prediction is missing or unusable. Not so a bad label."""
    nulls: Nulls | None
    notes: tuple[str, ...]
    """Sentences: what failed, what is odd."""

    def measures(self) -> dict[str, float | None]:
        """Return the figures that are averaged, by name; None: not computed."""
        if self.score is None:
            return dict.fromkeys(MEASURES, 0.0)
        bound = None if self.score.topology is None else self.score.topology.bound.value
        return {
            "surface_dice": self.score.surface_dice,
            "voi_score": self.score.voi_score,
            "mean": self.score.mean,
            "topo_bound": bound,
            "topo": self.score.topo,
            "total": self.score.total,
        }


def compare(
    masks: Mapping[str, _files.MaskFile],
    labels: Mapping[str, _files.MaskFile],
    scrolls: Mapping[str, str],
    *,
    null: bool = True,
    official: bool = False,
) -> Iterator[Result]:
    """Score each label's prediction, one at a time, in the order of the labels.

    Parameters
    ----------
    masks, labels : mapping of id to MaskFile
    scrolls : mapping of id to scroll
    null : bool
        Also score the nulls.
    official : bool
        Also compute the official TopoScore.
    """
    order = list(labels)
    for k, id_ in enumerate(order):
        others = [other for other in order[k + 1 :] + order[:k] if other in masks] if null else []
        yield _one(id_, masks, labels[id_], scrolls.get(id_), others, null=null, official=official)


def _one(
    id_: str,
    masks: Mapping[str, _files.MaskFile],
    label_file: _files.MaskFile,
    scroll: str | None,
    others: list[str],
    *,
    null: bool,
    official: bool,
) -> Result:
    try:
        label = _files.read_label(label_file)
    except InputError as error:
        return Result(id_, scroll, None, False, None, (str(error),))
    if id_ not in masks:
        return Result(id_, scroll, None, True, None, (f"{id_}: no prediction; it counts 0",))
    try:
        pred = _files.read_mask(masks[id_], label.shape)
    except InputError as error:
        return Result(id_, scroll, None, True, None, (f"{error} It counts 0.",))
    reference = Reference(label)
    score = reference.score(pred, official=official)
    nulls = _nulls(reference, label, pred, [masks[other] for other in others]) if null else None
    return Result(id_, scroll, score, True, nulls, tuple(_odd(masks[id_].name, pred)))


def _odd(name: str, pred: NDArray[np.uint8]) -> Iterator[str]:
    if (highest := int(pred.max())) > 1:
        yield f"{name}: the value {highest} occurs; whatever is not 0 counts as surface, a 2 too"


def _nulls(
    reference: Reference, label: NDArray[np.uint8], pred: NDArray[np.uint8], others: list[_files.MaskFile]
) -> Nulls:
    moved = _null.moved_by_half_a_pitch(pred != 0, label)
    other_id, other = None, None
    for file in others:
        try:
            mask = _files.read_mask(file, label.shape)
        except InputError:  # of another shape, or unusable: said where its own turn comes
            continue
        other_id, other = file.id, reference.score(mask, topology=False)
        break
    return Nulls(
        moved=None if moved is None else reference.score(moved.mask, topology=False),
        pitch=None if moved is None else moved.pitch,
        other=other,
        other_id=other_id,
    )


def means(results: Iterable[Result]) -> dict[str, float | None]:
    """Return the mean of each measure over the results that count; None where one of them lacks it."""
    rows = [result.measures() for result in results if result.counts]
    return {name: _mean([row[name] for row in rows]) for name in MEASURES}


def null_means(results: Iterable[Result]) -> dict[str, float | None]:
    """Return the mean over the nulls there are, of their mean of SurfaceDice and VOI score."""
    nulls = [result.nulls for result in results if result.nulls is not None]
    return {kind: _mean([score.mean for n in nulls if (score := getattr(n, kind)) is not None]) for kind in NULLS}


NULLS: Final = ("moved", "other")


def _mean(values: list[Any]) -> float | None:
    return None if not values or None in values else math.fsum(values) / len(values)


def by_scroll(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the results of each scroll, in the order in which the scrolls come; those of no known scroll left out."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.scroll is not None:
            groups.setdefault(result.scroll, []).append(result)
    return groups


def as_json(result: Result) -> dict[str, Any]:
    """Return a result as what JSON can hold."""
    score, nulls = result.score, result.nulls
    block: dict[str, Any] = {"id": result.id, "scroll": result.scroll, "counts": result.counts, "notes": result.notes}
    block |= result.measures() if result.counts else dict.fromkeys(MEASURES)
    if score is not None:
        block |= {"voi_split": score.voi_split, "voi_merge": score.voi_merge}
        block |= {"label_voxels": score.label_voxels, "pred_voxels": score.pred_voxels}
        if score.topology is not None:
            block["betti"] = {"label": score.topology.label, "pred": score.topology.pred, "error": score.topology.error}
            block["topo_features"] = dataclasses.asdict(score.topology.bound)
    if nulls is not None:
        block["null"] = {"pitch": nulls.pitch, "other_id": nulls.other_id}
        for kind in NULLS:
            found: Score | None = getattr(nulls, kind)
            names = ("surface_dice", "voi_score", "mean")
            block["null"][kind] = None if found is None else {name: getattr(found, name) for name in names}
    return block
