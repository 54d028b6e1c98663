"""A whole run on the GPU's code gives the answer of the law: the zip, the counters, every array."""

import json
from pathlib import Path

import pytest
from answer import answer, make_root

from gpu_nx47 import backend

GOLDEN = Path(__file__).parents[1] / "golden" / "answer.json"


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("golden") / "root")


@pytest.mark.same_bits
def test_a_run_on_the_device_gives_the_frozen_answer(device, root, tmp_path):
    expected = json.loads(GOLDEN.read_text())
    assert answer(root, tmp_path / "out", backend="gpu", threads=2) == expected
    stats = json.loads((tmp_path / "out" / "v122_execution_metadata.json").read_text())["global_stats"]
    assert (stats["backend"], stats["backend_reason"]) == (
        "gpu",
        "the GPU was asked for and its probe equals the law",
    )


@pytest.mark.long
@pytest.mark.parametrize("tile", [(16, 24, 40), (11, 48, 7)])
def test_no_tile_changes_the_answer_of_the_device(device, root, tmp_path, tile):
    expected = json.loads(GOLDEN.read_text())
    assert answer(root, tmp_path / "out", backend="gpu", tile=tile) == expected


def test_auto_takes_a_device_that_equals_the_law(device):
    chosen, reason = backend.select("auto")
    assert (chosen.NAME, reason) == ("gpu", "a GPU is here and its probe equals the law")


@pytest.mark.long
@pytest.mark.parametrize("name", ["ct_fiberform", "ovule_walls"])
def test_a_real_volume_has_one_answer(device, real_data, tmp_path, name):
    """Bytes of the zip, every counter, every traced array and the weights: law against device."""
    of_law = answer(real_data / f"{name}.tif", tmp_path / "law", backend="law")
    assert answer(real_data / f"{name}.tif", tmp_path / "gpu", backend="gpu", tile=(32, 64, 64)) == of_law
