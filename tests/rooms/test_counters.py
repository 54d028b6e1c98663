"""Counters: each against a brute-force reading of its sentence."""

import numpy as np
import pytest
from scipy import ndimage

from cpu_fallback import law
from gpu_nx47 import anomalies, bits, counters, engine, golden, tables, v122
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine
from gpu_nx47.stats import Histogram

CUBE = np.ones((3, 3, 3), bool)


def moments_of(mask):
    labels, count = law.label(mask, connectivity=26)
    return law.component_moments(labels, count=count)


def blocks(shape, *boxes):
    mask = np.zeros(shape, bool)
    for start, size in boxes:
        mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def test_a_shape_seen_twice_is_one_pattern():
    plate, rod = (2, 12, 12), (12, 2, 2)
    one = blocks((40, 40, 40), ((1, 1, 1), plate))
    assert counters.patterns([moments_of(one)]) == [0]
    two = blocks((40, 40, 40), ((1, 1, 1), plate), ((20, 20, 20), plate))
    assert counters.patterns([moments_of(two)]) == [1]
    turned = blocks((40, 40, 40), ((1, 1, 1), plate), ((20, 1, 20), (12, 2, 12)))
    assert counters.patterns([moments_of(turned)]) == [0], "another orientation is another shape"
    four = two | blocks((40, 40, 40), ((5, 30, 5), rod), ((20, 5, 5), rod))
    assert counters.patterns([moments_of(four)]) == [2]
    nothing = np.zeros((4, 4, 4), bool)
    assert counters.patterns([moments_of(nothing)]) == [0]
    assert counters.patterns([moments_of(mask) for mask in (two, nothing, one, four)]) == [1, 0, 0, 2]


def test_materials_by_class_adds_up_to_the_volume():
    grey = np.repeat(np.array([60, 120, 220], np.uint8), [500, 300, 50])
    found = counters.materials_by_class(np.bincount(grey, minlength=256), 77)
    assert found == {"air": 500, "papyrus": 300, "dense": 50, "frame": 77}


def test_golden_points_are_the_best_and_apart():
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 65_536, (20, 22, 24)).astype(np.uint16)
    mask = rng.random(probability.shape) < 0.5
    number, points = golden.golden_points(probability, mask, 60_000, 0, (3, 3, 3))
    assert number == int((mask & (probability > 60_000)).sum())
    place = np.array([[p["z"] - 3, p["y"] - 3, p["x"] - 3] for p in points])
    distance = np.sqrt(((place[:, None] - place[None]) ** 2).sum(-1))
    assert (distance[~np.eye(len(place), dtype=bool)] >= golden.GOLDEN_SPACING).all()
    assert points[0]["p"] * 65_535 == pytest.approx(int(probability[mask].max()))
    # Every golden voxel is a point or lies near a better one.
    for z, y, x in np.argwhere(mask & (probability > 60_000)):
        near = np.sqrt(((place - (z, y, x)) ** 2).sum(1)) < golden.GOLDEN_SPACING
        assert probability[tuple(place[near].T)].max() >= probability[z, y, x]
    assert golden.golden_points(probability, mask, 60_000, 11, (3, 3, 3))[1] == points[:11]


def test_anomalies_against_numpy():
    rng = np.random.default_rng(1)
    probability = rng.integers(20_000, 40_000, (14, 15, 16)).astype(np.uint16)
    probability[7, 7, 7] = 65_535
    probability[3, 3, 12] = 0
    logit = tables.logit_table()[probability].astype(np.int64)
    bend = (ndimage.laplace(logit, mode="reflect") + 8) >> 4
    bend = bend.clip(-32_768, 32_767)
    median = np.quantile(bend, 0.5, method="inverted_cdf")
    mad = max(1, np.quantile(np.abs(bend - median), 0.5, method="inverted_cdf"))
    expected = np.abs(bend - median) > 6 * 1.4826 * mad
    for tile in ((64, 64, 64), (5, 6, 7)):
        found = anomalies.anomalies_of(Engine(Meter(law), tile, 2), probability)
        assert found.voxels == int(expected.sum()) > 0
        assert found.clusters == ndimage.label(expected, CUBE)[1]


def test_anomalies_of_tiles_that_are_no_slices_are_the_same(monkeypatch):
    """Where a GPU has no memory, tiles are halved across any axis."""
    probability = np.random.default_rng(5).integers(0, 65_536, (9, 12, 13)).astype(np.uint16)
    probability[:, 2:9, 3:9] = 30_000
    volume = Engine(Meter(law), (64, 64, 64), 1)
    whole = anomalies.anomalies_of(volume, probability)
    assert whole.voxels > 0
    monkeypatch.setattr(anomalies, "tiles", lambda shape, _: engine.tiles(shape, (5, 6, 7)))
    cut = anomalies.anomalies_of(volume, probability)
    assert cut.limits == whole.limits
    for name in ("index", "bend", "cluster"):
        assert np.array_equal(getattr(cut, name), getattr(whole, name))


@pytest.mark.parametrize("tile", [(64, 64, 64), (5, 6, 7)])
def test_bends_that_are_held_and_those_computed_twice_give_the_same_anomalies(monkeypatch, tile):
    probability = np.random.default_rng(6).integers(0, 65_536, (9, 12, 13)).astype(np.uint16)
    probability[:, 2:9, 3:9] = 30_000
    found, asked = [], []
    for most in (probability.size, probability.size - 1):
        monkeypatch.setattr(anomalies, "HELD_VOXELS", most)
        meter = Meter(law)
        found.append(anomalies.anomalies_of(Engine(meter, tile, 2), probability))
        asked.append(meter.asked["laplacian"])
    held, twice = found
    assert held.voxels > 0
    assert held.limits == twice.limits
    for name in ("index", "bend", "cluster"):
        assert np.array_equal(getattr(held, name), getattr(twice, name))
    assert asked[1] == 2 * asked[0]


def test_a_flat_probability_has_no_anomaly():
    found = anomalies.anomalies_of(Engine(Meter(law), (64, 64, 64), 1), np.full((5, 5, 5), 1000, np.uint16))
    assert (found.voxels, found.clusters) == (0, 0)


def test_unknown_voxels_are_anchored_and_lie_in_cells_the_reference_lacks():
    reference = np.zeros(65_536, np.int64)
    reference[[0, 1, 2]] = [999_999, 9, 11]
    rare = counters.rare_cells(reference)
    assert rare[[0, 1, 2, 3]].tolist() == [False, True, False, True]
    cells = np.random.default_rng(5).integers(0, 4, (3, 7, 70)).astype(np.uint16)
    mask = np.random.default_rng(6).random(cells.shape) < 0.3
    found = counters.unknown_voxels(cells, rare, bits.Packed.of(mask))
    assert found.tolist() == np.flatnonzero(mask & ((cells == 1) | (cells == 3))).tolist()


def test_cell_tables_put_each_quarter_in_its_place():
    codes = np.arange(400)
    histogram = Histogram(np.bincount(codes, minlength=65_536))
    built = counters.cell_tables({"b": histogram, "a": histogram})
    first, second = built["a"], built["b"]
    assert [int((first[:400] == q).sum()) for q in range(4)] == [100] * 4
    assert (second == first << 2).all()


def test_references_are_the_volumes_before_that_selected_alike():
    codes = np.arange(400)
    histograms = {n: Histogram(np.bincount(codes, minlength=65_536)) for n in ("a", "b")}
    references = counters.References()
    tables_of = references.tables(histograms)
    cells = (tables_of["a"][codes] + tables_of["b"][codes]).reshape(10, 10, 4)  # both in one quarter: 4 of 16 cells
    tally = np.bincount(cells.reshape(-1), minlength=65_536)
    assert references.rare(["a", "b"]) is None
    references.add(["a", "b"], tally)
    rare = references.rare(["b", "a"])
    assert rare is not None
    assert not rare[cells].any()
    crossed = (tables_of["a"][codes] + tables_of["b"][codes[::-1]]).reshape(cells.shape)
    assert rare[crossed].all()
    references.add(["a", "b"], np.bincount(crossed.reshape(-1), minlength=65_536))
    assert not references.rare(["a", "b"])[crossed].any()
    assert references.tables({"a": Histogram(np.roll(histograms["a"].counts, 9)), "b": histograms["b"]}) is tables_of
    assert references.rare(["a"]) is None
    assert references.tables({str(k): histograms["a"] for k in range(9)}) is None


def test_border_share_of_an_even_mask_is_as_expected():
    mask = np.ones((20, 20, 20), bool)
    share, expected = counters.border_share(mask, 3)
    assert share == expected == pytest.approx(1 - 14**3 / 20**3)
    shell = mask.copy()
    shell[3:-3, 3:-3, 3:-3] = False
    assert counters.border_share(shell, 3)[0] == 1.0


# ------------------------------------------------------------------ V122's own definitions
@pytest.mark.parametrize("seed", range(5))
def test_v122_gives_its_constants_on_any_noise(seed):
    """11, 52 and 3072 on every 320x320 image of noise: constants of the image size, and marked as such."""
    noise = np.random.default_rng(seed).random((1, 320, 320))
    mask = noise >= np.quantile(noise, 0.97)
    block = v122.block(v122.Counts.of(noise, mask, one=1.0), materials=5, features=6, elapsed_s=2.0)
    assert block["golden_nonce_detected"]["value"] == 11
    assert block["anomalies_detected"]["value"] == 52
    assert block["active_pixels"]["value"] == 3072
    assert block["golden_nonce_detected"]["fixed_by_construction"]
    assert block["anomalies_detected"]["fixed_by_construction"]
    assert block["unknown_discoveries"]["value"] == int((noise > 0.9995).sum())
    assert block["patterns_detected"]["value"] == 5
    assert block["calc_ops_estimated"]["value"] == 320 * 320 * (12 * 6 + 200)
    assert block["calc_per_sec"]["value"] == block["calc_ops_estimated"]["value"] / 2.0


def test_v122_quantile_counts_as_numpy_does():
    rng = np.random.default_rng(9)
    for values in (rng.random((3, 40, 41)), rng.integers(0, 50, (3, 40, 41)).astype(np.uint16)):
        for quantile in (0.0, 0.5, 0.9995, 0.9999, 1.0):
            expected = values > np.quantile(values, quantile)
            parts = [lambda _, part=part: part for part in (values[:1], values[1:])]
            limit, number = v122._above_quantile(parts, values.size, quantile)
            assert ((values >= limit) == expected).all()
            assert number == expected.sum()


def test_v122_counts_the_same_slab_by_slab(monkeypatch):
    codes = np.random.default_rng(3).integers(0, 65_536, (9, 12, 13)).astype(np.uint16)
    mask = codes > 60_000
    whole = v122.Counts.of(codes, mask, one=65_535)
    monkeypatch.setattr(engine, "SLAB_VOXELS", 400)
    bends = [part(None) for part in v122._bends(codes)]
    assert (np.concatenate(bends) == np.abs(v122.laplacian(codes))).all()
    assert v122.Counts.of(codes, mask, one=65_535) == whole
    counts = np.bincount(codes.reshape(-1), minlength=65_536)
    assert v122.Counts.of(codes, mask, one=65_535, counts=counts) == whole
    assert v122.Counts.of(codes, mask, one=65_535, counts=counts, kernel=sixteenths) == whole
    assert whole.golden == int((codes > np.quantile(codes, 0.9999))[mask].sum())


def sixteenths(codes):
    return law.laplacian(codes, shift=v122.SHIFT)


@pytest.mark.parametrize("most", [40, 700, 65_536])
def test_v122_misses_no_bend_where_the_kernel_tells_which_to_look_at(most, monkeypatch):
    monkeypatch.setattr(engine, "SLAB_VOXELS", 200)
    codes = np.random.default_rng(most).integers(0, most, (9, 12, 13)).astype(np.uint16)
    bends = np.abs(v122.laplacian(codes))
    for above in np.unique(bends)[:-1].tolist():
        found = np.concatenate([part(above).reshape(-1) for part in v122._bends(codes, sixteenths)])
        assert (np.sort(found[found > above]) == np.sort(bends[bends > above])).all()
    looked_at = sum(part(int(bends.max()) - 16).size for part in v122._bends(codes, sixteenths))
    assert looked_at < codes.size / 4 or most == 40


def test_v122_laplacian_is_scipys():
    values = np.random.default_rng(2).integers(0, 65_536, (4, 6, 5)).astype(np.uint16)
    assert (v122.laplacian(values) == ndimage.laplace(values.astype(np.int64), mode="nearest")).all()
