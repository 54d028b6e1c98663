"""Two submissions are compared voxel by voxel, a few pages at a time, or refused with the reason."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from records import write_zip

from gpu_nx47 import delta
from gpu_nx47.delta import Delta, compare
from gpu_nx47.errors import InputError


def mask(seed, shape, share=0.3):
    return np.random.default_rng([77, seed]).random(shape) < share


def zips(tmp_path, first, second):
    for name, masks in (("a.zip", first), ("b.zip", second)):
        write_zip(tmp_path / name, masks)
    return tmp_path / "a.zip", tmp_path / "b.zip"


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 8, 9), (31, 5, 6), (32, 5, 6), (33, 5, 6), (97, 4, 3)])
def test_counts_are_exact_at_the_edges_of_blocks(tmp_path, shape):
    one, two = mask(1, shape), mask(2, shape)
    found = compare(*zips(tmp_path, {"v": one}, {"v": two}))
    assert found == Delta(int(one.sum()), int(two.sum()), int((one & two).sum()), one.size)
    assert found.xor == (one ^ two).sum()


def test_two_empty_masks_are_equal_and_one_is_not():
    assert (Delta(0, 0, 0, 8).dice, Delta(0, 0, 0, 8).iou, Delta(0, 0, 0, 8).xor) == (1.0, 1.0, 0)
    assert (Delta(4, 0, 0, 8).dice, Delta(4, 0, 0, 8).iou, Delta(4, 0, 0, 8).xor) == (0.0, 0.0, 4)


@pytest.mark.parametrize("other", [(4, 5, 7), (4, 6, 6), (3, 5, 6), (5, 5, 6), (40, 5, 6)])
def test_other_shapes_are_refused(tmp_path, other):
    with pytest.raises(InputError, match="do not answer the same volumes"):
        compare(*zips(tmp_path, {"v": mask(1, (4, 5, 6))}, {"v": mask(1, other)}))


def test_a_mask_that_goes_on_behind_whole_blocks_of_the_other_is_refused(tmp_path):
    for first, second in ((32, 64), (64, 32)):
        pair = zips(tmp_path, {"v": mask(1, (first, 5, 6))}, {"v": mask(1, (second, 5, 6))})
        with pytest.raises(InputError, match="do not answer the same volumes"):
            compare(*pair)


def test_other_names_are_refused(tmp_path):
    one = mask(1, (2, 3, 4))
    with pytest.raises(InputError, match="masks of other names"):
        compare(*zips(tmp_path, {"v": one}, {"w": one}))
    with pytest.raises(InputError, match="masks of other names"):
        compare(*zips(tmp_path, {"v": one}, {"v": one, "w": one}))


def test_damaged_zips_are_refused(tmp_path):
    first, second = zips(tmp_path, {"v": mask(1, (9, 9, 9))}, {"v": mask(2, (9, 9, 9))})
    whole = second.read_bytes()
    for data in (b"", b"PK", whole[: len(whole) // 2], whole.replace(b"II*", b"II+", 1)):
        second.write_bytes(data)
        with pytest.raises(InputError):
            compare(first, second)
    second.unlink()
    with pytest.raises(InputError, match="cannot be compared"):
        compare(first, second)


def test_a_member_of_any_declared_size_is_refused_before_it_is_read(tmp_path, monkeypatch):
    first, second = zips(tmp_path, {"v": mask(1, (9, 9, 9))}, {"v": mask(2, (9, 9, 9))})
    monkeypatch.setattr(delta, "LARGEST_MEMBER", 100)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(InputError, match="of at most 100 bytes"):
        compare(first, second)


def test_memory_holds_a_few_pages_of_a_mask(tmp_path):
    shape = (400, 128, 128)
    empty = np.zeros(shape, np.bool_)
    some = empty.copy()
    some[:, 3] = True
    first, second = zips(tmp_path, {"v": empty}, {"v": some})
    tracemalloc.start()
    found = compare(first, second)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.xor == 400 * 128
    assert peak < empty.size
