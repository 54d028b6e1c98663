"""Saved normals are the unit vectors of the directions, each voxel its block's."""

import numpy as np

from cpu_fallback.law import DIRECTION_NONE
from gpu_nx47 import saving, tables
from gpu_nx47.direction import Field


def test_normals_are_the_directions_of_the_voxels_own_blocks():
    rng = np.random.default_rng(8)
    code = rng.integers(0, DIRECTION_NONE + 1, (6, 7, 5), dtype=np.uint16)
    code[0, 0, 0] = DIRECTION_NONE
    found = np.stack(list(saving.normals(Field(code, np.zeros(code.shape, np.uint8)), (22, 25, 17))))
    assert found.shape == (3, 22, 25, 17)
    assert found.dtype == np.int16
    expected = np.rint(tables.direction_vectors()[code] * saving.NORMAL_STEPS)
    for z, y, x in np.ndindex(22, 25, 17):
        assert (found[:, z, y, x] == expected[z // 4, y // 4, x // 4]).all()
    length = np.sqrt((found.astype(float) ** 2).sum(0))
    there = (code != DIRECTION_NONE).repeat(4, 0).repeat(4, 1).repeat(4, 2)[:22, :25, :17]
    assert np.abs(length[there] - saving.NORMAL_STEPS).max() < 2
    assert not found[:, ~there].any()
