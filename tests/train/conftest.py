"""Tests are no package: what they share is found by folder. Labelled phantoms, and a training on them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from labelled import SEEDS, learn

from gpu_nx47 import phantom


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Four labelled phantoms and one to be done; each phantom is a scroll of its own."""
    folder = tmp_path_factory.mktemp("labelled") / "root"
    phantom.write_phantom_root(folder, size=64, seeds=[1], train_seeds=SEEDS)
    return folder


@pytest.fixture(scope="session")
def trained(root):
    """The model of the labelled phantoms, and the events of its training."""
    told = []
    return learn(root, told, backend="cpu"), told
