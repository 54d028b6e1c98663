"""Selection: the few features that tell most about the label, none of them twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.stats import Histogram

BINS: Final = 32
"""Bins of equal share (of the whole box) in which a feature's information is measured."""


@dataclass(frozen=True)
class Selected:
    """The features kept, best first, and why."""

    names: tuple[str, ...]
    scores: dict[str, float]
    """Mutual information with the label, bits, of every candidate."""
    dropped: dict[str, str]
    """Why a candidate is not among the kept."""


def select(
    histograms: Mapping[str, Histogram],
    samples: Mapping[str, NDArray],
    labels: NDArray,
    *,
    top_k: int,
    redundancy: float,
    fixed: Sequence[str] = (),
) -> Selected:
    """Rank features by mutual information and keep the best that are not redundant.

    Parameters
    ----------
    histograms : mapping of name to Histogram
        Over the whole box: they give the bins.
    samples : mapping of name to numpy.ndarray
        Codes at the labelled sample.
    labels : numpy.ndarray of 0 and 1
    top_k : int
    redundancy : float
        A feature with |r| >= this to a kept one is dropped.
    fixed : sequence of str
        Kept in this order instead, whatever their score.

    Notes
    -----
    Ties are broken by name. Where a class is missing every score is 0 and the names decide.
    """
    both = 0 < int(labels.sum()) < len(labels)
    scores = {
        name: round(stats.mutual_information(samples[name], labels, _edges(histograms[name])), 9) if both else 0.0
        for name in samples
    }
    if fixed:
        return Selected(tuple(fixed), scores, {n: "not in features.fixed" for n in scores if n not in fixed})
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for name in sorted(scores, key=lambda n: (-scores[n], n)):
        twin = next((k for k in kept if abs(stats.correlation(samples[name], samples[k])) >= redundancy), None)
        if twin is not None:
            dropped[name] = f"redundant with {twin}"
        elif len(kept) == top_k:
            dropped[name] = f"not among the best {top_k}"
        else:
            kept.append(name)
    return Selected(tuple(kept), scores, dropped)


def _edges(histogram: Histogram) -> NDArray[np.int64]:
    cumulated = np.cumsum(histogram.counts)
    need = [-(-int(cumulated[-1]) * k // BINS) for k in range(1, BINS)]
    return np.unique(histogram.low + np.searchsorted(cumulated, need))
