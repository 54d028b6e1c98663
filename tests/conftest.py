"""What every test may ask for: the longer run, and the folder of real volumes where there is one."""

import os
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long: run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data():
    """Folder of real volumes (NX47_REAL_DATA, set by .ci/run where it is there)."""
    folder = os.environ.get("NX47_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NX47_REAL_DATA is not set: no real volumes on this machine")
    return Path(folder)
