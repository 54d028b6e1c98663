"""Selection, neuron, calibration: each does what its first sentence says."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu_fallback import law
from gpu_nx47 import calibration, neuron, scene, selection, settings, stats, survey, tables
from gpu_nx47.backend import Meter
from gpu_nx47.descent import Descent, Sample
from gpu_nx47.settings import NeuronSettings
from gpu_nx47.stats import Histogram


def histogram_of(codes):
    return Histogram(np.bincount(codes.reshape(-1), minlength=65_536))


# ------------------------------------------------------------------ selection
def table_of_features(rng, n=4000):
    labels = rng.integers(0, 2, n).astype(np.uint8)
    side = labels.astype(np.int64)
    strong = (3000 + 500 * side + rng.normal(0, 100, n)).astype(np.int64)
    weak = (3000 + 100 * side + rng.normal(0, 300, n)).astype(np.int64)
    samples = {"weak": weak, "strong": strong, "copy": strong * 2 + 3, "noise": rng.integers(0, 2000, n)}
    return labels, samples, {k: histogram_of(v) for k, v in samples.items()}


def test_selection_ranks_by_information_and_drops_the_redundant():
    labels, samples, histograms = table_of_features(np.random.default_rng(0))
    found = selection.select(histograms, samples, labels, top_k=3, redundancy=0.97)
    assert found.names[0] in {"copy", "strong"}
    assert set(found.names) == {found.names[0], "weak", "noise"}
    assert "redundant" in found.dropped[({"copy", "strong"} - set(found.names)).pop()]
    assert found.scores["noise"] < found.scores["weak"] < found.scores["strong"]


def test_selection_breaks_ties_by_name_and_survives_one_class():
    labels, samples, histograms = table_of_features(np.random.default_rng(1))
    found = selection.select(histograms, samples, np.zeros_like(labels), top_k=2, redundancy=0.97)
    assert set(found.scores.values()) == {0.0}
    assert found.names == ("copy", "noise")


def test_fixed_features_are_kept_in_their_order():
    labels, samples, histograms = table_of_features(np.random.default_rng(2))
    found = selection.select(histograms, samples, labels, top_k=1, redundancy=0.97, fixed=("noise", "weak"))
    assert found.names == ("noise", "weak")


# ------------------------------------------------------------------ neuron
def trained(labels, samples, histograms, **changes):
    point = np.stack(np.unravel_index(np.arange(len(labels)), (20, 20, 10)), axis=1)
    split = neuron.hold_out(point, labels, (20, 20, 10), 47, 1)
    settings = NeuronSettings(**changes)
    return neuron.train(Meter(law), tuple(samples), histograms, samples, labels, split, settings, 0.5)


def test_training_finds_the_grid_learns_and_shrinks():
    labels, samples, histograms = table_of_features(np.random.default_rng(3))
    result = trained(labels, samples, histograms)
    assert len(result.trainings) == 15
    grid = NeuronSettings()
    assert {(t.l1, t.l2) for t in result.trainings} == {(a, b) for a in grid.l1 for b in grid.l2}
    assert result.chosen.objective == min(t.objective for t in result.trainings)
    assert result.chosen.val_ce < 0.1 < result.validation_prior_ce
    for t in result.trainings:
        assert t.objective == pytest.approx(t.val_ce + 0.02 * (1 - t.sparsity))
        assert t.non_zero_weights == sum(abs(w) > 1e-8 for w in t.weights) == t.active_neurons_end
    for first, then in zip(result.trainings, result.trainings[1:], strict=False):
        expected = first.active_neurons_end if first.l2 == then.l2 else 0
        assert then.active_neurons_start == expected, "the path is warm-started"
    heavy = trained(labels, samples, histograms, l1=(0.5,), l2=(1e-4,))
    assert heavy.chosen.non_zero_weights == 0, "a heavy L1 leaves nothing"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_paths_of_a_training_take_turns_on_the_threads_there_are(threads):
    """Three paths of four trainings keep two threads busy to the end: none of twelve goes on alone."""
    sample = Sample.of(np.zeros((1, 8), np.int16), np.arange(8, dtype=np.uint8) % 2)
    together, went = threading.Barrier(threads), []

    def path(name):
        for step in range(4):
            together.wait(20)
            went.append((name, step))
            yield name, step

    with Descent(Meter(law), sample, sample, NeuronSettings(), threads) as descent:
        found = list(descent.along([path(name) for name in "abc"]))
    assert found == [[(name, step) for step in range(4)] for name in "abc"]
    assert len(went) == 12


def test_a_path_that_fails_is_an_error_of_the_training():
    sample = Sample.of(np.zeros((1, 8), np.int16), np.arange(8, dtype=np.uint8) % 2)

    def path():
        yield 1
        raise ZeroDivisionError

    for threads in (1, 2):
        with (
            Descent(Meter(law), sample, sample, NeuronSettings(), threads) as descent,
            pytest.raises(ZeroDivisionError),
        ):
            list(descent.along([path(), path()]))


def test_training_is_the_logistic_optimum():
    """Long training without penalties ends where independent Newton steps end."""
    labels, samples, histograms = table_of_features(np.random.default_rng(4))
    names = ("weak", "noise")
    few = {n: samples[n] for n in names}
    result = trained(labels, few, {n: histograms[n] for n in names}, l1=(0.0,), l2=(0.0,), steps=3000, rate=1.0)
    scaling = result.unit.scaling
    point = np.stack(np.unravel_index(np.arange(len(labels)), (20, 20, 10)), axis=1)
    part, _, _ = neuron.hold_out(point, labels, (20, 20, 10), 47, 1)
    x = np.stack([(few[n] - scaling.mean[k]) * scaling.scale[k] for k, n in enumerate(names)] + [np.ones(len(labels))])
    x, y, w = x[:, part].astype(float), labels[part].astype(float), np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ x))
        w += np.linalg.solve((x * (p * (1 - p))) @ x.T, x @ (y - p))
    assert [*result.chosen.weights, result.chosen.bias] == pytest.approx(w.tolist(), abs=2e-3)


def test_held_out_octants_keep_their_distance():
    rng = np.random.default_rng(5)
    shape = (40, 44, 48)
    point = rng.integers(0, shape, (20_000, 3))
    labels = rng.integers(0, 2, 20_000).astype(np.uint8)
    training, validation, how = neuron.hold_out(point, labels, shape, 47, 5)
    assert "octants" in how
    assert not (training & validation).any()
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(point[validation]).query(point[training], p=np.inf)
    assert distance.min() > 4


def test_hold_out_says_when_it_had_to_take_turns():
    point = np.zeros((100, 3), np.int64)
    _, validation, how = neuron.hold_out(point, np.zeros(100, np.uint8), (4, 4, 4), 47, 5)
    assert "every fifth" in how
    assert validation.sum() == 20


# ------------------------------------------------------------------ calibration
def test_calibration_is_the_exact_quantile():
    rng = np.random.default_rng(6)
    codes = rng.permutation(60_000).astype(np.int64)
    found = calibration.calibrate(histogram_of(codes), 0.03, "given")
    assert (codes >= found.threshold).sum() == 1800
    assert not found.ties_saturate


def test_probability_one_everywhere_stays_a_full_mask():
    full = calibration.calibrate(histogram_of(np.full(1000, 65_535)), 0.03, "given")
    assert full.share == 1.0
    assert full.ties_saturate


def test_a_flat_low_probability_stays_empty():
    flat = calibration.calibrate(histogram_of(np.full(1000, 3000)), 0.03, "given")
    assert flat.share == 0.0
    assert flat.ties_saturate
    assert calibration.calibrate(histogram_of(np.zeros(1000, int)), 0.03, "given").share == 0.0


def test_expected_share_is_the_mean_probability():
    codes = np.array([0, 65_535, 65_535, 0])
    assert calibration.expected_share(histogram_of(codes)) == 0.5


def test_tables_of_the_kernel_and_the_stage_agree_on_one():
    assert tables.sigmoid_table()[-1] == tables.PROBABILITY_ONE


# ------------------------------------------------------------------ where candidates are measured
@given(st.tuples(*[st.integers(1, 2500)] * 3), st.integers(1, 64))
def test_enough_is_measured_in_slabs_that_lie_evenly(shape, every):
    depth, plane = shape[0], shape[1] * shape[2]
    found = survey.measured_slabs(shape, every)
    sizes = [slab.stop - slab.start for slab in found]
    ends = [0, *(end for slab in found for end in (slab.start, slab.stop)), depth]
    assert ends == sorted(ends)
    if sum(sizes) == depth:
        assert found == [slice(0, depth)]
        return
    slabs = -(-depth // survey.SLAB)
    assert every > 1
    assert sum(sizes) * plane >= survey.LEAST_MEASURED
    assert len(sizes) >= slabs / every
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= survey.SLAB
    starts = [-(-slab.start * slabs // depth) for slab in found]
    gaps = np.diff(starts)
    assert gaps.max(initial=0) - gaps.min(initial=slabs) <= 1
    assert abs(starts[0] - (slabs - 1 - starts[-1])) <= 1, "as far from the first slice as from the last"


@pytest.mark.parametrize(
    ("shape", "slabs"),
    [
        ((186, 186, 186), [(0, 186)]),
        ((314, 314, 314), [(52, 104), (209, 261)]),
        ((512, 512, 512), [(51, 102), (256, 307), (409, 460)]),
        ((64, 4096, 4096), [(32, 64)]),
        ((56, 4096, 4096), [(0, 56)]),
    ],
)
def test_what_is_measured_of_usual_volumes(shape, slabs):
    found = survey.measured_slabs(shape, settings.Settings().features.measured)
    assert [(slab.start, slab.stop) for slab in found] == slabs


@given(st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True), st.integers(1, 50), st.integers(1, 500))
def test_voxels_are_drawn_within_the_slabs_as_from_one_volume(ends, plane, count):
    ends = sorted(ends)[: len(ends) // 2 * 2]
    slabs = [slice(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    index, order = survey.draw_within(47, slabs, plane, count)
    inside = np.concatenate([np.arange(s.start * plane, s.stop * plane) for s in slabs])
    place, same = survey.draw_voxels(47, inside.size, count)
    assert np.array_equal(index, inside[place])
    assert np.array_equal(order, same)


@given(st.integers(1, 1 << 62) | st.integers(1, 50), st.integers(0, 300))
def test_draws_are_distinct_and_know_their_first_number(voxels, count):
    index, order = survey.draw_voxels(47, voxels, count)
    drawn = (tables.draws(47, survey.CANDIDATE_STREAM, 0, count) % np.uint64(voxels)).astype(np.int64)
    assert index.tolist() == sorted(set(drawn.tolist()))
    assert order.tolist() == [drawn.tolist().index(one) for one in index.tolist()]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 20))
def test_the_longest_are_those_of_a_stable_sort(lengths, count):
    length = np.array(lengths, np.float64)
    assert survey.longest(length, count).tolist() == sorted(np.argsort(-length, kind="stable")[:count].tolist())


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=40), st.sets(st.integers(-9, 9)))
def test_information_bins_a_code_as_a_search_among_the_edges_does(codes, edges):
    codes, edges = np.array(codes, np.int32), np.array(sorted(edges), np.int64)
    labels = np.arange(len(codes)) % 2
    bins = np.searchsorted(edges, codes, side="left")
    assert stats.mutual_information(codes, labels, edges) == stats.mutual_information(
        bins, labels, np.arange(len(edges))
    )


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 12), st.randoms())
def test_a_sample_takes_voxels_in_the_order_of_their_draw(labels, wanted, random):
    order = np.array(random.sample(range(60), len(labels)))
    labels = np.array(labels, np.uint8)
    drawn = sorted(range(len(labels)), key=lambda k: order[k])
    rectos = [k for k in drawn if labels[k] == survey.RECTO][: wanted // 2]
    others = [k for k in drawn if labels[k] == survey.BACKGROUND][: wanted - len(rectos)]
    assert scene.balanced(labels, order, wanted).tolist() == sorted(rectos + others)
