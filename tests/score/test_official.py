"""The official package is asked with the competition's parameters, and its absence is a sentence, not an error."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gpu_nx47.score import _official, score_volume

LABEL = np.array([[[0, 1, 2], [1, 1, 0]]], np.uint8)
PRED = np.array([[[0, 2, 1], [0, 1, 0]]], np.uint8)


@pytest.fixture
def package(monkeypatch):
    """Stands for topometrics: notes how it was called."""
    module = ModuleType("topometrics.leaderboard")
    module.calls = []

    def compute_leaderboard_score(**given):
        module.calls.append(given)
        return SimpleNamespace(topo=SimpleNamespace(toposcore=np.float64(0.25)))

    module.compute_leaderboard_score = compute_leaderboard_score
    monkeypatch.setitem(sys.modules, "topometrics", ModuleType("topometrics"))
    monkeypatch.setitem(sys.modules, "topometrics.leaderboard", module)
    return module


def test_it_is_called_as_the_competition_does(package):
    found = score_volume(PRED, LABEL, official=True)
    assert found.topo == 0.25
    assert found.total == pytest.approx(0.3 * 0.25 + 0.35 * found.surface_dice + 0.35 * found.voi_score, abs=1e-15)
    (given,) = package.calls
    assert np.array_equal(given.pop("predictions"), PRED)
    assert np.array_equal(given.pop("labels"), LABEL)  # with its ignored voxels: the package takes them out itself
    assert given == {
        "dims": (0, 1, 2), "spacing": (1.0, 1.0, 1.0), "surface_tolerance": 2.0, "voi_connectivity": 26,
        "voi_transform": "one_over_one_plus", "voi_alpha": 0.3, "combine_weights": (0.3, 0.35, 0.35),
        "fg_threshold": None, "ignore_label": 2,
    }  # fmt: skip


def test_it_is_asked_only_on_request(package):
    assert score_volume(PRED, LABEL).topo is None
    assert package.calls == []


def test_a_package_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "topometrics", None)
    assert "topometrics is not usable here" in _official.missing()
    with pytest.raises(ImportError):
        score_volume(PRED, LABEL, official=True)


def test_a_package_that_is_there_is_used(package):
    assert _official.missing() is None
