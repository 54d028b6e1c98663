"""A second process encodes masks and reads them again: the same bytes, and nothing lost or left where it fails."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gpu_nx47
from gpu_nx47 import child, hardware, mask_check, mask_file, phantom, press, submission
from gpu_nx47.press import Press
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.submission import check_submission, encode_mask

QUICK = Settings(neuron=NeuronSettings(samples=1024, l1=(1e-3,), l2=(1e-3,), steps=5), overlays=0)
PLENTY = 10**12
RNG = np.random.default_rng(3)
MASKS = [RNG.random(shape) < 0.4 for shape in ((7, 9, 11), (1, 1, 1), (3, 64, 65))]
HELD = """
import sys, time
import numpy as np
from gpu_nx47 import press
press.SMALLEST = 0
press.hardware.usable_processors = lambda: 2
held = press.Press(2)
held.begin("a", np.ones((4, 5, 6), bool), 10**12)
assert held.file("a")
assert held.checked()  # it has nothing more to say
print(held._process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def helped(monkeypatch):
    """Have the process be started for any mask, on a machine of two processors."""
    monkeypatch.setattr(press, "SMALLEST", 0)
    monkeypatch.setattr(hardware, "usable_processors", lambda: 2)


def instead(monkeypatch, code):
    """Have another program be started in its place."""
    monkeypatch.setattr(child, "command", lambda module: [sys.executable, "-c", code])


# ------------------------------------------------------------------ what it does
def test_files_are_those_of_the_run_itself_and_are_read_again():
    with Press(2) as apart:
        for number, mask in enumerate(MASKS):
            apart.begin(str(number), mask, PLENTY)
        files = [apart.file(str(number)) for number in range(len(MASKS))]
        checked = apart.checked()
    assert files == [encode_mask(mask) for mask in MASKS]
    assert list(checked) == [hashlib.sha256(file).hexdigest() for file in files]
    for found, mask in zip(checked.values(), MASKS, strict=True):
        assert (found.shape, found.voxels, found.foreground) == (mask.shape, mask.size, mask.sum())


def test_a_file_is_given_once_and_one_that_was_not_begun_never():
    with Press(2) as apart:
        apart.begin("a", MASKS[0], PLENTY)
        assert apart.file("a") is not None
        assert apart.file("a") is None
        assert apart.file("b") is None


def test_of_two_masks_of_a_name_the_later_is_given():
    with Press(2) as apart:
        apart.begin("a", MASKS[0], PLENTY)
        apart.begin("a", MASKS[1], PLENTY)
        assert apart.file("a") == encode_mask(MASKS[1])


def test_any_mask_comes_through():
    with Press(2) as apart:

        @settings(max_examples=25, deadline=None)
        @given(st.tuples(*[st.integers(1, 20)] * 3), st.integers(0, 2**32 - 1))
        def comes_through(shape, seed):
            mask = np.random.default_rng(seed).random(shape) < 0.5
            apart.begin("a", mask, PLENTY)
            assert apart.file("a") == encode_mask(mask)

        comes_through()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("mask", MASKS)
def test_a_file_is_good_if_pillow_reads_its_mask_and_no_other(mask):
    voxels = mask.tobytes()
    file = mask_file.encode_bytes(mask.shape, voxels)
    assert file == encode_mask(mask)
    assert mask_file.good(file, mask.shape, voxels)
    for place in (0, mask.size // 2, mask.size - 1):
        other = mask.copy()
        other.reshape(-1)[place] ^= True
        assert not mask_file.good(file, mask.shape, other.tobytes())
    assert not mask_file.good(encode_mask(mask[:, :, ::-1])[: len(file) - 9], mask.shape, voxels)


def test_more_pages_fewer_turned_and_otherwise_encoded_ones_are_not_good():
    mask = MASKS[0]
    assert not mask_file.good(encode_mask(mask[:6]), mask.shape, mask.tobytes())
    assert not mask_file.good(encode_mask(mask), (6, *mask.shape[1:]), mask[:6].tobytes())
    assert not mask_file.good(encode_mask(mask.reshape(7, 11, 9)), mask.shape, mask.tobytes())
    for mode, compression in (("L", "raw"), ("L", "tiff_adobe_deflate"), ("I;16", "tiff_lzw")):
        page = mask[0].astype(np.uint8 if mode == "L" else np.uint16)
        file = io.BytesIO()
        Image.fromarray(page).save(file, "TIFF", compression=compression)
        assert not mask_file.good(file.getvalue(), (1, *page.shape), page.tobytes()), (mode, compression)
    assert mask_file.good(encode_mask(mask[:1]), (1, *page.shape), mask[:1].tobytes())


def test_the_process_needs_no_numpy():
    """Which would take three fourths of its start."""
    code = (
        "import sys; from gpu_nx47 import press_child, mask_file\n"
        "file = mask_file.encode_bytes((2, 3, 4), bytes(24))\n"
        "assert mask_file.good(file, (2, 3, 4), bytes(24)); print('numpy' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-P", "-c", code], env=child.environment(), capture_output=True, check=True)
    assert told.stdout.decode().strip() == "False"


# ------------------------------------------------------------------ whether it is started
def started(apart, mask=MASKS[0], spare=PLENTY):
    with apart:
        apart.begin("a", mask, spare)
        return apart._process is not None


def test_it_is_started_where_it_helps_and_fits(monkeypatch):
    need = press.START_BYTES + press.VOXEL_BYTES * MASKS[0].size
    assert started(Press(2), spare=need)
    assert not started(Press(2), spare=need - 1)
    assert not started(Press(1))
    monkeypatch.setattr(press, "SMALLEST", MASKS[0].size + 1)
    assert not started(Press(2))
    monkeypatch.setattr(press, "SMALLEST", MASKS[0].size)
    assert started(Press(2))
    monkeypatch.setattr(hardware, "usable_processors", lambda: 1)
    assert not started(Press(2))


def test_it_takes_no_more_than_was_reckoned_with():
    mask = np.zeros((128, 256, 256), bool)
    with Press(2) as apart:
        apart.begin("a", mask, PLENTY)
        most = 0
        while not apart._found[0].done():
            with open(f"/proc/{apart._process.pid}/status") as status:
                most = max([most, *(1024 * int(line.split()[1]) for line in status if line.startswith("VmRSS"))])
            time.sleep(0.002)
        assert apart.checked()
    assert press.START_BYTES // 2 < most <= press.START_BYTES + press.VOXEL_BYTES * mask.size


# ------------------------------------------------------------------ how it fails and ends
LENGTH = "import struct, sys; tell = lambda b: sys.stdout.buffer.write(struct.pack('<Q', len(b)) + b); "
FAILING = {
    "it ends at once": "raise SystemExit(3)",
    "it ends within a file": LENGTH + "sys.stdout.buffer.write(struct.pack('<Q', 99) + b'II*')",
    "it says nothing of a file's length": "print('x', flush=True)",
    "it is killed": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("code", FAILING.values(), ids=FAILING.keys())
def test_what_it_does_not_do_the_run_does(code, monkeypatch):
    instead(monkeypatch, code)
    with Press(2) as apart:
        for name in "ab":
            apart.begin(name, MASKS[2], PLENTY)
            assert apart.file(name) is None
        assert apart.checked() == {}
    assert apart._process.returncode is not None


@pytest.mark.parametrize("said", [b"\0", b"\2", b""])
def test_a_file_that_was_not_found_to_be_good_is_not_known(said, monkeypatch):
    more = "" if said else "raise SystemExit; "
    instead(
        monkeypatch,
        LENGTH + f"tell(b'file'); sys.stdout.buffer.write({said!r}); sys.stdout.flush(); {more}sys.stdin.buffer.read()",
    )
    with Press(2) as apart:
        apart.begin("a", MASKS[2], PLENTY)
        assert apart.file("a") == b"file"
        assert apart.checked() == {}


def test_one_that_hangs_is_ended(monkeypatch):
    instead(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(press, "START_SECONDS", 0.3)
    with Press(2) as apart:
        apart.begin("a", MASKS[0], PLENTY)
        begun = time.monotonic()
        assert apart.file("a") is None
        assert 0.3 <= time.monotonic() - begun < 10
        assert apart.checked() == {}


def test_no_process_means_that_nothing_is_begun(monkeypatch):
    def refused(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(child, "started", refused)
    with Press(2) as apart:
        apart.begin("a", MASKS[0], PLENTY)
        assert apart.file("a") is None


def test_the_end_of_a_run_ends_it_at_once(monkeypatch):
    instead(monkeypatch, "import time; time.sleep(60)")
    apart, begun = Press(2), time.monotonic()

    def interrupted():
        with apart:
            apart.begin("a", np.ones((64, 256, 256), bool), PLENTY)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - begun < 5
    assert apart._process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(apart._process.pid)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_leaves_no_process():
    with subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True) as run:
        pid = int(run.stdout.readline())
        assert psutil.pid_exists(pid)
        run.kill()
    with suppress(psutil.NoSuchProcess):
        left = psutil.Process(pid)
        deadline = time.monotonic() + 30
        while left.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:  # nobody's child here
            time.sleep(0.05)
        alive = left.status() != psutil.STATUS_ZOMBIE
        left.kill()
        assert not alive


# ------------------------------------------------------------------ within a run
@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("press") / "root"
    phantom.write_phantom_root(folder, size=32, seeds=[1, 2], train_seeds=[])
    return folder


def test_a_run_has_the_same_zip_with_it_without_it_and_where_it_fails(root, tmp_path, monkeypatch):
    names = sorted(path.name for path in (root / "test_images").iterdir())
    given, read = [], []
    file, check = Press.file, submission.check_mask
    monkeypatch.setattr(Press, "file", lambda self, name: given.append(file(self, name)) or given[-1])
    monkeypatch.setattr(submission, "check_mask", lambda *args: read.append(args[1]) or check(*args))

    def zipped(name, threads):
        given.clear(), read.clear()
        done = gpu_nx47.run(root, tmp_path / name, replace(QUICK, threads=threads))
        return done.submission.read_bytes()

    helped = zipped("with", 2)
    assert None not in given
    assert len(given) == 2
    assert read == [], "what the process has read is not read again"
    assert zipped("without", 1) == helped
    assert given == [None, None]
    assert read == names
    instead(monkeypatch, FAILING["it ends within a file"])
    assert zipped("failing", 2) == helped
    assert given == [None, None]
    assert read == names


def test_a_member_is_known_by_its_bytes_and_its_shape(tmp_path):
    file = encode_mask(MASKS[0])
    found = mask_check.Checked(hashlib.sha256(file).hexdigest(), MASKS[0].shape, 5, 3)
    path = tmp_path / "s.zip"

    def report(data, shape=MASKS[0].shape):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.tif", data)
        return check_submission(path, {"a": shape}, known={found.sha256: found})

    known = report(file)
    assert (known.ok, known.voxels, known.foreground) == (True, 5, 3), "it was not read again"
    other = report(encode_mask(~MASKS[0]))
    assert (other.ok, other.foreground) == (True, (~MASKS[0]).sum())
    assert "shape" in report(file, (7, 9, 12)).problems[0]
    damaged = file[:40] + bytes([file[40] ^ 1]) + file[41:]
    assert not report(damaged).ok
