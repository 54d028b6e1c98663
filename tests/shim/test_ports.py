"""Every parity test of the twins, held for the ports too: the fixtures `agree` and `refuse` of this folder run kernels.

The tests are those of tests/parity that ask for one of the two, so that a new one holds here by itself.
"""

import importlib
import inspect

import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import kernels

PARITY = ("test_filters", "test_counts", "test_direction", "test_masks", "test_neuron")
OWN = {
    "NAME",
    "OPERATIONS",
    "device_seconds",
    "enter_thread",
    "free_bytes",
    "free_memory",
    "probe",
    "to_device",
    "to_host",
}
KERNELS = sorted({n for n in law.__all__ if callable(getattr(law, n))} - OWN - set(kernels.NOT_ON_GPU_YET))


def _held():
    for module in map(importlib.import_module, PARITY):
        for name, test in vars(module).items():
            if name.startswith("test_") and {"agree", "refuse"} & set(inspect.signature(test).parameters):
                yield f"{module.__name__}_{name.removeprefix('test_')}", test


globals().update(_held())


def test_every_law_is_held():
    named = " ".join(name for name, _ in _held())
    assert [kernel for kernel in KERNELS if f"_{kernel}" not in named] == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_signatures_are_equal(kernel):
    """Names, kinds and defaults; a port's arrays are of the device, so its annotations differ."""
    of_law, of_port = (inspect.signature(getattr(room, kernel)).parameters for room in (law, kernels))
    assert [(p.name, p.kind, p.default) for p in of_law.values()] == [
        (p.name, p.kind, p.default) for p in of_port.values()
    ]


def test_all_is_exactly_the_public_names():
    assert list(kernels.__all__) == sorted([*KERNELS, *OWN - {"OPERATIONS"}])


def test_a_host_array_is_refused(device):
    """Copies to the device are seen where they are made, not hidden in a kernel."""
    with pytest.raises(TypeError, match="expected a device array, got NumPy's; pass it through to_device"):
        kernels.count(np.zeros((2, 3, 4), np.bool_))
