"""Tables are what decides bits in place of exp and log: each against an independent, more precise computation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_nx47 import tables


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 1.6, 2.0, 3.0, 5.0])
def test_gaussian_taps_are_the_normalised_gaussian(sigma):
    taps = tables.gaussian_taps(sigma)
    radius = math.ceil(4 * sigma)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)]
    total = weights[0] + 2 * math.fsum(weights[1:])
    assert taps.dtype == np.float32
    assert len(taps) == radius + 1
    np.testing.assert_allclose(taps, np.array(weights) / total, rtol=1e-7)
    assert not taps.flags.writeable


def test_sigmoid_rounds_to_the_nearest_code():
    z = (np.arange(65_536) - 32_768) / 2048
    expected = 65_535 / (1 + np.exp(-z))
    assert np.abs(tables.sigmoid_table() - expected).max() <= 0.5 + 1e-9
    assert (np.diff(tables.sigmoid_table().astype(int)) >= 0).all()


def test_softplus_rounds_to_the_nearest_unit():
    z = (np.arange(65_536) - 32_768) / 2048
    expected = 65_536 * np.logaddexp(0, z)
    assert np.abs(tables.softplus_table() - expected).max() <= 0.5 + 1e-6


def test_logit_undoes_sigmoid_within_a_probability_code():
    code = np.arange(tables.LOGIT_EDGE, 65_535 - tables.LOGIT_EDGE)
    back = tables.sigmoid_table()[tables.logit_table()[code].astype(int) + 32_768]
    # A logit step of 1/2048 moves p by at most 65535 / 4 / 2048 = 8 codes in the middle.
    assert np.abs(back.astype(int) - code).max() <= 4 + 1


def test_entropy_table_is_c_log_c():
    table = tables.entropy_table(3375)
    for c in (0, 1, 2, 3, 125, 1000, 3375):
        exact = 65_536 * c * math.log2(c) if c else 0
        assert abs(int(table[c]) - exact) <= 0.5 + 1e-5
    assert table.dtype == np.uint32


@given(st.floats(min_value=1e-300, max_value=1e300, allow_subnormal=False))
def test_log_is_within_two_units_of_libm(value):
    assert tables.log_scalar(value) == pytest.approx(math.log(value), rel=3e-16, abs=5e-16)


def test_mix64_is_splitmix64():
    # First outputs of SplitMix64 seeded with 0, as published: the state grows by gamma before each mix.
    gamma = 0x9E3779B97F4A7C15
    states = np.array([0, gamma, 2 * gamma % 2**64], np.uint64)
    assert [int(v) for v in tables.mix64(states)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(0, 2**63), st.integers(0, 100), st.integers(1, 50))
def test_draws_do_not_depend_on_where_they_start(seed, start, count):
    whole = tables.draws(seed, 3, 0, start + count)
    assert (tables.draws(seed, 3, start, count) == whole[start:]).all()


def test_probability_code_is_the_lowest_that_reaches():
    for share in (0.0, 0.03, 0.45, 0.85, 0.9995, 1.0):
        code = tables.probability_code(share)
        assert Fraction(code, 65_535) >= Fraction(share) - Fraction(1, 10**12)
        assert code == 0 or Fraction(code - 1, 65_535) < Fraction(share)
