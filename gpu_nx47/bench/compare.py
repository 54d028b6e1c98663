"""Tell a slowdown from noise: two trees measured in turns, or two results that were measured apart.

Two trees (folders with `gpu_nx47` and `cpu_fallback`) are the sharper way: a worker process for each does the same case
one after the other, in alternating order, so that whatever slows the machine slows both; each pair gives one ratio. The
workers are started anew a few times, because where a process happens to lie in memory moves its times for as long as it
lives; for the same reason what is told is measured again by new workers, twice, and told only if it is each time. Two
result files hold times beside those of a reference work that took turns with the kernels; the quotients are compared.

Notes
-----
A kernel is slower where more ratios lie above 1 + margin than chance allows: a sign test of the pairs against the
margin, or a rank test (Mann and Whitney, exact) of two sets of quotients, the first raised by the margin; the level is
divided by the number of kernels compared (Bonferroni). Both tests ask for ranks only: one reading that took ten times
as long weighs no more than any other.

References
----------
Mann, Whitney, On a test of whether one of two random variables is stochastically larger than the other, Ann. Math.
Statist. 18, 1947.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

PAIR_MARGIN: Final = 0.05
"""Of trees measured in turns: what a kernel may lose without being told."""
APART_MARGIN: Final = 0.10
"""Of results measured apart, between which the machine changed."""
LEVEL: Final = 0.01
"""Chance that any kernel at all is told slower where none is beyond the margin."""
GENERATIONS: Final = 5
PAIRS: Final = 13
"""In each generation of workers: where one of five lies badly, the pairs of the others tell the same."""
AGAIN: Final = 2
"""Times that what differs is measured once more: the pairs of one generation share where their processes lie."""


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one kernel."""

    case: str
    ratio: float
    """How many times as long B takes: the median."""
    chance: float
    """Probability of so much against the margin, were B at the margin."""
    said: str
    """`slower`, `faster`, `same`, or `too few rounds`."""


def compare(
    a: Path, b: Path, *, size: int, backend: str, case: str = "", tell: Callable[[str], Any] = lambda _: None
) -> list[Verdict]:
    """Compare two result files, or two trees.

    Parameters
    ----------
    a, b : Path
        JSON files of `nx47 bench --json`, or folders that hold both packages; B is the newer one.
    size, backend
        What trees are measured with.
    case : str
        Only kernels whose name holds it.
    tell : callable
        Called with a sentence on the way.

    Raises
    ------
    UsageError
        Not two files nor two folders, or not what they should be.
    """
    if a.is_dir() and b.is_dir():
        way: dict[str, Any] = {"size": size, "backend": backend, "wanted": case, "tell": tell}
        pairs = in_pairs(a, b, **way)
        level = LEVEL / len(pairs)
        return confirmed(
            [paired(name, times, level) for name, times in pairs.items()],
            lambda names: [paired(*found, level) for found in in_pairs(a, b, **way, only=names).items()],
        )
    if a.is_file() and b.is_file():
        left, right = _quotients(a), _quotients(b)
        both = [name for name in left if name in right and case in name]
        if not both:
            raise UsageError(f"{a} and {b} have no kernel in common, at the same size and on the same backend")
        return [apart(name, left[name], right[name], LEVEL / len(both)) for name in both]
    raise UsageError(f"--compare: expected two results or two trees, got {a} and {b}")


def paired(case: str, pairs: Sequence[tuple[float, float]], level: float) -> Verdict:
    """Judge seconds of (A, B) that were taken one after the other."""
    ratios = [b / a for a, b in pairs]
    up = sum(ratio > 1 + PAIR_MARGIN for ratio in ratios)
    down = sum(ratio < 1 / (1 + PAIR_MARGIN) for ratio in ratios)
    chances = [_at_least(max(up, down), len(ratios)), _at_least(len(ratios), len(ratios))]
    said = "slower" if up > down else "faster"
    return _verdict(case, statistics.median(ratios), chances, said, level)


def confirmed(first: Sequence[Verdict], measure: Callable[[set[str]], Sequence[Verdict]]) -> list[Verdict]:
    """Return verdicts of which those that differ were measured again; what does not differ each time is the same."""
    found = {verdict.case: verdict for verdict in first}
    for _ in range(AGAIN):
        differ = {name for name, verdict in found.items() if verdict.said in ("slower", "faster")}
        for verdict in measure(differ) if differ else ():
            if verdict.said != found[verdict.case].said:
                found[verdict.case] = replace(verdict, said="same")
    return list(found.values())


def apart(case: str, a: Sequence[float], b: Sequence[float], level: float) -> Verdict:
    """Judge quotients that were taken at different times."""
    ratio = statistics.median(b) / statistics.median(a)
    low, high = (a, b) if ratio > 1 else (b, a)
    wins = sum((y > x * (1 + APART_MARGIN)) + (y == x * (1 + APART_MARGIN)) / 2 for x in low for y in high)
    chances = [_rank(math.floor(wins), len(a), len(b)), _rank(len(a) * len(b), len(a), len(b))]
    return _verdict(case, ratio, chances, "slower" if ratio > 1 else "faster", level)


def _verdict(case: str, ratio: float, chances: Sequence[float], said: str, level: float) -> Verdict:
    """Say it if it is sure; `chances`: of what was seen, and of the most that so many rounds can show."""
    if chances[1] > level:
        said = "too few rounds"
    elif chances[0] > level:
        said = "same"
    return Verdict(case, ratio, chances[0], said)


def _at_least(heads: int, throws: int) -> float:
    """Return the chance of at least so many heads."""
    return sum(math.comb(throws, k) for k in range(heads, throws + 1)) / 2**throws


def _rank(wins: int, n: int, m: int) -> float:
    """Return the chance that of n m comparisons at least `wins` go one way, where both sets are alike."""
    total = _gaussian_binomial(n, m)
    return sum(total[wins:]) / math.comb(n + m, n)


def _gaussian_binomial(n: int, m: int) -> list[int]:
    """Return how many orders of n and m samples have u = 0 .. n m comparisons won: coefficients of [n + m, n]_q."""
    size = n * m + 1
    found = [1] + [0] * (size - 1)
    for k in range(1, n + 1):
        for u in range(size - 1, m + k - 1, -1):  # times 1 - q^(m + k)
            found[u] -= found[u - m - k]
        for u in range(k, size):  # over 1 - q^k
            found[u] += found[u - k]
    return found


def _quotients(path: Path) -> dict[str, list[float]]:
    """Return, for each kernel of a result, its time over that of the reference work, round by round."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["kernels"]
        return {
            f"{row['case']}, {row['backend']}, {'x'.join(map(str, row['shape']))}": [
                t / r for t, r in zip(row["guard"]["seconds"], row["guard"]["reference_s"], strict=True)
            ]
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: expected the JSON of `nx47 bench`: {type(error).__name__}: {error}") from error


def in_pairs(
    a: Path,
    b: Path,
    *,
    size: int,
    backend: str,
    wanted: str = "",
    only: Collection[str] | None = None,
    tell: Callable[[str], Any] = lambda _: None,
) -> dict[str, list[tuple[float, float]]]:
    """Measure two trees in turns; return the seconds of (A, B) of each kernel, or of `only` some, that both have."""
    for tree in (a, b):
        if not (tree / "gpu_nx47").is_dir() or not (tree / "cpu_fallback").is_dir():
            raise UsageError(f"{tree}: expected a folder with gpu_nx47 and cpu_fallback")
    found: dict[str, list[tuple[float, float]]] = {}
    for generation in range(GENERATIONS):
        tell(f"workers {generation + 1} of {GENERATIONS}")
        with _Worker(a, size, backend, wanted) as left, _Worker(b, size, backend, wanted) as right:
            for case in (case for case in left.cases if case in right.cases and (only is None or case in only)):
                left.seconds(case)  # warm: compiled, its pages there
                right.seconds(case)
                found.setdefault(case, []).extend(_turns(left, right, case))
    return found


def _turns(left: _Worker, right: _Worker, case: str) -> Iterator[tuple[float, float]]:
    for turn in range(PAIRS):
        if turn % 2:
            second, first = right.seconds(case), left.seconds(case)
        else:
            first, second = left.seconds(case), right.seconds(case)
        yield first, second


class _Worker:
    """A process that imports one tree and times a case whenever it is asked to."""

    def __init__(self, tree: Path, size: int, backend: str, wanted: str) -> None:
        path = os.pathsep.join([str(tree.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), str(size), backend, wanted]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            cwd=tree,
        )
        self._tree = tree
        self.cases: list[str] = self._ask(None)["cases"]

    def seconds(self, case: str) -> float:
        """Return the seconds of one call."""
        return float(self._ask(case)["seconds"])

    def _ask(self, case: str | None) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if case is not None:
            self._process.stdin.write(case + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise UsageError(f"{self._tree}: its worker ended; what it said is above")
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as text, the slowest first."""
    width = max((len(v.case) for v in verdicts), default=4)
    lines = [f"{'case':<{width}}  B / A  chance   said"]
    for v in sorted(verdicts, key=lambda v: -v.ratio):
        lines.append(f"{v.case:<{width}}  {v.ratio:5.2f}  {v.chance:7.1e}  {v.said}")
    slower = sum(v.said == "slower" for v in verdicts)
    lines.append(f"{slower} of {len(verdicts)} slower")
    return "\n".join(lines)
