"""Real volumes, where the machine has them: the run ends with an acceptable zip, whatever the volume is."""

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


@pytest.mark.parametrize("name", NAMES)
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
