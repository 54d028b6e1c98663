"""A loaded volume, and the valid box inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """A box of voxels, half open: start <= index < stop on each axis (z, y, x)."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels on each axis."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        z, y, x = self.shape
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Source:
    """One volume to do: a TIFF stack, or a folder of single-page slices."""

    id: str
    """Name of the mask in the submission, without suffix."""
    path: Path
    """The stack, or the folder."""
    files: tuple[Path, ...]
    """The files read for it, in slice order."""


@dataclass(frozen=True)
class Window:
    """How grey values of a wide type became 0..255: 0 at `low`, 255 at `high`, linear, clipped."""

    low: float
    high: float
    low_percentile: float
    high_percentile: float


@dataclass(frozen=True)
class Volume:
    """A volume in memory, as the stages see it."""

    source: Source
    grey: NDArray[np.uint8]
    """(z, y, x), 0..255, the whole stack."""
    box: Box
    """The valid box: what is left when all-zero outer planes are cut away. Zero voxels in size if all is zero."""
    original_dtype: str
    window: Window | None
    """None where the file was uint8 already."""
    voxel_size_um: tuple[float, float, float] | None
    sha256: str
    """Digest of the bytes read (of the concatenated files in slice order)."""
    bytes_read: int
