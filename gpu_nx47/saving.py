"""Further outputs on request: probability, normals, features, each a TIFF that tells its scale and unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_nx47 import arrays, bank, direction, tables
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.direction import Field
    from gpu_nx47.engine import Engine
    from gpu_nx47.solve import Solved
    from gpu_nx47.volume import Volume

NORMAL_STEPS = 32_767


def save_outputs(folder: Path, volume: Volume, solved: Solved, engine: Engine, wanted: Sequence[str]) -> list[Path]:
    """Write what was asked for, at the image's own shape (0 outside the valid box).

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    volume : Volume
    solved : Solved
    engine : Engine
    wanted : sequence of {"probability", "normals", "features"}

    Returns
    -------
    list of Path
        The files written.
    """
    written: list[Path] = []

    def write(name: str, codes: NDArray, step: float, offset: float, unit: str) -> None:
        full = np.zeros(volume.grey.shape, codes.dtype)
        full[volume.box.slices] = codes
        path = folder / f"{volume.source.id}_{name.replace('@', '_s')}.tif"
        arrays.save_array(path, full, step=step, offset=offset, unit=unit, name=name)
        written.append(path)

    try:
        if wanted:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.of(folder, error) from error
    if "probability" in wanted:
        write("probability", solved.probability, 1 / tables.PROBABILITY_ONE, 0.0, "1")
    if "normals" in wanted:
        grey = volume.grey[volume.box.slices]
        field = solved.scene.bearing.field or direction.measure(engine, grey)
        for axis, codes in zip("zyx", normals(field, grey.shape), strict=True):
            write(f"normal_{axis}", codes, 1 / NORMAL_STEPS, 0.0, "1")
    if "features" in wanted:
        for name, codes in solved.saved.items():
            kind = bank.feature(name)
            write(name, codes, kind.step, kind.offset, kind.unit)
    return written


def normals(field: Field, shape: tuple[int, int, int]) -> Iterator[NDArray[np.int16]]:
    """Yield z, y and x of the sheets' unit normals in a box, step 1/32767; 0 where there is no direction.

    Every voxel has its block's; outward from the scroll's axis where that is known.
    """
    codes = np.rint(tables.direction_vectors() * NORMAL_STEPS).astype(np.int16)
    z, y, x = (np.arange(n) // direction.BLOCK for n in shape)
    for axis in range(3):
        part = codes[:, axis][field.direction]
        yield part[np.ix_(z, y, x)]
