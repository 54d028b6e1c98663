"""What the GPU does here: compiled, equal to the law, and how fast beside its peers and its own copy bandwidth.

``python bench/gpu.py [--size 320] [--json FILE]`` on a machine with a GPU and CuPy; cupyx (part of CuPy) and PyTorch
are measured where they are there. A peer computes the same mathematics, in its own number format and with its own bits.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import gpu_nx47
from cpu_fallback import law
from cpu_fallback.law._gradient import STENCILS
from gpu_nx47 import across, kernels, phantom, settings, tables
from gpu_nx47.direction import CELL, RADIUS, Field
from gpu_nx47.kernels import _loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
WARM_UP, REPEATS = 3, 15
BITS_SIZE = 48
COPY_BYTES = 1 << 29
DOWNLOAD_BYTES = 32 << 20
"""The probability of a tile of 64 x 512 x 512."""
MARGIN = 13
"""Of the default bank."""


@dataclass
class Case:
    """One call of a kernel, and what it must move at least: each input read once, each result written once."""

    name: str
    kernel: str
    arrays: tuple[Any, ...]
    parameters: dict[str, Any]
    bytes_per_voxel: float


@dataclass
class Row:
    """What was measured of a case."""

    case: str
    ms: float
    mvoxel_per_s: float
    share_of_copy: float
    peers_ms: dict[str, float]
    peers_equal: dict[str, bool]
    """Of peers that compute in integers too: whether they give our bits."""


def cases(size: int) -> list[Case]:
    """Return the calls that a run makes, on a volume with sheets, arrays on the host."""
    grey = phantom.make_phantom(size=size, seed=1).image
    taps = {sigma: tables.gaussian_taps(sigma) for sigma in (1.0, 2.0, 3.0)}
    z, y, x = (slice(MARGIN, n - MARGIN) for n in grey.shape)
    narrow, wide = (np.ascontiguousarray(grey.astype(np.uint16) << 8) for _ in range(2))
    mask = grey > 140
    axis = np.full((grey.shape[0], 2), 4 * size, np.int32)
    entropy = {"window": 5, "bins": 16, "table": tables.entropy_table(125)}
    unit = {name: np.full(6, value, np.float32) for name, value in (("mean", 9e3), ("scale", 1e-4), ("weights", 0.3))}
    unit |= {"bias": np.float32(-1), "sigmoid": tables.sigmoid_table()}
    box = {"radius": (1, 1, 1), "shape": "box"}
    way = {"axis": axis, "origin": (0, 0)}
    return [
        Case("gaussian sigma 1", "gaussian", (grey,), {"taps": taps[1.0]}, 3),
        Case("gaussian sigma 3", "gaussian", (grey,), {"taps": taps[3.0]}, 3),
        Case("gaussians sigma 1, 2, 3", "gaussians", (grey,), {"taps": tuple(taps.values())}, 7),
        Case("... of a tile's core", "gaussians", (grey,), {"taps": tuple(taps.values()), "window": (z, y, x)}, 7),
        Case("band_pass", "band_pass", (narrow, wide), {}, 6),
        Case("gradient_magnitude", "gradient_magnitude", (narrow,), {}, 4),
        Case("laplacian", "laplacian", (narrow,), {"shift": 4}, 4),
        Case("gradient_along", "gradient_along", (narrow,), way, 4),
        Case("stencils, all four", "stencils", (narrow, wide), {"results": STENCILS, "shift": 4, **way}, 12),
        Case("stencils, two", "stencils", (narrow,), {"results": STENCILS[:2], "shift": 4}, 6),
        *_along_sheets(narrow),
        Case("local_entropy", "local_entropy", (grey,), entropy, 3),
        Case("local_variance", "local_variance", (grey,), {"window": 7}, 3),
        *(
            Case(f"z_projection {s}", "z_projection", (grey,), {"window": 17, "statistic": s}, 3)
            for s in ("max", "mean", "coherence")
        ),
        Case("histogram 8 bits", "histogram", (grey,), {}, 1),
        Case("histogram 16 bits", "histogram", (narrow,), {}, 2),
        Case("row_sums", "row_sums", (narrow,), {"weights": tables.draws(0, 1, 0, narrow.shape[2])}, 2),
        Case("count", "count", (mask,), {}, 1),
        Case("lookup", "lookup", (narrow,), {"table": tables.logit_table()}, 4),
        Case("neuron of 6", "neuron", ((narrow,) * 6,), unit, 14),
        Case("net of 23, 24, 12", "net", ((narrow,) * 23,), _net(unit["sigmoid"]), 48),
        Case("label 26", "label", (mask,), {"connectivity": 26}, 5),
        Case("label 6", "label", (mask,), {"connectivity": 6}, 5),
        Case("hysteresis", "hysteresis", (narrow,), {"weak": 30_000, "strong": 50_000}, 3),
        Case("remove_small", "remove_small", (mask,), {"min_size": 100, "connectivity": 26}, 2),
        Case("dilation", "dilation", (mask,), box, 2),
        Case("closing", "closing", (mask,), box, 2),
    ]


def _net(sigmoid: Any) -> dict[str, Any]:
    """Return the parameters of a net of 24 and 12 hidden neurons on 23 features, of drawn weights."""
    draw = np.random.default_rng(5)
    sizes = (23, 24, 12)
    hidden = tuple(
        (draw.normal(0, 0.3, (after, before)).astype(np.float32), draw.normal(0, 0.3, after).astype(np.float32))
        for before, after in itertools.pairwise(sizes)
    )
    whole = {"mean": np.full(23, 20_000, np.float32), "scale": np.full(23, 1e-4, np.float32)}
    return {**whole, "hidden": hidden, "weights": np.ones(12, np.float32), "bias": np.float32(-1), "sigmoid": sigmoid}


def _along_sheets(smooth: Any) -> Iterator[Case]:
    """Yield the calls that look along and across the sheets; a cell of directions is 8 voxels, a block 64."""
    cells = Field(*law.directions(smooth, radius=RADIUS)).cells
    direction = cells[tuple(slice(-(-n // CELL)) for n in smooth.shape)].copy()
    disk, line = tables.disk_offsets(across.DISK), tables.line_offsets(across.LAYER)
    mean = {"weights": across.mean_weights(disk.shape[1]), "shift": across.DISK_SHIFT, "signed": False}
    place = {"phase": (0, 0, 0)}
    yield Case("directions", "directions", (smooth,), {"radius": RADIUS}, 2 + 3 / 64)
    yield Case("directional_sum", "directional_sum", (smooth, direction), {**place, "offsets": disk, **mean}, 4 + 2 / 8)
    steps = (smooth >> 1).astype(np.int16)
    away = tables.line_offsets(tuple(map(float, (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8))))
    yield Case(
        "directional_profile", "directional_profile", (smooth, direction), {**place, "offsets": away}, 26 + 2 / 8
    )
    yield Case("directional_peak", "directional_peak", (steps, direction), {**place, "offsets": line}, 4 + 2 / 8)


def put(value: Any) -> Any:
    """Return arrays on the device, tuples of them too."""
    return tuple(map(put, value)) if isinstance(value, tuple) else kernels.to_device(value)


def unequal(size: int) -> list[str]:
    """Return the cases whose bits are not the law's."""
    return [case.name for case in cases(size) if not _equal(case)]


def _equal(case: Case) -> bool:
    expected = getattr(law, case.kernel)(*case.arrays, **case.parameters)
    got = getattr(kernels, case.kernel)(*map(put, case.arrays), **case.parameters)
    if not isinstance(expected, tuple):
        expected, got = (expected,), (got,)
    on_host = (v if isinstance(v, (int, np.ndarray)) else kernels.to_host(v) for v in got)
    return all(np.array_equal(a, b) for a, b in zip(expected, on_host, strict=True))


def median_ms(work: Callable[[], Any]) -> float:
    """Return the median time of `work` by the device's events, host waits included, warmed up."""
    cuda = _loader.cupy().cuda
    found = []
    for turn in range(WARM_UP + REPEATS):
        start, end = cuda.Event(), cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        if turn >= WARM_UP:
            found.append(float(cuda.get_elapsed_time(start, end)))
    return statistics.median(found)


def copy_bandwidth() -> float:
    """Return the bytes a second of a copy on the device, read and written ones both counted."""
    source = _loader.cupy().zeros(COPY_BYTES, np.uint8)
    return 2 * COPY_BYTES / (median_ms(source.copy) / 1000)


def peers(case: Case, arrays: tuple[Any, ...]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what other libraries offer for the same mathematics, where they are installed."""
    try:
        ndimage = import_module("cupyx.scipy.ndimage")
    except ImportError:
        return
    wide = arrays[0].astype(np.float32) if not isinstance(arrays[0], tuple) else None
    offered: dict[str, Callable[[], Any]] = {
        "gaussian sigma 1": lambda: ndimage.gaussian_filter(wide, 1.0, radius=4),
        "gaussian sigma 3": lambda: ndimage.gaussian_filter(wide, 3.0, radius=12),
        "laplacian": lambda: ndimage.laplace(wide),
        "z_projection max": lambda: ndimage.maximum_filter1d(arrays[0], 17, axis=0),
        "z_projection mean": lambda: ndimage.uniform_filter1d(wide, 17, axis=0),
        "local_variance": lambda: ndimage.uniform_filter(wide * wide, 7) - ndimage.uniform_filter(wide, 7) ** 2,
        "label 26": lambda: ndimage.label(arrays[0], structure=np.ones((3, 3, 3))),
        "label 6": lambda: ndimage.label(arrays[0]),
        "dilation": lambda: ndimage.binary_dilation(arrays[0], structure=np.ones((3, 3, 3), bool)),
        "closing": lambda: ndimage.binary_closing(arrays[0], structure=np.ones((3, 3, 3), bool)),
    }
    if case.name in offered:
        yield "cupyx", offered[case.name]
    yield from _cucim(case, arrays)
    yield from _torch(case)


def _cucim(case: Case, arrays: tuple[Any, ...]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what cuCIM has for a kernel here; no stage asks for a distance transform, or a reconstruction by itself."""
    try:
        measure = import_module("cucim.skimage.measure")
    except ImportError:
        return
    if case.kernel == "label":
        reach = {6: 1, 26: 3}[case.parameters["connectivity"]]
        yield "cucim", lambda: measure.label(arrays[0], connectivity=reach, return_num=True)


def equal_peer(ours: Any, theirs: Any) -> bool:
    """Return whether a peer's labels and their count are ours: by then it could serve the kernel in our place."""
    (labels, count), (others, number) = ours, theirs
    return int(count) == int(number) and np.array_equal(kernels.to_host(labels), kernels.to_host(others))


def _torch(case: Case) -> Iterator[tuple[str, Callable[[], Any]]]:
    try:
        torch = import_module("torch")
    except ImportError:
        return
    if case.name.startswith("gaussian") and torch.cuda.is_available():
        half = case.parameters["taps"]
        line = torch.tensor(np.concatenate([half[:0:-1], half]), device="cuda")
        grey = torch.from_numpy(case.arrays[0]).cuda().float()[None, None]
        shapes = [(-1, 1, 1), (1, -1, 1), (1, 1, -1)]

        def smooth() -> Any:
            value = grey
            for shape in shapes:
                value = torch.nn.functional.conv3d(value, line.reshape(1, 1, *shape), padding="same")
            torch.cuda.synchronize()
            return value

        yield "torch conv3d, zero border", smooth


def measure(size: int, bandwidth: float) -> Iterator[Row]:
    """Yield each case's row: time, rate, share of the copy bandwidth that its least bytes reach, and the peers."""
    for case in cases(size):
        arrays = tuple(map(put, case.arrays))
        voxels = (case.arrays[0][0] if isinstance(case.arrays[0], tuple) else case.arrays[0]).size
        kernel = getattr(kernels, case.kernel)
        ms = median_ms(lambda kernel=kernel, arrays=arrays, case=case: kernel(*arrays, **case.parameters))
        others, equal = {}, {}
        for name, work in peers(case, arrays):
            others[name] = median_ms(work)
            if case.kernel == "label":
                equal[name] = equal_peer(kernel(*arrays, **case.parameters), work())
        rate = voxels / (ms * 1000)
        yield Row(case.name, ms, rate, case.bytes_per_voxel * voxels / (ms / 1000) / bandwidth, others, equal)


def downloads() -> dict[str, float]:
    """Return the bytes a second to the host: as `to_host` does it, and through pageable memory."""
    codes = _loader.cupy().zeros(DOWNLOAD_BYTES // 2, np.uint16)
    ways = {"to_host": lambda: kernels.to_host(codes), "pageable": lambda: _loader.cupy().asnumpy(codes)}
    return {name: DOWNLOAD_BYTES / (median_ms(way) / 1000) for name, way in ways.items()}


def compiled() -> dict[str, float]:
    """Return the seconds that NVRTC takes for each file, for this device."""
    architecture, found = _loader.cupy().cuda.Device().compute_capability, {}
    for name in _loader.files():
        began = time.perf_counter()
        _loader._compile(name, architecture)
        found[name] = time.perf_counter() - began
    return found


def whole_run(size: int) -> dict[str, float]:
    """Return the seconds of a run over one phantom, from the file to the zip, on the GPU and on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        phantom.write_phantom_root(root, size=size, seeds=[1], train_seeds=[])
        found, zips = {}, set()
        for backend in ("gpu", "cpu"):
            began = time.perf_counter()
            result = gpu_nx47.run(root, Path(folder) / backend, settings.Settings(backend=backend, overlays=0))
            found[backend] = time.perf_counter() - began
            zips.add(result.submission.read_bytes())
    if len(zips) != 1:
        raise SystemExit("the GPU's zip is not the CPU's")
    return found


def sanitizer() -> str:
    """Return what compute-sanitizer says of the comparison of bits."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return "not installed"
    command = [tool, "--error-exitcode", "99", sys.executable, str(Path(__file__).resolve()), "--bits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (done.stdout + done.stderr).strip().splitlines()[-1:]
    return f"exit code {done.returncode}: {''.join(last)}"


def machine() -> dict[str, str]:
    """Return what the figures belong to."""
    runtime = _loader.cupy().cuda.runtime
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    name = runtime.getDeviceProperties(_loader.cupy().cuda.Device().id)["name"]
    return {
        "device": name.decode() if isinstance(name, bytes) else str(name),
        "compute_capability": _loader.cupy().cuda.Device().compute_capability,
        "driver": str(runtime.driverGetVersion()),
        "cupy": _loader.cupy().__version__,
        "gpu-nx47": gpu_nx47.__version__,
        "commit": commit.stdout.strip() or "not a checkout",
    }


def report(size: int) -> dict[str, Any]:
    """Measure everything and print it; return it as JSON values."""
    found: dict[str, Any] = {"machine": machine(), "size": size, "compile_s": compiled(), "unequal": unequal(BITS_SIZE)}
    print(*(f"{key}: {value}" for key, value in found["machine"].items()), sep="\n")
    print(f"compiled {len(found['compile_s'])} files in {sum(found['compile_s'].values()):.2f} s")
    print(f"bits: {'all equal to the law' if not found['unequal'] else 'UNEQUAL: ' + ', '.join(found['unequal'])}")
    found["copy_bytes_per_s"] = copy_bandwidth()
    print(f"copy bandwidth: {found['copy_bytes_per_s'] / 1e9:.0f} GB/s\n")
    found["download_bytes_per_s"] = downloads()
    print(f"downloads of {DOWNLOAD_BYTES >> 20} MiB, bytes/s: {found['download_bytes_per_s']}")
    print(f"| kernel, {size}^3 | ms | Mvoxel/s | of copy bandwidth | peers, ms |\n|---|---|---|---|---|")
    found["rows"] = []
    for row in measure(size, found["copy_bytes_per_s"]):
        found["rows"].append(asdict(row))
        same = {True: " (equal bits)", False: " (other bits)"}
        others = ", ".join(f"{n} {ms:.3f}{same.get(row.peers_equal.get(n), '')}" for n, ms in row.peers_ms.items())
        print(f"| {row.case} | {row.ms:.3f} | {row.mvoxel_per_s:.0f} | {row.share_of_copy:.0%} | {others} |")
    found["run_s"] = whole_run(size)
    print(f"\nwhole run, s: {found['run_s']}; equal zips")
    found["compute_sanitizer"] = sanitizer()
    print(f"compute-sanitizer: {found['compute_sanitizer']}")
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320, help="edge of the volume, voxels")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--bits", action="store_true", help="compare the bits with the law and do nothing else")
    given = parser.parse_args(arguments)
    kernels.probe()
    if given.bits:
        raise SystemExit(", ".join(unequal(BITS_SIZE)) or 0)
    found = report(given.size)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
