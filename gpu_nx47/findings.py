"""Findings explained: golden points, anomalies and discoveries with place, extent, and the features that make them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import bank, overlay, rescue
from gpu_nx47.atomic import write_whole
from gpu_nx47.engine import Tile
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.direction import Bearing
    from gpu_nx47.engine import Engine
    from gpu_nx47.neuron import Unit
    from gpu_nx47.solve import Solved
    from gpu_nx47.stats import Histogram
    from gpu_nx47.volume import Volume

CLUSTERS_TOLD: Final = 5
"""Clusters of each kind that are explained: the largest."""
ONE_BY_ONE: Final = 64
"""Up to as many voxels have their features computed one by one; more are picked from one more pass over the volume."""
CLIP: Final = 8.0
"""Deviations at which the neuron's kernel clips its input."""
PART: Final = 1 << 20
"""Voxels of clusters that are looked at together."""
NEAR: Final = 4
"""Slices from the one shown within which findings are marked."""
MARKS: Final = {"golden": (255, 221, 0), "anomaly": (0, 158, 255), "discovery": (204, 51, 255)}
"""Colours of the marks: yellow, blue and violet, apart from the mask's vermilion."""


@dataclass(frozen=True)
class Clusters:
    """Voxels of one kind of finding, in connected clusters."""

    kind: str
    index: NDArray[np.int64]
    """Flat index of each voxel in the box, ascending."""
    cluster: NDArray[np.int32]
    """Number of its cluster, from 1."""
    strength: NDArray[Any]
    """What the peak of a cluster is the furthest from `usual` in."""
    usual: int = 0
    unit: float = 1.0
    """Of a step of it, in the strength that is told."""

    def sizes(self) -> NDArray[np.int64]:
        """Return the voxels of each cluster."""
        total = np.zeros(int(self.cluster.max(initial=0)) + 1, np.int64)
        for part in self._parts():
            total += np.bincount(self.cluster[part], minlength=len(total))
        return total

    def extent(self, number: int, shape: tuple[int, ...]) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """Return which voxel is the peak of a cluster, the first of several, and the lowest and highest z, y, x.

        A part at a time: a cluster may fill the volume.
        """
        peak, most, low, high = -1, -1, [], []
        for part in self._parts():
            inside = np.flatnonzero(self.cluster[part] == number) + part.start
            if not inside.size:
                continue
            strength = self.strength[inside]
            ends = int(strength.min()), int(strength.max())
            far = max(self.usual - ends[0], ends[1] - self.usual)
            if far > most:
                at = np.flatnonzero((strength == self.usual - far) | (strength == self.usual + far))
                peak, most = int(inside[at[0]]), far
            # Ascending, so the first and the last tell z; the division by one number is much faster than unravelling.
            index = self.index[inside]
            row = index // shape[2]
            place = row[[0, -1]] // shape[1], row - row // shape[1] * shape[1], index - row * shape[2]
            low.append([along.min() for along in place])
            high.append([along.max() for along in place])
        return peak, np.min(low, axis=0), np.max(high, axis=0)

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self.cluster), PART):
            yield slice(start, start + PART)

    def told(self, voxel: int) -> float:
        """Return the strength of a voxel."""
        return (int(self.strength[voxel]) - self.usual) * self.unit


def feature_codes(
    engine: Engine, grey: NDArray[np.uint8], names: Sequence[str], bearing: Bearing, index: NDArray[np.int64]
) -> dict[str, list[int]]:
    """Return the codes of features at a few voxels, or at many, with the bits they have in the run.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    names : sequence of str
    bearing : Bearing
    index : numpy.ndarray of int64
        Flat indices in the box.
    """
    if len(index) > ONE_BY_ONE:
        return {
            name: codes.tolist() for name, codes in bank.measure(engine, grey, names, bearing, index).samples.items()
        }
    margin = bank.halo(names)
    meter = engine.backend

    def work(tile: Tile) -> list[int]:
        here = bank.TileBank(meter, grey, tile, bearing, margin, names)
        return [int(meter.to_host(here.codes(name))[0, 0, 0]) for name in names]

    z, y, x = grey.shape
    found: dict[str, list[int]] = {name: [] for name in names}
    for a, b, c in zip(*(v.tolist() for v in np.unravel_index(index, grey.shape)), strict=True):
        ((_, codes),) = rescue.tile(meter, Tile((a, b, c), (a + 1, b + 1, c + 1), (z, y, x)), work)
        for name, code in zip(names, codes, strict=True):
            found[name].append(code)
    return found


def contributions(unit: Unit, codes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return what each feature of a voxel is, in its unit and in deviations, and what it adds to the logit."""
    told = {}
    for k, name in enumerate(unit.features):
        kind = bank.feature(name)
        away = (codes[name] - float(unit.scaling.mean[k])) * float(unit.scaling.scale[k])
        told[name] = {
            "value": kind.offset + codes[name] * kind.step,
            "unit": kind.unit,
            "deviations": away,
            # In a net no feature adds a part of its own.
            "logit": None if unit.hidden else float(unit.weights[k]) * min(CLIP, max(-CLIP, away)),
        }
    return told


def rarity(histograms: Mapping[str, Histogram], codes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the features of a voxel, the most unusual first.

    `share` is the part of the measured voxels that lie as far out or further, on the side of the median where the voxel
    lies.
    """
    told = []
    for name, code in codes.items():
        histogram, kind = histograms[name], bank.feature(name)
        above = histogram.at_least(code)
        below = histogram.total - histogram.at_least(code + 1)
        told.append({
            "feature": name,
            "value": kind.offset + code * kind.step,
            "median": kind.offset + histogram.quantile(0.5) * kind.step,
            "unit": kind.unit,
            "share": min(above, below) / histogram.total,
        })  # fmt: skip
    return sorted(told, key=lambda one: (one["share"], one["feature"]))


def explained_points(
    engine: Engine, grey: NDArray[np.uint8], solved: Solved, points: list[dict[str, Any]], origin: Sequence[int]
) -> list[dict[str, Any]]:
    """Return golden points with their features, what each adds to the neuron's own logit, and its bias.

    The point's probability is the mean along its sheet, so the logit need not be its.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    solved : Solved
    points : list of dict
        From `golden.golden_points`, in voxels of the stack.
    origin : sequence of int
        Position of the box in the stack.
    """
    if not points:
        return points
    unit = solved.trained.unit
    places = [[point[axis] - start for point in points] for axis, start in zip("zyx", origin, strict=True)]
    index = np.ravel_multi_index(tuple(np.array(p) for p in places), grey.shape).astype(np.int64)
    codes = feature_codes(engine, grey, unit.features, solved.scene.bearing, index)
    return [
        {**point, "bias": float(unit.bias), "features": contributions(unit, {n: c[k] for n, c in codes.items()})}
        for k, point in enumerate(points)
    ]


def explained_clusters(
    engine: Engine, grey: NDArray[np.uint8], solved: Solved, found: Clusters, origin: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the largest clusters: voxels, box, peak, and how unusual each feature is at the peak.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    solved : Solved
    found : Clusters
    origin : sequence of int
        Position of the box in the stack.
    """
    sizes = found.sizes()
    largest = [int(k) for k in np.argsort(-sizes, kind="stable")[:CLUSTERS_TOLD] if sizes[k]]
    told, peaks = [], []
    for number in largest:
        peak, low, high = found.extent(number, grey.shape)
        at = [int(v) + o for v, o in zip(np.unravel_index(found.index[peak], grey.shape), origin, strict=True)]
        peaks.append(int(found.index[peak]))
        told.append({
            "kind": found.kind,
            "voxels": int(sizes[number]),
            "start": [int(first) + o for first, o in zip(low, origin, strict=True)],
            "stop": [int(last) + 1 + o for last, o in zip(high, origin, strict=True)],
            "peak": dict(zip("zyx", at, strict=True)),
            "strength": found.told(peak),
        })  # fmt: skip
    names = solved.trained.unit.features
    if told and names:
        codes = feature_codes(engine, grey, names, solved.scene.bearing, np.array(peaks, np.int64))
        for k, one in enumerate(told):
            one["unusual"] = rarity(solved.histograms, {name: codes[name][k] for name in names})
    return told


def write_picture(
    folder: Path, volume: Volume, solved: Solved, points: list[dict[str, Any]], clusters: list[dict[str, Any]]
) -> list[Path]:
    """Write the slice of the largest finding with every finding near it marked; nothing where nothing was found.

    Golden points are crosses, clusters their boxes; the file is `<id>_findings_z0123.png`.

    Raises
    ------
    OutputError
        The picture cannot be written.
    """
    if not points and not clusters:
        return []
    from PIL import Image, ImageDraw

    z = clusters[0]["peak"]["z"] if clusters else points[0]["z"]
    grey = volume.grey[z]
    mask = np.zeros(grey.shape, np.bool_)
    mask[volume.box.slices[1:]] = solved.final[z - volume.box.start[0]]
    drawn = overlay.picture(grey, mask)
    image = Image.fromarray(drawn)
    draw = ImageDraw.Draw(image)
    half = (drawn.shape[1] - overlay.GAP) // 2
    scale, left = half / grey.shape[1], half + overlay.GAP
    for one in clusters:
        (z0, y0, x0), (z1, y1, x1) = one["start"], one["stop"]
        if z0 - NEAR <= z < z1 + NEAR:
            corners = (left + x0 * scale - 1, y0 * scale - 1, left + x1 * scale, y1 * scale)
            draw.rectangle(corners, outline=MARKS[one["kind"]])
    arm = 3 + round(scale)
    for point in points:
        if abs(point["z"] - z) <= NEAR:
            y, x = (point["y"] + 0.5) * scale, left + (point["x"] + 0.5) * scale
            draw.line((x - arm, y, x + arm, y), fill=MARKS["golden"])
            draw.line((x, y - arm, x, y + arm), fill=MARKS["golden"])
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=overlay.PNG_LEVEL)
    path = folder / f"{volume.source.id}_findings_z{z:04d}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.of(folder, error) from error
    write_whole(path, file.getvalue())
    return [path]
