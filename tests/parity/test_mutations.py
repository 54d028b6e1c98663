"""Every parity test fails on a broken twin: each row of mutations.py, on a copy, in a process of its own."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mutations import MUTATIONS

from cpu_fallback import law

ROOT = Path(__file__).parents[2]
OWN = ("probe", "to_device", "to_host")
KERNELS = sorted(n for n in law.__all__ if callable(getattr(law, n)) and n not in OWN)

pytest.importorskip("numba", reason="Numba is missing: there are no twins to break")


def copy(folder):
    """Copy what a parity test needs; gpu_nx47 (the tables) stays the checkout's own."""
    drop = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cpu_fallback", folder / "cpu_fallback", ignore=drop)
    shutil.copytree(ROOT / "tests" / "parity", folder / "tests" / "parity", ignore=drop)
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)


def parity(folder, kernels):
    """Run the parity tests of some kernels on the copy in `folder`."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "NUMBA_BOUNDSCHECK": "1",  # an index out of range is an error, not whatever lies there
    }
    apart = [f"--ignore=tests/parity/{name}" for name in ("test_mutations.py", "test_backends.py")]
    words = " or ".join(f"test_{kernel}" for kernel in kernels)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/parity",
        *apart,
        "-k",
        words,
    ]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "old", "new", "kernel"), MUTATIONS)
def test_a_mutation_is_well_formed(file, old, new, kernel):
    assert (ROOT / "cpu_fallback" / file).read_text().count(old) == 1
    assert old != new
    assert kernel in KERNELS


def test_every_kernel_has_two_mutations():
    rows = Counter(row[3] for row in MUTATIONS)
    assert [k for k in KERNELS if rows[k] < 2] == []


@pytest.mark.long
def test_the_copy_is_what_is_tested(tmp_path):
    copy(tmp_path)
    code, text = parity(tmp_path, sorted({row[3] for row in MUTATIONS}))
    assert code == 0, text
    (tmp_path / "cpu_fallback" / "twin" / "__init__.py").write_text("raise RuntimeError('the copy was imported')\n")
    code, text = parity(tmp_path, ["gaussian"])
    assert code == 1
    assert "the copy was imported" in text


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "old", "new", "kernel"), MUTATIONS, ids=[f"{row[3]}-{i}" for i, row in enumerate(MUTATIONS)]
)
def test_parity_fails_on(file, old, new, kernel, tmp_path):
    copy(tmp_path)
    path = tmp_path / "cpu_fallback" / file
    path.write_text(path.read_text().replace(old, new))
    code, text = parity(tmp_path, [kernel])
    print(f"{kernel}: {file}: {old!r} -> {new!r}: {text.strip().splitlines()[-1]}")
    assert code == 1 or code < 0, f"{old!r} -> {new!r} in {file} goes unnoticed:\n{text}"
