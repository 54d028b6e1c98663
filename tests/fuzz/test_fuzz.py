"""A short fuzz of the reader in each gate, what longer ones found, and proof that the fuzzer sees what it looks for."""

import io
import random
import signal
import struct
import zipfile
from pathlib import Path
from unittest import mock

import corpus
import fuzz_reader
import fuzz_submission
import mutate
import numpy as np
import pytest
import reference
import tifffile

from gpu_nx47 import mask_check
from gpu_nx47._tiff import decode, inspect
from gpu_nx47.errors import DamagedInputError
from gpu_nx47.submission import check_submission, encode_mask

SEEDS = Path(__file__).parent / "seeds"


@pytest.fixture(autouse=True)
def _hangs_raise():
    before = signal.getsignal(signal.SIGVTALRM)
    fuzz_reader.limited()
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("name", corpus.seeds())
def test_both_readers_read_what_was_written(name):
    data, array = corpus.seeds()[name]
    for found in (decode(data, inspect(data, name)), reference.read(data)):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_tifffile_reads_the_stacks_written_as_imagej_does():
    for name in ("ImageJ", "ImageJ, one header", "uint16, ImageJ", "float32, ImageJ"):
        data, array = corpus.seeds()[name]
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            assert file.is_imagej
            assert np.array_equal(file.asarray(), array)


@pytest.mark.parametrize("path", sorted(SEEDS.glob("*.tif")), ids=lambda path: path.stem)
def test_what_fuzzing_found_is_refused(path):
    data = path.read_bytes()
    expected = ("accepted",) if path.stem.startswith("ome") else ("DamagedInputError", "a strip does not decode")
    assert fuzz_reader.judge(data) == expected


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_short_campaign_finds_nothing(tmp_path, seed):
    executions = 1500 if seed == 1 else 50_000
    summary = fuzz_reader.campaign(random.Random(seed), executions=executions, folder=tmp_path)
    assert summary["findings"] == {}
    assert summary["executions"] == executions
    assert 0.05 * executions < summary["accepted"] < 0.5 * executions
    assert len(summary["refused"]["DamagedInputError"]) > 30  # kinds


def test_a_campaign_depends_on_its_seed_alone(tmp_path):
    first, again, other = (fuzz_reader.campaign(random.Random(s), executions=60, folder=tmp_path) for s in (1, 1, 2))
    assert first["refused"] == again["refused"] != other["refused"]


GOOD = corpus.seeds()["tifffile, lzw"][0]
REAL = decode


def loop(*_):
    while True:
        pass


FAULTS = {
    "KeyError": {"decode": mock.Mock(side_effect=KeyError)},
    "MemoryError": {"decode": mock.Mock(side_effect=MemoryError)},
    "no end after": {"decode": loop, "MOST_SECONDS": 0.2},
    "another shape": {"decode": lambda data, info: REAL(data, info)[:-1]},
    "other voxels": {"decode": lambda data, info: REAL(data, info) ^ 1},
    "reference says": {"decode": lambda data, info: REAL(GOOD, inspect(GOOD, "a"))},
    "bytes of memory": {"peak_bytes": mock.Mock(side_effect=[0, 1 << 40, 1 << 40])},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzzer_sees_a_reader_that_is_wrong(fault):
    data = bytearray(GOOD)
    if fault == "reference says":
        data[inspect(GOOD, "a").pages[2].offsets[0]] ^= 255
    with mock.patch.multiple(fuzz_reader, **FAULTS[fault]), pytest.raises(fuzz_reader.Finding, match=fault):
        fuzz_reader.judge(bytes(data))


def test_the_fuzzer_sees_decoders_that_differ():
    def decoded(data, info):
        return ("accepted",), next(answers)

    stack = decode(GOOD, inspect(GOOD, "a"))
    for pair in ((stack, stack ^ 1), (stack, None), (None, stack)):
        answers = iter(pair)
        with mock.patch.object(fuzz_reader, "decoded", decoded), pytest.raises(fuzz_reader.Finding, match="without"):
            fuzz_reader.judge(GOOD)


def test_a_finding_is_made_smaller_and_kept(tmp_path):
    def wrong(data, info):
        if b"\x05" in data:  # any byte of a finding that matters
            raise KeyError
        raise DamagedInputError("a", "b", expected="c", found="d", advice="e")

    with mock.patch.object(fuzz_reader, "decode", wrong):
        summary = fuzz_reader.campaign(random.Random(3), executions=40, keep=tmp_path)
    (found,) = summary["findings"].values()
    least = (tmp_path / f"{found['name']}.tif").read_bytes()
    assert found["times"] > 1
    assert len(least) < len((tmp_path / f"{found['name']}.whole.tif").read_bytes())
    assert (tmp_path / "last.tif").exists()


def test_every_mutation_changes_something_and_keeps_bytes():
    mutator = mutate.Mutator(random.Random(5), [GOOD])
    found = mutate.layout(GOOD)
    assert len(found.strips) == len(found.codes) == 4
    for way in set(mutator.ways):
        changed = set()
        for _ in range(30):
            data = bytearray(GOOD)
            way(data, mutate.layout(data))
            changed.add(bytes(data))
        assert len(changed - {GOOD}) > 3, way.__name__


# The check of a submission ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executions", [60, pytest.param(3000, marks=pytest.mark.long)])
def test_any_zip_is_reported_on(tmp_path, executions, capfd):
    summary = fuzz_submission.campaign(random.Random(4), tmp_path, executions=executions)
    capfd.readouterr()  # what libtiff writes to the standard error
    assert summary["findings"] == {}
    assert {"zip", "mask"} <= set(summary["refused"]["refused"])
    assert summary["accepted"] > 0


def zipped(data, method=zipfile.ZIP_STORED):
    return fuzz_submission.packed({"a": data}, method)


def problems(tmp_path, data, shape):
    (tmp_path / "s.zip").write_bytes(data)
    return check_submission(tmp_path / "s.zip", {"a": shape}).problems


def test_zips_that_fuzzing_found(tmp_path, monkeypatch):
    mask = encode_mask(np.eye(9, 11, dtype=bool)[None].repeat(3, 0))
    assert problems(tmp_path, zipped(mask), (3, 9, 11)) == ()
    assert "method 14" in problems(tmp_path, zipped(mask, zipfile.ZIP_LZMA), (3, 9, 11))[0]
    late = bytearray(zipped(mask))
    late[late.index(b"PK\1\2") + 6] = 255  # the version of zip that its reader must know
    assert "cannot be read as a zip" in problems(tmp_path, bytes(late), (3, 9, 11))[0]
    large = bytearray(zipped(mask))
    at = large.index(b"PK\1\2") + 20
    large[at : at + 8] = struct.pack("<II", 1 << 30, 1 << 30)
    assert "more than the zip holds" in problems(tmp_path, bytes(large), None)[0]
    monkeypatch.setattr(mask_check, "decode", lambda data, info, threads: 1 - decode(data, info))
    assert "page 0: Pillow reads other voxels" in problems(tmp_path, zipped(mask), (3, 9, 11))[0]
    monkeypatch.undo()
    cut = bytearray(mask)
    page = inspect(mask, "a").pages[1]
    end = page.offsets[0] + page.counts[0]
    cut[end - 2 : end] = b"\0\0"  # no End code: Pillow reads it for all that
    assert "page 1" in problems(tmp_path, zipped(bytes(cut)), (3, 9, 11))[0]


def test_bombs_in_zips_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_check, "MOST_UNKNOWN", 1000)
    monkeypatch.setattr(mask_check, "MOST_PAGES", 10)
    monkeypatch.setattr(mask_check, "decode", lambda *_, **__: pytest.fail("it was decoded"))
    bomb = zipped(bytes(1 << 20), zipfile.ZIP_DEFLATED)
    for shape, word in (((3, 9, 11), "(3, 9, 11)"), (None, "any shape")):
        assert f"too many for a mask of {word}" in problems(tmp_path, bomb, shape)[0]
    many = encode_mask(np.zeros((40, 9, 11), bool))
    assert "at most 1000 voxels" in problems(tmp_path, zipped(many), None)[0]
    assert "(40, 9, 11); expected (41, 9, 11)" in problems(tmp_path, zipped(many), (41, 9, 11))[0]
