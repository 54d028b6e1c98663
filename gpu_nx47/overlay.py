"""Sink for pictures: a slice as it is, and beside it the same slice with the mask in colour."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47.atomic import write_whole
from gpu_nx47.errors import OutputError
from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shown = dict[Path, tuple[int, NDArray[np.bool_]]]
    """Where a slice is in its volume, and its mask (y, x), by the file that shows it."""

COLOUR: Final = (255, 72, 0)
"""Vermilion: far from every grey, and told from it by the colour-blind too."""
PNG_LEVEL: Final = 3
"""Of a picture's compression: of a phantom's slices a fifteenth smaller than with 6, the default, in half the time."""
GAP: Final = 6
"""Pixels between the two halves."""
SMALL, LARGE = 384, 2048
"""Longest side of a half: smaller slices are enlarged by a whole factor, larger ones thinned."""


def write_overlays(
    folder: Path,
    name: str,
    grey: NDArray[np.uint8],
    mask: NDArray[np.bool_] | NDArray[np.uint8],
    count: int,
    threads: int = 1,
) -> list[Path]:
    """Write `count` pictures of evenly spaced slices, and return their files in z order.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    name : str
        Id of the volume; the files are `<name>_z0123.png`.
    grey : uint8 (z, y, x)
        The volume.
    mask : bool or uint8 (z, y, x)
        Its final mask; foreground is not 0.
    count : int
        Pictures wanted; at most one a slice.
    threads : int
        Pictures made at once.

    Raises
    ------
    OutputError
        Volume and mask differ in shape, or the pictures cannot be written.
    """
    if grey.shape != mask.shape:
        raise OutputError(f"no overlay of {name}: the volume is {grey.shape}, its mask {mask.shape}")
    shown = chosen(folder, name, mask, count)
    write(shown, grey, threads)
    return list(shown)


def chosen(folder: Path, name: str, mask: NDArray[np.bool_] | NDArray[np.uint8], count: int) -> Shown:
    """Return evenly spaced slices of a mask, as `write_overlays` takes it, by the files that will show them."""
    depth = len(mask)
    count = min(count, depth)
    places = ((2 * k + 1) * depth // (2 * count) for k in range(count))
    return {folder / f"{name}_z{z:04d}.png": (z, mask[z] != 0) for z in places}


def write(shown: Shown, grey: NDArray[np.uint8], threads: int = 1) -> None:
    """Draw and write slices of a volume (z, y, x) with those of its mask, so many at once; their folders are made.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    from PIL import Image

    for folder in {path.parent for path in shown}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"{folder}: cannot be made: {error.strerror}. Give another folder with --output."
            raise OutputError(what) from error
    files = list(shown.items())

    def some(run: range) -> None:
        for path, (z, mask) in files[run.start : run.stop]:
            file = io.BytesIO()
            Image.fromarray(picture(grey[z], mask)).save(file, "PNG", compress_level=PNG_LEVEL)
            write_whole(path, file.getvalue())

    spread(len(files), some, threads, "nx47-pictures")


def picture(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return one picture, uint8 (y, x, 3): the slice (y, x), a white gap, the slice with its mask half in colour."""
    side = max(grey.shape)
    thin = -(-side // LARGE)
    factor = max(1, SMALL // side)
    grey = grey[::thin, ::thin].repeat(factor, axis=0).repeat(factor, axis=1)
    mask = mask[::thin, ::thin].repeat(factor, axis=0).repeat(factor, axis=1)
    plain = np.repeat(grey[:, :, None], 3, axis=2)
    mixed = ((plain.astype(np.uint16) + np.array(COLOUR, np.uint16)) // 2).astype(np.uint8)
    painted = np.where(mask[:, :, None], mixed, plain)
    return np.concatenate([plain, np.full((grey.shape[0], GAP, 3), 255, np.uint8), painted], axis=1)
