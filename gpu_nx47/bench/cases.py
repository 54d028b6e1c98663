"""The calls that are timed: every kernel, on what a run gives it, with the least bytes that it must move."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.phantom import make_phantom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SEED: Final = 1
MASKED: Final = 0.90
"""Share of the voxels below the weak threshold: masks hold a tenth, as sheets do."""
ANCHORED: Final = 0.97
SAMPLES: Final = 65_536


@dataclass(frozen=True)
class Case:
    """One piece of work on one volume: a kernel, or kernels that a run calls one after the other."""

    name: str
    calls: tuple[tuple[str, dict[str, Any]], ...]
    """Kernels with their parameters, each on `arrays`."""
    arrays: tuple[Any, ...]
    """Positional arguments on the host: arrays (z, y, x), or a tuple of such arrays."""
    floor: float
    """Bytes for each voxel that must be moved: every input read once, every result written once."""
    twin: float | None = None
    """Bytes for each voxel that the compiled twin moves: whole arrays between its passes are written and read too.

    None: not counted, as the passes depend on the data."""
    halo: tuple[int, int] = (0, 0)
    """Slices that a slab needs below and above; ignored where `whole`."""
    whole: bool = False
    """A slab of the volume cannot be done alone."""
    windowed: tuple[str, dict[str, Any]] | None = None
    """The same work by a kernel that takes a window, as a run's tiles do: a slab's margin is read, not computed."""

    @property
    def first(self) -> NDArray[Any]:
        """The array that tells the shape."""
        array: NDArray[Any] = self.arrays[0][0] if isinstance(self.arrays[0], tuple) else self.arrays[0]
        return array

    @property
    def voxels(self) -> int:
        """Voxels of a call, or samples."""
        return self.first.shape[-1] if self.first.ndim == 2 else self.first.size

    def run(
        self, backend: Any, arrays: tuple[Any, ...], z: slice | None = None, inside: slice | None = None
    ) -> list[Any]:
        """Do the work with a backend on arrays that it holds.

        `z`: the slices of the volume that they are; `inside`: those of them that are asked for, if there is a window.
        """
        found: list[Any] = []
        calls = self.calls
        if self.windowed and inside:
            kernel, parameters = self.windowed
            calls = ((kernel, parameters | {"window": (inside, *(slice(0, n) for n in self.first.shape[1:]))}),)
        for kernel, parameters in calls:
            result = getattr(backend, kernel)(*arrays, **_cut(backend, parameters, z))
            found.extend(result if isinstance(result, tuple) else [result])
        return found


def _cut(backend: Any, parameters: dict[str, Any], z: slice | None) -> dict[str, Any]:
    """Return the parameters with their arrays where the backend wants them, the axis of these slices only."""
    there = {name: parameters[name] for name in ("axis", "index", "offsets") if name in parameters}
    if z is not None and "axis" in there:
        there["axis"] = there["axis"][z].copy()
    return parameters | {name: backend.to_device(array) for name, array in there.items()}


def put(backend: Any, value: Any) -> Any:
    """Return arrays where a backend wants them, tuples of them too."""
    return tuple(put(backend, v) for v in value) if isinstance(value, tuple) else backend.to_device(value)


def _compute() -> Any:
    """Return the quickest room that makes inputs on the host; both give the same bits."""
    try:
        return import_module("cpu_fallback.twin")
    except ImportError:
        return import_module("cpu_fallback.law")


def cases(size: int, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Case]:
    """Yield the cases whose name is wanted, on a phantom of `size` voxels a side, arrays on the host.

    They are built one by one and share their inputs; each group's arrays can go when the next begins.
    """
    volume = make_phantom(size, SEED).image
    inner = np.ascontiguousarray(volume[3:-3, 3:-3, 3:-3])  # the valid box: a frame of zeros is cut before any kernel
    room = _compute()
    narrow = room.gaussian(inner, taps=tables.gaussian_taps(1.0))
    wide = room.gaussian(inner, taps=tables.gaussian_taps(3.0))
    groups = [_of_grey(inner), _of_smooth(narrow, wide), _of_codes(room, inner, narrow, wide), _of_masks(narrow)]
    if hasattr(room, "directions"):  # a tree that `compare` measures may be older
        groups.append(_of_directions(room, narrow))
    for group in groups:
        yield from (case for case in group if wanted(case.name))
    if wanted("neuron_sums"):
        yield _training()


def _of_grey(grey: NDArray[np.uint8]) -> Iterator[Case]:
    for sigma, radius in ((1.0, 4), (3.0, 12)):
        taps = tables.gaussian_taps(sigma)
        name, call = f"gaussian sigma {sigma:.0f}", ("gaussian", {"taps": taps})
        yield Case(name, (call,), (grey,), 3, 3, (radius, radius), windowed=("gaussians", {"taps": (taps,)}))
    three = tuple(tables.gaussian_taps(sigma) for sigma in (1.0, 2.0, 3.0))
    together: tuple[str, dict[str, Any]] = "gaussians", {"taps": three}
    yield Case("gaussians 1, 2, 3", (together,), (grey,), 7, 9, (12, 12), windowed=together)
    entropy = {"window": 5, "bins": 16, "table": tables.entropy_table(125)}
    yield Case("local_entropy", (("local_entropy", entropy),), (grey,), 3, 3, (2, 2))
    yield Case("local_variance", (("local_variance", {"window": 7}),), (grey,), 3, 3, (3, 3))
    for statistic in ("max", "mean", "deviation", "coherence"):
        projection = {"window": 17, "statistic": statistic}
        yield Case(f"z_projection {statistic}", (("z_projection", projection),), (grey,), 3, 3, (8, 8))
    yield Case("histogram of 8 bits", (("histogram", {}),), (grey,), 1, 1)


def _of_smooth(narrow: NDArray[np.uint16], wide: NDArray[np.uint16]) -> Iterator[Case]:
    depth, height, width = narrow.shape
    two = ("gradient_magnitude", "laplacian")
    both = "stencils", {"results": two, "shift": 4}
    yield Case("gradient and Laplacian", (both,), (narrow,), 6, 6, (1, 1), windowed=both)
    axis = np.tile(np.array([4 * height, 5 * width], np.int32), (depth, 1))
    four = {"results": (*two, "band_pass", "gradient_along"), "shift": 4, "axis": axis, "origin": (0, 0)}
    yield Case("four stencils", (("stencils", four),), (narrow, wide), 12, 12, (1, 1))
    yield Case("gradient_magnitude", (("gradient_magnitude", {}),), (narrow,), 4, 4, (1, 1))
    yield Case("laplacian", (("laplacian", {"shift": 4}),), (narrow,), 4, 4, (1, 1))
    yield Case("gradient_along", (("gradient_along", {"axis": axis, "origin": (0, 0)}),), (narrow,), 4, 4)
    yield Case("band_pass", (("band_pass", {}),), (narrow, wide), 6, 6)
    yield Case("histogram of 16 bits", (("histogram", {}),), (narrow,), 2, 2)
    weights = tables.draws(SEED, 91, 0, narrow.shape[2])
    yield Case("row_sums", (("row_sums", {"weights": weights}),), (narrow,), 2, 2, whole=True)
    yield Case("lookup", (("lookup", {"table": tables.logit_table()}),), (narrow,), 4, 4)
    index = (tables.draws(SEED, 90, 0, SAMPLES) % np.uint64(narrow.size)).astype(np.int64)
    # Of each voxel picked a cache line comes; told for each voxel of the volume, as every case is.
    share = SAMPLES / narrow.size
    yield Case(
        "gather", (("gather", {"index": index}),), (narrow,), (8 + 2 + 2) * share, (8 + 64 + 2) * share, whole=True
    )


def _of_codes(room: Any, grey: NDArray[np.uint8], narrow: NDArray, wide: NDArray) -> Iterator[Case]:
    codes = (
        room.band_pass(narrow, wide),
        room.gradient_magnitude(narrow),
        room.laplacian(narrow, shift=4),
        room.z_projection(grey, window=17, statistic="mean"),
        room.local_variance(grey, window=7),
        narrow,
    )
    unit: dict[str, Any] = {
        "mean": np.array([c.mean() for c in codes], np.float32),
        "scale": np.array([1 / max(1.0, float(c.std())) for c in codes], np.float32),
        "weights": np.array([0.9, 0.4, -0.3, 0.2, -0.2, 0.5], np.float32),
        "bias": np.float32(-1),
        "sigmoid": tables.sigmoid_table(),
    }
    yield Case("neuron of 6 features", (("neuron", unit),), (codes,), 14, 14)
    yield Case("net of 23, 24, 12 and 1", (("net", _net(unit, (23, 24, 12))),), ((codes * 4)[:23],), 48, 48)


def _net(unit: dict[str, Any], sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return a net of layers of these sizes, the features' number first, in place of a neuron of fewer features."""
    drawn = [np.resize(unit["weights"], (n, inputs)) for inputs, n in pairwise(sizes)]
    standard = {name: np.resize(unit[name], sizes[0]) for name in ("mean", "scale")}
    hidden = tuple((rows, np.zeros(len(rows), np.float32)) for rows in drawn)
    return unit | standard | {"hidden": hidden, "weights": np.resize(unit["weights"], sizes[-1])}


def _of_directions(room: Any, narrow: NDArray[np.uint16]) -> Iterator[Case]:
    # A run does these by tiles too; here on one thread: the array of directions has another shape, and is not cut.
    yield Case("directions", (("directions", {"radius": 2}),), (narrow,), 2 + 3 / 64, whole=True)
    direction = _cells(room.directions(narrow, radius=2)[0], narrow.shape)
    disk, line = tables.disk_offsets((2.0, 4.0, 6.0)), tables.line_offsets((1.0, 0.0, -1.0, -2.0, -3.0))
    weights = np.full(disk.shape[1], (1 << 14) // disk.shape[1], np.int32)
    given: dict[str, Any] = {"phase": (0, 0, 0), "offsets": disk, "weights": weights, "shift": 14, "signed": False}
    yield Case("directional_sum", (("directional_sum", given),), (narrow, direction), 4.25, whole=True)
    away = tables.line_offsets(tuple(float(k) for k in (*range(-6, 0), *range(1, 7))))
    twelve = ("directional_profile", {"phase": (0, 0, 0), "offsets": away})
    yield Case("directional_profile of 12", (twelve,), (narrow, direction), 26.25, whole=True)
    call: tuple[str, dict[str, Any]] = ("directional_peak", {"phase": (0, 0, 0), "offsets": line})
    steps = np.ascontiguousarray(narrow >> 1).astype(np.int16)
    yield Case("directional_peak", (call,), (steps, direction), 4.25, whole=True)


def _cells(direction: NDArray[np.uint16], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return the direction of each cell of 2 voxels; in an older tree that is what the kernel gives."""
    for axis, length in enumerate(shape):
        cells = -(-length // 2)
        every = np.repeat(direction, -(-cells // direction.shape[axis]), axis=axis)
        direction = every.take(range(cells), axis=axis)
    return direction


def _of_masks(narrow: NDArray[np.uint16]) -> Iterator[Case]:
    weak, strong = (int(np.quantile(narrow, share)) for share in (MASKED, ANCHORED))
    mask = narrow >= weak
    call = ("hysteresis", {"weak": weak, "strong": strong})
    yield Case("hysteresis", (call,), (narrow,), 3, 5, whole=True)
    for connectivity in (6, 26):
        call = ("label", {"connectivity": connectivity})
        yield Case(f"label {connectivity}", (call,), (mask,), 5, 6, whole=True)
    call = ("remove_small", {"min_size": 100, "connectivity": 26})
    yield Case("remove_small", (call,), (mask,), 2, 4, whole=True)
    box = {"radius": (1, 1, 1), "shape": "box"}
    for kernel, moved, reach in (("dilation", 11, 1), ("erosion", 11, 1), ("closing", 22, 2), ("opening", 22, 2)):
        yield Case(kernel, ((kernel, box),), (mask,), 2, moved, (reach, reach))
    yield Case("count", (("count", {}),), (mask,), 1, 1)
    labels, number = _compute().label(mask, connectivity=26)
    yield Case("mask_moments", (("mask_moments", {"connectivity": 26}),), (mask,), 1, 1, whole=True)
    yield Case("component_moments", (("component_moments", {"count": number}),), (labels,), 4, 4, whole=True)


def _training() -> Case:
    x = (tables.draws(SEED, 91, 0, 6 * SAMPLES) % np.uint64(20_001)).astype(np.int16).reshape(6, SAMPLES) - 10_000
    y = (tables.draws(SEED, 92, 0, SAMPLES) % np.uint64(2)).astype(np.uint8)
    parameters = {
        "weights": np.linspace(-0.4, 0.4, 6).astype(np.float32),
        "bias": np.float32(-0.5),
        "sigmoid": tables.sigmoid_table(),
        "softplus": tables.softplus_table(),
    }
    return Case("neuron_sums", (("neuron_sums", parameters),), (x.astype(np.int16), y), 13, 13, whole=True)
