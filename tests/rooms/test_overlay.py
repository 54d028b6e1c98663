"""Overlays: which slices, where the colour is, and names that do not change."""

import numpy as np
import pytest
from PIL import Image

from gpu_nx47.errors import OutputError
from gpu_nx47.overlay import COLOUR, GAP, picture, write_overlays

RNG = np.random.default_rng(47)
GREY = RNG.integers(0, 256, (30, 20, 25), dtype=np.uint8)
MASK = RNG.random(GREY.shape) < 0.2


@pytest.mark.parametrize(
    ("count", "slices"), [(3, [5, 15, 25]), (1, [15]), (0, []), (30, list(range(30))), (99, list(range(30)))]
)
def test_slices_are_evenly_spaced_and_named_by_z(tmp_path, count, slices):
    paths = write_overlays(tmp_path / "o", "a", GREY, MASK, count)
    assert [path.name for path in paths] == [f"a_z{z:04d}.png" for z in slices]
    assert sorted(path.name for path in (tmp_path / "o").glob("*")) == [path.name for path in paths]
    again = write_overlays(tmp_path / "p", "a", GREY, MASK, count, threads=3)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_left_the_slice_right_the_slice_with_the_mask_in_colour(tmp_path):
    (path,) = write_overlays(tmp_path, "a", GREY, MASK.astype(np.uint8), 1)
    with Image.open(path) as image:
        found = np.asarray(image)
    factor = (found.shape[1] - GAP) // 2 // 25
    assert factor == 15
    left, right = found[::factor, : 25 * factor : factor], found[::factor, 25 * factor + GAP :: factor]
    assert np.array_equal(left, np.repeat(GREY[15, :, :, None], 3, 2))
    assert np.array_equal(right[~MASK[15]], left[~MASK[15]])
    assert np.array_equal(right[MASK[15]], (left[MASK[15]].astype(int) + COLOUR) // 2)
    assert (found[:, 25 * factor : 25 * factor + GAP] == 255).all()


def test_large_slices_are_thinned():
    grey = np.zeros((5000, 30), np.uint8)
    assert picture(grey, grey > 0).shape == (1667, 10 + GAP + 10, 3)


def test_a_mask_of_another_shape_and_a_folder_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(OutputError, match="its mask"):
        write_overlays(tmp_path, "a", GREY, MASK[1:], 1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--output"):
        write_overlays(tmp_path / "file", "a", GREY, MASK, 1)
