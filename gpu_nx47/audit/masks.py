"""A mask computed again, beside the one in the submission."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47._tiff import decode, inspect
from gpu_nx47.audit.verify import SUBMISSION
from gpu_nx47.errors import InputError
from gpu_nx47.submission import encode_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def mask_differences(folder: Path, name: str, mask: NDArray[np.bool_], recorded: str) -> list[str]:
    """Return how the mask of a volume differs from that in submission.zip, in sentences.

    Parameters
    ----------
    folder : Path
        Of the record; where it holds no submission.zip the recorded digest alone is compared.
    name : str
        Id of the volume.
    mask : numpy.ndarray of bool, (z, y, x)
        As computed here.
    recorded : str
        SHA-256 of the mask's TIFF as the run wrote it, in hex.

    Notes
    -----
    Another version of libtiff may pack equal voxels into other bytes, so voxels decide where both are at hand.
    """
    ours = hashlib.sha256(encode_mask(mask)).hexdigest()
    data = _member(folder, name)
    if data is None:
        return [] if ours == recorded else [f"mask: its TIFF has the digest {ours[:16]}, the record {recorded[:16]}"]
    theirs = hashlib.sha256(data).hexdigest()
    if theirs != recorded:
        return [f"mask: the TIFF in {SUBMISSION} is not the one that the record names{_where(data, name, mask)}"]
    return [] if ours == theirs or not (where := _where(data, name, mask)) else [f"mask: differs{where}"]


def _member(folder: Path, name: str) -> bytes | None:
    path = folder / SUBMISSION
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{name}.tif")
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError):
        return b""


def _where(data: bytes, name: str, mask: NDArray[np.bool_]) -> str:
    """Return in which slices a TIFF is another mask, as a clause; empty where it is the same."""
    try:
        stored: NDArray[Any] = decode(data, inspect(data, name, single=mask.shape[0] == 1), threads=1)
    except InputError as error:
        return f"; it cannot be read: {error}"
    if stored.shape != mask.shape:
        return f"; its shape is {stored.shape}, not {mask.shape}"
    bad = [z for z in range(len(mask)) if not np.array_equal(stored[z] != 0, mask[z])]
    return f" in {len(bad)} of {len(mask)} slices, first z = {bad[0]}" if bad else ""
