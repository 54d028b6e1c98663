"""SurfaceDice is the package's, for every code of eight voxels and on whole masks."""

import itertools

import numpy as np
import pytest
from drawn_pairs import pairs

from gpu_nx47 import backend, corners
from gpu_nx47.score import _surface, score_volume
from gpu_nx47.score._surface import surface_dice, surface_of

PAIRS = list(pairs())
COUNT = backend.select("cpu")[0].histogram
MOVES = list(itertools.product((0, 2, 4), (0, 1, 2), (0, 1, 3)))

# The package takes SciPy's functions from where they were in 2018.
pytestmark = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("surface_distance", reason="surface-distance-based-measures is not installed")


def dice_of(peer, truth, pred):
    if not truth.any() or not pred.any():  # the competition's rule; the package divides by zero there
        return float(truth.any() == pred.any())
    return peer.compute_surface_dice_at_tolerance(peer.compute_surface_distances(truth, pred, (1, 1, 1)), 2)


def dice(truth, pred):
    return surface_dice(surface_of(truth, COUNT), pred, COUNT)


def test_the_area_of_every_code_is_the_packages(peer):
    table = peer.lookup_tables.create_table_neighbour_code_to_surface_area((1, 1, 1))
    # Its first voxel is the highest bit, ours the lowest.
    mirrored = [table[int(f"{code:08b}"[::-1], 2)] for code in range(256)]
    assert np.abs(np.array(mirrored) - corners.AREA).max() < 1e-12


@pytest.mark.parametrize(("name", "truth", "pred"), PAIRS, ids=[name for name, *_ in PAIRS])
def test_fifty_pairs_equal_the_package(peer, name, truth, pred):
    assert abs(dice(truth, pred) - dice_of(peer, truth, pred)) < 1e-9


def test_the_pairs_say_something():
    values = [dice(truth, pred) for _, truth, pred in PAIRS]
    assert sum(0.05 < value < 0.95 for value in values) >= 10


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_within_two_is_euclidean(peer, move):
    """One voxel against the same voxel moved: only the share of corners within 2 counts."""
    truth, pred = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[3, 3, 3] = True
    pred[tuple(np.add(3, move))] = True
    assert abs(dice(truth, pred) - dice_of(peer, truth, pred)) < 1e-12


@pytest.mark.parametrize("planes", [1, 2, 3, 7, 100])
def test_planes_at_once_change_no_figure(monkeypatch, planes):
    truth, pred = np.random.default_rng(4).random((2, 11, 9, 13)) < 0.1
    whole = dice(truth, pred)
    monkeypatch.setattr(_surface, "PLANES", planes)
    assert dice(truth, pred) == whole


def test_empties():
    some, none = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert (dice(none, none), dice(some, none), dice(none, some), dice(some, some)) == (1, 0, 0, 1)


def test_the_area_of_a_voxel_is_its_octahedrons():
    alone = np.ones((1, 1, 1), bool)
    assert surface_of(alone, COUNT).area == pytest.approx(8 * 3**0.5 / 8, abs=1e-15)


def test_ignored_voxels_are_background_in_both():
    label, pred = np.zeros((6, 6, 6), np.uint8), np.zeros((6, 6, 6), np.uint8)
    label[:, 2] = pred[:, 2] = 1
    label[3:], pred[3:] = 2, 1
    assert score_volume(pred, label).surface_dice == 1
    assert score_volume(pred, label).pred_voxels == 18
