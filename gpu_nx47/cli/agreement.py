"""Does a backend give the law's bits on this machine? Every kernel once, on small drawn arrays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gpu_nx47 import tables

SHAPE: Final = (9, 10, 37)
"""More than a window and less than a warp in one axis, more than a warp in another."""
_STREAM: Final = 101
"""Of `tables.draws`: used for nothing else."""


def differing(room: Any) -> dict[str, str]:
    """Run every kernel of the law on a backend and return those that do not give its bits.

    Parameters
    ----------
    room : Backend

    Returns
    -------
    dict of str to str
        Kernel, and what was wrong with it: other bits, or what it raised. Empty: all are equal.
    """
    from cpu_fallback import law

    wrong = {}
    for kernel, (arrays, parameters) in calls().items():
        expected = getattr(law, kernel)(*arrays, **parameters)
        try:
            got = getattr(room, kernel)(*(_on(room, array) for array in arrays), **parameters)
            if not _equal(room, got, expected):
                wrong[kernel] = "other bits than the law"
        except Exception as error:  # noqa: BLE001 - a broken device raises anything, and each is the finding
            wrong[kernel] = f"{type(error).__name__}: {error}"
    return wrong


def _layer() -> dict[str, Any]:
    """Return two hidden neurons of three inputs, and the weights of the one behind them."""
    rows = np.array([[1.5, -0.75, 0.5], [-0.25, 1.0, 0.75]], np.float32)
    return {"hidden": ((rows, rows[:, 0].copy()),), "weights": rows[:, 1].copy()}


def calls() -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return a call of each kernel: (arrays on the host, parameters)."""
    from cpu_fallback import law
    from cpu_fallback.law._gradient import STENCILS

    grey, low, high = (_drawn(number) for number in range(3))
    u8 = (grey >> np.uint64(56)).astype(np.uint8)
    u16 = (low >> np.uint64(48)).astype(np.uint16)
    wide = (high >> np.uint64(48)).astype(np.uint16)
    sparse, mask, dense = (u8 > limit for limit in (250, 150, 8))
    labels, count = law.label(mask, connectivity=26)
    box = {"radius": (1, 1, 2), "shape": "box"}
    core = tuple(slice(1, n - 1) for n in SHAPE)
    way = {"axis": np.full((SHAPE[0], 2), 33, np.int32), "origin": (-3, 40)}
    phase, disk, line = (1, 0, 1), tables.disk_offsets((3.0,)), tables.line_offsets((1.0, 0.0, -1.0))
    cells = (wide[:5, :5, :19] % np.uint16(law.DIRECTION_NONE + 1)).copy()
    equal = {"weights": np.full(disk.shape[1], 1800, np.int32), "shift": 14}
    signed = (wide.astype(np.int64) - 32_768).astype(np.int16)
    weights = np.array([1.5, -0.75, 0.5], np.float32)
    scaled = {"mean": np.full(3, 32_000, np.float32), "scale": np.full(3, 1e-4, np.float32), "weights": weights}
    samples = (u16.reshape(-1)[:999].reshape(3, 333).astype(np.int64) - 32768).astype(np.int16)
    table = np.arange(65536, dtype=np.uint16)[::-1].copy()
    sigmoid = {"bias": np.float32(0.25), "sigmoid": tables.sigmoid_table()}
    return {
        "band_pass": ((u16, wide), {}),
        "closing": ((sparse,), box),
        "component_moments": ((labels,), {"count": count}),
        "count": ((mask,), {}),
        "dilation": ((sparse,), box),
        "directional_peak": ((signed, cells), {"phase": phase, "offsets": line, "window": core}),
        "directional_profile": ((u16, cells), {"phase": phase, "offsets": line, "window": core}),
        "directional_sum": ((u16, cells), {"phase": phase, "offsets": disk, "signed": False, "window": core, **equal}),
        "directions": ((u16,), {"radius": 2, "window": tuple(slice(4, n) for n in SHAPE)}),
        "erosion": ((dense,), box),
        "gather": ((u16,), {"index": np.arange(0, u16.size, 7, dtype=np.int64)}),
        "gaussian": ((u8,), {"taps": tables.gaussian_taps(1.0)}),
        "gaussians": ((u8,), {"taps": tuple(map(tables.gaussian_taps, (1.0, 3.0))), "window": core}),
        "gradient_along": ((u16,), way),
        "gradient_magnitude": ((u16,), {}),
        "histogram": ((u16,), {}),
        "row_sums": ((signed,), {"weights": tables.draws(0, 1, 0, SHAPE[2])}),
        "hysteresis": ((u16,), {"weak": 40_000, "strong": 64_000}),
        "label": ((mask,), {"connectivity": 6}),
        "laplacian": ((u16,), {"shift": 2}),
        "local_entropy": ((u8,), {"window": 5, "bins": 16, "table": tables.entropy_table(125)}),
        "local_variance": ((u8,), {"window": 7}),
        "lookup": ((u16,), {"table": table}),
        "mask_moments": ((mask,), {"connectivity": 26}),
        "net": (((u16, wide, table[u16]),), {**scaled, **sigmoid, **_layer()}),
        "neuron": (((u16, wide, table[u16]),), {**scaled, **sigmoid}),
        "neuron_sums": (
            (samples, (samples[0] > 0).astype(np.uint8)),
            {"weights": weights, **sigmoid, "softplus": tables.softplus_table()},
        ),
        "opening": ((dense,), box),
        "remove_small": ((mask,), {"min_size": 3, "connectivity": 6}),
        "stencils": ((u16, wide), {"results": STENCILS, "shift": 4, **way, "window": core}),
        "z_projection": ((u8,), {"window": 5, "statistic": "coherence"}),
    }


def _drawn(number: int) -> np.ndarray:
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    return tables.draws(47, _STREAM, number * size, size).reshape(SHAPE)


def _on(room: Any, array: Any) -> Any:
    return tuple(map(room.to_device, array)) if isinstance(array, tuple) else room.to_device(array)


def _equal(room: Any, got: Any, expected: Any) -> bool:
    """Say whether two results are the same: type of the voxels, shape and bits."""
    if isinstance(expected, tuple):
        return len(got) == len(expected) and all(_equal(room, *pair) for pair in zip(got, expected, strict=True))
    if not isinstance(expected, np.ndarray):
        return int(got) == int(expected)
    host = got if isinstance(got, np.ndarray) else room.to_host(got)
    return host.dtype == expected.dtype and np.array_equal(host, expected)
