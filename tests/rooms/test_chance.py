"""Chance: surrogates keep histogram and spectrum and lose what is sharp; counts scale as they should; alerts follow."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage, stats
from sheetless import inner, noise

from cpu_fallback import law
from gpu_nx47 import anomalies, backend, chance, metrics, null, solve, tables, tally
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.stats import Histogram
from gpu_nx47.volume import Box, Source, Volume

FAMILIES = tuple(null.FAMILIES)


def histogram_of(grey):
    return np.bincount(grey.reshape(-1), minlength=256)


def surrogates(grey, family, seed=47):
    return null.surrogates(grey, histogram_of(grey), seed, family)


def places(draw, length, n):
    """Return which of an axis' n voxels a piece takes."""
    if n >= length + null.PLACES:
        return draw % (n - length + 1) + np.arange(length)
    return np.pad(np.arange(n), (0, n + length), mode="symmetric")[draw % (2 * n) :][:length]


# ------------------------------------------------------------------ surrogates
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 9, 11), (1, 30, 100), (5, 70, 48), (100, 60, 30), (130, 47, 90)])
def test_pieces_are_summed_as_if_each_were_turned_by_itself(shape, family):
    grey = np.random.default_rng(list(shape)).integers(0, 256, shape).astype(np.uint8)
    turns = null._turns(shape) if family == "isotropic" else null.ENDS
    draws = tables.draws(47, null.FAMILIES[family], 0, null.COPIES * 4).reshape(null.COPIES, 4).tolist()
    edges = [min(null.EDGE, n) for n in shape]
    expected = np.zeros(edges, np.int64)
    for number, (*start, turn) in enumerate(draws):
        axes, steps = turns[turn % len(turns)]
        lengths = (edges[axes.index(axis)] for axis in range(3))
        piece = grey[np.ix_(*map(places, start, lengths, shape))].transpose(axes)[:: steps[0], :: steps[1], :: steps[2]]
        expected += (1 if number % 2 else -1) * piece.astype(np.int64)
    assert np.array_equal(null._sum(grey, draws, turns), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(50, 60, 70), (1, 30, 31), (200, 4, 97), (3, 3, 3)])
def test_a_surrogate_has_the_volumes_grey_values(family, shape):
    grey = np.random.default_rng(1).integers(40, 90, shape, dtype=np.uint8)
    fake = surrogates(grey, family)
    assert fake.shape == (8, *(min(48, n) for n in shape))
    # The count of each value and below, to a voxel: as many as the share of the volume's.
    share = np.cumsum(histogram_of(grey)) / grey.size
    assert np.abs(np.cumsum(histogram_of(fake)) - share * fake.size).max() <= 0.5
    assert (fake == surrogates(grey, family)).all()
    assert grey.size < 100 or (fake != surrogates(grey, family, 48)).any()
    assert grey.size < 100 or all((one != other).any() for one, other in itertools.combinations(fake, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_surrogate_has_the_volumes_variance_in_each_band_and_none_of_its_places(family):
    grey = inner(2, 112)
    fakes = surrogates(grey, family)
    same = [np.corrcoef(fake.reshape(-1), grey[:48, :48, :48].reshape(-1))[0, 1] for fake in fakes]
    assert abs(np.mean(same)) < 0.2  # parallel sheets, laid as they lay, meet by chance

    def bands(array):
        smooth = [array.astype(float), *(ndimage.gaussian_filter(array.astype(float), s) for s in (1, 2, 4))]
        return [(a - b).var() for a, b in itertools.pairwise(smooth)]

    for here, there in zip(bands(grey), np.mean([bands(fake) for fake in fakes], axis=0), strict=True):
        assert 0.5 < there / here < 2.0


def test_what_changes_slowly_parts_the_surrogates_and_makes_none_of_them_rougher():
    slow = 120 + 50 * np.sin(np.arange(128) * 2 * np.pi / 200)[:, None, None] * np.ones((128, 128, 128))
    grey = (slow + np.random.default_rng(8).normal(0, 4, slow.shape)).clip(0, 255).astype(np.uint8)

    def fine(array):
        return (array - ndimage.gaussian_filter(array, 1)).std()

    found = [surrogates(grey, "directional", seed).astype(float) for seed in range(3)]
    assert np.mean([fakes.mean(axis=(1, 2, 3)).std() for fakes in found]) > 15
    assert np.mean([fine(fake) for fakes in found for fake in fakes]) < 2 * fine(grey.astype(float))


def test_white_noise_has_surrogates_that_are_white():
    grey = np.random.default_rng(9).integers(0, 256, (96, 96, 96), dtype=np.uint8)
    for family in FAMILIES:
        fakes = surrogates(grey, family).astype(float) - 127.5
        for axis in (1, 2, 3):
            lag = (np.take(fakes, range(47), axis) * np.take(fakes, range(1, 48), axis)).mean() / fakes.var()
            assert abs(lag) < 0.005, "mirrored pieces have 0.01 and more"


def test_only_the_directional_family_keeps_the_lay_of_the_sheets():
    wave = 120 + 50 * np.sin(np.arange(80) * 2 * np.pi / 13.7)
    layers = np.random.default_rng(3).normal(0, 8, (80, 80, 80)) + wave[:, None, None]
    grey = layers.clip(0, 255).astype(np.uint8)

    def across(array):
        square = [(np.diff(ndimage.gaussian_filter(array.astype(float), 2), axis=a) ** 2).mean() for a in range(3)]
        return square[0] / sum(square)

    assert across(grey) > 0.95
    found = {family: np.mean([across(fake) for fake in surrogates(grey, family)]) for family in FAMILIES}
    assert found["directional"] > 0.8
    assert found["isotropic"] < 0.6


def test_only_the_directional_family_keeps_a_slanting_direction():
    """Pieces mirrored along single axes would not: half of them would slant the other way."""
    y, x = np.mgrid[:80, :80]
    wave = 120 + 50 * np.sin((y + x) * 2 * np.pi / 19.3)
    grey = (np.random.default_rng(3).normal(0, 8, (80, 80, 80)) + wave).clip(0, 255).astype(np.uint8)

    def slant(array):
        _, gy, gx = np.gradient(ndimage.gaussian_filter(array.astype(float), 2))
        return 2 * (gy * gx).mean() / (gy * gy + gx * gx).mean()

    assert slant(grey) > 0.95
    found = {family: np.mean([slant(fake) for fake in surrogates(grey, family)]) for family in FAMILIES}
    assert found["directional"] > 0.8
    assert abs(found["isotropic"]) < 0.5


def test_pieces_are_runs_of_the_mirrored_axis():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for axis, n in enumerate(array.shape):
        for draw, length in itertools.product(range(3 * n), range(1, n + 1)):
            index = places(draw, length, n)
            assert (null._run(array, axis, draw, length) == array.take(index, axis=axis)).all()
    long = np.arange(40, dtype=np.uint8).reshape(40, 1, 1)
    found = {tuple(null._run(long, 0, draw, 5).reshape(-1).tolist()) for draw in range(99)}
    assert found == {tuple(range(k, k + 5)) for k in range(36)}


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
def test_pieces_part_a_volume_by_nearness_to_the_border(shape):
    seen = np.zeros(shape, int)
    near = np.zeros(shape, int)
    for axis, n in enumerate(shape):
        place = np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)])
        near += (place < min(8, n // 4)) | (place >= n - min(8, n // 4))
    for stratum, index in tally.pieces(shape):
        seen[index] += 1
        assert (near[index] == stratum).all()
    assert (seen == 1).all()
    mask = np.random.default_rng(5).random(shape) < 0.3
    assert (tally.strata(shape) == np.bincount(near.reshape(-1), minlength=4)).all()
    assert (tally.strata(shape, mask) == np.bincount(near[mask], minlength=4)).all()


def test_what_lies_at_the_border_is_scaled_with_the_border():
    small, large = (40, 40, 40), (100, 80, 60)

    def shell(shape):
        mask = np.ones(shape, bool)
        mask[8:-8, 8:-8, 8:-8] = False
        return mask

    counts = np.stack([tally.strata(small, shell(small))] * 8)
    scaled = chance._scaled(counts, tally.strata(small), tally.strata(large))
    assert scaled["mean"] == pytest.approx(shell(large).sum())
    assert scaled["low"] <= scaled["mean"] <= scaled["high"]


def test_the_interval_is_students_and_covers_what_varies_by_factors():
    assert pytest.approx(stats.t.ppf(0.975, 7), abs=6e-4) == chance.STUDENT
    rng = np.random.default_rng(6)
    for drawn, share in ((rng.normal(500, 100, (4000, 9)), 0.955), (rng.lognormal(5, 0.7, (4000, 9)), 0.96)):
        inside = 0
        for *known, another in drawn.tolist():
            found = chance._interval(known, 1e-9, 8)  # one more surrogate varies as many times more than their mean
            assert found["mean"] == pytest.approx(np.mean(known))
            assert found["deviation"] == pytest.approx(np.std(known, ddof=1) / math.sqrt(8))
            inside += found["low"] <= another <= found["high"]
        assert inside / 4000 == pytest.approx(share, abs=0.02)


def test_no_count_is_surer_than_its_square_root_and_no_interval_narrower_than_the_likeness():
    none = chance._per_cube([0] * 8, 8)
    assert none["low"] == none["mean"] == 0
    assert none["high"] == pytest.approx(1.5 * 2.365 * math.sqrt(2) / 8)
    assert chance._per_cube([9] * 4, 4)["deviation"] == pytest.approx(6 / 4)
    sure = chance._interval([1e9] * 8, 1.0, 1.0)
    assert sure["low"] == pytest.approx(0.95e9)
    assert sure["high"] == pytest.approx(1.05125e9)


def test_what_is_usual_is_weighted_to_the_volumes_border():
    """Of a large volume the inside decides, though most of a small cube is border."""
    bend = np.full((48, 48, 48), 900, np.int16)
    bend[8:-8, 8:-8, 8:-8] = np.random.default_rng(7).integers(-20, 20, (32, 32, 32))
    alone = anomalies.usual(np.bincount(bend.reshape(-1).astype(int) + 32_768, minlength=65_536))
    weighted = anomalies.usual(tally.bends_counts([bend], tally.strata((400, 400, 400))))
    assert alone.median == 900
    assert -20 < weighted.median < 20
    assert weighted.reach < 30 * anomalies.ROBUST_Z


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

    rare = rng.random(65_536) < 0.1
    cells = rng.integers(0, 65_536, probability.shape).astype(np.uint16)
    engine = Engine(Meter(law), (64, 64, 64), 1)
    fakes = [
        SimpleNamespace(probability=p, cells=cells, edges=(p.max(), 1)) for p in (probability, probability[::-1].copy())
    ]
    found = tally.family(engine, fakes, masks, 55_000, rare, tally.strata(probability.shape))
    anchored, calibrated, final = masks(probability)
    bends = anomalies.anomalies_of(engine, probability)
    expected = {
        "pixels_anchor_detected": anchored.sum(),
        "pixels_papyrus_without_anchor": (calibrated & ~anchored).sum(),
        "pixels_active_calibrated": calibrated.sum(),
        "pixels_active_before_cleaning": (calibrated | anchored).sum(),
        "pixels_active_final": final.sum(),
        "pixels_final_anchored": (final & anchored).sum(),
        "golden_before_cleaning": ((probability > 55_000) & (calibrated | anchored)).sum(),
        "golden_nonce_detected": ((probability > 55_000) & final).sum(),
        "unknown_discoveries": (rare[cells] & anchored).sum(),
        "anomalies_detected": bends.voxels,
        "anomaly_clusters": bends.clusters,
    }
    assert {name: counted[0].sum() for name, counted in found.scaled.items()} == expected
    corner = masks(fakes[1].probability[:26, :26, 14:].copy())[2]  # the second surrogate's, two thirds of an edge
    assert found.cubes["materials_detected"][1] == ndimage.label(corner, np.ones((3, 3, 3)))[1]
    assert len(found.cubes["largest_component"]) == 2
    assert found.edges == [fake.edges for fake in fakes]


# ------------------------------------------------------------------ what it is for
def solved(grey, **changes):
    engine = Engine(Meter(backend.select("cpu")[0]), (64, 512, 512), 2)
    settings = Settings(neuron=NeuronSettings(samples=16_384), **changes)
    found = solve.solve(grey, engine, settings, solve.Story("a", lambda _: None, engine), None)
    box = Box((0, 0, 0), grey.shape)
    volume = Volume(Source("a", None, ()), grey, box, "uint8", None, None, "", grey.size)
    counted, _ = metrics.volume_counters(volume, found, engine, settings, None)
    return counted, {alert.code for alert in metrics.volume_alerts("a", found, counted)}


def phase_randomised(grey, seed):
    """The volume's spectrum and histogram with the phases of noise."""
    white = np.fft.rfftn(np.random.default_rng(seed).standard_normal(grey.shape))
    field = np.fft.irfftn(np.abs(np.fft.rfftn(grey.astype(float))) * white / np.abs(white), grey.shape, axes=(0, 1, 2))
    values = np.empty(grey.size, np.uint8)
    values[np.argsort(field.reshape(-1), kind="stable")] = np.sort(grey.reshape(-1))
    return values.reshape(grey.shape)


def is_chance(counted, alerts):
    """Every counter within its interval but for one at most, and that one near it; the golden ones count as one."""
    told = counted["expected_by_chance"]
    assert counted["pixels_active_before_cleaning"] > 0
    assert all(told["pixels_active_before_cleaning"][family]["mean"] > 0 for family in FAMILIES)
    outside = {name: one["value"] / one["high"] for name, one in told.items() if one["verdict"] != "within"}
    assert len({name.split("_")[0] for name in outside}) <= 1, outside
    assert all(times < 2 for times in outside.values())
    assert "NO_SURFACE" in alerts


def stands_out(counted, alerts):
    told = counted["expected_by_chance"]
    assert told[chance.EVIDENCE]["value"] > 1.5 * told[chance.EVIDENCE]["high"]
    assert all(one["mean"] < told[chance.EVIDENCE]["high"] for one in (told[chance.EVIDENCE][f] for f in FAMILIES))
    assert told["anomalies_detected"]["verdict"] == "above"
    assert "NO_SURFACE" not in alerts


@pytest.mark.same_bits
@pytest.mark.parametrize("sigma", [0, 2])
def test_noise_is_chance(sigma):
    is_chance(*solved(noise(96, sigma, 1)))


@pytest.mark.same_bits
@pytest.mark.parametrize("seed", [1, 2])
def test_evenly_spread_noise_too_has_active_voxels_to_compare(seed):
    """Hardly any of its voxels reaches a face."""
    counted, alerts = solved(np.random.default_rng(seed).integers(0, 256, (64, 64, 64), dtype=np.uint8))
    one = counted["expected_by_chance"]["pixels_active_before_cleaning"]
    assert one["value"] == counted["pixels_active_before_cleaning"] > 0
    assert all(one[family]["mean"] > 0 for family in FAMILIES)
    assert one["verdict"] != "above"
    assert "NO_SURFACE" in alerts


@pytest.mark.same_bits
def test_a_phase_randomised_phantom_is_chance_and_the_phantom_is_not():
    grey = inner(2, 96)
    stands_out(*solved(grey))
    is_chance(*solved(phase_randomised(grey, 2)))


def near_chance(volumes):
    """Of each 100 sheetless volumes 95 are within: of two, one may lie above, but no counter far above its interval."""
    surprises = 0
    for counted, alerts in volumes:
        far = {n: one for n, one in counted["expected_by_chance"].items() if one["value"] > 2 * one["high"]}
        assert far == {}
        surprises += "NO_SURFACE" not in alerts
    assert surprises < len(volumes)


@pytest.mark.long
@pytest.mark.parametrize("sigma", [0, 1, 2, 4])
def test_noise_of_any_smoothness_is_chance(sigma):
    near_chance([solved(noise(128, sigma, seed)) for seed in (1, 2)])


@pytest.mark.long
@pytest.mark.parametrize("seeds", [(1, 2), (3, 4)])
def test_every_phantom_stands_out_and_its_phase_randomised_twin_does_not(seeds):
    phantoms = {seed: inner(seed, 160) for seed in seeds}
    for grey in phantoms.values():
        stands_out(*solved(grey))
    near_chance([solved(phase_randomised(grey, seed)) for seed, grey in phantoms.items()])


def test_even_a_small_volume_has_a_spread():
    told = solved(noise(12, 1, 3))[0]["expected_by_chance"]
    assert all(one["low"] <= one[family]["mean"] <= one["high"] for one in told.values() for family in FAMILIES)
    assert all(one["low"] < one["high"] for one in told.values())
