"""Tests are no package (import-mode=importlib): what they share is found by folder. And the label kernels by name."""

import sys
from pathlib import Path

import pytest

from cpu_fallback import law
from gpu_nx47.backend import select

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["law", "cpu"])
def kernel(request):
    """Return the kernel `label`: the law's, and that of whatever "cpu" is here."""
    return law.label if request.param == "law" else select("cpu")[0].label
