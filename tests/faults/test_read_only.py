"""Nothing may be written but OUT: not the packages, not HOME, not the folder of temporary files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cpu_fallback
import gpu_nx47
from gpu_nx47 import phantom

OPTIONS = ["--set", "neuron.samples=1024", "--set", "neuron.steps=5", "--set", "overlays=1", "--quiet"]
ONE_TWIN = """
import numpy as np
from cpu_fallback import law, twin
from gpu_nx47 import tables
volume = np.arange(512, dtype=np.uint8).reshape(8, 8, 8)
taps = tables.gaussian_taps(1.0)
assert (twin.gaussian(volume, taps=taps) == law.gaussian(volume, taps=taps)).all()
assert "/disk/" in twin.__file__, twin.__file__
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readonly") / "root"
    phantom.write_phantom_root(folder, size=40, seeds=[5], train_seeds=[])
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return the environment of a process for which packages, HOME and temporary files lie on a read-only disk."""
    disk = tmp_path_factory.mktemp("world") / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a disk here")
    try:
        for package in (gpu_nx47, cpu_fallback):
            folder = Path(package.__file__).parent
            shutil.copytree(folder, disk / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
        (disk / "home").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (disk / "home" / "x").touch()
        places = {name: str(disk / "home") for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
        yield {**os.environ, **places, "PYTHONPATH": str(disk)}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def run(world, root, out, *options):
    command = [sys.executable, "-m", "gpu_nx47", "run", str(root), "--output", str(out), *OPTIONS, *options]
    return subprocess.run(command, env=world, cwd=out.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("backend", ["law", pytest.param("cpu", marks=pytest.mark.long)])
def test_a_run_needs_to_write_its_output_only(world, root, tmp_path, backend):
    done = run(world, root, tmp_path / "out", "--backend", backend, "--untrusted")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "out" / "submission.zip").exists()


def test_twins_are_compiled_without_a_place_to_keep_them(world):
    pytest.importorskip("numba")
    command = [sys.executable, "-c", ONE_TWIN]
    done = subprocess.run(command, env=world, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
