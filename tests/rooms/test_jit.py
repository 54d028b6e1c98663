"""What twins leave in Numba's cache for other processes."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="twins need Numba")

PROGRAM = """
import sys
import numpy as np
from cpu_fallback.twin._jit import compiled

@compiled
def doubled(values):
    total = values[0]
    for value in values:
        total += value
    return total

print(doubled(np.ones(3, sys.argv[1])), sum(doubled.stats.cache_hits.values()))
"""


def test_processes_that_compile_for_different_types_do_not_mix_them_up(tmp_path):
    """Each reads the index before the other has written to it, and one of them writes last."""
    program, cache = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)

    def run(dtype):
        told = subprocess.run(
            [sys.executable, str(program), dtype],
            env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout.split()

    def index():
        return next(cache.rglob("*doubled*.nbi"))

    assert run("uint8") == ["4", "0"]
    first = index().read_bytes()
    index().unlink()
    assert run("int32") == ["4", "0"]
    index().write_bytes(first)
    assert run("uint8") == ["4", "1"]
    assert run("int32") == ["4", "0"]
    assert run("int32") == ["4", "1"]
    assert len(list(cache.rglob("*doubled*.nbc"))) == 2
