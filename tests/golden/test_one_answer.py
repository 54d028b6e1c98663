"""A volume has one answer: law, twin, tiles, threads, other processors' code paths, and the day it was first computed.

`answer.json` was written once by the NumPy law; change it only with the law, and say so in the commit:
``python tests/golden/answer.py law > tests/golden/answer.json``.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from answer import answer, make_root  # noqa: E402 - tests are no package: found by folder

from gpu_nx47 import survey  # noqa: E402
from gpu_nx47.settings import FeatureSettings  # noqa: E402

NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not NUMBA, reason="Numba is not installed: the law alone serves here")


@pytest.fixture(scope="session")
def golden():
    return json.loads((HERE / "answer.json").read_text())


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("golden") / "root")


def test_the_law_gives_the_frozen_answer(golden, root, tmp_path):
    assert answer(root, tmp_path / "out", backend="law", threads=1) == golden


@needs_numba
@pytest.mark.parametrize("tile", [(64, 512, 512), (16, 24, 40), (11, 48, 7)])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_tile_or_thread_changes_the_answer(golden, root, tmp_path, tile, threads):
    assert answer(root, tmp_path / "out", backend="cpu", tile=tile, threads=threads) == golden


@needs_numba
def test_what_is_measured_in_some_slabs_has_one_answer_too(golden, root, tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "SLAB", 8)
    monkeypatch.setattr(survey, "LEAST_MEASURED", 1)
    found = [
        answer(root, tmp_path / str(number), backend=backend, tile=tile, threads=threads)
        for number, (backend, tile, threads) in enumerate(
            [("law", (64, 512, 512), 1), ("cpu", (64, 512, 512), 2), ("cpu", (11, 48, 7), 1), ("cpu", (3, 20, 50), 2)]
        )
    ]
    assert all(one == found[0] for one in found)
    assert found[0]["counters"]["calc_ops"] < golden["counters"]["calc_ops"], "slabs alone were measured"
    whole = answer(root, tmp_path / "whole", backend="cpu", features=FeatureSettings(measured=1))
    assert whole == golden


@pytest.mark.skipif(NUMBA, reason="Numba is installed here; .ci/edges runs this where it is not")
def test_without_numba_the_law_serves_and_says_so_once(golden, root, tmp_path):
    assert answer(root, tmp_path / "out", backend="cpu") == golden
    lines = (tmp_path / "out" / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    said = [line for line in lines if "Numba is missing" in line]
    assert {json.loads(line)["event"] for line in said} <= {"BOOT", "GLOBAL_STATS"}
    assert '"backend":"law"' in lines[0]


def elsewhere(environment, backend):
    done = subprocess.run(
        [sys.executable, str(HERE / "answer.py"), backend],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def dispatched():
    """NumPy's optional code paths that this processor has: switched off, the baseline computes."""
    from numpy._core import _multiarray_umath as core

    return " ".join(f for f in core.__cpu_dispatch__ if core.__cpu_features__.get(f))


@pytest.mark.parametrize(
    "environment",
    [{"OPENBLAS_CORETYPE": "Nehalem"}, {"NPY_DISABLE_CPU_FEATURES": dispatched()}],
    ids=["old-blas", "numpy-baseline"],
)
def test_other_code_paths_of_numpy_give_the_answer(golden, environment):
    assert elsewhere(environment, "law") == golden


@needs_numba
def test_a_generic_processor_gives_the_answer(golden, tmp_path):
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert elsewhere(environment, "cpu") == golden


def test_the_answer_depends_on_the_volume(golden, root, tmp_path):
    """The comparison can fail: one changed voxel gives another answer."""
    import tifffile

    other = tmp_path / "root"
    (other / "test_images").mkdir(parents=True)
    for path in (root / "test_images").iterdir():
        image = tifffile.imread(path)
        image[24, 24, 24] ^= np.uint8(255)
        tifffile.imwrite(other / "test_images" / path.name, image, compression="lzw", photometric="minisblack")
    assert answer(other, tmp_path / "out", backend="law")["arrays"] != golden["arrays"]
