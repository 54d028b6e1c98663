"""The peers as the harness loads them, and one small set of cases for all tests."""

import pytest

from gpu_nx47.bench import harness
from gpu_nx47.bench.cases import cases

SIZE = 42
"""Whole blocks without the frame: 36."""


@pytest.fixture(scope="session")
def peers():
    found, reason = harness._peers()
    assert found is not None, reason
    return found


@pytest.fixture
def timed(request):
    """pytest-benchmark's clock, where it is installed."""
    pytest.importorskip("pytest_benchmark")
    return request.getfixturevalue("benchmark")


@pytest.fixture(scope="session")
def small():
    """The cases by name."""
    return {case.name: case for case in cases(SIZE)}
