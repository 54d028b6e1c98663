"""The VOI score is scikit-image's variation of information between the 26-connected components."""

import math

import numpy as np
import pytest
from drawn_pairs import pairs
from scipy import ndimage
from skimage.metrics import variation_of_information as peer

from gpu_nx47 import backend
from gpu_nx47.score import _voi, score_volume
from gpu_nx47.score._voi import Partition, variation_of_information

PAIRS = list(pairs())


def voxel_by_voxel(a, b):
    return variation_of_information(a.reshape(-1), b.reshape(-1), np.ones(a.size, np.int64))


@pytest.mark.parametrize(("name", "truth", "pred"), PAIRS, ids=[name for name, *_ in PAIRS])
def test_fifty_pairs_equal_scikit_image(name, truth, pred):
    found = score_volume(pred, truth.astype(np.uint8), topology=False)
    union = truth | pred
    split = merge = 0.0
    if union.any():
        a, b = (ndimage.label(mask, np.ones((3, 3, 3)))[0][union] for mask in (truth, pred))
        split, merge = peer(a, b)
    assert abs(found.voi_split - split) < 1e-9
    assert abs(found.voi_merge - merge) < 1e-9
    assert abs(found.voi_score - 1 / (1 + 0.3 * (split + merge))) < 1e-9


def test_label_volumes_of_many_parts_equal_scikit_image():
    rng = np.random.default_rng(9)
    a, b = rng.integers(0, 40, (2, 6, 7, 8)).astype(np.int32)
    some = (a > 0) | (b > 0)
    split, merge = peer(a[some], b[some])
    found = voxel_by_voxel(a, b)
    assert (found.split, found.merge) == pytest.approx((split, merge), abs=1e-12)


def test_few_pairs_in_a_table_and_many_sorted_are_counted_alike(monkeypatch):
    a, b = np.random.default_rng(9).integers(0, 40, (2, 6, 7, 8)).astype(np.int32)
    table = voxel_by_voxel(a, b)
    monkeypatch.setattr(_voi, "TABLE", 0)
    assert voxel_by_voxel(a, b) == table


def test_runs_are_compared_as_voxels_are():
    """Rows that end in foreground, and neighbours of one mask across the border of the other."""
    kernel = backend.select("cpu")[0].label
    truth, found = np.random.default_rng(3).random((2, 9, 11, 13)) < 0.3
    labels = [kernel(mask, connectivity=26)[0] for mask in (truth, found)]
    assert Partition(truth, kernel).compare(found) == voxel_by_voxel(*labels)


def test_a_merger_and_a_split_by_hand():
    """Two sheets of equal size found as one: H(label | prediction) is 1 bit, and nothing was split."""
    two = np.zeros((4, 5, 4), np.int32)
    two[:, 0], two[:, 2] = 1, 2
    one = np.where(two > 0, 1, 0).astype(np.int32)
    merged, split = voxel_by_voxel(two, one), voxel_by_voxel(one, two)
    assert (merged.split, merged.merge) == (0, 1)
    assert (split.split, split.merge) == (1, 0)
    assert math.isclose(merged.score, 1 / 1.3)


def test_voxels_joined_by_a_corner_are_one_component():
    label, pred = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)
    label[0, 0, 0] = label[1, 1, 1] = 1
    pred[0, 0, 0] = pred[1, 1, 1] = pred[0, 0, 1] = 1
    # The prediction is one part of three voxels; two of them are one part of the label, the third its background.
    h = -(2 / 3) * math.log2(2 / 3) - (1 / 3) * math.log2(1 / 3)
    found = score_volume(pred, label)
    assert (found.voi_split, found.voi_merge) == (0, pytest.approx(h, abs=1e-15))
