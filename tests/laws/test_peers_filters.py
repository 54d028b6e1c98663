"""The laws of the filters against SciPy in float64 and against the formulas written out, borders included."""

import itertools
from math import ceil

import numpy as np
import pytest
from scipy import ndimage

from cpu_fallback import law
from gpu_nx47.tables import gaussian_taps

SHAPES = [(1, 1, 1), (1, 2, 9), (13, 1, 2), (3, 4, 5), (9, 21, 14), (24, 17, 31)]
SIGMAS = [0.5, 0.7, 1.0, 1.6, 2.0, 3.0, 5.0]


def draw(shape, content="noise"):
    rng = np.random.default_rng([60, *shape])
    if content == "full":
        return np.full(shape, 255, np.uint8)
    if content == "steps":
        return np.where(np.indices(shape).sum(axis=0) % 7 < 3, 255, 0).astype(np.uint8)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def draw_codes(shape, dtype):
    info = np.iinfo(dtype)
    return np.random.default_rng([61, *shape]).integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def smooth64(grey, sigma):
    return ndimage.gaussian_filter(grey.astype(np.float64), sigma, mode="reflect", radius=ceil(4 * sigma))


def centred(values, axis):
    return ndimage.correlate1d(values, [-0.5, 0.0, 0.5], axis=axis, mode="reflect")


def far(codes, step, reference):
    """Return the largest distance between codes and the real values, in physical units."""
    return np.abs(codes * step - reference).max()


def value(codes, index):
    """Return one voxel under the border rule, written as the reflections themselves."""
    place = []
    for i, n in zip(index, codes.shape, strict=True):
        while not 0 <= i < n:
            i = -1 - i if i < 0 else 2 * n - 1 - i
        place.append(i)
    return int(codes[tuple(place)])


def moved(index, axis, by):
    return tuple(i + by * (a == axis) for a, i in enumerate(index))


@pytest.mark.parametrize("content", ["noise", "full", "steps"])
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gaussian_is_within_5_thousandths_of_a_grey(shape, sigma, content):
    grey = draw(shape, content)
    assert far(law.gaussian(grey, taps=gaussian_taps(sigma)), 1 / 256, smooth64(grey, sigma)) < 0.005


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gaussian_in_the_stated_order(shape):
    grey, taps = draw(shape), gaussian_taps(0.7)
    acc = {i: np.float32(grey[i]) for i in np.ndindex(shape)}
    for axis in range(3):
        before = np.zeros(shape, np.float32)
        for i in np.ndindex(shape):
            before[i] = acc[i]
        pad = np.pad(before, 3 * len(taps), mode="symmetric")
        centre = 3 * len(taps)
        for i in np.ndindex(shape):
            place = tuple(j + centre for j in i)
            total = taps[0] * pad[place]
            for k in range(1, len(taps)):
                total = total + taps[k] * (pad[moved(place, axis, -k)] + pad[moved(place, axis, k)])
            assert isinstance(total, np.float32)
            acc[i] = total
    expected = np.array([int(np.rint(acc[i] * np.float32(256))) for i in np.ndindex(shape)]).reshape(shape)
    assert np.array_equal(law.gaussian(grey, taps=taps), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_band_pass_is_within_one_step(shape):
    grey = draw(shape)
    narrow, wide = (law.gaussian(grey, taps=gaussian_taps(s)) for s in (1.0, 3.0))
    assert far(law.band_pass(narrow, wide), 1 / 64, smooth64(grey, 1) - smooth64(grey, 3)) < 1 / 64


def test_band_pass_is_exact():
    narrow, wide = draw_codes((5, 6, 7), np.uint16), draw_codes((5, 6, 7), np.uint16)[::-1].copy()
    narrow[0, 0, :2], wide[0, 0, :2] = (65535, 0), (0, 65535)
    expected = np.floor((narrow.astype(float) - wide) / 4 + 0.5)
    assert np.array_equal(law.band_pass(narrow, wide), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_magnitude_is_within_one_step(shape):
    grey = draw(shape)
    codes = law.gradient_magnitude(law.gaussian(grey, taps=gaussian_taps(1.0)))
    reference = np.sqrt(sum(centred(smooth64(grey, 1), axis) ** 2 for axis in range(3)))
    assert far(codes, 1 / 64, reference) < 1 / 64


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_magnitude_of_any_codes(shape):
    smooth = draw_codes(shape, np.uint16)
    reference = np.sqrt(sum(centred(smooth / 256, axis) ** 2 for axis in range(3)))
    assert far(law.gradient_magnitude(smooth), 1 / 64, reference) < 0.501 / 64


def test_gradient_magnitude_of_the_steepest_codes_fits():
    smooth = np.zeros((6, 6, 6), np.uint16)
    smooth[3:, 3:, 3:] = 65535
    smooth[:3, :3, :3] = 0
    z, y, x = np.indices(smooth.shape) // 2 % 2
    smooth = np.where((z == y) & (y == x) & (x == 1), 65535, smooth).astype(np.uint16)
    ramp = np.zeros((3, 3, 3), np.uint16)
    ramp[2], ramp[:, 2], ramp[:, :, 2] = 65535, 65535, 65535
    assert law.gradient_magnitude(ramp)[1, 1, 1] == round(65535 * 3**0.5 / 8)
    assert law.gradient_magnitude(smooth).max() <= 14189


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_laplacian_is_within_one_step(shape, sigma):
    grey = draw(shape)
    codes = law.laplacian(law.gaussian(grey, taps=gaussian_taps(sigma)), shift=4)
    assert far(codes, 16 / 256, ndimage.laplace(smooth64(grey, sigma), mode="reflect")) < 16 / 256


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("shift", [0, 1, 4, 16])
@pytest.mark.parametrize("shape", SHAPES[:5], ids=str)
def test_laplacian_is_exact(shape, shift, dtype):
    codes = draw_codes(shape, dtype)
    result = law.laplacian(codes, shift=shift)
    for i in np.ndindex(shape):
        total = sum(value(codes, moved(i, axis, by)) for axis, by in itertools.product(range(3), (-1, 1)))
        rounded = (2 * (total - 6 * int(codes[i])) + 2**shift) // 2 ** (shift + 1)  # floor(s / 2^shift + 1/2)
        assert result[i] == max(-32768, min(32767, rounded))


AXES = {
    "inside": lambda shape: (3.4 * shape[1], 4.1 * shape[2]),
    "far": lambda shape: (-90_000, 70_000),
    "voxel": lambda shape: (8, 8),
}


@pytest.mark.parametrize("where", AXES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_along_is_within_one_step(shape, where):
    grey, origin = draw(shape), (-3, 5)
    corner = 8 * np.array(origin)
    axis = np.array([corner + AXES[where](shape) + np.array([z, -2 * z]) for z in range(shape[0])]).astype(np.int32)
    codes = law.gradient_along(law.gaussian(grey, taps=gaussian_taps(1.0)), axis=axis, origin=origin)
    y, x = np.arange(shape[1])[None, :, None], np.arange(shape[2])[None, None, :]
    to_y = axis[:, 0, None, None] / 8 - (origin[0] + y) + 0 * x
    to_x = axis[:, 1, None, None] / 8 - (origin[1] + x) + 0 * y
    length = np.hypot(to_y, to_x)
    smooth = smooth64(grey, 1)
    along = centred(smooth, 1) * to_y + centred(smooth, 2) * to_x
    reference = np.divide(along, length, out=np.zeros(shape), where=length > 0)
    assert far(codes, 1 / 64, reference) < 1 / 64
    if where == "voxel" and shape[1] > 1 and shape[2] > 1:
        assert codes[0, 1, 1] == 0  # the axis runs through this voxel


def test_gradient_along_is_positive_where_it_brightens_towards_the_axis():
    smooth = (256 * (200 - 4 * np.abs(np.indices((2, 20, 5))[1] - 10))).astype(np.uint16)
    codes = law.gradient_along(smooth, axis=np.array([[80, 16]] * 2, np.int32), origin=(0, 0))
    assert (codes[:, 2:9] > 0).all()
    assert (codes[:, 12:18] > 0).all()
    assert codes[0, 5, 2] == 4 * 64  # straight at the axis: the whole slope, 4 grey/voxel


def runs(grey, window):
    """Return the run of each voxel as float64, along a new first axis."""
    pad = np.pad(grey.astype(np.float64), [(window, window), (0, 0), (0, 0)], mode="symmetric")
    start = window - window // 2
    return np.stack([pad[start + k : start + k + grey.shape[0]] for k in range(window)])


@pytest.mark.parametrize("content", ["noise", "full", "steps"])
@pytest.mark.parametrize("window", [3, 5, 17, 63])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_z_projection(shape, window, content):
    grey = draw(shape, content)
    run = runs(grey, window)
    deviation = run.std(axis=0)
    project = {s: law.z_projection(grey, window=window, statistic=s) for s in ("max", "mean", "deviation", "coherence")}
    assert np.array_equal(
        project["max"], 256 * ndimage.maximum_filter1d(grey.astype(int), window, axis=0, mode="reflect")
    )
    assert np.array_equal(project["max"], 256 * run.max(axis=0))
    assert np.array_equal(project["mean"], (512 * run.sum(axis=0) + window) // (2 * window))
    assert far(project["deviation"], 1 / 256, deviation) < 0.51 / 256
    assert far(project["coherence"], 1 / 32768, 1 / (1 + deviation / 255)) < 0.51 / 32768


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_tables(dtype):
    codes, info = draw_codes((7, 8, 9), dtype), np.iinfo(dtype)
    codes[0, 0, :2] = info.min, info.max
    counts = law.histogram(codes)
    seen, times = np.unique(codes.astype(np.int64), return_counts=True)
    assert counts.shape == (256 if dtype == np.uint8 else 65536,)
    assert counts.sum() == codes.size
    assert np.array_equal(counts[seen - info.min], times)
    table = (np.arange(counts.size) - 32768).astype(np.int16)
    expected = [int(c) - info.min - 32768 for c in codes.reshape(-1)]
    assert law.lookup(codes, table=table).reshape(-1).tolist() == expected
    picked = law.gather(codes, index=np.array([8, 0, 8, 503]))
    assert picked.tolist() == [codes[0, 0, 8], codes[0, 0, 0], codes[0, 0, 8], codes[6, 7, 8]]
    assert picked.dtype == dtype


def test_count():
    mask = draw((7, 8, 9)) > 100
    assert law.count(mask) == sum(mask.reshape(-1).tolist())
    assert type(law.count(mask)) is int
