"""Saved normals are the unit vectors of the directions, each voxel its cell's."""

import numpy as np

from cpu_fallback.law import DIRECTION_NONE
from gpu_nx47 import saving, tables
from gpu_nx47.direction import Field


def test_normals_are_the_directions_of_the_voxels_own_cells():
    rng = np.random.default_rng(8)
    code = rng.integers(0, DIRECTION_NONE + 1, (6, 7, 5), dtype=np.uint16)
    code[0, 0, 0] = DIRECTION_NONE
    found = np.stack(list(saving.normals(Field(code, np.zeros(code.shape, np.uint8)), (11, 14, 9))))
    assert found.shape == (3, 11, 14, 9)
    assert found.dtype == np.int16
    expected = np.rint(tables.direction_vectors()[code] * saving.NORMAL_STEPS)
    for z, y, x in np.ndindex(11, 14, 9):
        assert (found[:, z, y, x] == expected[z // 2, y // 2, x // 2]).all()
    length = np.sqrt((found.astype(float) ** 2).sum(0))
    there = (code != DIRECTION_NONE).repeat(2, 0).repeat(2, 1).repeat(2, 2)[:11, :14, :9]
    assert np.abs(length[there] - saving.NORMAL_STEPS).max() < 2
    assert not found[:, ~there].any()
