"""Further outputs on request: probability, normals, features, each a TIFF that tells its scale and unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpu_nx47 import arrays, bank, survey, tables
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine, Tile
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
        for axis, codes in zip("zyx", normals(volume, engine), strict=True):
            write(f"normal_{axis}", codes, 1 / NORMAL_STEPS, 0.0, "1")
    if "features" in wanted:
        for name, codes in solved.saved.items():
            kind = bank.feature(name)
            write(name, codes, kind.step, kind.offset, kind.unit)
    return written


def normals(volume: Volume, engine: Engine) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """Return the unit gradient of G(2), towards the bright side: z, y, x of the box, step 1/32767; 0 where flat."""
    grey = volume.grey[volume.box.slices]
    found = tuple(np.zeros(grey.shape, np.int16) for _ in range(3))
    margin = bank.feature(f"grad_mag@{survey.NORMAL_SIGMA:g}").halo

    def work(tile: Tile) -> NDArray[np.int16]:
        smooth = bank.TileBank(engine.backend, grey, tile, None, margin).smooth(survey.NORMAL_SIGMA, 1)
        # A face of the box has no neighbour beyond it: the symmetric border repeats the voxel itself.
        padded = np.pad(engine.backend.to_host(smooth).astype(np.int32), 1, mode="edge")
        z, y, x = tile.within(0, 1)
        depth, height, width = (part.stop - part.start for part in (z, y, x))
        codes = np.empty((3, depth, height, width), np.int16)
        for k in range(depth):  # slice by slice: float64 vectors of the whole tile would take 24 bytes a voxel
            rows, columns = slice(y.start + 1, y.stop + 1), slice(x.start + 1, x.stop + 1)
            near = padded[z.start + k : z.start + k + 3]
            vectors = survey.unit_vectors(
                np.stack(
                    [
                        (near[2] - near[0])[rows, columns].reshape(-1),
                        (near[1, y.start + 2 : y.stop + 2] - near[1, y.start : y.stop])[:, columns].reshape(-1),
                        (near[1, :, x.start + 2 : x.stop + 2] - near[1, :, x.start : x.stop])[rows].reshape(-1),
                    ],
                    axis=1,
                )
            )
            codes[:, k] = np.rint(vectors * NORMAL_STEPS).astype(np.int16).T.reshape(3, height, width)
        return codes

    for tile, codes in engine.map(grey.shape, work):
        for axis in range(3):
            found[axis][tile.core] = codes[axis]
    return found[0], found[1], found[2]
