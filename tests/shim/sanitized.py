"""Run every port once in each order, built with the address and the undefined-behaviour sanitizer: a program.

`sanitized.py FOLDER [FILE OLD NEW]`: the folder of built kernels, and how to break one of them.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "parity")]

import fakecupy  # noqa: E402
import numpy as np  # noqa: E402
from volumes import fill  # noqa: E402

from cpu_fallback import law  # noqa: E402
from gpu_nx47 import kernels, tables  # noqa: E402

RNG = np.random.default_rng(47)
GREY = fill((5, 11, 37), "noise", RNG)
CODES = RNG.integers(0, 65536, GREY.shape, dtype=np.uint16)
MASK = GREY > 150
DIRECTION = RNG.integers(0, 3457, (3, 6, 19), dtype=np.uint16)  # of cells whose first lacks its first slice
PART = (slice(1, 5), slice(0, 9), slice(35, 37))
LABELS, COUNT = law.label(MASK, connectivity=26)
ELEMENT = {"radius": (1, 2, 1), "shape": "cross"}
THREE = {name: np.array([0.5, -1.0, 2.0], np.float32) for name in ("mean", "scale", "weights")}
X, Y = RNG.integers(-32768, 32768, (3, 1500)).astype(np.int16), RNG.integers(0, 2, 1500).astype(np.uint8)
SIGMOID, SOFTPLUS = tables.sigmoid_table(), tables.softplus_table()

CALLS = {
    "band_pass": ((CODES, CODES[::-1].copy()), {}),
    "closing": ((MASK,), ELEMENT),
    "component_moments": ((LABELS,), {"count": COUNT}),
    "count": ((MASK,), {}),
    "dilation": ((MASK,), ELEMENT),
    "directional_peak": (
        (CODES.view(np.int16), DIRECTION),
        {"phase": (1, 0, 0), "offsets": tables.line_offsets((-16.0, -1.0, 0.0, 2.5)), "window": PART},
    ),
    "directional_profile": (
        (CODES, DIRECTION),
        {
            "phase": (1, 0, 0),
            "offsets": tables.line_offsets((-16.0, 0.0, 2.5)),
            "window": PART,
        },
    ),
    "directional_sum": (
        (CODES, DIRECTION),
        {
            "phase": (1, 0, 0),
            "offsets": tables.disk_offsets((16.0, 3.0)),
            "weights": np.arange(-8, 9, dtype=np.int32),
            "shift": 3,
            "signed": True,
            "window": PART,
        },
    ),
    "directions": ((CODES,), {"radius": 8, "window": (slice(4, 5), slice(0, 8), slice(36, 37))}),
    "erosion": ((MASK,), ELEMENT | {"radius": (9, 40, 0)}),
    "gather": ((CODES,), {"index": np.array([0, 7, CODES.size - 1])}),
    "gaussian": ((GREY,), {"taps": tables.gaussian_taps(2.0)}),
    "gaussians": (
        (GREY,),
        {
            "taps": tuple(map(tables.gaussian_taps, (3.0, 9.0, 1.0))),
            "window": (slice(1, 4), slice(2, 11), slice(0, 36)),
        },
    ),
    "gradient_along": ((CODES,), {"axis": np.arange(10, dtype=np.int32).reshape(5, 2), "origin": (3, -4)}),
    "gradient_magnitude": ((CODES,), {}),
    "row_sums": ((CODES.view(np.int16),), {"weights": tables.draws(0, 1, 0, CODES.shape[2])}),
    "histogram": ((np.sort(CODES.reshape(-1)).reshape(GREY.shape),), {}),
    "hysteresis": ((CODES,), {"weak": 30_000, "strong": 60_000}),
    "label": ((MASK,), {"connectivity": 26}),
    "laplacian": ((CODES,), {"shift": 4}),
    "local_entropy": ((GREY,), {"window": 15, "bins": 32, "table": tables.entropy_table(15**3)}),
    "local_variance": ((GREY,), {"window": 15}),
    "lookup": ((CODES,), {"table": SIGMOID}),
    "mask_moments": ((MASK,), {"connectivity": 6}),
    "net": (
        ((CODES, CODES.view(np.int16), CODES),),
        THREE
        | {
            "hidden": ((RNG.normal(0, 1, (9, 3)).astype(np.float32), np.ones(9, np.float32)),),
            "weights": np.linspace(-1, 1, 9).astype(np.float32),
            "bias": np.float32(1),
            "sigmoid": SIGMOID,
        },
    ),
    "neuron": (((CODES, CODES.view(np.int16), CODES),), THREE | {"bias": np.float32(1), "sigmoid": SIGMOID}),
    "neuron_sums": (
        (X, Y),
        {"weights": THREE["weights"], "bias": np.float32(0), "sigmoid": SIGMOID, "softplus": SOFTPLUS},
    ),
    "opening": ((MASK,), ELEMENT | {"shape": "box"}),
    "remove_small": ((MASK,), {"min_size": 3, "connectivity": 6}),
    "stencils": (
        (CODES, CODES[::-1].copy()),
        {
            "results": ("laplacian", "gradient_along", "gradient_magnitude", "band_pass"),
            "shift": 4,
            "axis": np.arange(10, dtype=np.int32).reshape(5, 2),
            "origin": (3, -4),
            "window": (slice(1, 5), slice(0, 9), slice(35, 37)),
        },
    ),
    "z_projection": ((GREY,), {"window": 17, "statistic": "max"}),
}
MORE = [("z_projection", (GREY,), {"window": 5, "statistic": s}) for s in ("mean", "deviation", "coherence")]
MORE += [("stencils", (CODES,), {"results": ("gradient_magnitude",)})]
MORE += [("directional_sum", (c, DIRECTION), CALLS["directional_sum"][1]) for c in (GREY, CODES.view(np.int16))]
MORE += [
    ("histogram", (GREY,), {}),
    ("row_sums", (GREY,), CALLS["row_sums"][1]),
    ("local_entropy", *CALLS["local_entropy"]),
]


def put(value):
    return tuple(map(put, value)) if isinstance(value, tuple) else kernels.to_device(value)


def main():
    state = fakecupy.State(sys.argv[1], sanitized=True)
    if len(sys.argv) > 2:
        state.mutations = [tuple(sys.argv[2:5])]
    fakecupy.install(state)
    for order in fakecupy.ORDERS:
        state.order = order
        for kernel, arrays, parameters in [(k, *call) for k, call in CALLS.items()] + MORE:
            expected = getattr(law, kernel)(*arrays, **parameters)
            got = getattr(kernels, kernel)(*map(put, arrays), **parameters)
            for one, other in zip(*((v if isinstance(v, tuple) else (v,)) for v in (expected, got)), strict=True):
                other = kernels.to_host(other) if isinstance(other, fakecupy.ndarray) else other
                assert np.array_equal(one, other), kernel
    print(f"{len(CALLS)} kernels, {len(fakecupy.ORDERS)} orders: no complaint, the law's bits")


if __name__ == "__main__":
    main()
