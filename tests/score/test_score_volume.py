"""The Python face: what it refuses, and that a prepared label scores as a fresh one."""

import dataclasses

import numpy as np
import pytest
from drawn_pairs import sheets

from gpu_nx47.score import Reference, score_volume

LABEL = sheets((18, 20, 22), 3).astype(np.uint8)
MASK = sheets((18, 20, 22), 4)


@pytest.mark.parametrize(
    ("pred", "label", "error"),
    [
        (MASK, LABEL.astype(np.int64), TypeError),
        (MASK.astype(np.float32), LABEL, TypeError),
        (MASK.tolist(), LABEL, TypeError),
        (MASK[:-1], LABEL, ValueError),
        (MASK[0], LABEL[0], ValueError),
        (MASK[:0], LABEL[:0], ValueError),
        (MASK, LABEL * 3, ValueError),
    ],
)
def test_what_is_no_pair_is_refused(pred, label, error):
    with pytest.raises(error, match="expected"):
        score_volume(pred, label)


def test_a_prepared_label_scores_as_a_fresh_one_on_any_number_of_threads():
    fresh = score_volume(MASK, LABEL)
    for threads in (1, 3):
        reference = Reference(LABEL, threads=threads)
        assert reference.score(~MASK) == score_volume(~MASK, LABEL)
        assert reference.score(MASK) == fresh
    assert Reference(LABEL, topology=False).score(MASK) == dataclasses.replace(fresh, topology=None)
    assert Reference(LABEL).score(MASK, topology=False) == dataclasses.replace(fresh, topology=None)


def test_inputs_are_not_written():
    label, pred = LABEL.copy(), MASK.copy()
    label.setflags(write=False)
    pred.setflags(write=False)
    score_volume(pred, label)
    assert np.array_equal(pred, MASK)


def test_what_is_foreground():
    assert score_volume(MASK.astype(np.uint8) * 7, LABEL) == score_volume(MASK, LABEL)


def test_views_are_taken():
    """A crop of a larger volume is no contiguous array."""
    score = score_volume(np.asfortranarray(MASK)[2:, 1:, 3:], LABEL[2:, 1:, 3:])
    assert score == score_volume(MASK[2:, 1:, 3:].copy(), LABEL[2:, 1:, 3:].copy())
