"""Drawn alterations of training volumes: contrast, blur and pitch as another scan might have had them.

Everything is integers: a volume altered under one key has the same voxels on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Tile

ALTER_STREAM: Final = 32
BLURS: Final = (0.0, 0.5, 0.7, 0.9)
"""Sigma of the drawn blur, voxels."""
PITCH_ONE: Final = 64


@dataclass(frozen=True)
class Alteration:
    """What is done to a volume."""

    gain: int
    """1/256: 205 to 320."""
    offset: int
    """Grey values: -16 to 16."""
    bend: int
    """1/256: -96 to 96; above 0 dark values are lifted, as a gamma below 1 does."""
    sigma: float
    """Of the blur, voxels; 0: none."""
    pitch: int
    """1/64: 54 to 76; above 64 sheets move apart."""

    def table(self) -> NDArray[np.uint8]:
        """Return the new value of each grey value, (256,)."""
        grey = np.arange(256, dtype=np.int64)
        bent = grey + self.bend * grey * (255 - grey) // (255 * 256)
        return np.clip(((bent * self.gain + 128) >> 8) + self.offset, 0, 255).astype(np.uint8)


def draw(seed: int, key: int) -> Alteration | None:
    """Return the alteration of the volume of a key; None, by one half, where it stays as it is."""
    coin, gain, offset, bend, blur, pitch = (
        int(d >> np.uint64(33)) for d in tables.draws(seed ^ key, ALTER_STREAM, 0, 6)
    )
    if coin % 2:
        return None
    return Alteration(205 + gain % 116, offset % 33 - 16, bend % 193 - 96, BLURS[blur % len(BLURS)], 54 + pitch % 23)


def alter(
    engine: Engine, grey: NDArray[np.uint8], label: NDArray[np.uint8], drawn: Alteration
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the altered grey values and labels, both of the new pitch.

    Parameters
    ----------
    engine : Engine
    grey, label : numpy.ndarray of uint8, shape (z, y, x)
    drawn : Alteration
    """
    made = drawn.table()[grey]
    if drawn.sigma:
        made = _blurred(engine, made, drawn.sigma)
    if drawn.pitch == PITCH_ONE:
        return made, label
    return _stretched(made, drawn.pitch), label[np.ix_(*(_nearest(n, drawn.pitch) for n in label.shape))]


def _blurred(engine: Engine, grey: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    radius, taps = tables.gaussian_radius(sigma), tables.gaussian_taps(sigma)

    def work(tile: Tile) -> Any:
        crop = engine.backend.to_device(grey[tile.crop(radius)].copy())
        return engine.backend.to_host(engine.backend.gaussian(crop, taps=taps))[tile.within(0, radius)]

    made = np.empty_like(grey)
    for tile, codes in engine.map(grey.shape, work):
        # Q8.8 to grey, half upwards; 255.5 and above cannot be: the weights add up to 1.
        made[tile.core] = np.minimum((codes.astype(np.uint32) + 128) >> 8, 255)
    return made


def _nearest(length: int, pitch: int) -> NDArray[np.int64]:
    """Return the voxel of the old volume that each voxel of the new one takes its label from."""
    places = np.arange(max(1, length * pitch // PITCH_ONE))
    return np.minimum((2 * places * PITCH_ONE + pitch) // (2 * pitch), length - 1)


def _stretched(grey: NDArray[np.uint8], pitch: int) -> NDArray[np.uint8]:
    """Return the volume at another pitch, linear between voxels, rounded along z, then y, then x."""
    ends = [_between(n, pitch) for n in grey.shape]
    made = np.empty([len(low) for low, _, _ in ends], np.uint8)
    (z_low, z_high, z_part), y, x = ends
    for z, (a, b, part) in enumerate(zip(z_low, z_high, z_part, strict=True)):
        plane = _mixed(grey[a], grey[b], part)
        plane = _mixed(plane[y[0]], plane[y[1]], y[2][:, None])
        made[z] = _mixed(plane[:, x[0]], plane[:, x[1]], x[2])
    return made


def _between(length: int, pitch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]]:
    """Return the two old voxels that each new one lies between, and the share of the second, 1/256."""
    place = np.arange(max(1, length * pitch // PITCH_ONE)) * (PITCH_ONE * 256) // pitch
    low = np.minimum(place >> 8, length - 1)
    return low, np.minimum(low + 1, length - 1), (place & 255).astype(np.uint16)


def _mixed(one: NDArray[np.uint8], two: NDArray[np.uint8], part: Any) -> NDArray[np.uint8]:
    """Return one * (256 - part) + two * part, rounded half upwards: at most 65,408 before the shift, 16 bits."""
    share = np.asarray(part, np.uint16)
    return ((one * (np.uint16(256) - share) + two * share + np.uint16(128)) >> np.uint16(8)).astype(np.uint8)
