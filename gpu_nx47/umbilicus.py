"""The umbilicus: the line that a scroll is wound around, where somebody has drawn it.

A file holds points of it, as VC3D reads and others publish them: JSON, a list of [z, y, x] or of objects with these
keys, bare or under `points`; or text, `z, y, x` on a line, `#` before a comment. Between two points the line is
straight, beyond the first and the last it goes on along z. A folder holds one file a volume, <id>.json or <id>.txt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.errors import SettingsError
from gpu_nx47.settings import NO_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gpu_nx47.volume import Box

SUFFIXES: Final = (".json", ".txt")
MOST_BYTES: Final = 1 << 24
"""Of a file: many times a point in every slice of the longest scroll."""
FARTHEST: Final = 1 << 20
"""Voxels: kernels take an axis that far away, and no scan is that large."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Umbilicus:
    """Points of the umbilicus of one stack.

    Parameters
    ----------
    points : tuple of (z, y, x)
        Voxels of the stack, z ascending.
    """

    points: tuple[Point, ...]

    def within(self, slices: int) -> Umbilicus:
        """Return the points that decide where it runs through a stack's slices: those in it, and one at each end."""
        z = [point[0] for point in self.points]
        first = max((i for i in range(len(z)) if z[i] <= 0), default=0)
        last = min((i for i in range(len(z)) if z[i] >= slices - 1), default=len(z) - 1)
        return Umbilicus(self.points[first : last + 1])

    def eighths(self, box: Box) -> NDArray[np.int32]:
        """Return it in each slice of a box of the stack, (y, x) in 1/8 voxel of the box."""
        z, *plane = np.array(self.points, np.float64).T
        here = np.arange(box.start[0], box.stop[0], dtype=np.float64)
        after = np.clip(np.searchsorted(z, here, "right"), 1, max(1, len(z) - 1))
        before = after - 1
        after = np.minimum(after, len(z) - 1)
        span = np.where(after > before, z[after] - z[before], 1.0)
        part = np.clip((here - z[before]) / span, 0.0, 1.0)
        lines = [line[before] + part * (line[after] - line[before]) for line in plane]
        return np.stack(
            [np.rint(8 * (line - start)).astype(np.int32) for line, start in zip(lines, box.start[1:], strict=True)],
            axis=1,
        )


class Given:
    """What the user gave of the umbilicus: nothing, one file for every volume, or a folder with one each.

    Parameters
    ----------
    place : str
        Path of the file or folder; empty or NO_SIDE: nothing.
    origin : tuple of int
        (z, y, x) of the first voxel of the stacks, in the coordinates of the files.
    names : sequence of str
        Ids of the volumes.

    Raises
    ------
    SettingsError
        There is no such file, it holds no points, or the folder has none for any volume.
    """

    def __init__(self, place: str, origin: tuple[int, int, int], names: Sequence[str]) -> None:
        self._one: Umbilicus | None = None
        self._each: dict[str, Umbilicus] = {}
        path = Path(place)
        if place in ("", NO_SIDE):
            return
        if not path.is_dir():
            self._one = read(path, origin)
            return
        for name in names:
            there = [file for suffix in SUFFIXES if (file := path / f"{name}{suffix}").is_file()]
            if len(there) > 1:
                raise SettingsError(f"umbilicus: expected one file of {name}, got {' and '.join(map(str, there))}")
            if there:
                self._each[name] = read(there[0], origin)
        if not self._each:
            wanted = " or ".join(f"{name}{suffix}" for name in list(names)[:1] for suffix in SUFFIXES)
            raise SettingsError(f"umbilicus: expected a file for each volume in {path}, such as {wanted}; found none")

    @property
    def digest(self) -> str | None:
        """SHA-256 of all points that were given; None: nothing was."""
        if self._one is None and not self._each:
            return None
        every = {"": self._one.points} if self._one else {name: one.points for name, one in self._each.items()}
        return hashlib.sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()

    def of(self, name: str, slices: int) -> Umbilicus | None:
        """Return what decides where it runs through a volume's slices; None: that is to be estimated."""
        found = self._one or self._each.get(name)
        return None if found is None else found.within(slices)


def from_record(points: Any) -> Umbilicus | None:
    """Return what FILE_START says of the umbilicus; None: nothing was given.

    Raises
    ------
    SettingsError
        These are no points.
    """
    if points is None:
        return None
    if not isinstance(points, list) or not points:
        raise SettingsError("umbilicus of the record: expected points [z, y, x]")
    return Umbilicus(tuple(_point(one, (0, 0, 0), f"of the record, point {i}") for i, one in enumerate(points)))


def read(path: Path, origin: tuple[int, int, int] = (0, 0, 0)) -> Umbilicus:
    """Read a file of points.

    Parameters
    ----------
    path : Path
    origin : tuple of int
        Subtracted from each point.

    Raises
    ------
    SettingsError
        It cannot be read, or says what cannot be understood.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingsError(f"umbilicus {path}: expected at most {MOST_BYTES} bytes, got {path.stat().st_size}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"umbilicus {path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"umbilicus {path}: expected text, got bytes that are none: {error}") from error
    entries = _json(text, path) if path.suffix.lower() == ".json" else _lines(text)
    places: dict[float, Point] = {}
    for where, entry in entries:
        z, y, x = _point(entry, origin, f"{path}, {where}")
        if places.setdefault(z, (z, y, x)) != (z, y, x):
            raise SettingsError(f"umbilicus {path}, {where}: expected one point in a slice, got another in z = {z:g}")
    if not places:
        raise SettingsError(f"umbilicus {path}: expected points [z, y, x], got none")
    return Umbilicus(tuple(places[z] for z in sorted(places)))


def _json(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"umbilicus {path}: expected JSON, got: {error}") from error
    if isinstance(document, Mapping):
        document = document.get("points")
    if not isinstance(document, list):
        raise SettingsError(f"umbilicus {path}: expected a list of points [z, y, x], bare or under `points`")
    for number, entry in enumerate(document):
        yield f"point {number}", [entry.get(key) for key in "zyx"] if isinstance(entry, Mapping) else entry


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if bare:
            yield f"line {number}", [_number(part) for part in bare.replace(",", " ").split()]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _point(entry: Any, origin: tuple[int, int, int], where: str) -> Point:
    plain = isinstance(entry, list) and len(entry) == 3
    if not plain or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in entry):
        raise SettingsError(f"umbilicus {where}: expected three numbers z, y, x, got {str(entry)[:80]}")
    if not all(abs(v - first) <= FARTHEST for v, first in zip(entry, origin, strict=True)):  # nor is nan
        raise SettingsError(f"umbilicus {where}: expected at most {FARTHEST} voxels, got {str(entry)[:80]}")
    z, y, x = (float(v - first) for v, first in zip(entry, origin, strict=True))
    return z, y, x
