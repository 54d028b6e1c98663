"""Features of a mask by octant, and what follows from them for the TopoScore."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.betti import Betti, betti_numbers
from gpu_nx47.components import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS: Final = (0.34, 0.33, 0.33)
"""Of the dimensions 0, 1, 2 in the TopoScore."""
PSEUDO: Final = 0.5
"""The official count added where the label has no feature of a dimension and the prediction has some."""


def octants(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Return the 2x2x2 parts of a volume; of an odd axis the first part has one voxel more, of 1 there is one part."""
    cuts = [[slice(0, (n + 1) // 2), slice((n + 1) // 2, n)] if n > 1 else [slice(0, n)] for n in shape]
    return list(itertools.product(*cuts))


def features(mask: NDArray[np.bool_], label: Label) -> Betti:
    """Return how many features of each dimension the official TopoScore sees in an octant.

    Notes
    -----
    Betti-Matching-3D builds a mask's complex with voxels as vertices, so its foreground is 6-connected and its cavities
    are 26-connected, and it leaves out the one component that never dies.
    """
    components, tunnels, cavities = betti_numbers(mask, label, connectivity=6)
    return max(components - 1, 0), tunnels, cavities


@dataclass(frozen=True)
class TopoBound:
    """An upper bound of the TopoScore; never the score itself."""

    value: float
    """0..1."""
    matched: Betti
    """Most features that can match, summed over octants, by dimension."""
    predicted: Betti
    """Features of the prediction, as the TopoScore counts them."""
    labelled: Betti
    """Features of the label."""


def topo_bound(truth: list[Betti], found: list[Betti], both: list[Betti]) -> TopoBound:
    """Return an upper bound of the TopoScore from the features of each octant.

    Parameters
    ----------
    truth, found, both : list of (int, int, int)
        `features` of the label, of the prediction, and of their union, octant by octant.

    Notes
    -----
    A match pairs a feature of one mask with a feature of the other through a feature of their union, each used once:
    there are at most min(truth, found, both). The F1 of the sums then bounds the official F1, which has the same
    features and at most these matches. Weights and pseudo-count are the official ones; a dimension without any feature
    is left out, and without any dimension the score is 1.
    """
    fewest = [tuple(map(min, *three)) for three in zip(truth, found, both, strict=True)]
    matched, predicted, labelled = (_summed(counts) for counts in (fewest, found, truth))
    value = weights = 0.0
    for m, p, g, weight in zip(matched, predicted, labelled, WEIGHTS, strict=True):
        if p + g:
            value += weight * (2 * m / (p + g) if g else PSEUDO / (p + PSEUDO))
            weights += weight
    return TopoBound(value / weights if weights else 1.0, matched, predicted, labelled)


def _summed(octants_: list[Any]) -> Betti:
    zero, one, two = (sum(column) for column in zip(*octants_, strict=True))
    return zero, one, two
