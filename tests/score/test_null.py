"""The null moves a mask half a pitch along the normal, and says where it cannot."""

import numpy as np
import pytest

from gpu_nx47.score import score_volume
from gpu_nx47.score._null import BLOCK, moved_by_half_a_pitch


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, -1), (1, -1, 1)], ids=str)
def test_sheets_are_moved_between_sheets(direction):
    steps = 12
    along = np.tensordot(direction, np.indices((40, 40, 40)), 1)
    # A step along the direction raises `along` by |d|^2.
    period = steps * sum(d * d for d in direction)
    label = (along % period < period // 4).astype(np.uint8)
    moved = moved_by_half_a_pitch(label == 1, label)
    assert moved.pitch == pytest.approx(steps * np.linalg.norm(direction), rel=1e-12)
    inner = (slice(10, 30),) * 3
    assert np.array_equal(moved.mask[inner], ((along + period // 2) % period < period // 4)[inner])
    assert not (moved.mask & (label == 1)).any()


def test_each_block_is_moved_along_its_own_normal():
    label = np.zeros((2 * BLOCK, BLOCK, BLOCK), np.uint8)
    label[:BLOCK, :, ::10] = 1
    label[BLOCK:, ::16, :] = 1
    moved = moved_by_half_a_pitch(label == 1, label)
    assert set(np.flatnonzero(moved.mask[5, 30]) % 10) == {5}
    assert set(np.flatnonzero(moved.mask[BLOCK + 5, :, 30]) % 16) == {8}


def test_no_chord_crosses_an_ignored_part():
    label = np.zeros((30, 30, 30), np.uint8)
    label[:, 2:4] = label[:, 12:14] = label[:, 26:28] = 1
    assert moved_by_half_a_pitch(label == 1, label).pitch == 12
    label[:, 18:20] = 2
    assert moved_by_half_a_pitch(label == 1, label).pitch == 10


def test_one_sheet_or_none_has_no_pitch():
    label = np.zeros((20, 20, 20), np.uint8)
    assert moved_by_half_a_pitch(label == 1, label) is None
    label[:, 8:10] = 1
    assert moved_by_half_a_pitch(label == 1, label) is None


def test_a_perfect_mask_loses_its_score():
    label = np.zeros((48, 48, 48), np.uint8)
    for y in range(1, 48, 12):
        label[:, y : y + 2] = 1
    moved = moved_by_half_a_pitch(label == 1, label)
    assert score_volume(label, label).surface_dice == 1
    assert score_volume(moved.mask, label).surface_dice < 0.1
