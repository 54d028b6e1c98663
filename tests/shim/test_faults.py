"""The tests of the ports fail on a broken port: each row of faults.py, built and run."""

import fakecupy
import numpy as np
import pytest
import test_ports
from faults import BARRIERS, FUSED, NARROW, SMALL

from gpu_nx47.kernels import _loader

ROWS = BARRIERS + FUSED + NARROW + SMALL
# In the gate one of each kind: a barrier, a fused product, an overflow, an index beside itself.
QUICK = (BARRIERS[0], BARRIERS[-1], FUSED[0], NARROW[0], SMALL[0])
DRAWN = range(60)


def parity_of(kernel):
    """Return the parity tests of a kernel, the drawn volumes first."""
    found = [test for name, test in test_ports._held() if f"_{kernel}" in name]
    return sorted(found, key=lambda test: "seeds" not in test.__code__.co_varnames[: test.__code__.co_argcount])


def run(test, agree):
    """Run a parity test, with all of its parameters."""
    names = test.__code__.co_varnames[: test.__code__.co_argcount]
    if names == ("agree", "seeds"):
        test(agree, DRAWN)
        return
    marks = [mark.args for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    if names[0] == "agree" and len(marks) == 1 and isinstance(marks[0][0], str):
        for value in marks[0][1]:
            test(agree, **{marks[0][0]: value})
    elif names == ("agree",):
        test(agree)


def run_all(kernel, agree):
    """Run the parity tests of a kernel."""
    for test in parity_of(kernel):
        run(test, agree)


@pytest.mark.parametrize(
    ("file", "old", "new", "kernel"),
    [
        pytest.param(*row, id=f"{row[3]}-{i}", marks=[] if row in QUICK else pytest.mark.long)
        for i, row in enumerate(ROWS)
    ],
)
def test_parity_fails_on(device, agree, file, old, new, kernel):
    device.mutations = [(file, old, new)]
    fakecupy.forget()
    # An assertion of the comparison, or the shim's own: a write outside, threads that part at a barrier.
    with pytest.raises((AssertionError, RuntimeError)):
        run_all(kernel, agree)


@pytest.mark.parametrize(("file", "old", "new", "kernel"), ROWS)
def test_a_fault_is_well_formed(file, old, new, kernel):
    assert _loader.source(file).count(old) == 1
    assert old != new
    assert parity_of(kernel)


def test_every_kernel_has_a_fault():
    assert sorted({row[3] for row in ROWS}) == test_ports.KERNELS


def test_an_unbroken_port_passes_what_the_faults_fail(device, agree):
    """Else everything would fail, and the rows show nothing."""
    run_all("local_variance", agree)
    assert device.launches
    assert np.all([name == "local_variance" for name in device.launches])
