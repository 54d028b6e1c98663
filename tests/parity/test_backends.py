"""The rooms law and twin are backends: the same kernels and signatures, and a probe that finds a wrong one."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from cpu_fallback import costs, law

CODES = {"DIRECTION_BLOCK", "DIRECTION_NONE", "DIRECTION_OPPOSITE", "DIRECTION_STEPS"}
OWN = CODES | {"NAME", "probe", "to_device", "to_host"}


@pytest.fixture
def twin():
    pytest.importorskip("numba", reason="Numba is missing: there are no twins")
    from cpu_fallback import twin

    return twin


def kernels(room):
    return set(room.__all__) - OWN - {"OPERATIONS"}


def test_names(twin):
    assert (law.NAME, twin.NAME) == ("law", "cpu")
    assert kernels(law) == kernels(twin)


@pytest.mark.parametrize("room", ["law", "twin"])
def test_all_is_exactly_the_public_names(room, request):
    module = law if room == "law" else request.getfixturevalue("twin")
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in ("annotations", "TYPE_CHECKING")
    }
    assert public == set(module.__all__)
    assert list(module.__all__) == sorted(module.__all__)


@pytest.mark.parametrize("kernel", sorted(kernels(law)))
def test_signatures_are_equal(kernel, twin):
    of_law, of_twin = inspect.signature(getattr(law, kernel)), inspect.signature(getattr(twin, kernel))
    assert of_law == of_twin
    kinds = {p.kind for p in of_law.parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("kernel", sorted(kernels(law)))
def test_every_law_has_its_block(kernel):
    text = inspect.getdoc(getattr(law, kernel))
    assert "Law" in text, f"{kernel} has no Law block"


def test_the_law_needs_no_numba():
    code = "import sys, cpu_fallback.law; sys.exit('numba' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_host_is_the_device(twin):
    array = np.zeros(3)
    for room in (law, twin):
        assert room.to_device(array) is array
        assert room.to_host(array) is array
        with pytest.raises(TypeError, match=f"{room.NAME}: expected a NumPy array, got list"):
            room.to_device([1])
        with pytest.raises(TypeError, match=f"{room.NAME}: expected a NumPy array, got list"):
            room.to_host([1])


def test_probe_passes(twin):
    law.probe()
    twin.probe()


@pytest.mark.parametrize("kernel", ["gaussian", "gradient_magnitude"])
def test_probe_finds_one_wrong_bit(kernel, twin, monkeypatch):
    right = getattr(twin, kernel)

    def wrong(*arrays, **parameters):
        result = right(*arrays, **parameters)
        result[-1, -1, -1] ^= 1
        return result

    monkeypatch.setattr(twin, kernel, wrong)
    with pytest.raises(RuntimeError, match=f"{kernel} gives other bits"):
        twin.probe()


def test_probe_says_when_nothing_compiles(twin, monkeypatch):
    def broken(*arrays, **parameters):
        raise OSError("no LLVM")

    monkeypatch.setattr(twin, "gaussian", broken)
    with pytest.raises(RuntimeError, match="cannot compile the twins here: no LLVM"):
        twin.probe()


def test_operations_of_an_unknown_kernel():
    with pytest.raises(KeyError):
        costs.operations("unknown")
    assert costs.operations("band_pass") == 3.0
