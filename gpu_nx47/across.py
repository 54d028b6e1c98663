"""What is read along and across the sheets of a tile: the mean along a sheet, its profile, the step, the face.

Papyrus is brighter than air. Averaged over a disk along the sheet, the grey values keep the step at a sheet's face and
lose the noise; where that step is sharpest along the normal, there is the face.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.direction import opposite
from gpu_nx47.errors import SettingsError
from gpu_nx47.settings import OFFSET_FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.direction import Field
    from gpu_nx47.engine import Engine, Tile

SIGMA: Final = 0.7
"""Scale of the Gaussian before anything is averaged along a sheet, voxels: noise goes along it, edges stay."""
DISK: Final = (2.0, 4.0, 6.0)
"""Radii of the rings that are averaged along a sheet, voxels; eight voxels a ring, and the middle."""
DISK_SHIFT: Final = 14
DISK_REACH: Final = 6
STEP: Final = (0.0, 1.0, -1.0, -2.0)
"""Where the step across a sheet is read, voxels along the normal; the first two are the bright side."""
STEP_WEIGHTS: Final = (1, 1, -1, -1)
STEP_SHIFT: Final = 3
"""From 1/512 grey, the sum of two Q8.8 values a side, to 1/64 grey."""
STEP_REACH: Final = 2
VOTE: Final = (3.0, 6.0)
"""Radii of the rings of voxels that have a say in a voxel's probability."""
VOTE_REACH: Final = 6
VOTE_PARTS: Final = 4
"""Times that tiles of the vote are thinner than those of features."""
FARTHEST: Final = max(reach for ends in OFFSET_FEATURES.values() for reach in ends)
RIDGE_WEIGHTS: Final = (2, -1, -1)
RIDGE_SHIFT: Final = 2
"""From 1/256 grey to 1/64 grey, which 16 bits hold."""
LAYER: Final = (1.0, 0.0, -1.0, -2.0, -3.0)
"""Where a face is looked for, voxels along the normal: up to two before the voxel; the outermost only bound a peak."""
LAYER_REACH: Final = 3
HALO: Final = tables.gaussian_radius(SIGMA) + DISK_REACH + STEP_REACH + LAYER_REACH
"""Voxels around a voxel that can change whether it is a face."""


def mean_weights(count: int) -> NDArray[np.int32]:
    """Return equal weights of a sum 2^DISK_SHIFT; what does not divide goes to the first."""
    weights = np.full(count, (1 << DISK_SHIFT) // count, np.int32)
    weights[0] += (1 << DISK_SHIFT) - int(weights.sum())
    return weights


class Across:
    """Reads a tile along and across its sheets.

    Parameters
    ----------
    backend : Meter
    grey : device array of uint8
        The core of the tile with a margin.
    margin : int
        That margin, at least what is asked for needs.
    tile : Tile
    field : Field or None
        The sheets' directions; None: nothing will be asked for.
    away : collection of int
        Voxels of the profiles that will be asked for: they are read together. Any other may be, too.
    """

    def __init__(
        self, backend: Meter, grey: Any, margin: int, tile: Tile, field: Field | None, away: Collection[int] = ()
    ) -> None:
        self._backend = backend
        self._grey, self._margin = grey, margin
        self._tile = self._part = tile
        self._field = field
        # How far around the core the mean along the sheets may be asked for: the margin lets it be known.
        self._reach = min(margin - tables.gaussian_radius(SIGMA) - DISK_REACH, FARTHEST)
        self._along: Any = None
        self._steps: dict[bool, Any] = {}
        self._away = frozenset(away)
        self._profiles: dict[int, Any] = {}

    def forget(self) -> None:
        """Let go of what was kept to be read again."""
        self._along, self._steps, self._profiles = None, {}, {}

    def of(self, part: Tile) -> Across:
        """Return what reads a part of the tile: `mean` and `profile`. The mean along the sheets is shared."""
        other = copy(self)
        other._part, other._profiles = part, {}
        return other

    def mean(self) -> Any:
        """Return G(SIGMA) averaged along the sheets in Q8.8, on the core, or on the part of it that this reads."""
        return self._part.cut(self.along(self._reach), 0, self._reach, self._tile)

    def along(self, margin: int | None = None) -> Any:
        """Return G(SIGMA) averaged along the sheets in Q8.8, on the tile's core with a margin; None: the widest."""
        most = self._reach
        if self._along is None:
            outer, radius = most + DISK_REACH, tables.gaussian_radius(SIGMA)
            grey = self._tile.cut(self._grey, outer + radius, self._margin)
            smooth = self._backend.gaussian(grey, taps=tables.gaussian_taps(SIGMA))
            offsets = tables.disk_offsets(DISK)
            self._along = self._sum(
                self._tile.cut(smooth, outer, outer + radius),
                (most, outer),
                offsets,
                mean_weights(offsets.shape[1]),
                DISK_SHIFT,
            )
        return self._tile.cut(self._along, most if margin is None else margin, most)

    def step(self, margin: int = 0, *, back: bool = False) -> Any:
        """Return the step from dark to bright along the normal, 1/64 grey, on the core with a margin.

        `back`: along the opposite normal.
        """
        if back not in self._steps:
            most = STEP_REACH + LAYER_REACH
            weights = np.array(STEP_WEIGHTS, np.int32)
            self._steps[back] = self._sum(
                self.along(most),
                (LAYER_REACH, most),
                tables.line_offsets(STEP),
                weights,
                STEP_SHIFT,
                signed=True,
                back=back,
            )
        return self._tile.cut(self._steps[back], margin, LAYER_REACH)

    def profile(self, voxels: int) -> Any:
        """Return the mean along the sheets, Q8.8, so many voxels away along the normal."""
        if voxels not in self._profiles:
            wanted = sorted({voxels, *self._away})
            reach = max(map(abs, wanted))
            direction, phase = self._cells(self._part, reach)
            found = self._backend.directional_profile(
                self._part.cut(self.along(), reach, self._reach, self._tile),
                direction,
                phase=phase,
                offsets=tables.line_offsets(tuple(map(float, wanted))),
                window=self._part.within(0, reach),
            )
            self._profiles = dict(zip(wanted, found, strict=True))
        return self._profiles.pop(voxels)

    def ridge(self, voxels: int) -> Any:
        """Return minus the second difference along the normal, over so many voxels to either side, 1/64 grey.

        Where the Hessian's first axis is the normal, minus its eigenvalue there: bright plates are ridges. The normal's
        sign does not matter.
        """
        offsets, weights = tables.line_offsets((0.0, float(voxels), -float(voxels))), np.array(RIDGE_WEIGHTS, np.int32)
        return self._sum(self.along(voxels), (0, voxels), offsets, weights, RIDGE_SHIFT, signed=True)

    def face(self) -> Any:
        """Return the sharpest step that lies at most two voxels before a voxel, 1/64 grey; 0 where none is a peak.

        Where it is not known which way is outward, both sides of a sheet are faces.
        """
        found = self._face(back=False)
        if self._field is not None and self._field.outward:
            return found
        other = self._face(back=True)
        return found * (found >= other) + other * (other > found)

    def _face(self, *, back: bool) -> Any:
        direction, phase = self._cells(self._tile, LAYER_REACH, back)
        offsets = tables.line_offsets(LAYER)
        steps = self.step(LAYER_REACH, back=back)
        window = self._tile.within(0, LAYER_REACH)
        return self._backend.directional_peak(steps, direction, phase=phase, offsets=offsets, window=window)

    def _sum(
        self,
        codes: Any,
        margins: tuple[int, int],
        offsets: NDArray[np.int8],
        weights: NDArray[np.int32],
        shift: int,
        *,
        signed: bool = False,
        back: bool = False,
    ) -> Any:
        """Return a sum on the core with the first margin, of codes on the core with the second."""
        inner, outer = margins
        direction, phase = self._cells(self._tile, outer, back)
        return self._backend.directional_sum(
            codes,
            direction,
            phase=phase,
            offsets=offsets,
            weights=weights,
            shift=shift,
            signed=signed,
            window=self._tile.within(inner, outer),
        )

    def _cells(self, tile: Tile, margin: int, back: bool = False) -> tuple[Any, tuple[int, int, int]]:
        if self._field is None:
            raise SettingsError("what lies along or across the sheets needs their directions, which were not measured")
        direction, phase = self._field.cut(tile.crop(margin))
        return self._backend.to_device(opposite(direction) if back else direction), phase


def vote(
    engine: Engine,
    probability: NDArray[np.uint16],
    field: Field,
    progress: Callable[[int, int], Any] | None = None,
) -> NDArray[np.int64]:
    """Put the mean of a box's probability along the sheets in its place, and return the mean's exact histogram.

    A face goes on along its sheet: a voxel that stands alone is outvoted by its neighbours, a pinhole filled by them.

    Parameters
    ----------
    engine : Engine
    probability : numpy.ndarray of uint16
        Of the valid box; overwritten where the engine works.
    field : Field
    progress : callable, optional
        Called with (tiles done, tiles).

    Notes
    -----
    Tiles are thin, as their margins are read and not computed. A tile's means wait until no tile looks at its voxels
    any more: a few tiles are held beside the box, where a second box was.
    """
    backend = engine.backend
    offsets = tables.disk_offsets(VOTE)
    weights = mean_weights(offsets.shape[1])

    def work(tile: Tile) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        crop = tile.crop(VOTE_REACH)
        direction, phase = field.cut(crop)
        found = backend.directional_sum(
            backend.to_device(np.ascontiguousarray(probability[crop])),
            backend.to_device(direction),
            phase=phase,
            offsets=offsets,
            weights=weights,
            shift=DISK_SHIFT,
            signed=False,
            window=tile.within(0, VOTE_REACH),
        )
        return backend.to_host(found), backend.histogram(found)

    counts = np.zeros(65_536, np.int64)
    waiting: deque[tuple[Tile, NDArray[np.uint16]]] = deque()
    thin = engine.thinner(VOTE_PARTS) if probability.shape[0] > engine.tile[0] else engine
    for tile, (means, part_counts) in thin.map(probability.shape, work, progress):
        counts += part_counts
        waiting.append((tile, means))
        # Tiles come in raster order; this may be the last slice of one that came in parts (`rescue.tile`), so the next
        # may begin as many slices before it as a tile has.
        first = tile.start[0] - thin.thickest + 1
        while waiting[0][0].stop[0] + VOTE_REACH <= first:
            _settle(probability, *waiting.popleft())
    while waiting:
        _settle(probability, *waiting.popleft())
    return counts


def _settle(probability: NDArray[np.uint16], tile: Tile, means: NDArray[np.uint16]) -> None:
    probability[tile.core] = means
