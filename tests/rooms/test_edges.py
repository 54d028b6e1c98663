"""Edges: step and bend meet at a sharp face, not in a wave or a texture; the sums are exact, blocks and tiles alike."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from gpu_nx47 import backend, edges, phantom
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine


def noise(seed):
    """Noise of 96 voxels, smoothed at 2, that is the same everywhere."""
    grey = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((112, 112, 112)), 2)[8:-8, 8:-8, 8:-8]
    return np.clip(np.rint(110 + 35 * (grey - grey.mean()) / grey.std()), 0, 255).astype(np.uint8)


def met_by_hand(step, bend, block):
    both = alone = 0
    for corner in itertools.product(*(range(0, n - b + 1, b) for n, b in zip(step.shape, block, strict=True))):
        place = tuple(slice(c, c + b) for c, b in zip(corner, block, strict=True))
        a, b = ([abs(int(v)) for v in codes[place].reshape(-1)] for codes in (step, bend))
        both += len(a) * sum(x * y for x, y in zip(a, b, strict=True))
        alone += sum(a) * sum(b)
    return both, alone


@pytest.mark.parametrize("shape", [(24, 30, 13), (1, 12, 40), (5, 5, 5)])
def test_meetings_are_counted_within_whole_blocks(shape):
    rng = np.random.default_rng(10)
    step, bend = (rng.integers(-32_768, 32_768, shape).astype(np.int16) for _ in range(2))
    step.reshape(-1)[:9] = -32_768
    bend.reshape(-1)[:9] = -32_768
    assert edges.meetings(step, bend) == met_by_hand(step, bend, [min(12, n) for n in shape])


def test_the_largest_codes_do_not_overflow():
    most = np.full((48, 48, 48), -32_768, np.int16)
    assert edges.meetings(most, most) == (1728 * 48**3 * 2**30, 1728 * 48**3 * 2**30)


def test_sharpness_is_the_surplus_over_independence_and_no_less_than_none():
    assert edges.sharpness([(3, 2), (3, 2)]) == 50.0
    assert edges.sharpness([(1, 2)]) == edges.sharpness([(0, 0), (0, 0)]) == 0.0
    assert edges.sharpness([(0, 0), (30, 20)]) == 50.0, "an empty cube has no say"


@pytest.mark.parametrize("n", [48, 50, 95, 96, 97, 192, 320, 479, 480, 2000])
def test_cubes_lie_in_the_middles_of_equal_parts(n):
    places = [place[0] for place in edges.middles((n, 4, 48), (48, 4, 48))]
    assert len(places) == (1 if n < 96 else max(2, n // 160))
    assert all(p.start >= 0 and p.stop <= n and p.stop - p.start == 48 for p in places)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(places)), "no voxel twice"
    assert abs(places[0].start - (n - places[-1].stop)) <= 1
    assert all(place[1:] == (slice(0, 4), slice(0, 48)) for place in edges.middles((n, 4, 48), (48, 4, 48)))


def sharpness_of(grey, tile=(64, 512, 512)):
    engine = Engine(Meter(backend.select("cpu")[0]), tile, 1)
    return edges.sharpness(edges.of_volume(engine, grey, None, tuple(min(48, n) for n in grey.shape)))


def test_what_steps_in_one_place_is_sharp_and_a_wave_of_the_same_height_is_not():
    z = np.arange(96)[:, None, None]
    rng = np.random.default_rng(11)
    plates = np.where(z // 8 % 2, 150, 90) + rng.normal(0, 3, (96, 96, 96))
    waves = 120 + 38 * np.sin(z * np.pi / 8) + rng.normal(0, 3, (96, 96, 96))
    plates, waves = (sharpness_of(np.rint(grey).astype(np.uint8)) for grey in (plates, waves))
    assert plates > 20
    assert waves < plates / 10


def test_noise_of_uneven_strength_is_no_sharper_than_even_noise():
    """Counted over the whole cube it would be: where the noise is strong, it steps and bends."""
    even = noise(12)
    strength = 0.55 + 0.45 * np.sin(np.arange(96) * 2 * np.pi / 48)
    uneven = np.rint(110 + (even.astype(float) - 110) * strength[:, None, None]).astype(np.uint8)
    assert sharpness_of(uneven) < sharpness_of(even) + 4


def test_the_sharpness_of_edges_does_not_hang_on_tiles():
    grey = np.ascontiguousarray(phantom.make_phantom(66, 3).image[3:-3, 3:-3, 3:-3])
    assert sharpness_of(grey) == sharpness_of(grey, (17, 23, 40)) > 0
