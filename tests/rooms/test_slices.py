"""The table of slices: each figure against its sentence, and the file as its columns."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from gpu_nx47 import slices
from gpu_nx47.bits import Packed
from gpu_nx47.errors import OutputError
from gpu_nx47.volume import Box, Source, Volume


def volume_of(grey, box):
    return Volume(Source("a", None, ()), grey, box, "uint8", None, None, "", grey.size)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    grey = np.zeros((9, 12, 13), np.uint8)
    grey[2:8, 3:12, 1:10] = rng.integers(1, 255, (6, 9, 9))
    hysteresis = rng.random((6, 9, 9)) < 0.3
    final = rng.random((6, 9, 9)) < 0.3
    final[2] = False
    probability = rng.integers(0, 65_536, (6, 9, 9)).astype(np.uint16)
    solved = SimpleNamespace(
        probability=probability,
        final=final,
        hysteresis=hysteresis,
        masks=SimpleNamespace(anchored=Packed.of(hysteresis)),
        calibration=SimpleNamespace(threshold=40_000),
        calibrated=probability >= 40_000,
        null=SimpleNamespace(golden_limit=50_000),
    )
    return volume_of(grey, Box((2, 3, 1), (8, 12, 10))), solved


def test_every_figure_is_that_of_its_slice(case):
    volume, solved = case
    counts = slices.counted(volume, solved)
    found = slices.table(counts)
    assert found["z"] == list(range(9))
    for z in range(9):
        row = {name: column[z] for name, column in found.items()}
        if not 2 <= z < 8:
            assert {counts[name][z] for name in (*slices.COUNTED, *slices.BESIDE)} == {0}
            assert row["density_final"] is row["mean_p"] is row["anchored_share"] is None
            continue
        final, anchored = solved.final[z - 2], solved.hysteresis[z - 2]
        assert row["voxels"] == 81
        assert row["grey_sum"] == volume.grey[z].sum()
        assert row["hysteresis"] == anchored.sum()
        assert row["calibrated"] == solved.calibrated[z - 2].sum()
        assert row["final"] == final.sum()
        assert row["final_anchored"] == (final & anchored).sum()
        reached, bright = solved.calibrated[z - 2], solved.probability[z - 2] > 50_000
        assert counts["final_calibrated"][z] == (final & reached).sum()
        assert counts["golden_active"][z] == (bright & (reached | anchored)).sum()
        assert row["p_code_sum"] == solved.probability[z - 2].sum(dtype=int)
        assert row["mean_p"] == pytest.approx(solved.probability[z - 2].mean() / 65_535)
        assert row["density_hysteresis"] == anchored.sum() / 81
        assert row["density_calibrated"] == solved.calibrated[z - 2].sum() / 81
        assert row["density_final"] == final.sum() / 81
        assert row["anchored_share"] == ((final & anchored).sum() / final.sum() if final.any() else None)
    assert found["anchored_share"][4] is None


def test_a_volume_in_which_nothing_can_be_found_has_its_rows(case):
    volume, _ = case
    found = slices.table(slices.counted(volume, None), found=False)
    assert len({len(column) for column in found.values()}) == 1
    assert sum(found["final"]) == sum(found["p_code_sum"]) == 0
    assert found["density_final"][3] == 0.0
    assert found["mean_p"][3] is None
    nothing = volume_of(np.zeros((4, 5, 6), np.uint8), Box((0, 0, 0), (0, 0, 0)))
    assert slices.counted(nothing, None)["voxels"] == [0] * 4


def test_the_file_holds_the_columns(case, tmp_path):
    found = slices.table(slices.counted(*case))
    path = slices.write_table(tmp_path / "slices", "a", found)
    assert path == tmp_path / "slices" / "a.csv"
    assert b"\r" not in path.read_bytes()
    with path.open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head == list(found)
    for z, row in enumerate(rows):
        for name, text in zip(head, row, strict=True):
            value = found[name][z]
            assert text == "" if value is None else type(value)(text) == value
    assert len(rows) == 9


def test_no_room_is_told(case, tmp_path):
    (tmp_path / "slices").write_text("a file")
    with pytest.raises(OutputError, match="slices"):
        slices.write_table(tmp_path / "slices", "a", slices.table(slices.counted(*case)))
