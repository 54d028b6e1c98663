"""What a law says it costs is what it does: its own arithmetic is counted, element by element.

The count of a law that works on padded slabs is a polynomial in (Z, Y, X), and its ZYX coefficient is the cost for each
voxel of an endless volume: the third mixed difference of the counts over shapes of n and n + 2, over 8.
"""

import inspect
import itertools

import numpy as np
import pytest

from cpu_fallback import costs, law
from cpu_fallback.law import DIRECTION_NONE
from cpu_fallback.law._gradient import STENCILS
from gpu_nx47.tables import disk_offsets, entropy_table, gaussian_taps, line_offsets

ONE = (
    "add subtract multiply divide floor_divide remainder sqrt square negative absolute sign rint floor ceil trunc "
    "maximum minimum less less_equal greater greater_equal equal not_equal left_shift right_shift "
    "bitwise_and bitwise_or bitwise_xor invert logical_and logical_or logical_xor logical_not bitwise_count"
)
OPERATIONS = {getattr(np, name): 1 for name in ONE.split()} | {np._core.umath.clip: 2, np.divmod: 2}
# One operation an element of the first argument.
TALLIES = (np.bincount, np.count_nonzero)
# Their work is neither a ufunc's nor one operation an element: a law that uses one is counted by hand first.
UNCOUNTED = (np.sort, np.argsort, np.partition, np.unique, np.searchsorted, np.dot, np.einsum, np.convolve, np.lexsort)


class Counter:
    """Arithmetic on elements of `Counted` arrays since the last reset."""

    total = 0


class Counted(np.ndarray):
    """A view whose arithmetic is counted and whose every descendant is counted too.

    Plain arrays (indices) stay plain: arithmetic among them is the index arithmetic that is free.
    """

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **keywords):
        if ufunc not in OPERATIONS:
            raise AssertionError(f"{ufunc.__name__} has no stated cost: add it to costs.py's definition or do without")
        arrays = [plain(a) for a in inputs]
        if out is not None:
            keywords["out"] = tuple(plain(a) for a in out)
        result = getattr(ufunc, method)(*arrays, **keywords)
        if method in ("reduce", "reduceat"):
            elements = arrays[0].size - np.size(result)
        elif method == "accumulate":
            elements = arrays[0].size - arrays[0].size // arrays[0].shape[keywords.get("axis", 0)]
        elif method == "at":
            elements = np.size(arrays[1])
        else:
            elements = np.size(result[0] if isinstance(result, tuple) else result)
        Counter.total += OPERATIONS[ufunc] * elements
        return counted(result)

    def __array_function__(self, function, types, arguments, keywords):
        if function in UNCOUNTED:
            raise AssertionError(f"np.{function.__name__} is not counted: state its cost in this test first")
        if function in TALLIES:
            Counter.total += arguments[0].size
            arguments = [plain(a) for a in arguments]
            return function(*arguments, **keywords)
        if function is np.cumsum:
            return np.add.accumulate(*arguments, **keywords)
        return counted(super().__array_function__(function, types, arguments, keywords))

    def __getitem__(self, key):
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, Counted) and part.dtype != bool:  # a table look-up; a mask only moves
                Counter.total += part.size
        return super().__getitem__(key)

    def take(self, *arguments, **keywords):
        return taken(self, *arguments, **keywords)

    def cumsum(self, axis=None, dtype=None, out=None):
        return np.add.accumulate(self, axis=axis, dtype=dtype, out=out)


REAL_TAKE = np.take


def taken(array, indices, *arguments, **keywords):
    """Stand in for np.take, which does not tell a subclass about its indices."""
    found = REAL_TAKE(plain(array), plain(indices), *arguments, **keywords)
    if isinstance(indices, Counted):  # a table look-up; by a plain index it is a move
        Counter.total += indices.size
    return counted(found) if isinstance(array, Counted) or isinstance(indices, Counted) else found


def plain(value):
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def counted(value):
    if isinstance(value, tuple | list):
        return type(value)(counted(v) for v in value)
    return value.view(Counted) if isinstance(value, np.ndarray) else value


@pytest.fixture
def count(monkeypatch):
    """Return a function that counts one call; buffers a law fills are counted from their birth."""

    def births(name):
        real = getattr(np, name)
        monkeypatch.setattr(np, name, lambda *a, **k: counted(real(*a, **k)))

    def keeps(name):
        real = getattr(np, name)
        monkeypatch.setattr(
            np,
            name,
            lambda a, *r, **k: counted(real(plain(a), *r, **k)) if isinstance(a, Counted) else real(a, *r, **k),
        )

    for name in ("empty", "zeros", "ones", "full"):
        births(name)
    for name in ("ascontiguousarray", "asarray", "array"):
        keeps(name)

    monkeypatch.setattr(np, "take", taken)
    monkeypatch.setattr(law._neuron, "RAMP", counted(law._neuron.RAMP))  # a table that is no parameter

    def run(kernel, arrays, parameters):
        Counter.total = 0
        # An index or a way to a voxel is no data: picking by it is a move, checking it is free.
        parameters = {k: v if k in ("index", "offsets") else counted(v) for k, v in parameters.items()}
        getattr(law, kernel)(*(counted(a) for a in arrays), **parameters)
        return Counter.total

    return run


def per_voxel(count, kernel, build, parameters, n=8):
    """Return the ZYX coefficient of the count, over shapes of whole blocks of 4 x 4 x 4 voxels."""
    coefficient = 0
    for more in itertools.product((0, 1), repeat=3):
        shape = (n + 4 * more[0], n + 4 * more[1], n + 4 * more[2])
        arrays, own = build(shape)
        coefficient += (-1) ** (3 - sum(more)) * count(kernel, arrays, {**parameters, **own})
    return coefficient / 64


def drawn(dtype):
    def draw(shape):
        info = np.iinfo(dtype)
        return np.random.default_rng([70, *shape]).integers(info.min, info.max, shape, dtype=dtype, endpoint=True)

    return draw


grey, u16, i16 = drawn(np.uint8), drawn(np.uint16), drawn(np.int16)


def mask(shape):
    return grey(shape) > 127


def one(draw):
    """Return a builder of one array and of no parameter that depends on the shape."""
    return lambda shape: ([draw(shape)], {})


def neuron_case(k):
    sigmoid = np.arange(65536, dtype=np.uint16)
    f32 = np.linspace(-1, 1, k).astype(np.float32)
    return (
        lambda shape: ([tuple(u16(shape) for _ in range(k))], {}),
        {"mean": f32, "scale": f32, "weights": f32, "bias": np.float32(0.5), "sigmoid": sigmoid},
    )


def net_case(*sizes):
    build, given = neuron_case(sizes[0])
    flat = [np.linspace(-1, 1, n * m).astype(np.float32).reshape(n, m) for m, n in itertools.pairwise(sizes)]
    return build, given | {"hidden": tuple((w, w[:, 0].copy()) for w in flat), "weights": flat[-1][:, 0].copy()}


def neuron_sums_case(k, judged=True):
    def build(shape):
        x = np.random.default_rng(71).integers(-9, 9, (k, shape[0] * shape[1] * shape[2]), dtype=np.int16)
        return [x, (x[0] > 0).astype(np.uint8)], {}

    table = np.arange(65536)
    weights = np.linspace(-1, 1, k).astype(np.float32)
    tables = {"sigmoid": table.astype(np.uint16), "softplus": table.astype(np.int32)}
    tables["softplus"] = tables["softplus"] if judged else None
    return build, {"weights": weights, "bias": np.float32(0.5), **tables}


def axis_case(shape):
    return [u16(shape)], {"axis": np.full((shape[0], 2), 20, np.int32)}


def stencils_case(shape):
    arrays, given = axis_case(shape)
    return [*arrays, u16(shape)], given


def direction_case(draw, phase):
    def build(shape):
        cells = tuple((n + p + 1) // 2 for n, p in zip(shape, phase, strict=True))
        return [draw(shape), u16(cells) % np.uint16(DIRECTION_NONE)], {}

    return build


# kernel: (builder of the arrays and the parameters that depend on the shape, the other parameters)
CASES = {
    "gaussian": [(one(grey), {"taps": gaussian_taps(s)}) for s in (0.25, 0.5, 1.0, 3.0)],
    "gaussians": [(one(grey), {"taps": tuple(map(gaussian_taps, s))}) for s in ((1.0,), (0.5, 3.0), (2.0, 1.0, 0.25))],
    "band_pass": [(lambda shape: ([u16(shape), u16(shape)], {}), {})],
    "gradient_magnitude": [(one(u16), {})],
    "laplacian": [(one(draw), {"shift": s}) for draw in (u16, i16) for s in (0, 1, 4, 16)],
    "gradient_along": [(axis_case, {"origin": (0, 0)}), (axis_case, {"origin": (-3, 400)})],
    "stencils": [
        (stencils_case, {"results": results, "shift": shift, "origin": (0, 0)})
        for results in (("laplacian",), ("band_pass", "gradient_along"), ("gradient_magnitude", *STENCILS[1:]))
        for shift in (0, 4)
    ],
    "directions": [(one(u16), {"radius": radius}) for radius in (1, 4, 8)],
    "directional_sum": [
        (
            direction_case(draw, (0, 1, 0)),
            {"phase": (0, 1, 0), "offsets": disk, "weights": np.ones(len(disk[0]), np.int32), "shift": s, "signed": k},
        )
        for draw, disk, s, k in (
            (grey, disk_offsets((2.0,)), 0, True),
            (i16, disk_offsets((2.0, 4.0)), 5, False),
            (u16, line_offsets((0.0, 1.0, -1.0)), 16, True),
        )
    ],
    "directional_profile": [
        (direction_case(u16, (1, 0, 1)), {"phase": (1, 0, 1), "offsets": line_offsets(tuple(np.arange(-1.0, k)))})
        for k in (0, 4)
    ],
    "directional_peak": [
        (direction_case(i16, (1, 0, 1)), {"phase": (1, 0, 1), "offsets": line_offsets(tuple(np.arange(-1.0, k)))})
        for k in (2, 4, 9)
    ],
    "z_projection": [
        (one(grey), {"window": w, "statistic": s})
        for w in (3, 5, 7, 9, 15, 17, 31, 33, 63)
        for s in ("max", "mean", "deviation", "coherence")
    ],
    "histogram": [(one(draw), {}) for draw in (grey, u16, i16)],
    "count": [(one(mask), {})],
    "row_sums": [
        (lambda shape, draw=draw: ([draw(shape)], {"weights": np.ones(shape[2], np.uint64)}), {})
        for draw in (grey, u16, i16)
    ],
    "lookup": [
        (one(grey), {"table": np.arange(256, dtype=np.uint16)}),
        (one(i16), {"table": np.arange(65536).astype(np.int16)}),
    ],
    "gather": [(lambda shape: ([grey(shape)], {"index": np.arange(grey(shape).size)}), {})],
    "local_entropy": [
        (one(grey), {"window": w, "bins": b, "table": entropy_table(w**3)})
        for w, b in ((3, 16), (5, 16), (5, 32), (9, 32))
    ],
    "local_variance": [(one(grey), {"window": w}) for w in (3, 5, 7, 15)],
    "neuron": [neuron_case(k) for k in (1, 2, 6)],
    "net": [net_case(1, 1), net_case(3, 4), net_case(2, 5, 3)],
    "neuron_sums": [neuron_sums_case(k, judged) for k in (1, 2, 6) for judged in (True, False)],
}
for _kernel in ("erosion", "dilation", "opening", "closing"):
    CASES[_kernel] = [
        (one(mask), {"radius": radius, "shape": shape})
        for radius in ((1, 1, 1), (0, 2, 3), (3, 0, 1), (2, 2, 2), (0, 0, 0))
        for shape in ("box", "cross")
    ]
# Their work follows the data, so no polynomial counts it: the law file states the dense part.
DATA_DEPENDENT = {
    "label": "unions happen where voxels touch",
    "hysteresis": "unions happen where voxels touch",
    "remove_small": "unions happen where voxels touch",
    "component_moments": "sums run over labelled voxels only",
    "mask_moments": "sums run over true voxels only",
}


def kernels():
    return sorted(
        n for n in law.__all__ if inspect.isfunction(getattr(law, n)) and n not in ("probe", "to_device", "to_host")
    )


@pytest.mark.parametrize("kernel", kernels())
def test_every_kernel_states_its_cost_and_is_counted(kernel):
    assert kernel in law.OPERATIONS
    assert (kernel in CASES) != (kernel in DATA_DEPENDENT)


def test_no_cost_without_a_kernel():
    assert set(law.OPERATIONS) == set(kernels())
    assert set(CASES) | set(DATA_DEPENDENT) == set(kernels())


@pytest.mark.parametrize(
    ("kernel", "build", "parameters"),
    [
        pytest.param(kernel, build, parameters, id=f"{kernel}-{i}")
        for kernel, rows in CASES.items()
        for i, (build, parameters) in enumerate(rows)
    ],
)
def test_the_law_does_what_it_says_it_costs(kernel, build, parameters, count):
    stated = costs.operations(kernel, **parameters, **build((2, 2, 2))[1])
    assert per_voxel(count, kernel, build, parameters) == stated


def test_counting_changes_no_bit(count):
    arrays, parameters = [grey((5, 6, 7))], {"taps": gaussian_taps(1.0)}
    expected = law.gaussian(*arrays, **parameters)
    assert np.array_equal(plain(law.gaussian(counted(arrays[0]), **parameters)), expected)


def test_the_counter_counts(count):
    a = counted(np.arange(24.0).reshape(2, 3, 4))
    table = counted(np.arange(24))
    for step, expected in [
        (lambda: a + 1, 24),
        (lambda: np.sqrt(a[1:]), 12),
        (lambda: np.sum(a), 23),
        (lambda: a.sum(axis=0), 12),
        (lambda: np.add.accumulate(a, axis=2), 18),
        (lambda: np.cumsum(a, axis=1), 16),
        (lambda: a.clip(2, 3), 48),
        (lambda: np.where(a > 3, a, 0) * 2, 48),
        (lambda: np.pad(a, 1)[1:-1, 1:-1, 1:-1] - a, 24),
        (lambda: table[a.astype(np.int64)], 24),
        (lambda: np.take(table, a.astype(np.int64)), 24),
        (lambda: np.take(np.asarray(range(24)), a.astype(np.int64)), 24),
        (lambda: np.take(a, np.array([0, 0]), axis=0), 0),
        (lambda: a.astype(np.float32).copy().transpose(2, 0, 1), 0),
        (lambda: np.bincount(a.astype(np.int64).reshape(-1)), 24),
        (lambda: np.count_nonzero(a), 24),
    ]:
        Counter.total = 0
        step()
        assert Counter.total == expected, inspect.getsource(step)
    with pytest.raises(AssertionError, match="no stated cost"):
        np.exp(a)
    with pytest.raises(AssertionError, match="not counted"):
        np.sort(a)
