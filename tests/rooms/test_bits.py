"""Masks as bits, and the cavities that are found in them: against SciPy, on rows that end anywhere in a word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpu_nx47 import backend, bits, cavities, components

CPU = backend.select("cpu")[0]
"""The twin; without Numba the law."""


@st.composite
def masks(draw):
    """Return rough masks whose rows end before, at and behind the end of a word."""
    shape = (*draw(st.tuples(*[st.integers(1, 7)] * 2)), draw(st.sampled_from((1, 5, 63, 64, 65, 128, 130))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random(shape) < draw(st.sampled_from((0.05, 0.3, 0.6, 0.85, 0.97, 1.0)))


@settings(deadline=None)
@given(masks())
def test_bits_are_the_voxels(mask):
    packed = bits.packed(mask)
    assert np.array_equal(bits.listed(packed, mask.shape[2]), np.flatnonzero(mask))
    behind = np.zeros_like(mask)
    behind[:, :, 1:] = mask[:, :, :-1]
    again = bits.moved(packed) & bits.packed(np.ones_like(mask))
    assert np.array_equal(bits.listed(again, mask.shape[2]), np.flatnonzero(behind))


@pytest.mark.parametrize("connectivity", [6, 26])
@settings(deadline=None)
@given(mask=masks())
def test_cavities_are_the_background_that_no_border_sees(connectivity, mask):
    structure = ndimage.generate_binary_structure(3, 1 if connectivity == 6 else 3)
    padded, count = ndimage.label(np.pad(~mask, 1, constant_values=True), structure)
    label = components.host_label(CPU)
    voxels, found = cavities.first_voxels(mask, bits.packed(mask), label, connectivity=connectivity)
    assert found == count - 1
    of = padded[1:-1, 1:-1, 1:-1].reshape(-1)[voxels]
    assert set(of.tolist()) == set(range(1, count + 1)) - {int(padded[0, 0, 0])}


def test_a_large_cavity_is_filled_to_its_last_corner():
    mask = np.ones((9, 12, 70), bool)
    mask[1:8, 1:11, 1:69] = False
    mask[2:7, 2:10, 65] = True  # a wall with a way around it
    made, voxels = cavities.filled(mask, np.array([np.flatnonzero(~mask)[0]]))
    assert made.all()
    assert np.array_equal(np.sort(voxels), np.flatnonzero(~mask))
    whole = np.ones((3, 3, 3), bool)
    assert cavities.filled(whole, np.zeros(0, np.int64))[0] is whole


@pytest.mark.parametrize("connectivity", [6, 26])
@settings(deadline=None)
@given(mask=masks(), turn=st.booleans(), planes=st.integers(1, 4))
def test_labels_by_slabs_are_those_of_the_whole(connectivity, mask, turn, planes):
    mask = np.ascontiguousarray(mask.transpose(2, 0, 1) if turn else mask)
    label, at = components.host_label(CPU), np.arange(mask.size)
    whole, count = label(mask, connectivity=connectivity, at=at)
    slab = planes * mask.shape[1] * mask.shape[2]
    for some in (at, at[:: 1 + mask.size // 7], at[:0]):
        by_slabs, number = components.labels_at(
            mask.shape, lambda rows: mask[rows], label, connectivity=connectivity, at=some, slab=slab
        )
        assert number == count
        assert np.array_equal(by_slabs, whole[some])
