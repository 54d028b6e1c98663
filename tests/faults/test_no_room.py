"""A folder that takes nothing, or no more: exit code 4, one sentence, and nothing half written under a final name."""

import errno
import json
import os
import subprocess
import sys

import pytest

from gpu_nx47 import phantom
from gpu_nx47.cli import main
from gpu_nx47.submission import check_submission

SETTINGS = ["--set", "neuron.samples=1024", "--set", "neuron.steps=5", "--set", "overlays=1", "--quiet"]
REAL = {name: getattr(os, name) for name in ("write", "fsync", "replace", "open", "mkdir")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("room") / "root"
    phantom.write_phantom_root(folder, size=40, seeds=[5], train_seeds=[])
    return folder


@pytest.fixture
def mounted(tmp_path):
    """Return a maker of a small disk of its own, where this machine lets us mount one."""
    made = []

    def mount(options):
        folder = tmp_path / f"disk{len(made)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("no right to mount a disk here")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", str(folder)], check=True)


def run(root, out, capsys, *options):
    """Run; return the exit code and the one sentence of an error, "" where all went well.

    Beside it stand the record's last checkpoint and what goes on with a run that was cut short.
    """
    code = main(["run", str(root), "--output", str(out), *SETTINGS, *options])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    said = [line for line in shown.err.splitlines() if line.startswith("nx47: ")]
    assert len(said) == (code != 0), shown.err
    return code, "".join(said)


def check_left(root, out):
    """Check that what stands in the folder is whole, if shorter than it would be; return the last event."""
    last = None
    for path in out.iterdir():
        if path.suffix == ".jsonl":
            lines = path.read_bytes().split(b"\n")
            assert lines.pop() == b""
            last = [json.loads(line) for line in lines][-1:]
        elif path.suffix == ".json":
            assert json.loads(path.read_bytes()) is not None, path
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    assert not (out / ".nx47.lock").exists()
    if (out / "submission.zip").exists():
        assert check_submission(out / "submission.zip", root).ok
    return last[0] if last else None


@pytest.mark.parametrize("below", [False, True])
def test_a_file_where_the_folder_is_to_be(root, tmp_path, capsys, below):
    (tmp_path / "out").write_bytes(b"mine")
    code, said = run(root, tmp_path / "out" / "deeper" if below else tmp_path / "out", capsys)
    assert code == 4
    assert "A file stands where a folder is needed" in said
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_a_folder_where_a_file_is_to_be(root, tmp_path, capsys):
    (tmp_path / "v122_execution_logs.json").mkdir()
    code, said = run(root, tmp_path, capsys)
    assert code == 4
    assert "v122_execution_logs.json" in said


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(root, tmp_path, capsys):
    tmp_path.chmod(0o555)
    code, said = run(root, tmp_path, capsys)
    tmp_path.chmod(0o755)
    assert code == 4
    assert "Give a folder you may write to with --output." in said


@pytest.mark.parametrize("deeper", [".", "new"])
def test_a_disk_that_is_read_only(root, mounted, capsys, deeper):
    code, said = run(root, mounted("size=1m,ro") / deeper, capsys)
    assert code == 4
    assert "The file system is read-only: give another folder with --output." in said


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_what_the_system_says_at_the_start_is_told_with_advice(root, tmp_path, monkeypatch, capsys, call, number):
    def fail(path, *args, **kwargs):
        if str(path).startswith(str(tmp_path / "out")):
            raise OSError(number, os.strerror(number))
        return REAL[call](path, *args, **kwargs)

    monkeypatch.setattr(os, call, fail)
    code, said = run(root, tmp_path / "out", capsys)
    assert code == 4
    assert os.strerror(number) in said
    assert "--output" in said


@pytest.mark.parametrize("kib", [4, 8, 16, 32, 48, 64, 80, 96])
def test_a_small_disk_that_fills(root, mounted, capsys, kib):
    out = mounted(f"size={kib}k")
    code, said = run(root, out, capsys)
    assert code == 4
    assert "No space left" in said or "only a part" in said
    assert not (out / "submission.zip").exists()
    check_left(root, out)


def test_a_disk_with_room_enough(root, mounted, capsys):
    out = mounted("size=4m")
    assert run(root, out, capsys) == (0, "")
    assert (out / "submission.zip").exists()


@pytest.mark.parametrize("lasting", [True, False], ids=["full", "once"])
@pytest.mark.parametrize(
    ("call", "nth"),
    [("write", n) for n in (1, 2, 5, 20, 60, 90)]
    + [("fsync", n) for n in range(1, 8)]
    + [("replace", n) for n in (1, 2, 3, 5, 7, 9)],
)
def test_the_nth_call_finds_no_room(root, tmp_path, monkeypatch, capsys, call, nth, lasting):
    out, count = tmp_path / "out", 0

    def fail(*args, **kwargs):
        nonlocal count
        count += 1
        if count == nth or (lasting and count > nth):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return REAL[call](*args, **kwargs)

    monkeypatch.setattr(os, call, fail)
    code, said = run(root, out, capsys)
    monkeypatch.undo()
    if count < nth:
        assert code == 0
        pytest.skip(f"a run calls os.{call} {count} times only")
    assert code == 4
    assert "No space left" in said
    last = check_left(root, out)
    if not lasting and last is not None:
        assert last["event"] == "EXEC_COMPLETE"
    if (out / "submission.zip").exists():
        assert last["data"]["submission"] == str(out / "submission.zip")


def test_a_folder_of_saved_outputs_that_cannot_be_made(root, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "saved").write_bytes(b"mine")
    code, said = run(root, tmp_path / "out", capsys, "--save", "probability")
    assert code == 4
    assert "saved" in said
    assert check_left(root, tmp_path / "out")["data"]["exit_code"] == 4
