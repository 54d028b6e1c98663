"""Scroll phantoms: made-up CT volumes with a known recto, hard enough that thresholding does not solve them.

No scroll volume may be passed on, so quality is measured on these. A phantom is a wound strip of papyrus whose sheets
touch, split, tear and fade, with gaps full of haze and debris, fibres, bright grains, a point spread and noise. How
hard they are is measured by ``bench/phantom_hardness.py``; the generator may later be changed only to be harder.

Notes
-----
Bits: everything is a hash of the seed and correctly rounded ``+ - * / sqrt``, element by element, so a (size, seed) has
the same bits on every machine. ``tests/laws/test_phantom.py`` freezes one digest.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from gpu_nx47._phantom_noise import F32, binomial_blur, hash_lattice, mix_int, voxel_noise
from gpu_nx47._phantom_scroll import draw_scroll
from gpu_nx47.errors import UsageError

__all__ = ["Phantom", "make_phantom", "phantom_id", "write_phantom_root"]

FRAME = 3
_SMALLEST = 32
# One bright grain in about this many voxels.
_VOXELS_PER_GRAIN = 9000
# Deviations of the noise before and after the last pass of the point spread: correlated and fine.
_NOISE_COARSE, _NOISE_FINE = 34.0, 4.0


@dataclass(frozen=True)
class Phantom:
    """A phantom with its ground truth; all volumes are (n, n, n) in z, y, x order."""

    image: npt.NDArray[np.uint8]
    """Grey, with a 3-voxel frame of zeros."""
    label: npt.NDArray[np.uint8]
    """0 background, 1 recto, 2 ignore; zero in the frame."""
    sheets: npt.NDArray[np.bool_]
    """All papyrus, labelled or not."""
    recto: npt.NDArray[np.bool_]
    """The recto layers of all sheets, labelled or not."""
    axis: npt.NDArray[np.float64]
    """Where the scroll's axis crosses each slice, shape (n, 2): y, x in voxels, perhaps outside the cube."""
    kind: str
    """Where the axis lies: "inside" the cube, "near" it, or "far" from it."""


def make_phantom(size: int, seed: int) -> Phantom:
    """Make the phantom of a size and a seed.

    Parameters
    ----------
    size : int
        Voxels a side, at least 32.
    seed : int
        Any non-negative integer; it also draws the kind.

    Returns
    -------
    Phantom
        Always the same for the same arguments.

    Raises
    ------
    UsageError
        If size or seed is out of range.
    """
    if size < _SMALLEST or seed < 0:
        raise UsageError(f"phantom of size {size}, seed {seed}: expected size >= {_SMALLEST} and seed >= 0")
    scroll = draw_scroll(size, seed)
    shape = (size, size, size)
    grey = np.empty(shape, np.float32)
    label, sheets, recto = np.empty(shape, np.uint8), np.empty(shape, np.bool_), np.empty(shape, np.bool_)
    for z in range(size):
        parts = scroll.cut(z)
        grey[z], label[z], sheets[z], recto[z] = parts.grey, parts.label, parts.sheet, parts.recto
    _sow_grains(grey, seed)
    _level(grey, seed)
    image = _expose(grey, seed)
    for volume in (image, label, sheets, recto):
        _clear_frame(volume)
    return Phantom(image, label, sheets, recto, scroll.plan.axis, scroll.plan.kind)


def _sow_grains(grey: F32, seed: int) -> None:
    """Set small bright balls into the volume, in place, wherever they fall."""
    n = grey.shape[0]
    count = n**3 // _VOXELS_PER_GRAIN
    draws = hash_lattice(mix_int(seed & 0xFFFFFFFF, seed >> 32, 201), np.arange(count)[:, None], np.arange(5)[None, :])
    centres = ((draws[:, :3] + 1) * np.float32(n / 2)).astype(np.float64)
    # Cubes of a uniform number: most grains are small.
    radii = 0.8 + 2.4 * ((draws[:, 3].astype(np.float64) + 1) / 2) ** 3
    values = 215 + 40 * draws[:, 4]
    for centre, radius, value in zip(centres, radii, values, strict=True):
        low = [max(0, int(c - radius)) for c in centre]
        high = [min(n, int(c + radius) + 2) for c in centre]
        z, y, x = np.ogrid[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        near = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius * radius
        grey[low[0] : high[0], low[1] : high[1], low[2] : high[2]][near] = value


def _level(grey: F32, seed: int) -> None:
    """Scale the volume, in place, to a drawn mean of 94-108: the windowing of a scan is not its scroll's doing."""
    target = 94 + 14 * mix_int(seed & 0xFFFFFFFF, seed >> 32, 204) / 2.0**32
    # A sum of integers, slice by slice: exact in any order.
    total = sum(int(np.rint(plane).astype(np.int64).sum()) for plane in grey)
    gain = np.float32(min(max(target * grey.size / total, 0.85), 1.12))
    for plane in grey:
        plane *= gain


def _expose(grey: F32, seed: int) -> npt.NDArray[np.uint8]:
    """Point spread, noise, and rounding to 1-255 (0 is the frame's); grey is overwritten."""
    n = grey.shape[0]
    coarse, fine = mix_int(seed & 0xFFFFFFFF, seed >> 32, 202), mix_int(seed & 0xFFFFFFFF, seed >> 32, 203)
    binomial_blur(grey)
    for z in range(n):
        grey[z] += np.float32(_NOISE_COARSE) * voxel_noise(coarse, n, z)
    binomial_blur(grey)
    image = np.empty(grey.shape, np.uint8)
    for z in range(n):
        noisy = grey[z] + np.float32(_NOISE_FINE) * voxel_noise(fine, n, z)
        image[z] = np.clip(np.rint(noisy), 1, 255).astype(np.uint8)
    return image


def _clear_frame(volume: npt.NDArray[np.uint8] | npt.NDArray[np.bool_]) -> None:
    for axis in range(3):
        v = np.moveaxis(volume, axis, 0)
        v[:FRAME] = 0
        v[-FRAME:] = 0


def phantom_id(seed: int) -> str:
    """Volume id of a seed: a numeric string, as the competition's ids are."""
    return str(100_000_000 + seed)


def write_phantom_root(out: Path, *, size: int, seeds: Iterable[int], train_seeds: Iterable[int] = ()) -> None:
    """Write phantoms in the competition's layout.

    Parameters
    ----------
    out : Path
        Root, made where missing: ``test_images``, ``train_images``, ``train_labels``, ``test.csv``, ``train.csv``.
    size : int
        Voxels a side.
    seeds, train_seeds : iterable of int
        Seeds of the test images, and of the training images with labels.
    """
    test, train = list(seeds), list(train_seeds)
    for folder in ("test_images", "train_images", "train_labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for seed in test:
        _write_stack(out / "test_images" / f"{phantom_id(seed)}.tif", make_phantom(size, seed).image)
    for seed in train:
        phantom = make_phantom(size, seed)
        _write_stack(out / "train_images" / f"{phantom_id(seed)}.tif", phantom.image)
        _write_stack(out / "train_labels" / f"{phantom_id(seed)}.tif", phantom.label)
    _write_table(out / "test.csv", test)
    _write_table(out / "train.csv", train)


def _write_stack(path: Path, volume: npt.NDArray[np.uint8]) -> None:
    tifffile.imwrite(path, volume, compression="lzw", photometric="minisblack", rowsperstrip=volume.shape[1])


def _write_table(path: Path, seeds: list[int]) -> None:
    """Each phantom is a scroll of its own, so its seed is its scroll_id."""
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["id", "scroll_id"])
        rows.writerows([phantom_id(seed), seed] for seed in seeds)
