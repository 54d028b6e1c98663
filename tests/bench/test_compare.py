"""A slowdown is told from noise: drawn times here, real ones in bench/guard.py (twenty comparisons take minutes)."""

import itertools
import json

import numpy as np
import pytest

from gpu_nx47.bench import compare
from gpu_nx47.errors import UsageError

LEVEL = compare.LEVEL / 30


def noisy(rng, seconds, count):
    """Times on a busy machine: a little jitter, and one in five takes half as long again."""
    jitter = 1 + 0.02 * np.abs(rng.standard_normal(count))
    return seconds * jitter * np.where(rng.random(count) < 0.2, 1.5, 1.0)


def drawn(seed, factor):
    rng = np.random.default_rng([47, seed])
    rounds = compare.GENERATIONS * compare.PAIRS
    drift = np.repeat(1 + 0.3 * rng.random(compare.GENERATIONS), compare.PAIRS)  # the machine changes between workers
    return list(zip(noisy(rng, drift, rounds), noisy(rng, factor * drift, rounds), strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_is_told_and_nothing_else_is(seed):
    assert compare.paired("a", drawn(seed, 1.2), LEVEL).said == "slower"
    assert compare.paired("a", drawn(seed, 1.0), LEVEL).said == "same"
    assert compare.paired("a", drawn(seed, 1 / 1.2), LEVEL).said == "faster"


def test_what_new_workers_do_not_say_again_is_not_told():
    def said(*words):
        return [compare.Verdict(name, 1.2, 0.0, word) for name, word in zip("abcd", words, strict=True)]

    rounds = [said("slower", "slower", "slower", "faster"), said("slower", "same", "slower", "slower")]
    asked = []

    def measure(names):
        asked.append(names)
        return [verdict for verdict in rounds[len(asked) - 1] if verdict.case in names]

    found = compare.confirmed(said("slower", "slower", "same", "faster"), measure)
    assert asked == [{"a", "b", "d"}, {"a", "b", "d"}]
    assert [verdict.said for verdict in found] == ["slower", "same", "same", "same"]
    assert len(compare.confirmed(said("same", "same", "same", "too few rounds"), measure)) == 4
    assert len(asked) == 2


@pytest.mark.parametrize("seed", range(10))
def test_of_results_apart_too(seed):
    rng = np.random.default_rng([48, seed])
    a, slow, like = (rng.normal(m, 0.02, 15) for m in (1.0, 1.25, 1.0))
    assert compare.apart("a", a, slow, LEVEL).said == "slower"
    assert compare.apart("a", a, like, LEVEL).said == "same"
    assert compare.apart("a", slow, a, LEVEL).said == "faster"


def test_few_rounds_are_no_evidence():
    assert compare.paired("a", [(1.0, 2.0)] * 5, LEVEL).said == "too few rounds"
    assert compare.apart("a", [1.0] * 3, [2.0] * 3, LEVEL).said == "too few rounds"


def test_what_the_margin_allows_is_not_told():
    pairs = [(1.0, 1.04)] * 33
    assert compare.paired("a", pairs, LEVEL).said == "same"
    assert compare.paired("a", [(a, b * 1.02) for a, b in pairs], LEVEL).said == "slower"


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 3), (5, 5)])
def test_the_rank_tests_chances_are_those_of_all_orders(n, m):
    orders = list(itertools.combinations(range(n + m), n))
    won = [sum(sum(1 for other in range(k) if other not in order) for k in order) for order in orders]
    for wins in range(n * m + 1):
        assert compare._rank(wins, n, m) == pytest.approx(sum(w >= wins for w in won) / len(orders))


def test_the_sign_tests_chances_are_those_of_coins():
    assert [compare._at_least(k, 3) for k in range(4)] == [1.0, 7 / 8, 4 / 8, 1 / 8]


def result(path, seconds, reference=2.0):
    row = {"case": "gaussian", "backend": "cpu", "shape": [58, 58, 58]}
    row["guard"] = {"seconds": seconds, "reference_s": [reference] * len(seconds)}
    path.write_text(json.dumps({"kernels": [row]}))
    return path


def test_two_results(tmp_path):
    rng = np.random.default_rng(49)
    a = result(tmp_path / "a.json", rng.normal(1, 0.01, 12).tolist())
    b = result(tmp_path / "b.json", rng.normal(2.6, 0.02, 12).tolist(), reference=4.0)  # a machine half as quick
    (verdict,) = compare.compare(a, b, size=64, backend="cpu")
    assert (verdict.case, verdict.said) == ("gaussian, cpu, 58x58x58", "slower")
    assert verdict.ratio == pytest.approx(1.3, rel=0.02)
    assert "1 of 1 slower" in compare.table([verdict])


def test_what_is_no_result_is_said(tmp_path):
    good, bad, other = (tmp_path / name for name in ("good.json", "bad.json", "other.json"))
    result(good, [1.0] * 9)
    bad.write_text("{}")
    other.write_text(json.dumps({"kernels": []}))
    for a, b, words in (
        (good, bad, "expected the JSON"),
        (good, other, "no kernel in common"),
        (good, tmp_path, "two"),
    ):
        with pytest.raises(UsageError, match=words):
            compare.compare(a, b, size=64, backend="cpu")
    with pytest.raises(UsageError, match="expected a folder"):
        compare.compare(tmp_path, tmp_path, size=64, backend="cpu")


@pytest.mark.long
def test_trees_measured_in_turns(tmp_path, monkeypatch):
    """Two copies of this tree, one with a kernel that takes half as long again."""
    import shutil

    from gpu_nx47.bench.harness import ROOT

    pytest.importorskip("cpu_fallback.twin", reason="Numba is not installed")
    for name in ("a", "b"):
        for room in ("gpu_nx47", "cpu_fallback"):
            shutil.copytree(ROOT / room, tmp_path / name / room, ignore=shutil.ignore_patterns("__pycache__"))
    slowed = tmp_path / "b" / "cpu_fallback" / "twin" / "_variance.py"
    text = slowed.read_text()
    call = "    _variance(grey, int(window)"
    assert text.count(call) == 1
    again = call.replace("grey", "grey[: grey.shape[0] // 2 + 3]")
    line = next(line for line in text.splitlines() if line.startswith(call))
    extra = (
        line.replace(call, again).replace("at_z", "at_z[: grey.shape[0] // 2 + 3]").replace("result)", "result.copy())")
    )
    slowed.write_text(text.replace(line, f"{extra}\n{line}"))
    monkeypatch.setattr(compare, "GENERATIONS", 2)
    verdicts = {v.case: v.said for v in compare.compare(tmp_path / "a", tmp_path / "b", size=48, backend="cpu")}
    assert verdicts.pop("local_variance") == "slower"
    assert "slower" not in verdicts.values()
