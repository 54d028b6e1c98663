"""Entropy and variance: the twin gives the law's bits on every drawn volume, window and number of bins."""

import numpy as np
import pytest
from volumes import draw_grey

from gpu_nx47.tables import entropy_table

WINDOWS = [3, 5, 7, 9, 11, 13, 15]


def test_local_entropy(agree, seeds):
    for seed in seeds:
        for window, bins in ((WINDOWS[seed % 7], 16), (WINDOWS[seed // 7 % 7], 32)):
            agree("local_entropy", draw_grey(seed), window=window, bins=bins, table=entropy_table(window**3))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("bins", [16, 32])
def test_local_entropy_from_one_bin_to_the_most_even_histogram(agree, window, bins):
    """Both ends of the code, where a quotient or a counter would overflow first."""
    table = entropy_table(window**3)
    z, y, x = np.indices((17, 17, 17))
    spread = ((9 * z + 3 * y + x) % bins * (256 // bins)).astype(np.uint8)
    code = agree("local_entropy", spread, window=window, bins=bins, table=table)
    assert code.max() <= 8192 * np.log2(bins)
    assert code.max() > 8192 * (np.log2(bins) - 0.75)
    assert not agree("local_entropy", np.full_like(spread, 255), window=window, bins=bins, table=table).any()


def test_local_entropy_with_a_table_of_another_shape(agree):
    """The table is data: any convex one within the bounds is looked up, not computed again."""
    table = np.arange(28, dtype=np.uint32) ** 2 * np.uint32(1000)
    agree("local_entropy", draw_grey(8), window=3, bins=16, table=table)
    agree("local_entropy", draw_grey(8), window=3, bins=16, table=np.repeat(table, 2)[::2])


@pytest.mark.parametrize("n", [w**3 for w in WINDOWS])
def test_local_entropy_divides_exactly(n):
    """The multiply and shift of the twin is // n around every multiple of n below 2^16 n, the end included."""
    pytest.importorskip("numba", reason="Numba is missing: there is no twin")
    from cpu_fallback.twin._entropy import reciprocal

    multiplier, shift = reciprocal(n)
    multiples = np.arange(1, 65537, dtype=np.uint64) * np.uint64(n)
    for v in (multiples - np.uint64(1), multiples[:-1], multiples - np.uint64(n) + np.uint64(n // 2)):
        assert (int(v.max()) * multiplier) < 2**64
        assert np.array_equal((v * np.uint64(multiplier)) >> np.uint64(shift), v // np.uint64(n))


def test_local_variance(agree, seeds):
    for seed in seeds:
        for window in (WINDOWS[seed % 7], WINDOWS[(seed // 7 + 3) % 7]):
            agree("local_variance", draw_grey(seed), window=window)


@pytest.mark.parametrize("window", WINDOWS)
def test_local_variance_at_its_greatest(agree, window):
    board = (np.indices((17, 18, 19)).sum(axis=0) % 2 * 255).astype(np.uint8)
    code = agree("local_variance", board, window=window)
    assert code.max() <= 65025
    assert code.max() > 65025 * (1 - 1 / window**3)
    assert not agree("local_variance", np.full_like(board, 255), window=window).any()


GREY = np.zeros((2, 3, 4), np.uint8)
TABLE = entropy_table(27)
STEEP = np.arange(28, dtype=np.uint32) ** 2 * np.uint32(2**22)
HOLLOW = np.concatenate([TABLE[:5], TABLE[4:-1]])
REFUSED = [
    (TypeError, "expected a NumPy array, got list", "local_variance", [[1]], {"window": 3}),
    (TypeError, "expected dtype uint8, got int8", "local_variance", [GREY.view(np.int8)], {"window": 3}),
    (ValueError, r"got shape \(3, 4\)", "local_variance", [GREY[0]], {"window": 3}),
    (ValueError, "C-contiguous", "local_variance", [GREY[:, ::2]], {"window": 3}),
    (TypeError, "window as an integer, got 3.0", "local_variance", [GREY], {"window": 3.0}),
    (ValueError, "odd window in 3..15, got 4", "local_variance", [GREY], {"window": 4}),
    (ValueError, "window in 3..15, got 1", "local_variance", [GREY], {"window": 1}),
    (ValueError, "window in 3..15, got 17", "local_variance", [GREY], {"window": 17}),
    (TypeError, "expected dtype uint8", "local_entropy", [GREY > 0], {"window": 3, "bins": 16, "table": TABLE}),
    (ValueError, "non-empty", "local_entropy", [GREY[:0]], {"window": 3, "bins": 16, "table": TABLE}),
    (TypeError, "window as an integer", "local_entropy", [GREY], {"window": "3", "bins": 16, "table": TABLE}),
    (ValueError, "odd window in 3..15, got 6", "local_entropy", [GREY], {"window": 6, "bins": 16, "table": TABLE}),
    (ValueError, r"bins in \(16, 32\), got 8", "local_entropy", [GREY], {"window": 3, "bins": 8, "table": TABLE}),
    (TypeError, "table as a NumPy", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": [0] * 28}),
    (ValueError, r"shape \(28,\)", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": TABLE[:-1]}),
    (ValueError, "uint32", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": TABLE.astype(np.int64)}),
    (ValueError, "another table", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": TABLE + np.uint32(1)}),
    (ValueError, "another table", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": TABLE[::-1]}),
    (ValueError, "another table", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": STEEP}),
    (ValueError, "another table", "local_entropy", [GREY], {"window": 3, "bins": 16, "table": HOLLOW}),
]


@pytest.mark.parametrize(
    ("error", "words", "kernel", "arrays", "parameters"),
    REFUSED,
    ids=[f"{row[2]}-{i}" for i, row in enumerate(REFUSED)],
)
def test_refused(refuse, error, words, kernel, arrays, parameters):
    refuse(error, words, kernel, *arrays, **parameters)
