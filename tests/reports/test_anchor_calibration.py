"""Anchor against calibration: exact counts, the same on every backend, and what the mask would be without either."""

import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import counters, engine, metrics, segmentation
from gpu_nx47.backend import Meter
from gpu_nx47.settings import SegmentSettings, Settings

DUST = SegmentSettings(dust=12, closing=(1, 1, 0))


def cleaned(backend):
    return lambda mask: backend.to_host(segmentation.clean(backend, backend.to_device(mask), DUST))


def draw(seed, shape=(9, 40, 41)):
    """Return an anchored and a calibrated mask of small blobs, some of them dust, and the cleaned union."""
    rng = np.random.default_rng([88, seed])
    both, *own = (law.dilation(rng.random(shape) < 0.003, radius=(1, 1, 0), shape="box") for _ in range(3))
    anchored, calibrated = both | own[0], both | own[1]
    return segmentation.Masks(anchored, calibrated, segmentation.clean(law, anchored | calibrated, DUST))


@pytest.mark.parametrize("seed", range(4))
def test_the_counts_are_those_of_the_definition(seed):
    masks = draw(seed)
    a, c, f = masks.hysteresis, masks.calibrated, masks.final
    found = counters.anchor_calibration(a, c, f, cleaned(law))
    assert a.any()
    assert c.any()
    assert (a != c).any()
    assert found["both"] == sum(x and y for x, y in zip(a.flat, c.flat, strict=True))
    assert found["either"] == a.sum() + c.sum() - found["both"]
    assert found["jaccard"] == found["both"] / found["either"]
    assert (found["final"], found["final_anchored"]) == (f.sum(), f[a].sum())
    assert found["final_calibrated"] == f[c].sum()
    assert found["share_anchored"] == found["final_anchored"] / found["final"]
    assert found["share_calibrated"] == found["final_calibrated"] / found["final"]


@pytest.mark.parametrize("seed", range(4))
def test_without_either_is_what_segmentation_gives_without_it(seed):
    masks = draw(seed)
    found = counters.anchor_calibration(masks.hysteresis, masks.calibrated, masks.final, cleaned(law))
    for key, mask in (("anchor", masks.calibrated), ("calibration", masks.hysteresis)):
        codes = np.where(mask, np.uint16(60_000), np.uint16(0))
        limits = segmentation.Thresholds(weak=60_000, strong=60_000, source="given")
        alone = segmentation.segment(law, codes, limits, 60_000, DUST).final
        assert found[f"final_without_{key}"] == alone.sum()
        assert alone.sum() < masks.final.sum()


def test_twin_and_law_and_any_slab_agree(monkeypatch):
    twin = pytest.importorskip("cpu_fallback.twin", reason="Numba is not installed")
    masks = draw(7)
    three = masks.hysteresis, masks.calibrated, masks.final
    first = counters.anchor_calibration(*three, cleaned(law))
    assert counters.anchor_calibration(*three, cleaned(twin)) == first
    monkeypatch.setattr(engine, "SLAB_VOXELS", 500)
    assert len(list(engine.slabs(masks.final.shape))) > 5
    assert counters.anchor_calibration(*three, cleaned(law)) == first
    assert all(type(value) in (int, float) for value in first.values())


def test_the_union_is_not_cleaned_again():
    masks = draw(3)
    union = masks.hysteresis | masks.calibrated
    asked = Settings(segment=DUST, backend="law")
    clean = metrics._cleaner(engine.Engine(Meter(law), asked.tile, 1), asked, masks.final, int(union.sum()))
    assert clean(union) is masks.final
    for mask in (masks.hysteresis, masks.calibrated):
        assert np.array_equal(clean(mask), cleaned(law)(mask))


def test_nothing_found_is_finite():
    none = np.zeros((2, 3, 4), np.bool_)
    found = counters.anchor_calibration(none, none, none, cleaned(law))
    assert found["jaccard"] == 1.0
    assert found["share_anchored"] == found["share_calibrated"] == 0.0
    assert found["final_without_anchor"] == found["final_without_calibration"] == 0
