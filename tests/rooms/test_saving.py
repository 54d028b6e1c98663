"""Saved normals point to the bright side and are of length one, whatever the tile."""

from pathlib import Path

import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import saving, tables
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine
from gpu_nx47.volume import Box, Source, Volume


@pytest.mark.parametrize("tile", [(99, 99, 99), (3, 5, 7)])
def test_normals_are_the_unit_gradient_of_the_smoothed_box(tile):
    grey = np.zeros((11, 14, 13), np.uint8)
    box = Box((1, 2, 0), (11, 14, 13))
    grey[box.slices] = np.random.default_rng(8).integers(1, 256, box.shape)
    source = Source("a", Path("a.tif"), (Path("a.tif"),))
    volume = Volume(source, grey, box, "uint8", None, None, "", 0)
    found = saving.normals(volume, Engine(Meter(law), tile, 2))
    smooth = law.gaussian(np.ascontiguousarray(grey[box.slices]), taps=tables.gaussian_taps(2.0)).astype(np.float64)
    padded = np.pad(smooth, 1, mode="edge")
    inner = (slice(1, -1),) * 3
    gradient = np.stack([(np.roll(padded, -1, axis) - np.roll(padded, 1, axis))[inner] for axis in range(3)])
    length = np.sqrt((gradient**2).sum(0))
    expected = np.rint(gradient / np.where(length == 0, 1, length) * saving.NORMAL_STEPS)
    assert (np.stack(found) == expected).mean() > 0.999, "but for the last bit of a sum in another order"
    assert np.abs(np.stack(found) - expected).max() <= 1
