"""Anchor against calibration: exact counts, the same on every backend, and what the mask would be without either."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import counters, engine, segmentation
from gpu_nx47.backend import Meter
from gpu_nx47.settings import SegmentSettings
from gpu_nx47.spread import begun

DUST = SegmentSettings(dust=12, closing=(1, 1, 0))
WEAK, CALIBRATED, STRONG = 20_000, 40_000, 50_000
LIMITS = segmentation.Thresholds(weak=WEAK, strong=STRONG, source="given")


def draw(seed, shape=(9, 40, 41)):
    """Return a probability of small blobs, some of them dust: sure ones, the rim that they carry, and doubtful ones."""
    rng = np.random.default_rng([88, seed])
    sure, doubtful = (law.dilation(rng.random(shape) < 0.003, radius=(1, 1, 0), shape="box") for _ in range(2))
    rim = law.dilation(sure, radius=(0, 1, 1), shape="box")
    return np.select([sure, rim, doubtful], [60_000, 30_000, 45_000], 0).astype(np.uint16)


def cut(probability, backend=law, aside=None):
    """Return the masks, and the counts of how they agree."""
    masks = segmentation.cut_volume(Meter(backend), probability, LIMITS, CALIBRATED, DUST, aside)
    anchored, calibrated, final = masks.anchored.mask(), probability >= CALIBRATED, masks.final
    parts = {"final": final, "final_anchored": final & anchored, "final_calibrated": final & calibrated}
    rows = {name: mask.sum(axis=(1, 2)).tolist() for name, mask in parts.items()}
    return masks, counters.anchor_calibration(masks, rows)


@pytest.mark.parametrize("seed", range(4))
def test_the_counts_are_those_of_the_definition(seed):
    probability = draw(seed)
    masks, found = cut(probability)
    a, c, f = masks.anchored.mask(), probability >= CALIBRATED, masks.final
    assert np.array_equal(a, law.hysteresis(probability, weak=WEAK, strong=STRONG))
    assert np.array_equal(f, segmentation.clean(law, a | c, DUST))
    assert (a & ~c).any()
    assert (c & ~a).any()
    assert masks.voxels == {"anchored": a.sum(), "calibrated": c.sum(), "either": (a | c).sum()}
    assert found["both"] == sum(x and y for x, y in zip(a.flat, c.flat, strict=True))
    assert found["either"] == a.sum() + c.sum() - found["both"]
    assert found["jaccard"] == found["both"] / found["either"]
    assert (found["final"], found["final_anchored"]) == (f.sum(), f[a].sum())
    assert found["final_calibrated"] == f[c].sum()
    assert found["share_anchored"] == found["final_anchored"] / found["final"]
    assert found["share_calibrated"] == found["final_calibrated"] / found["final"]


@pytest.mark.parametrize("seed", range(4))
def test_without_either_is_what_the_cleaning_makes_of_the_other(seed):
    probability = draw(seed)
    masks, found = cut(probability)
    for key, mask in (("anchor", probability >= CALIBRATED), ("calibration", masks.anchored.mask())):
        alone = segmentation.clean(law, mask, DUST)
        assert found[f"final_without_{key}"] == alone.sum() < masks.final.sum()


def test_twin_and_law_and_any_slab_and_thread_agree(monkeypatch):
    twin = pytest.importorskip("cpu_fallback.twin", reason="Numba is not installed")
    probability = draw(7)
    masks, first = cut(probability)
    assert cut(probability, twin)[1] == first
    with ThreadPoolExecutor(1) as aside:
        beside, found = cut(probability, twin, aside)
    assert found == first
    assert beside.cleaning == masks.cleaning
    assert np.array_equal(beside.final, masks.final)
    monkeypatch.setattr(engine, "SLAB_VOXELS", 500)
    assert len(list(engine.slabs(probability.shape))) > 5
    assert cut(probability)[1] == first
    assert all(type(value) in (int, float) for value in first.values())


def test_who_asks_does_what_the_thread_beside_has_not_begun():
    probability, waits = draw(7), threading.Event()
    masks, first = cut(probability)
    with ThreadPoolExecutor(1) as aside:
        busy = aside.submit(waits.wait, 20)  # a thread that never comes to it
        beside, found = cut(probability, law, aside)
        waits.set()
        assert busy.result(), "it was waited for"
    assert found == first
    assert beside.cleaning == masks.cleaning

    with ThreadPoolExecutor(1) as aside:
        done, waits = [], threading.Event()
        aside.submit(waits.wait, 20)
        result = begun(aside, lambda: done.append(1) or len(done))
        assert (result(), result()) == (1, 1)  # once, however often it is asked for
        waits.set()
    assert done == [1]


@pytest.mark.parametrize(("doubtful", "cleanings"), [(True, 3), (False, 2)])
def test_the_union_is_not_cleaned_again(monkeypatch, doubtful, cleanings):
    probability = draw(3)
    if not doubtful:
        probability[probability == 45_000] = 0  # all that is calibrated is anchored
    real, done = segmentation.clean, []
    monkeypatch.setattr(segmentation, "clean", lambda *given: done.append(given) or real(*given))
    masks, found = cut(probability)
    assert len(done) == cleanings
    if not doubtful:
        assert found["final_without_calibration"] == masks.final.sum()


def test_nothing_found_is_finite():
    _, found = cut(np.zeros((2, 3, 4), np.uint16))
    assert found["jaccard"] == 1.0
    assert found["share_anchored"] == found["share_calibrated"] == 0.0
    assert found["final_without_anchor"] == found["final_without_calibration"] == 0
