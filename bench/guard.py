"""The guard put to the test: a kernel made a fifth slower on purpose is reported, an unchanged tree is not.

    python bench/guard.py [--times 10] [--size 64] [--case label]

Each time, the tree is copied; then a copy is compared with another, and with one in which a kernel, another one each
time, waits for a fifth of its own processor time before it returns.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from gpu_nx47.bench import compare, harness

SLOWED = (
    "gaussian", "local_entropy", "local_variance", "z_projection", "gradient_magnitude", "label", "hysteresis",
    "remove_small", "neuron", "lookup", "histogram", "component_moments", "dilation", "laplacian",
)  # fmt: skip
SPIN = """

def _slowed(kernel):
    import time

    def slow(*arrays, **parameters):
        began = time.thread_time()
        result = kernel(*arrays, **parameters)
        taken = time.thread_time() - began
        while time.thread_time() - began < 1.2 * taken:
            pass
        return result

    return slow


{kernel} = _slowed({kernel})
"""


def copied(folder: Path) -> Path:
    """Return a copy of the packages, with the kernels that are compiled already."""
    for room in ("gpu_nx47", "cpu_fallback"):
        shutil.copytree(harness.ROOT / room, folder / room, ignore=shutil.ignore_patterns("*.cubin"))
    return folder


def slower(a: Path, b: Path, size: int, case: str) -> list[str]:
    """Return the cases that are said to be slower in b."""
    found = compare.compare(a, b, size=size, backend="cpu", case=case)
    return [verdict.case for verdict in found if verdict.said == "slower"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--case", default="", help="only kernels whose name holds it")
    given = parser.parse_args()
    told, wrong = 0, 0
    for key, value in harness.machine().items():
        if key in ("cpu_model", "usable_processors", "commit", "changed_files", "date", "load_before"):
            print(f"{key}: {value}")
    with tempfile.TemporaryDirectory() as folder:
        a, same = copied(Path(folder) / "a"), copied(Path(folder) / "same")
        for turn in range(given.times):
            kernel = given.case or SLOWED[turn % len(SLOWED)]
            slow = copied(Path(folder) / "slow")
            with (slow / "cpu_fallback" / "twin" / "__init__.py").open("a", encoding="utf-8") as file:
                file.write(SPIN.format(kernel=kernel))
            began = time.monotonic()
            unchanged, found = (slower(a, b, given.size, given.case) for b in (same, slow))
            told += any(case.startswith(kernel) for case in found)
            wrong += bool(unchanged)
            print(f"unchanged: {unchanged or 'nothing'}; {kernel} a fifth slower: {found or 'nothing'}; ", end="")
            print(f"{time.monotonic() - began:.0f} s, load {harness.machine()['load_before'][0]:.1f}", flush=True)
            shutil.rmtree(slow)
    print(f"a fifth slower, reported: {told} of {given.times}; unchanged, reported: {wrong} of {given.times}")


if __name__ == "__main__":
    main()
