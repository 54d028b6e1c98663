"""Hostile files, read in a child process that is measured; and a whole run among them, which does the good ones."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import hostile
import pytest

from gpu_nx47 import phantom
from gpu_nx47.submission import check_submission

ANSWERS = {
    "no bytes": "DamagedInputError: this is not a TIFF file",
    "8-byte header": "DamagedInputError: the file is cut: a page's header lies outside it",
    "230 bytes declare 2 PiB": "DamagedInputError: a strip declares more pixels than its bytes can hold",
    "deflate declares 2 PiB": "DamagedInputError: a strip declares more pixels than its bytes can hold",
    "shape of 10**15 declared": "DamagedInputError: the pages do not add up to the stack",
    "2 MB declare 2 GB": "TooLargeError: the volume is too large",
    "2 MB inflate to 2 GB": "DamagedInputError: a strip decodes to another size than its page declares",
    "IFD loop": "DamagedInputError: the chain of pages runs in a loop",
    "100,000 IFDs": "DamagedInputError: the chain of pages is too long",
    "RGB": "NotAVolumeError: the pages are not grey",
    "NaN": "DamagedInputError: grey values are not finite",
    "2-D": "NotAVolumeError: the file is one 2-D picture",
    "zero-size": "DamagedInputError: a page has no pixels",
    "strip outside the file": "DamagedInputError: the file is cut: a strip lies outside it",
    "30 MB of values in one tag": "DamagedInputError: tag BitsPerSample has several values",
    "15 MB of OME elements": "(2, 3, 4)",
    "15 MB of OME attributes": "DamagedInputError: the OME description is damaged",
    "15 MB of JSON": "DamagedInputError: the description is too long",
    "15 MB of ImageJ lines": "DamagedInputError: the description is too long",
    "a million strips": "(2, 500000, 1)",
} | {f"LZW cut in half ({by})": "DamagedInputError: the file is cut: a page's header lies outside it"
     for by in ("tifffile", "Pillow", "OpenCV")}  # fmt: skip


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel does not tell peaks apart")
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.long)])
def test_no_hostile_file_takes_much_memory_or_time(tmp_path, slow):
    paths = hostile.write(tmp_path, frozenset() if slow else hostile.SLOW)
    for name, found in zip(paths, hostile.measure(paths.values()), strict=True):
        assert found["said"] == ANSWERS[name], name
        assert found["held"] <= hostile.SPARE_BYTES, name  # no voxels: nothing of the limit is used
        assert found["cpu_s"] < hostile.MOST_SECONDS, name


def test_the_measure_sees_memory_that_is_held(tmp_path):
    """A good stack of 64 MB is held; what a file before it held is not counted again."""
    paths = [tmp_path / "large.tif", tmp_path / "small.tif"]
    for path, side in zip(paths, (4096, 64), strict=True):
        hostile.tifffile_stack(path, (4, side, side))
    large, small = hostile.measure(paths)
    assert 64 << 20 < large["held"] < 200 << 20
    assert small["held"] < 4 << 20


@pytest.mark.long
def test_a_run_among_hostile_files_does_the_good_ones(tmp_path):
    root, output = tmp_path / "root", tmp_path / "out"
    phantom.write_phantom_root(root, size=48, seeds=[1, 2], train_seeds=[])
    images = root / "test_images"
    good = {path.stem for path in images.iterdir()}
    paths = hostile.write(images)
    bad = {path.stem for name, path in paths.items() if not ANSWERS[name].startswith("(")}
    options = ["--memory", "1200MB", "--set", "neuron.samples=4096", "--quiet"]
    command = [sys.executable, "-m", "gpu_nx47", "run", str(root), "--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    record = output / "v122_ultra_authentic_360_merkle.jsonl"
    events = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    failed = {e["data"]["file"]: e["data"] for e in events if e["event"] == "FILE_FAILED"}
    assert set(failed) == bad
    assert all(data["expected"] and data["found"] and data["advice"] for data in failed.values())
    assert {e["data"]["file"] for e in events if e["event"] == "FILE_DONE"} >= good
    with zipfile.ZipFile(output / "submission.zip") as archive:
        members = {Path(name).stem for name in archive.namelist()}
    assert good <= members
    told = {name: data["shape"] for name, data in failed.items() if data["shape"]}
    assert members & bad == set(told)
    shapes = dict.fromkeys(members) | {name: tuple(shape) for name, shape in told.items()}
    assert check_submission(output / "submission.zip", shapes).ok
    (peak,) = (e["data"]["hardware"]["peak_rss_bytes"] for e in events if e["event"] == "GLOBAL_STATS")
    assert peak < 1_200_000_000 + hostile.SPARE_BYTES
