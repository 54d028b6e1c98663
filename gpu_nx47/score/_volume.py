"""The score of one volume: a label prepared once, any number of predictions compared with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.backend import select
from gpu_nx47.betti import Betti, betti_numbers
from gpu_nx47.hardware import usable_processors
from gpu_nx47.score import _betti, _official
from gpu_nx47.score._surface import surface_dice, surface_of
from gpu_nx47.score._voi import Partition

if TYPE_CHECKING:
    from numpy.typing import NDArray

IGNORE: Final = 2
TOPO_WEIGHT, DICE_WEIGHT, VOI_WEIGHT = 0.30, 0.35, 0.35


@dataclass(frozen=True)
class Topology:
    """Betti numbers (components, tunnels, cavities) of both masks, 26-connected, and the bound that follows."""

    label: tuple[Betti, ...]
    """By octant: z slowest, x fastest."""
    pred: tuple[Betti, ...]
    bound: _betti.TopoBound
    """Of the TopoScore, from features as that score counts them (6-connected)."""

    @property
    def error(self) -> Betti:
        """Sum over octants of |difference| of each Betti number."""
        zero, one, two = (sum(abs(a[d] - b[d]) for a, b in zip(self.label, self.pred, strict=True)) for d in range(3))
        return zero, one, two


@dataclass(frozen=True)
class Score:
    """How good a mask is, by the competition's measures; all scores 0..1, higher is better."""

    surface_dice: float
    """At a tolerance of 2 voxels."""
    voi_score: float
    """1 / (1 + 0.3 VOI)."""
    voi_split: float
    """H(prediction | label), bits: grows where the prediction cuts a component of the label in pieces."""
    voi_merge: float
    """H(label | prediction), bits: grows where the prediction joins components of the label."""
    topo: float | None
    """The official TopoScore; None where the official package did not compute it."""
    topology: Topology | None
    """None where it was not asked for."""
    label_voxels: int
    """Foreground of the label."""
    pred_voxels: int
    """Foreground of the prediction, ignored voxels left out."""

    @property
    def mean(self) -> float:
        """Mean of SurfaceDice and VOI score."""
        return (self.surface_dice + self.voi_score) / 2

    @property
    def total(self) -> float | None:
        """0.30 TopoScore + 0.35 SurfaceDice + 0.35 VOI score; None without the official TopoScore."""
        return total(self.topo, self.surface_dice, self.voi_score)


def total(topo: float | None, surface_dice: float, voi_score: float) -> float | None:
    """Return the competition's score; None without the official TopoScore."""
    return None if topo is None else TOPO_WEIGHT * topo + DICE_WEIGHT * surface_dice + VOI_WEIGHT * voi_score


class Reference:
    """A label, prepared to be compared with predictions.

    Parameters
    ----------
    label : numpy.ndarray of uint8, shape (z, y, x)
        0 background, 1 surface, 2 ignore.
    topology : bool
        Also count Betti numbers: about half of the time.
    threads : int
        Octants worked on at once; 0: one for each usable processor. Changes no figure.

    Raises
    ------
    TypeError
        Not a NumPy array of uint8.
    ValueError
        Not a volume, or a value above 2.
    """

    def __init__(self, label: NDArray[np.uint8], *, topology: bool = True, threads: int = 0) -> None:
        _accept("label", label)
        if (highest := int(label.max())) > IGNORE:
            raise ValueError(f"label: expected 0 background, 1 surface, 2 ignore; got the value {highest}")
        self._label = label
        self._topology = topology
        self._threads = threads or usable_processors()
        backend = select("cpu")[0]
        self._kernel: Any = backend.label
        self._count: Any = backend.histogram
        self._known = label != IGNORE
        self.truth: NDArray[np.bool_] = label == 1
        self._surface = surface_of(self.truth, self._count)
        self._components = Partition(self.truth, self._kernel)
        self._voxels = int(np.count_nonzero(self.truth))
        parts = self._by_octant(self.truth, betti_numbers, _betti.features) if topology else []
        self._betti = tuple(betti for betti, _ in parts)
        self._features = [seen for _, seen in parts]

    def score(self, pred: NDArray[Any], *, official: bool = False, topology: bool = True) -> Score:
        """Score a prediction.

        Parameters
        ----------
        pred : numpy.ndarray of uint8 or bool, shape (z, y, x) as the label's
            Foreground is what is not 0.
        official : bool
            Also compute the TopoScore, with the package `topometrics` (over a minute for a 320-cube).
        topology : bool
            False leaves the Betti numbers out, where the label's were counted.

        Raises
        ------
        TypeError, ValueError
            Not a volume of uint8 or bool, or of another shape than the label.
        ImportError
            `official`, and the package is not usable here.
        """
        _accept("pred", pred)
        if pred.shape != self.truth.shape:
            raise ValueError(f"pred: expected the label's shape {self.truth.shape}, got {pred.shape}")
        found = (pred != 0) & self._known
        surface = surface_dice(self._surface, found, self._count)
        voi = self._components.compare(found)
        return Score(
            surface_dice=surface,
            voi_score=voi.score,
            voi_split=voi.split,
            voi_merge=voi.merge,
            topo=_official.toposcore(pred.astype(np.uint8), self._label) if official else None,
            topology=self._compare(found) if topology and self._topology else None,
            label_voxels=self._voxels,
            pred_voxels=int(np.count_nonzero(found)),
        )

    def _compare(self, found: NDArray[np.bool_]) -> Topology:
        parts = self._by_octant(found, betti_numbers, _betti.features)
        both = self._by_octant(found | self.truth, _betti.features)
        bound = _betti.topo_bound(self._features, [seen for _, seen in parts], [seen for (seen,) in both])
        return Topology(self._betti, tuple(betti for betti, _ in parts), bound)

    def _by_octant(self, mask: NDArray[np.bool_], *questions: Any) -> list[tuple[Any, ...]]:
        """Return the answers to some questions for each octant of a mask."""

        def ask(octant: tuple[slice, ...]) -> tuple[Any, ...]:
            return tuple(question(mask[octant], self._kernel) for question in questions)

        with ThreadPoolExecutor(self._threads, "score") as pool:
            return list(pool.map(ask, _betti.octants(mask.shape)))


def score_volume(
    pred: NDArray[Any], label: NDArray[np.uint8], *, topology: bool = True, official: bool = False
) -> Score:
    """Score a prediction against its label.

    Parameters
    ----------
    pred : numpy.ndarray of uint8 or bool, shape (z, y, x)
        Foreground is what is not 0.
    label : numpy.ndarray of uint8, the same shape
        0 background, 1 surface, 2 ignore: ignored voxels are background in both.
    topology : bool
        Also count Betti numbers and bound the TopoScore.
    official : bool
        Also compute the TopoScore, with the package `topometrics`.

    Raises
    ------
    TypeError, ValueError
        Not volumes of these types, of different shapes, or a label value above 2.
    ImportError
        `official`, and the package is not usable here.
    """
    return Reference(label, topology=topology).score(pred, official=official)


def _accept(name: str, array: NDArray[Any]) -> None:
    allowed = (np.uint8,) if name == "label" else (np.uint8, np.bool_)
    if not isinstance(array, np.ndarray) or array.dtype not in allowed:
        found = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name}: expected an array of {' or '.join(t.__name__ for t in allowed)}, got {found}")
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{name}: expected a volume (z, y, x) of some voxels, got the shape {array.shape}")
