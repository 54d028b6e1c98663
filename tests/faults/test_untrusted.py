"""Untrusted files decode in a child process: the same bits, and whatever becomes of the child is a typed error."""

import io
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from gpu_nx47._tiff import decode_apart, inspect, untrusted
from gpu_nx47.errors import DamagedInputError, InputError
from gpu_nx47.load import load
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source

STACK = np.random.default_rng(47).integers(0, 60, (5, 37, 41), dtype=np.uint8)


def written(array=STACK, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack", **options)
    return file.getvalue()


def apart(data, **options):
    return decode_apart(data, inspect(data, "bad.tif"), **options)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_the_same_voxels(dtype):
    array = STACK.astype(dtype)
    found = apart(written(array, compression="lzw", byteorder=">"), threads=3)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(found, array)
    found[0] = 0  # its own memory


def test_load_decodes_apart_where_it_is_asked_to(tmp_path, monkeypatch):
    files = [tmp_path / f"{k}.tif" for k in range(2)]
    for path, page in zip(files, STACK, strict=False):
        path.write_bytes(written(page, compression="lzw"))
    stack = tmp_path / "stack.tif"
    stack.write_bytes(written(compression="lzw"))
    calls = []
    real = untrusted._run
    monkeypatch.setattr(untrusted, "_run", lambda *args: (calls.append(args), real(*args))[1])
    for source, expected in (
        (Source("stack", stack, (stack,)), STACK),
        (Source("slices", tmp_path, tuple(files)), STACK[:2]),
    ):
        plain, guarded = (load(source, LoadSettings(untrusted=asked)) for asked in (False, True))
        assert np.array_equal(plain.grey, guarded.grey)
        assert np.array_equal(plain.grey, expected)
        assert plain.sha256 == guarded.sha256
    assert len(calls) == 3


def test_a_damaged_page_is_named_as_without_the_child():
    data = bytearray(written(compression="lzw"))
    data[inspect(bytes(data), "a").pages[3].offsets[0]] ^= 255
    with pytest.raises(DamagedInputError, match="page 3: a strip does not decode") as caught:
        apart(bytes(data))
    assert (caught.value.page, caught.value.shape) == (3, STACK.shape)


def test_a_child_without_memory_is_a_damaged_input():
    data = written(np.zeros((5, 2000, 2000), np.uint8), compression="lzw")
    assert apart(data).shape == (5, 2000, 2000)
    with pytest.raises(InputError) as caught:
        apart(data, spare_bytes=-(10 << 20))
    assert caught.value.shape == (5, 2000, 2000)


CHILDREN = {
    "hangs": ("import time; time.sleep(60)", "no end after 1 s"),
    "spins": ("import resource as r; r.setrlimit(r.RLIMIT_CPU, (0, 0))\nwhile True: pass", "killed by SIG"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
    "is killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    "fails": ("raise MemoryError", "exit code 1"),
    "says nothing": ("", "0 bytes"),
    "says too much": (f"import sys; sys.stdout.write('a' * {STACK.size + 1})", f"{STACK.size + 1} bytes"),
    "babbles": ("import sys; sys.stdout.write('{[}'); sys.exit(3)", "cannot be read"),
    "lies": ('import sys; sys.stdout.write(\'{"kind": "SystemExit"}\'); sys.exit(3)', "cannot be read"),
    "answers a list": ("import sys; sys.stdout.write('[]'); sys.exit(3)", "cannot be read"),
}


@pytest.mark.parametrize("child", CHILDREN)
def test_whatever_becomes_of_the_child_is_a_damaged_input(monkeypatch, child):
    code, found = CHILDREN[child]
    monkeypatch.setattr(untrusted, "COMMAND", (sys.executable, "-c", code))
    start = time.monotonic()
    with pytest.raises(DamagedInputError) as caught:
        apart(written(compression="lzw"), seconds=1)
    assert found in caught.value.found
    assert (caught.value.shape, time.monotonic() - start < 10) == (STACK.shape, True)


def test_the_limits_hold_in_the_child():
    code = (
        "from gpu_nx47._tiff import child; child._limit(64 << 20, 1)\n"
        "try: bytearray(128 << 20)\nexcept MemoryError: print('bounded', flush=True)\nwhile True: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.returncode < 0) == ("bounded\n", True)


def test_modules_of_the_folder_it_runs_in_are_not_taken(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(apart(written(compression="lzw")), STACK)
