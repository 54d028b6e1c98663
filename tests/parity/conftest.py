"""What every parity test uses: the drawn volumes by name, and one way to hold a twin against its law."""

import sys
from pathlib import Path

import numpy as np
import pytest

# Tests are no package (import-mode=importlib), so their shared modules are found by folder.
sys.path.insert(0, str(Path(__file__).parent))


def blocks(gate=30, total=300, size=10):
    """Return the seeds of the drawn volumes in blocks: `gate` of them always, the others with --long."""
    starts = range(0, total, size)
    return [
        pytest.param(range(i, i + size), id=f"{i}-{i + size - 1}", marks=[] if i < gate else pytest.mark.long)
        for i in starts
    ]


def pytest_generate_tests(metafunc):
    if "seeds" in metafunc.fixturenames:
        metafunc.parametrize("seeds", blocks())


def _parts(value):
    return value if isinstance(value, tuple) else (value,)


def _arrays(values):
    for value in values:
        for part in _parts(value):
            if isinstance(part, np.ndarray):
                yield part


@pytest.fixture(scope="session")
def agree():
    """Return a function: one kernel in both rooms on frozen inputs has equal type, dtype, shape and values."""
    pytest.importorskip("numba", reason="Numba is missing: there are no twins to hold against the laws")
    from cpu_fallback import law, twin

    def compare(kernel, *arrays, **parameters):
        inputs = list(_arrays([*arrays, *parameters.values()]))
        for array in inputs:
            array.flags.writeable = False
        expected = getattr(law, kernel)(*arrays, **parameters)
        got = getattr(twin, kernel)(*arrays, **parameters)
        case = f"{kernel} on {[a.shape for a in inputs]} with {parameters}"
        assert isinstance(got, tuple) == isinstance(expected, tuple), case
        for one, other in zip(_parts(expected), _parts(got), strict=True):
            assert type(one) is type(other), case
            if isinstance(one, np.ndarray):
                assert one.dtype == other.dtype, case
                assert one.shape == other.shape, case
                assert one.flags.c_contiguous, case
                assert other.flags.c_contiguous, case
                assert not any(np.shares_memory(a, r) for a in inputs for r in (one, other)), f"not a new array: {case}"
            assert np.array_equal(one, other), case
        return expected

    return compare


@pytest.fixture(scope="session")
def refuse():
    """Return a function that wants the same refusal, word for word, from both rooms."""
    pytest.importorskip("numba", reason="Numba is missing: there are no twins to hold against the laws")
    from cpu_fallback import law, twin

    def compare(error, words, kernel, *arrays, **parameters):
        with pytest.raises(error, match=words) as of_law:
            getattr(law, kernel)(*arrays, **parameters)
        with pytest.raises(error, match=words) as of_twin:
            getattr(twin, kernel)(*arrays, **parameters)
        assert str(of_law.value) == str(of_twin.value)

    return compare
