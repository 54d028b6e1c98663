"""Sink for the arrays of `--save`: TIFF stacks of codes that say in themselves how a code becomes a physical value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47.atomic import whole_file
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAVED_TYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"})


def save_array(path: Path, codes: NDArray[Any], *, step: float, offset: float, unit: str, name: str) -> Path:
    """Write codes (z, y, x) as a deflated TIFF stack, whole or not at all.

    The description of the first page is JSON: value = offset + step * code, in `unit`; "shape" is there for tifffile
    and for our own reader. The voxels are the same everywhere; the file's bytes depend on the zlib at hand.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    codes : array (z, y, x)
        Integer or float codes.
    step, offset : float
        Of the physical value.
    unit : str
        Of the physical value, ASCII or not.
    name : str
        What it is.

    Raises
    ------
    OutputError
        The array is no volume of a type that TIFF readers share, or cannot be written.
    """
    if codes.ndim != 3 or 0 in codes.shape or codes.dtype.name not in SAVED_TYPES:
        raise OutputError(f"{path}: cannot save {codes.dtype.name} {codes.shape}; expected a volume of plain numbers")
    import tifffile

    said = {"shape": list(codes.shape), "name": name, "step": step, "offset": offset, "unit": unit}
    plane = codes.shape[1] * codes.shape[2] * codes.itemsize
    big = codes.nbytes > (1 << 32) - (1 << 25)  # 2**32 less room for the headers of 65,536 pages
    with whole_file(path) as file, tifffile.TiffWriter(file, bigtiff=big) as writer:
        writer.write(
            np.ascontiguousarray(codes),
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 1},
            rowsperstrip=codes.shape[1] if plane < 1 << 31 else None,  # one strip a page, as in the masks
            description=json.dumps(said),
            metadata=None,
            software=False,
        )
    return path
