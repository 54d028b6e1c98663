"""What every test may ask for: the longer run, and the folder of real volumes where there is one."""

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure; --durations tells what is slow
settings.load_profile("untimed")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_collection_modifyitems(config, items):
    """Leave out what is long, and without Numba what the passes with Numba show on the same bits (tests/golden)."""
    if config.getoption("--long"):
        return
    left_out = {"long": "long: run with --long"}
    if importlib.util.find_spec("numba") is None:
        left_out["same_bits"] = "the law gives the same bits, in minutes: run with --long"
    for item in items:
        for mark, reason in left_out.items():
            if mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_data():
    """Folder of real volumes (NX47_REAL_DATA, set by .ci/run where it is there)."""
    folder = os.environ.get("NX47_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NX47_REAL_DATA is not set: no real volumes on this machine")
    return Path(folder)
