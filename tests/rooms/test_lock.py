"""Two runs never write to one folder, and a killed run keeps nobody out."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import tifffile

import gpu_nx47
from gpu_nx47 import lock
from gpu_nx47.cli import main
from gpu_nx47.errors import OutputError
from gpu_nx47.lock import LOCK_NAME, run_lock

HOLDER = "import sys; from pathlib import Path; from gpu_nx47.lock import run_lock\nwith run_lock(Path(sys.argv[1])):\n"
"""A process that takes the lock, says so, and waits for its input to end."""


@pytest.fixture
def held(tmp_path):
    """A folder that another process holds, and that process."""
    command = [sys.executable, "-c", HOLDER + "    print('held', flush=True); sys.stdin.read()", str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield tmp_path / "out", process
        process.kill()


@pytest.fixture(params=["flock", "no fcntl", "no flock"])
def manner(request, monkeypatch):
    """Each way to lock: by the kernel, where there is no such module, and on a drive that cannot."""
    if request.param == "no fcntl":
        monkeypatch.setattr(lock, "fcntl", None)
    if request.param == "no flock":

        def unable(handle, how):
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(lock.fcntl, "flock", unable)
    return request.param


def test_a_second_run_refuses_says_who_and_touches_nothing(held, capsys):
    out, process = held
    image = out.parent / "root" / "a.tif"
    image.parent.mkdir()
    tifffile.imwrite(image, np.full((3, 4, 5), 7, np.uint8), photometric="minisblack")
    for name in ("submission.zip", "v122_ultra_authentic_360_merkle.jsonl"):
        (out / name).write_text("of the first run")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()}
    assert json.loads(before[LOCK_NAME][0])["pid"] == process.pid
    assert main(["run", str(image.parent), "--output", str(out)]) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in (f"process {process.pid}", socket.gethostname(), "since 2", "--output"):
        assert word in said
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()} == before
    assert main(["demo", "--size", "32", "--output", str(out)]) == 4
    assert not (out / "phantom").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_the_lock_of_a_killed_run_is_taken_over(held, manner):
    out, process = held
    with pytest.raises(OutputError, match=f"process {process.pid} "), run_lock(out):
        pass
    process.kill()
    process.wait()
    assert (out / LOCK_NAME).exists()
    with run_lock(out):
        assert json.loads((out / LOCK_NAME).read_bytes())["pid"] == os.getpid()
    assert os.listdir(out) == []


def test_a_held_lock_refuses_in_the_same_process_and_ends_with_its_block(tmp_path, manner):
    with run_lock(tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match=f"process {os.getpid()} "), run_lock(tmp_path / "a" / "b"):
            pass
        with run_lock(tmp_path):
            pass
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        1 / 0  # noqa: B018
    with run_lock(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_without_flock_only_a_process_that_is_surely_gone_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": "2099-01-01T00:00:00+00:00"}
    for holder in (mine, {**mine, "host": "elsewhere", "pid": 2**22 + 1}, {"pid": "x"}, []):
        (tmp_path / LOCK_NAME).write_text(json.dumps(holder))
        with pytest.raises(OutputError, match="If that run is gone, remove"), run_lock(tmp_path):
            pass
    (tmp_path / LOCK_NAME).write_text(json.dumps({**mine, "started": "2001-01-01T00:00:00+00:00"}))
    with run_lock(tmp_path):  # the number is another process's by now: ours was born later
        pass


def test_of_many_at_once_one_has_it(tmp_path):
    inside, most, refused = [], [], []

    def work():
        for _ in range(40):
            try:
                with run_lock(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except OutputError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) + len(refused) == 160


def test_a_run_leaves_no_lock(tmp_path):
    image = tmp_path / "root" / "a.tif"
    image.parent.mkdir()
    tifffile.imwrite(image, np.full((3, 4, 5), 7, np.uint8), photometric="minisblack")
    assert gpu_nx47.run(image.parent, tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / LOCK_NAME).exists()


@pytest.mark.skipif(lock.fcntl is None, reason="no flock here")
def test_a_lock_removed_by_its_holder_in_the_last_moment_guards_nothing(tmp_path, monkeypatch):
    real, calls = lock.fcntl.flock, []

    def late(handle, how):
        calls.append(handle)
        if len(calls) == 1:
            (tmp_path / LOCK_NAME).unlink()
        real(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with run_lock(tmp_path):
        assert len(calls) == 2
        with pytest.raises(OutputError, match="another run writes here"), run_lock(tmp_path):
            pass
