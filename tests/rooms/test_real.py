"""Real volumes, where the machine has them: the run ends with an acceptable zip, whatever the volume is."""

from importlib.util import find_spec

import pytest
import tifffile

import gpu_nx47
from gpu_nx47.submission import check_submission

NAMES = [
    "ct_engine",
    "ct_bonsai",
    "ct_fiberform",
    "ct_abdomen_u16",
    "ovule_walls",
    "ovule_cells",
    "isbi2012_em",
    "isbi2012_membrane",
]


SMALL = ("ovule_cells", "ovule_walls")
"""What the law alone does in seconds; its bits are the compiled ones' (tests/golden), and these take it minutes."""


def volumes():
    slow = pytest.mark.skipif(find_spec("numba") is None, reason="the law alone takes minutes")
    return [name if name in SMALL else pytest.param(name, marks=slow) for name in NAMES]


@pytest.mark.parametrize("name", volumes())
def test_a_real_volume_gets_an_acceptable_mask(real_data, tmp_path, name):
    path = real_data / f"{name}.tif"
    result = gpu_nx47.run(path, tmp_path / "out")
    assert result.exit_code == 0
    with tifffile.TiffFile(path) as stack:
        shape = stack.series[0].shape
    assert check_submission(result.submission, {name: shape}).ok
    (entry,) = result.files
    assert entry["slices_processed"] == shape[0]
    assert 0 < entry["active_ratio_final"] < 0.9
    assert entry["calc_ops"] > 0
