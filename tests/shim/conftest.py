"""What the tests of the ports use: the shim in CuPy's place, and one way to hold a port against its law."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
# Tests are no package (import-mode=importlib), so their shared modules are found by folder.
sys.path[:0] = [str(HERE), str(HERE.parent / "parity"), str(HERE.parent / "golden")]

import build  # noqa: E402
import fakecupy  # noqa: E402

GATE = 8  # of the drawn volumes, each in three orders of threads; with --long the 300 of the twins


def pytest_generate_tests(metafunc):
    if "seeds" in metafunc.fixturenames:
        ends = [0, GATE // 2, GATE, 30, 100, 200, 300]
        metafunc.parametrize(
            "seeds",
            [
                pytest.param(range(a, b), id=f"{a}-{b - 1}", marks=[] if b <= GATE else pytest.mark.long)
                for a, b in itertools.pairwise(ends)
            ],
        )


@pytest.fixture(scope="session")
def libraries(request, tmp_path_factory):
    """Folder of built kernels: kept between sessions, by digest, where pytest keeps its cache."""
    if build.compiler() is None:
        pytest.skip("g++ is missing: kernels cannot be built for the CPU")
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("shim") if cache else tmp_path_factory.mktemp("shim")


@pytest.fixture
def device(libraries):
    """Return the state of a stand-in device, present for one test."""
    state = fakecupy.State(libraries)
    undo = fakecupy.install(state)
    yield state
    undo()


def _parts(value):
    return value if isinstance(value, tuple) else (value,)


def _map(values, function):
    return [tuple(function(v) for v in value) if isinstance(value, tuple) else function(value) for value in values]


# Parameters that stages hand over on the device; the others are tables of the host.
ON_DEVICE = {
    ("gather", "index"), ("gradient_along", "axis"), ("label", "at"), ("lookup", "table"), ("stencils", "axis")
}  # fmt: skip


@pytest.fixture
def agree(device):
    """Return a function: a port gives the law's type, dtype, shape and values, in each order of the threads."""
    from cpu_fallback import law
    from gpu_nx47 import kernels

    def compare(kernel, *arrays, **parameters):
        expected = getattr(law, kernel)(*arrays, **parameters)
        case = f"{kernel} on {[getattr(a, 'shape', None) for a in arrays]} with {parameters}"
        given = {
            name: kernels.to_device(value) if (kernel, name) in ON_DEVICE else value
            for name, value in parameters.items()
        }
        for order in fakecupy.ORDERS:
            device.order = order
            inputs = _map(arrays, kernels.to_device)
            got = getattr(kernels, kernel)(*inputs, **given)
            assert isinstance(got, tuple) == isinstance(expected, tuple), case
            for one, other in zip(_parts(expected), _parts(got), strict=True):
                if isinstance(other, fakecupy.ndarray):
                    taken = [part._allocation for value in inputs for part in _parts(value)]
                    assert other._allocation not in taken, f"not a new array: {case}"
                    other = kernels.to_host(other)
                assert type(one) is type(other), case
                if isinstance(one, np.ndarray):
                    assert (one.dtype, one.shape) == (other.dtype, other.shape), case
                assert np.array_equal(one, other), f"{order} order of threads: {case}"
            for value, before in zip(inputs, arrays, strict=True):
                for part, was in zip(_parts(value), _parts(before), strict=True):
                    assert np.array_equal(kernels.to_host(part), was), f"an input was written: {case}"
        return expected

    return compare


@pytest.fixture
def refuse(device):
    """Return a function that wants the same refusal, word for word, from law and port."""
    from cpu_fallback import law
    from gpu_nx47 import kernels

    def put(array):
        if not isinstance(array, np.ndarray):
            return array
        # What is refused for its strides or its size must arrive with them; nothing is launched on it.
        if not array.flags.c_contiguous or array.size >= 2**31:
            return fakecupy.ndarray(None, array)
        return kernels.to_device(array)

    def compare(error, words, kernel, *arrays, **parameters):
        with pytest.raises(error, match=words) as of_law:
            getattr(law, kernel)(*arrays, **parameters)
        given = {n: put(value) if (kernel, n) in ON_DEVICE else value for n, value in parameters.items()}
        with pytest.raises(error, match=words) as of_port:
            getattr(kernels, kernel)(*_map(arrays, put), **given)
        assert str(of_law.value) == str(of_port.value)

    return compare
