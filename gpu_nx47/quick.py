"""Stage Quick: a cheap mask, for when there is no time for the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47 import stats, tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Tile

SIGMA: Final = 0.7


def quick_mask(engine: Engine, grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the smoothed grey value lies above its exact two-class Otsu threshold.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box (z, y, x); not empty.

    Returns
    -------
    numpy.ndarray of bool
        Matter: sheets in their whole thickness, no faces. A threshold is what a user would do by hand.
    """
    backend = engine.backend
    margin = tables.gaussian_radius(SIGMA)
    taps = tables.gaussian_taps(SIGMA)

    def work(tile: Tile) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        smooth = backend.gaussian(backend.to_device(grey[tile.crop(margin)].copy()), taps=taps)
        codes = backend.to_host(smooth)[tile.within(0, margin)] >> 8
        return np.bincount(codes.reshape(-1), minlength=256), codes.astype(np.uint8)

    smooth = np.empty(grey.shape, np.uint8)
    counts = np.zeros(256, np.int64)
    for tile, (part, codes) in engine.map(grey.shape, work):
        counts += part
        smooth[tile.core] = codes
    (cut,) = stats.otsu(counts, 2)
    return smooth > cut
