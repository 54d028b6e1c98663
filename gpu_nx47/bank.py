"""The feature bank: integer codes of every feature on a tile, with their step and unit.

A feature is `name`, `name@sigma` or `name@voxels`. What several features of a tile have in common is computed once:
the Gaussians of all their scales in one call, and in one pass over each Gaussian every stencil of it asked for.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.across import HALO, LAYER_REACH, STEP_REACH, Across
from gpu_nx47.errors import SettingsError
from gpu_nx47.settings import ALONG_SHEETS, SCALED_FEATURES, split_feature
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.direction import Bearing
    from gpu_nx47.engine import Engine, Tile

    _Picked = tuple[NDArray[np.int64], dict[str, NDArray]]
    """Places in the sample, and the codes of features there."""
    _Counts = dict[str, tuple[NDArray[np.int64], int]]
    """Of features: counts of their codes, and the lowest code there may be."""

ENTROPY_WINDOW: Final = 5
ENTROPY_BINS: Final = 16
VARIANCE_WINDOW: Final = 7
PROJECTION_WINDOW: Final = 17
LAPLACE_SHIFT: Final = 4
"""Q8.8 to steps of 1/16 grey: twelve Gaussian roundings of 1/512 stay below half a step."""
RIDGE: Final = 4
"""Voxels to either side that `hessian_sheetness` compares, unless it says: half the usual thickness of a sheet."""
BAND_RATIO: Final = 3.0
"""The wide Gaussian of a band-pass over the narrow one."""
STENCILS: Final = {
    "grad_mag": "gradient_magnitude",
    "laplace": "laplacian",
    "bandpass_response": "band_pass",
    "grad_inward": "gradient_along",
}
"""Features that are one result of the kernel `stencils`, on the Gaussian of their scale."""


PART_VOXELS: Final = 1 << 20
"""Voxels of a tile whose codes of all features are held at once."""
IN_PARTS: Final = frozenset({"gaussian", *STENCILS, "along_mean", "profile"})
"""Features that cost no more part by part: what they look at around a voxel is shared by the whole tile."""


@dataclass(frozen=True)
class Feature:
    """What a feature's codes mean, and how far it looks."""

    name: str
    step: float
    """Size of one code, in `unit`."""
    offset: float
    """Value of code 0."""
    unit: str
    halo: int
    """Voxels around a voxel that can change its value."""
    compute: Callable[[TileBank], Any]
    """Codes of a tile's core."""


def base(name: str) -> str:
    """Return the feature's name without its scale."""
    return split_feature(name)[0]


@cache
def feature(name: str) -> Feature:
    """Return the feature of that name.

    Raises
    ------
    SettingsError
        There is no such feature, or it has no scale.
    """
    kind, sigma = split_feature(name)
    return _BUILDERS[kind](name, 1.0 if sigma is None else sigma)


def halo(names: Sequence[str]) -> int:
    """Return the largest halo of the named features, voxels."""
    return max(feature(name).halo for name in names)


def shared(names: Sequence[str]) -> dict[float, tuple[str, ...]]:
    """Return for each scale the results of `stencils` that the named features are."""
    found: dict[float, tuple[str, ...]] = {}
    for name in names:
        kind, sigma = split_feature(name)
        if kind in STENCILS:
            scale = 1.0 if sigma is None else sigma
            found[scale] = tuple(dict.fromkeys((*found.get(scale, ()), STENCILS[kind])))
    return found


def scales(name: str) -> tuple[float, ...]:
    """Return the sigmas of the Gaussians that a feature is made of."""
    kind, sigma = split_feature(name)
    if kind not in SCALED_FEATURES:
        return ()
    narrow = 1.0 if sigma is None else sigma
    return (narrow, BAND_RATIO * narrow) if kind == "bandpass_response" else (narrow,)


class TileBank:
    """The features of one tile.

    Parameters
    ----------
    backend : Meter
        Where to compute.
    grey : numpy.ndarray of uint8
        The whole valid box, on the host.
    tile : Tile
        The piece of it asked for.
    bearing : Bearing
        The scroll's axis and the sheets' directions, as far as they are known.
    margin : int
        The largest halo that will be asked for: what is sent to the device.
    names : sequence of str
        Features that will be asked for: what they have in common is computed together, and forgotten behind the last
        of them. Any other may be asked for, too.
    """

    def __init__(
        self,
        backend: Meter,
        grey: NDArray[np.uint8],
        tile: Tile,
        bearing: Bearing,
        margin: int,
        names: Sequence[str] = (),
    ) -> None:
        self.backend = backend
        self.tile = self._held = tile
        self.bearing = bearing
        self._margin = margin
        self._grey = backend.to_device(grey[tile.crop(margin)].copy())
        self._scales = sorted({scale for name in names for scale in scales(name)})
        self._left = set(names)
        self._shared = shared(names)
        self._smooth: dict[float, Any] = {}
        self._stencils: dict[tuple[str, float], Any] = {}
        self._whole: dict[str, Any] = {}
        self._names = tuple(names)
        away = [int(voxels or 1) for kind, voxels in map(split_feature, names) if kind == "profile"]
        self.across = Across(backend, self._grey, margin, tile, bearing.field, away)

    def codes(self, name: str) -> Any:
        """Return the codes of a feature on the tile's core, on the device, C-contiguous."""
        if name in self._whole:
            return self.tile.cut(self._whole[name], 0, 0, self._held)
        found = feature(name).compute(self)
        if name in self._left:
            self._left.remove(name)
            self._forget()
        return found

    def _forget(self) -> None:
        """Let go of what none of the features that are left is made of: else it would stay until the tile is done."""
        self._scales = sorted({scale for name in self._left for scale in scales(name)})
        self._smooth = {sigma: codes for sigma, codes in self._smooth.items() if sigma in self._scales}
        if not any(base(name) in ALONG_SHEETS for name in self._left):
            self.across.forget()

    def parts(self, names: Sequence[str]) -> list[TileBank]:
        """Return a bank for each part of the tile that these features are to be had of; ask one after the other.

        What the parts have in common is computed here.
        """
        pieces = self.tile.parts(PART_VOXELS)
        if len(pieces) == 1:
            return [self]
        # In this order: what lies along the sheets is forgotten, if no part needs it, before Gaussians are held.
        self._whole = {name: self.codes(name) for name in names if base(name) not in IN_PARTS}
        if any(base(name) in ("along_mean", "profile") for name in names):
            self.across.along()
        if self._scales:
            self.smooth(self._scales[0], 1)
        return [self._of(piece) for piece in pieces]

    def _of(self, piece: Tile) -> TileBank:
        part = copy(self)
        part.tile, part.across = piece, self.across.of(piece)
        part._stencils, part._shared = {}, shared(self._names)
        return part

    def grey(self, margin: int) -> Any:
        """Return the grey values of the core with a margin."""
        return self.tile.cut(self._grey, margin, self._margin, self._held)

    def smooth(self, sigma: float, margin: int) -> Any:
        """Return G(sigma) in Q8.8 on the core with a margin of at most 1."""
        if sigma not in self._smooth:
            wanted = {sigma, *self._scales} - set(self._smooth)
            found = self.backend.gaussians(
                self._grey,
                taps=tuple(map(tables.gaussian_taps, sorted(wanted))),
                window=self._held.within(1, self._margin),
            )
            self._smooth |= zip(sorted(wanted), found, strict=True)
        return self.tile.cut(self._smooth[sigma], margin, 1, self._held)

    def stencil(self, result: str, sigma: float) -> Any:
        """Return a result of `stencils` on G(sigma), on the core; the others of that scale are kept until asked for."""
        if (result, sigma) not in self._stencils:
            wanted = tuple(dict.fromkeys((result, *self._shared.pop(sigma, ()))))
            z, y, x = self.tile.crop(1)
            given: dict[str, Any] = {"results": wanted, "shift": LAPLACE_SHIFT, "window": self.tile.within(0, 1)}
            if "gradient_along" in wanted:
                if self.bearing.axis is None:
                    raise SettingsError("grad_inward needs the scroll's axis, which is unknown here")
                given |= {"axis": self.backend.to_device(self.bearing.axis[z].copy()), "origin": (y.start, x.start)}
            volumes = [self.smooth(s, 1) for s in ((sigma, BAND_RATIO * sigma) if "band_pass" in wanted else (sigma,))]
            found = self.backend.stencils(*volumes, **given)
            self._stencils |= {(name, sigma): codes for name, codes in zip(wanted, found, strict=True)}
        return self._stencils.pop((result, sigma))

    def trim(self, codes: Any, margin: int) -> Any:
        """Return the core of codes computed with a margin."""
        return self.tile.cut(codes, 0, margin)


def _gaussian(name: str, sigma: float) -> Feature:
    return Feature(name, 1 / 256, 0.0, "grey", tables.gaussian_radius(sigma), lambda bank: bank.smooth(sigma, 0))


def _stencil(kind: str, step: float, unit: str, ratio: float | None = None) -> Callable[[str, float], Feature]:
    """Return the builder of a feature that is a result of `stencils`; `ratio`: of the widest Gaussian it is made of."""

    def build(name: str, sigma: float) -> Feature:
        radius = tables.gaussian_radius(sigma) + 1 if ratio is None else tables.gaussian_radius(ratio * sigma)
        return Feature(name, step, 0.0, unit, radius, lambda bank: bank.stencil(STENCILS[kind], sigma))

    return build


def _entropy(name: str, _sigma: float) -> Feature:
    radius = ENTROPY_WINDOW // 2

    def compute(bank: TileBank) -> Any:
        table = tables.entropy_table(ENTROPY_WINDOW**3)
        codes = bank.backend.local_entropy(bank.grey(radius), window=ENTROPY_WINDOW, bins=ENTROPY_BINS, table=table)
        return bank.trim(codes, radius)

    return Feature(name, 2.0**-13, 0.0, "bit", radius, compute)


def _variance(name: str, _sigma: float) -> Feature:
    radius = VARIANCE_WINDOW // 2

    def compute(bank: TileBank) -> Any:
        return bank.trim(bank.backend.local_variance(bank.grey(radius), window=VARIANCE_WINDOW), radius)

    return Feature(name, 1 / 4, 0.0, "grey^2", radius, compute)


def _projection(statistic: str, step: float, unit: str) -> Callable[[str, float], Feature]:
    radius = PROJECTION_WINDOW // 2

    def build(name: str, _sigma: float) -> Feature:
        def compute(bank: TileBank) -> Any:
            codes = bank.backend.z_projection(bank.grey(radius), window=PROJECTION_WINDOW, statistic=statistic)
            return bank.trim(codes, radius)

        return Feature(name, step, 0.0, unit, radius, compute)

    return build


def _sheetwise(step: float, unit: str, halo: int, compute: Callable[[Across], Any]) -> Callable[[str, float], Feature]:
    """Return the builder of a feature that is read along or across the sheets."""
    return lambda name, _sigma: Feature(name, step, 0.0, unit, halo, lambda bank: compute(bank.across))


def _profile(name: str, voxels: float) -> Feature:
    return Feature(name, 1 / 256, 0.0, "grey", _reach(voxels), lambda bank: bank.across.profile(int(voxels)))


def _ridge(name: str, voxels: float) -> Feature:
    wide = int(voxels) if split_feature(name)[1] else RIDGE
    return Feature(name, 1 / 64, 0.0, "grey", _reach(wide), lambda bank: bank.across.ridge(wide))


def _reach(voxels: float) -> int:
    return max(HALO, HALO - STEP_REACH - LAYER_REACH + abs(int(voxels)))


_BUILDERS: Final[dict[str, Callable[[str, float], Feature]]] = {
    "gaussian": _gaussian,
    "grad_mag": _stencil("grad_mag", 1 / 64, "grey/voxel"),
    "laplace": _stencil("laplace", (1 << LAPLACE_SHIFT) / 256, "grey/voxel^2"),
    "bandpass_response": _stencil("bandpass_response", 1 / 64, "grey", BAND_RATIO),
    "grad_inward": _stencil("grad_inward", 1 / 64, "grey/voxel"),
    "local_entropy": _entropy,
    "local_var": _variance,
    "proj_max": _projection("max", 1 / 256, "grey"),
    "proj_mean": _projection("mean", 1 / 256, "grey"),
    "coherence_inter_slice": _projection("coherence", 1 / 32768, "1"),
    "along_mean": _sheetwise(1 / 256, "grey", HALO, Across.mean),
    "step_outward": _sheetwise(1 / 64, "grey", HALO, Across.step),
    "face": _sheetwise(1 / 64, "grey", HALO, Across.face),
    "profile": _profile,
    "hessian_sheetness": _ridge,
}
ODD: Final = frozenset({"grad_inward", "step_outward", "profile"})
"""Features whose sign depends on where the axis is; left out where it is unknown."""


@dataclass(frozen=True)
class Measured:
    """Every feature of a volume, measured once: all that selection and training need."""

    histograms: dict[str, Histogram]
    """Exact histogram of each feature's codes, in all that the engine works on."""
    samples: dict[str, NDArray[np.int32]]
    """Codes of each feature at the sample, in the sample's order."""


def measure(
    engine: Engine,
    grey: NDArray[np.uint8],
    names: Sequence[str],
    bearing: Bearing,
    index: NDArray[np.int64],
    progress: Callable[[int, int], Any] | None = None,
) -> Measured:
    """Compute every named feature once, tile by tile; keep histograms and the sample only.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    names : sequence of str
    bearing : Bearing
    index : numpy.ndarray of int64
        Flat indices of the sample in the box.
    progress : callable, optional
        Called with (tiles done, tiles).
    """
    point = np.stack(np.unravel_index(index, grey.shape))
    margin = halo(names)

    def work(tile: Tile) -> tuple[list[_Picked], _Counts]:
        features = TileBank(engine.backend, grey, tile, bearing, margin, names)
        found: _Counts = {}
        # Of these a tile's codes are there one after the other.
        picked = [_look(features, [name for name in names if base(name) not in IN_PARTS], point, found)]
        some = [name for name in names if base(name) in IN_PARTS]
        for part in features.parts(some):
            with engine.backend.asking(part.tile.voxels):
                picked.append(_look(part, some, point, found))
        return picked, found

    histograms: dict[str, Histogram] = {}
    samples = {name: np.zeros(len(index), np.int32) for name in names}
    for _, (picked, found) in engine.map(grey.shape, work, progress):
        for name, (counts, low) in found.items():
            before = histograms.get(name)
            histograms[name] = Histogram(counts if before is None else before.counts + counts, low)
        for inside, codes in picked:
            for name, those in codes.items():
                samples[name][inside] = those
    return Measured({name: histograms[name] for name in names}, samples)


def _look(features: TileBank, names: Sequence[str], point: NDArray[np.int64], found: _Counts) -> _Picked:
    """Add the counts of the codes of some features to those found, and return the codes at the sample's points."""
    backend, tile = features.backend, features.tile
    inside = tile.inside(point)
    z, y, x = (at[inside] - start for at, start in zip(point, tile.start, strict=True))
    height, width = tile.stop[1] - tile.start[1], tile.stop[2] - tile.start[2]
    flat = backend.to_device((z * height + y) * width + x)
    picked = {}
    for name in names:
        codes = features.codes(name)
        picked[name] = backend.to_host(backend.gather(codes, index=flat))
        counts = backend.histogram(codes)
        before = found.get(name)
        found[name] = (counts if before is None else before[0] + counts, int(np.iinfo(codes.dtype).min))
    return inside, picked
