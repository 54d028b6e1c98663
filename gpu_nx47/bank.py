"""The feature bank: integer codes of every feature on a tile, with their step and unit.

A feature is `name` or `name@sigma`. Where several features need the same Gaussian of a tile it is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.errors import SettingsError
from gpu_nx47.settings import SCALED_FEATURES, split_feature
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.backend import Meter
    from gpu_nx47.engine import Engine, Tile

ENTROPY_WINDOW: Final = 5
ENTROPY_BINS: Final = 16
VARIANCE_WINDOW: Final = 7
PROJECTION_WINDOW: Final = 17
LAPLACE_SHIFT: Final = 4
"""Q8.8 to steps of 1/16 grey: twelve Gaussian roundings of 1/512 stay below half a step."""
BAND_RATIO: Final = 3.0
"""The wide Gaussian of a band-pass over the narrow one."""


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
    axis : numpy.ndarray of int32, shape (Z, 2), or None
        The scroll's axis in each slice of the box, (y, x) in 1/8 voxel of the box; None: unknown.
    margin : int
        The largest halo that will be asked for: what is sent to the device.
    """

    def __init__(self, backend: Meter, grey: NDArray[np.uint8], tile: Tile, axis: NDArray | None, margin: int) -> None:
        self.backend = backend
        self.tile = tile
        self.axis = axis
        self._margin = margin
        self._grey = backend.to_device(grey[tile.crop(margin)].copy())
        self._smooth: dict[float, Any] = {}

    def codes(self, name: str) -> Any:
        """Return the codes of a feature on the tile's core, on the device, C-contiguous."""
        return feature(name).compute(self)

    def grey(self, margin: int) -> Any:
        """Return the grey values of the core with a margin."""
        return self._cut(self._grey, margin, self._margin)

    def smooth(self, sigma: float, margin: int) -> Any:
        """Return G(sigma) in Q8.8 on the core with a margin of at most 1."""
        if sigma not in self._smooth:
            radius = tables.gaussian_radius(sigma)
            outer = min(self._margin, radius + 1)
            full = self.backend.gaussian(self.grey(outer), taps=tables.gaussian_taps(sigma))
            self._smooth[sigma] = (full, outer)
        full, outer = self._smooth[sigma]
        return self._cut(full, margin, outer)

    def trim(self, codes: Any, margin: int) -> Any:
        """Return the core of codes computed with a margin."""
        return self._cut(codes, 0, margin)

    def _cut(self, array: Any, inner: int, outer: int) -> Any:
        if inner == outer:
            return array
        cut = array[self.tile.within(inner, outer)]
        return cut if cut.flags.c_contiguous else cut.copy()

    def along_axis(self, sigma: float) -> Any:
        """Return the gradient of G(sigma) towards the axis."""
        if self.axis is None:
            raise SettingsError("grad_inward needs the scroll's axis, which is unknown here")
        z, y, x = self.tile.crop(1)
        axis = self.backend.to_device(self.axis[z].copy())
        codes = self.backend.gradient_along(self.smooth(sigma, 1), axis=axis, origin=(y.start, x.start))
        return self.trim(codes, 1)


def _gaussian(name: str, sigma: float) -> Feature:
    return Feature(name, 1 / 256, 0.0, "grey", tables.gaussian_radius(sigma), lambda bank: bank.smooth(sigma, 0))


def _grad_mag(name: str, sigma: float) -> Feature:
    def compute(bank: TileBank) -> Any:
        return bank.trim(bank.backend.gradient_magnitude(bank.smooth(sigma, 1)), 1)

    return Feature(name, 1 / 64, 0.0, "grey/voxel", tables.gaussian_radius(sigma) + 1, compute)


def _laplace(name: str, sigma: float) -> Feature:
    def compute(bank: TileBank) -> Any:
        return bank.trim(bank.backend.laplacian(bank.smooth(sigma, 1), shift=LAPLACE_SHIFT), 1)

    step = (1 << LAPLACE_SHIFT) / 256
    return Feature(name, step, 0.0, "grey/voxel^2", tables.gaussian_radius(sigma) + 1, compute)


def _bandpass(name: str, sigma: float) -> Feature:
    wide = BAND_RATIO * sigma

    def compute(bank: TileBank) -> Any:
        return bank.backend.band_pass(bank.smooth(sigma, 0), bank.smooth(wide, 0))

    return Feature(name, 1 / 64, 0.0, "grey", tables.gaussian_radius(wide), compute)


def _grad_inward(name: str, sigma: float) -> Feature:
    return Feature(
        name, 1 / 64, 0.0, "grey/voxel", tables.gaussian_radius(sigma) + 1, lambda bank: bank.along_axis(sigma)
    )


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


_BUILDERS: Final[dict[str, Callable[[str, float], Feature]]] = {
    "gaussian": _gaussian,
    "grad_mag": _grad_mag,
    "laplace": _laplace,
    "bandpass_response": _bandpass,
    "grad_inward": _grad_inward,
    "local_entropy": _entropy,
    "local_var": _variance,
    "proj_max": _projection("max", 1 / 256, "grey"),
    "proj_mean": _projection("mean", 1 / 256, "grey"),
    "coherence_inter_slice": _projection("coherence", 1 / 32768, "1"),
}
ODD: Final = frozenset({"grad_inward"})
"""Features whose sign depends on where the axis is; left out where it is unknown."""


@dataclass(frozen=True)
class Measured:
    """Every feature of a volume, measured once: all that selection and training need."""

    histograms: dict[str, Histogram]
    """Exact histogram of each feature's codes over the whole box."""
    samples: dict[str, NDArray[np.int32]]
    """Codes of each feature at the sample, in the sample's order."""


def measure(
    engine: Engine,
    grey: NDArray[np.uint8],
    names: Sequence[str],
    axis: NDArray | None,
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
    axis : numpy.ndarray of int32, shape (Z, 2), or None
    index : numpy.ndarray of int64
        Flat indices of the sample in the box.
    progress : callable, optional
        Called with (tiles done, tiles).
    """
    point = np.stack(np.unravel_index(index, grey.shape), axis=1)
    margin = halo(names)

    def work(tile: Tile) -> tuple[NDArray, dict[str, tuple[NDArray, NDArray, int]]]:
        bank = TileBank(engine.backend, grey, tile, axis, margin)
        inside = np.flatnonzero(((point >= tile.start) & (point < tile.stop)).all(axis=1))
        local = point[inside] - tile.start
        found = {}
        for name in names:
            codes = bank.codes(name)
            flat = (local[:, 0] * codes.shape[1] + local[:, 1]) * codes.shape[2] + local[:, 2]
            picked = engine.backend.gather(codes, index=engine.backend.to_device(np.ascontiguousarray(flat)))
            counts = engine.backend.histogram(codes)
            found[name] = (counts, engine.backend.to_host(picked), int(np.iinfo(codes.dtype).min))
        return inside, found

    histograms: dict[str, Histogram] = {}
    samples = {name: np.zeros(len(index), np.int32) for name in names}
    for _, (inside, found) in engine.map(grey.shape, work, progress):
        for name, (counts, picked, low) in found.items():
            before = histograms.get(name)
            histograms[name] = Histogram(counts if before is None else before.counts + counts, low)
            samples[name][inside] = picked
    return Measured(histograms, samples)
