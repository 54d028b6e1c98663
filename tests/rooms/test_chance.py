"""Chance: surrogates keep histogram and spectrum and lose what is sharp; counts scale as they should; alerts follow."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage, stats

from cpu_fallback import law
from gpu_nx47 import backend, chance, counters, metrics, null, phantom, solve
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.stats import Histogram
from gpu_nx47.volume import Box, Source, Volume

FAMILIES = tuple(null.FAMILIES)


def histogram_of(grey):
    return np.bincount(grey.reshape(-1), minlength=256)


def inner(seed, size):
    return np.ascontiguousarray(phantom.make_phantom(size + 6, seed).image[3:-3, 3:-3, 3:-3])


def surrogate(grey, family, seed=47):
    return null.surrogate(grey, histogram_of(grey), seed, family)


# ------------------------------------------------------------------ surrogates
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(50, 60, 70), (1, 30, 31), (200, 4, 97), (3, 3, 3)])
def test_a_surrogate_has_the_volumes_grey_values(family, shape):
    grey = np.random.default_rng(1).integers(40, 90, shape, dtype=np.uint8)
    fake = surrogate(grey, family)
    assert fake.shape == tuple(min(96, n) for n in shape)
    # The count of each value and below, to a voxel: as many as the share of the volume's.
    share = np.cumsum(histogram_of(grey)) / grey.size
    assert np.abs(np.cumsum(histogram_of(fake)) - share * fake.size).max() <= 0.5
    assert (fake == surrogate(grey, family)).all()
    assert grey.size < 100 or (fake != surrogate(grey, family, 48)).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_surrogate_has_the_volumes_variance_in_each_band_and_none_of_its_places(family):
    grey = inner(2, 90)
    fake = surrogate(grey, family)
    assert abs(np.corrcoef(fake.reshape(-1), grey.reshape(-1))[0, 1]) < 0.1

    def bands(array):
        smooth = [array.astype(float), *(ndimage.gaussian_filter(array.astype(float), s) for s in (1, 2, 4))]
        return [(a - b).var() for a, b in itertools.pairwise(smooth)]

    for here, there in zip(bands(grey), bands(fake), strict=True):
        assert 0.5 < there / here < 2.0


def test_only_the_directional_family_keeps_the_lay_of_the_sheets():
    wave = 120 + 50 * np.sin(np.arange(80) * 2 * np.pi / 13.7)
    layers = np.random.default_rng(3).normal(0, 8, (80, 80, 80)) + wave[:, None, None]
    grey = layers.clip(0, 255).astype(np.uint8)

    def across(array):
        square = [(np.diff(ndimage.gaussian_filter(array.astype(float), 2), axis=a) ** 2).mean() for a in range(3)]
        return square[0] / sum(square)

    assert across(grey) > 0.95
    assert across(surrogate(grey, "directional")) > 0.8
    assert across(surrogate(grey, "isotropic")) < 0.6


def test_pieces_are_runs_of_the_mirrored_axis():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for axis, n in enumerate(array.shape):
        mirrored = np.pad(np.arange(n), (0, 3 * n), mode="symmetric")
        for start, length in itertools.product(range(2 * n), range(1, n + 1)):
            index = null._places(start, length, n)
            assert n >= 2 * length or index.tolist() == mirrored[start : start + length].tolist()
            assert (null._run(array, axis, index) == array.take(index, axis=axis)).all()
    assert {tuple(null._places(draw, 5, 12)) for draw in range(99)} == {tuple(range(k, k + 5)) for k in range(8)}


def test_ranks_are_those_of_a_sort():
    rng = np.random.default_rng(4)
    for _ in range(50):
        counts = rng.integers(0, rng.integers(2, 50), 256) * (rng.random(256) < 0.5)
        counts[7] += 1
        total = rng.integers(-5, 9, (rng.integers(1, 7), 3, 4)).astype(np.int16)
        n, whole = total.size, int(counts.sum())
        values = np.repeat(np.arange(256), counts)
        expected = np.empty(n, np.int64)
        place = (2 * np.arange(n) + 1) * whole // (2 * n)
        expected[np.argsort(total.reshape(-1), kind="stable")] = values[place]
        assert (null._ranked(total, counts).reshape(-1) == expected).all()


def test_flat_volumes_are_turned_in_their_plane_only():
    assert len(null._turns((90, 90, 90))) == 48
    assert len(null._turns((5, 90, 90))) == 16
    assert all(axes[0] == 0 for axes, _ in null._turns((5, 90, 90)))


def test_golden_is_above_the_isotropic_null_or_at_one():
    codes = np.arange(60_000)
    assert null.golden_limit(Histogram(np.bincount(codes, minlength=65_536))) == 59_993
    assert null.golden_limit(Histogram(np.bincount(np.full(9, 65_535), minlength=65_536))) == 65_534


# ------------------------------------------------------------------ scaling
@pytest.mark.parametrize("shape", [(40, 41, 96), (7, 16, 33), (1, 2, 3), (200, 20, 15)])
def test_pieces_part_a_volume_by_halves_and_by_nearness_to_the_border(shape):
    seen = np.zeros(shape, int)
    near = np.zeros(shape, int)
    half = np.zeros(shape, int)
    for axis, n in enumerate(shape):
        place = np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)])
        near += (place < min(8, n // 4)) | (place >= n - min(8, n // 4))
        half = half * 2 + (place >= n // 2) if n >= 16 else half + 0 * place
    for part, stratum, index in chance.pieces(shape):
        seen[index] += 1
        assert (near[index] == stratum).all()
        assert (half[index] == part).all()
    assert (seen == 1).all()
    mask = np.random.default_rng(5).random(shape) < 0.3
    counted = chance.strata(shape, mask)
    assert counted.sum() == mask.sum()
    assert (chance.strata(shape).sum(axis=0) == np.bincount(near.reshape(-1), minlength=4)).all()
    assert (counted.sum(axis=0) == np.bincount(near[mask], minlength=4)).all()


def test_what_lies_at_the_border_is_scaled_with_the_border():
    small, large = (40, 40, 40), (100, 80, 60)

    def shell(shape):
        mask = np.ones(shape, bool)
        mask[8:-8, 8:-8, 8:-8] = False
        return mask

    voxels = chance.strata(small)
    scaled = chance._scaled(chance.strata(small, shell(small)), voxels, chance.strata(large).sum(axis=0))
    assert scaled["mean"] == pytest.approx(shell(large).sum())
    assert scaled["low"] <= scaled["mean"] <= scaled["high"]


def test_the_interval_is_students():
    rng = np.random.default_rng(6)
    for parts in (2, 4, 8):
        assert pytest.approx(stats.t.ppf(0.975, parts - 1), abs=6e-4) == chance.STUDENT[parts - 1]
        drawn = rng.normal(50, 10, (4000, parts + 1))
        inside = 0
        for *known, another in drawn.tolist():
            found = chance._interval(known, 1e-9, parts)  # one more part varies as many times more than their mean
            assert found["mean"] == pytest.approx(np.mean(known))
            assert found["deviation"] == pytest.approx(np.std(known, ddof=1) / math.sqrt(parts))
            inside += found["low"] <= another <= found["high"]
        assert inside / 4000 == pytest.approx(0.95, abs=0.012)


def test_no_count_is_surer_than_its_square_root():
    none = chance._per_cube([0] * 8, 8)
    assert none["low"] == none["mean"] == 0
    assert none["high"] == pytest.approx(2.365 * math.sqrt(2) / 8)
    assert chance._per_cube([9] * 4, 4)["deviation"] == pytest.approx(6 / 4)
    assert chance._interval([3.0], 1.0, 1.0) == {"mean": 3.0, "deviation": None, "low": None, "high": None}


def test_a_run_adds_up_its_volumes():
    def entry(value, mean, half, unit):
        family = {"mean": mean, "deviation": half / 2, "low": mean - half, "high": mean + half}
        return chance._entry(value, {"isotropic": dict(family), "directional": dict(family)}, unit)

    one = {"a": entry(100, 40, 3, "volume"), "b": entry(5, 4, 3, "corner cube")}
    two = {"a": entry(30, 20, 4, "volume"), "b": entry(7, 6, 4, "corner cube"), "c": entry(1, 1, 1, "volume")}
    found = chance.over_files([one, two])
    assert (found["a"]["value"], found["a"]["low"], found["a"]["high"]) == (130, 55, 65)
    assert found["a"]["isotropic"]["deviation"] == 2.5
    assert found["a"]["verdict"] == found["a"]["isotropic"]["verdict"] == "above"
    assert (found["b"]["value"], found["b"]["low"], found["b"]["high"]) == (6, 2.5, 7.5)
    assert found["b"]["verdict"] == found["c"]["verdict"] == "within"
    assert chance.over_files([]) == {}


def test_a_tally_counts_what_the_masks_hold():
    rng = np.random.default_rng(7)
    probability = ndimage.gaussian_filter(rng.random((40, 40, 40)), 2)
    probability = ((probability - probability.min()) / np.ptp(probability) * 65_535).astype(np.uint16)

    def masks(p):
        return p > 50_000, p > 45_000, ndimage.binary_opening(p > 45_000)

    unknown = rng.random(probability.shape) < 0.1
    found = chance.tally(Engine(Meter(law), (64, 64, 64), 1), probability, masks, 55_000, unknown)
    anchored, calibrated, final = masks(probability)
    bends = counters.anomalies(Engine(Meter(law), (64, 64, 64), 1), probability)
    expected = {
        "pixels_anchor_detected": anchored.sum(),
        "pixels_papyrus_without_anchor": (calibrated & ~anchored).sum(),
        "pixels_active_calibrated": calibrated.sum(),
        "pixels_active_before_cleaning": (calibrated | anchored).sum(),
        "pixels_active_final": final.sum(),
        "pixels_final_anchored": (final & anchored).sum(),
        "golden_before_cleaning": ((probability > 55_000) & (calibrated | anchored)).sum(),
        "golden_nonce_detected": ((probability > 55_000) & final).sum(),
        "unknown_discoveries": (unknown & anchored).sum(),
        "anomalies_detected": bends.voxels,
        "anomaly_clusters": bends.clusters,
    }
    assert {name: counted.sum() for name, counted in found.scaled.items()} == expected
    eighth = masks(probability[:20, :20, 20:])[2]
    assert found.cubes["materials_detected"][1] == ndimage.label(eighth, np.ones((3, 3, 3)))[1]
    assert len(found.cubes["largest_component"]) == 8


# ------------------------------------------------------------------ what it is for
def solved(grey, **changes):
    engine = Engine(Meter(backend.select("cpu")[0]), (64, 512, 512), 2)
    settings = Settings(neuron=NeuronSettings(samples=16_384), **changes)
    found = solve.solve(grey, engine, settings, solve.Story("a", lambda _: None, engine), None)
    box = Box((0, 0, 0), grey.shape)
    volume = Volume(Source("a", None, ()), grey, box, "uint8", None, None, "", grey.size)
    counted = metrics.volume_counters(volume, found, engine, settings, None)
    return counted, {alert.code for alert in metrics.volume_alerts("a", found, counted)}


def noise(size, sigma, seed):
    grey = np.random.default_rng(seed).standard_normal((size, size, size))
    grey = ndimage.gaussian_filter(grey, sigma) if sigma else grey
    return np.clip(np.rint(110 + 35 * (grey - grey.mean()) / grey.std()), 0, 255).astype(np.uint8)


def phase_randomised(grey, seed):
    """The volume's spectrum and histogram with the phases of noise."""
    white = np.fft.rfftn(np.random.default_rng(seed).standard_normal(grey.shape))
    field = np.fft.irfftn(np.abs(np.fft.rfftn(grey.astype(float))) * white / np.abs(white), grey.shape, axes=(0, 1, 2))
    values = np.empty(grey.size, np.uint8)
    values[np.argsort(field.reshape(-1), kind="stable")] = np.sort(grey.reshape(-1))
    return values.reshape(grey.shape)


def is_chance(counted, alerts):
    """Most counters within, none far outside, and the alert."""
    told = counted["expected_by_chance"]
    assert counted["pixels_active_before_cleaning"] > 0
    assert all(told["pixels_active_before_cleaning"][family]["mean"] > 0 for family in FAMILIES)
    outside = {name: one for name, one in told.items() if one["verdict"] != "within"}
    assert len(outside) <= 0.4 * len(told), "white noise has six: its surrogates are 3 % rougher"
    for name, one in outside.items():
        far = 2.5 if name.startswith("golden") else 1.4  # the golden tail is the heaviest, and varies most
        assert 0.85 * one["low"] <= one["value"] <= far * one["high"], name
    assert "NO_SURFACE" in alerts


def stands_out(counted, alerts):
    told = counted["expected_by_chance"]
    assert told["anomalies_detected"]["value"] > 1.25 * told["anomalies_detected"]["high"]
    assert told["golden_nonce_detected"]["value"] > 3 * told["golden_nonce_detected"]["isotropic"]["high"]
    assert "NO_SURFACE" not in alerts


@pytest.mark.parametrize("sigma", [0, 2])
def test_noise_is_chance(sigma):
    is_chance(*solved(noise(64, sigma, 1)))


def test_a_phase_randomised_phantom_is_chance_and_the_phantom_is_not():
    grey = inner(1, 96)
    stands_out(*solved(grey))
    is_chance(*solved(phase_randomised(grey, 1)))


@pytest.mark.long
@pytest.mark.parametrize("sigma", [0, 1, 2, 4])
def test_noise_of_any_smoothness_is_chance(sigma):
    for seed in (1, 2):
        is_chance(*solved(noise(128, sigma, seed)))


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_phantom_stands_out_and_its_phase_randomised_twin_does_not(seed):
    grey = inner(seed, 160)
    stands_out(*solved(grey))
    is_chance(*solved(phase_randomised(grey, seed)))


def test_one_part_has_no_spread_and_says_so():
    counted, alerts = solved(noise(12, 1, 3))
    told = counted["expected_by_chance"]
    assert told["pixels_active_final"]["verdict"] is None
    assert told["pixels_active_final"]["isotropic"]["high"] is None
    assert "NO_SURFACE" not in alerts
