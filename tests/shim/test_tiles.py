"""Volumes longer than a block's tile on each axis, kernels wider than shared memory: seams that small ones lack."""

import numpy as np
import pytest
from volumes import fill

from cpu_fallback import law
from gpu_nx47 import kernels, tables
from gpu_nx47.kernels import _gaussian, _launch, _loader

SHAPES = [(2, 17, 410), (70, 9, 35), (3, 70, 5)]
ELEMENT = {"radius": (2, 40, 3), "shape": "cross"}


@pytest.fixture(params=SHAPES, ids=str)
def grey(request):
    return fill(request.param, "noise", np.random.default_rng(60))


def test_the_shapes_are_longer_than_the_tiles():
    assert max(z for z, _, _ in SHAPES) > 2 * _launch.MARCH
    assert max(y for _, y, _ in SHAPES) > max(_launch.TILE[0], _gaussian.ROWS)
    assert max(x for _, _, x in SHAPES) > max(_launch.TILE[1], 2 * _gaussian.ACROSS)


@pytest.mark.parametrize("radius", [1, 4, 12, _gaussian.REACH, _gaussian.REACH + 1, 40])
def test_gaussian(agree, device, grey, radius):
    taps = np.full(radius + 1, 1 / (2 * radius + 1), np.float32)
    agree("gaussian", grey, taps=taps)
    assert ("gaussian_yx" in device.launches) == (radius <= _gaussian.REACH)


@pytest.mark.parametrize("radii", [(4, 12), (12, 40, 1), (_gaussian.REACH, _gaussian.REACH + 1)])
def test_gaussians_in_a_window(agree, grey, radii):
    taps = tuple(np.full(radius + 1, 1 / (2 * radius + 1), np.float32) for radius in radii)
    agree("gaussians", grey, taps=taps, window=core(grey.shape))


def core(shape):
    """Return a window that begins and ends inside a block's tile on each axis that has room."""
    z, y, x = (slice(min(n // 7, n - 1), n - n // 9) for n in shape)
    return z, y, x


def test_stencils_in_a_window(agree, grey):
    narrow, way = grey.astype(np.uint16) << 8, {"axis": np.full((grey.shape[0], 2), 333, np.int32), "origin": (-5, 8)}
    results = ("band_pass", "gradient_along", "laplacian", "gradient_magnitude")
    for window in (None, core(grey.shape)):
        agree("stencils", narrow, narrow[::-1].copy(), results=results, shift=4, **way, window=window)


def test_differences(agree, grey):
    smooth = grey.astype(np.uint16) << 8
    agree("gradient_magnitude", smooth)
    agree("laplacian", smooth, shift=4)
    agree("gradient_along", smooth, axis=np.full((grey.shape[0], 2), 333, np.int32), origin=(-5, 8))


@pytest.mark.parametrize("window", [3, 15])
def test_cubes(agree, grey, window):
    agree("local_variance", grey, window=window)
    for bins in (16, 32):
        agree("local_entropy", grey, window=window, bins=bins, table=tables.entropy_table(window**3))


@pytest.mark.parametrize("statistic", ["max", "mean", "deviation", "coherence"])
def test_runs(agree, grey, statistic):
    for window in (3, 17, 63):
        agree("z_projection", grey, window=window, statistic=statistic)


def test_masks(agree, grey):
    mask = grey > 190
    for kernel in ("erosion", "dilation", "opening", "closing"):
        agree(kernel, mask, **ELEMENT)
    labels, count = law.label(mask, connectivity=26)
    agree("label", mask, connectivity=26)
    agree("label", mask, connectivity=6)
    agree("label", mask, connectivity=26, at=np.arange(mask.size)[::-3])
    agree("component_moments", labels, count=count)
    agree("mask_moments", mask, connectivity=26)
    agree("remove_small", mask, min_size=4, connectivity=6)
    agree("hysteresis", grey.astype(np.uint16) << 8, weak=40_000, strong=62_000)


@pytest.mark.parametrize("number", [1, 255, 256, 257, 5000])
def test_the_sums_of_many_blocks(device, number):
    """Roots of a volume of more than a million voxels are counted by more blocks than the sum has threads."""
    counts = np.random.default_rng(61).integers(0, 4096, number + 1, dtype=np.uint32)
    there = kernels.to_device(counts)
    _loader.launch("_label", "sum_counts", 1, np.int64(number), there)
    assert np.array_equal(kernels.to_host(there), np.cumsum([0, *counts[:-1]], dtype=np.uint32))
