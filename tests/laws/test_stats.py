"""Exact statistics against NumPy and against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_nx47 import stats
from gpu_nx47.stats import Histogram

codes_lists = st.lists(st.integers(-300, 300), min_size=1, max_size=80)


def histogram(codes, low=-300, high=300):
    counts = np.bincount(np.array(codes) - low, minlength=high - low + 1)
    return Histogram(counts, low)


@given(codes_lists)
def test_mean_and_deviation(codes):
    mean, deviation = histogram(codes).mean_deviation()
    assert mean == pytest.approx(np.mean(codes), abs=1e-12)
    assert deviation == pytest.approx(np.std(codes), abs=1e-9)


@given(codes_lists, st.floats(0, 1))
def test_quantile_is_the_inverted_cumulative_share(codes, share):
    expected = np.quantile(codes, share, method="inverted_cdf")
    assert (
        abs(math.ceil(share * len(codes)) - share * len(codes)) < 1e-9 or histogram(codes).quantile(share) == expected
    )


@given(codes_lists, st.integers(1, 80))
def test_highest_reaching(codes, need):
    need = min(need, len(codes))
    code = histogram(codes).highest_reaching(need)
    assert sum(c >= code for c in codes) >= need
    assert sum(c >= code + 1 for c in codes) < need


def between_class_variance(values, thresholds):
    edges = [-1, *thresholds, 255]
    total = 0.0
    for low, high in itertools.pairwise(edges):
        part = values[(values > low) & (values <= high)]
        if len(part):
            total += len(part) * (part.mean() - values.mean()) ** 2
    return total


@settings(max_examples=25)
@given(st.lists(st.integers(0, 255), min_size=3, max_size=40), st.sampled_from([2, 3]))
def test_otsu_is_the_exhaustive_best(values, classes):
    values = np.array(values)
    found = stats.otsu(np.bincount(values, minlength=256), classes)
    candidates = sorted({*values.tolist(), 0, 255})
    best = max(between_class_variance(values, t) for t in itertools.combinations(candidates, classes - 1))
    assert between_class_variance(values, found) == pytest.approx(best, rel=1e-9, abs=1e-9)


def test_otsu_equals_scikit_image():
    filters = pytest.importorskip("skimage.filters")
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(60, 8, 4000), rng.normal(120, 9, 3000), rng.normal(200, 7, 500)])
    values = values.clip(0, 255).astype(np.uint8)
    counts = np.bincount(values, minlength=256)
    assert stats.otsu(counts, 2) == (filters.threshold_otsu(values),)
    assert list(stats.otsu(counts, 3)) == pytest.approx(list(filters.threshold_multiotsu(values, 3)), abs=1)


def test_mutual_information_of_known_tables():
    labels = np.array([0, 0, 1, 1] * 8)
    assert stats.mutual_information(labels * 10, labels, np.array([5])) == pytest.approx(1.0)
    assert stats.mutual_information(np.array([0, 10] * 16), labels, np.array([5])) == pytest.approx(0.0, abs=1e-12)
    half = np.array([0, 1] * 16)  # agrees with the label in three of four cases
    half[labels == 1] = [1, 1, 1, 0] * 4
    half[labels == 0] = [0, 0, 0, 1] * 4
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert stats.mutual_information(half, labels, np.array([0])) == pytest.approx(1 - entropy)


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(-500, 500)), min_size=3, max_size=50))
def test_correlation_is_pearsons(pairs):
    a, b = np.array(pairs).T
    if a.std() == 0 or b.std() == 0:
        assert stats.correlation(a, b) == 0.0
    else:
        assert stats.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


# Numbers as `exact_sum` gives them: the squares of those below 1e-154 would be 0.
SUMS = st.integers(-5 << 20, 5 << 20).map(lambda steps: steps / (1 << 20))


@given(SUMS, SUMS, SUMS)
def test_eigenpairs_of_two_by_two(yy, yx, xx):
    small, large, vector = stats.symmetric_eigen2(yy, yx, xx)
    expected = np.linalg.eigvalsh([[yy, yx], [yx, xx]])
    assert [small, large] == pytest.approx(expected.tolist(), abs=1e-9)
    y, x = vector
    assert y * y + x * x == pytest.approx(1.0)
    assert [yy * y + yx * x, yx * y + xx * x] == pytest.approx([small * y, small * x], abs=1e-6)


def test_sums_of_a_huge_volume_are_exact():
    rng = np.random.default_rng(5)
    for low in (0, -32_768):
        counts = rng.integers(0, 2**21, 65_536)
        counts[[0, 1000, -1]] += 2**36
        whole = list(enumerate(counts.tolist(), low))
        expected = tuple(sum(n * code**power for code, n in whole) for power in range(3))
        assert stats.Histogram(counts, low).sums() == expected
        assert expected[2] > 2**64
