"""A child process is talked to through large pipes, where it may have them."""

import subprocess
import sys

import pytest

from gpu_nx47 import child

fcntl = pytest.importorskip("fcntl", reason="Windows sizes its pipes itself")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes have a size of their own on Linux alone")


@pytest.fixture
def sizes(monkeypatch):
    """Tell how large the pipes of a child that waits are."""
    monkeypatch.setattr(child, "command", lambda module: [sys.executable, "-c", "input()"])

    def told():
        with child.started("any") as process:
            found = [fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) for pipe in (process.stdin, process.stdout)]
            process.kill()
        return found

    return told


def test_its_pipes_are_large(sizes):
    assert sizes() == [child.PIPE_BYTES] * 2


def test_a_user_who_has_too_many_such_pipes_gets_usual_ones(sizes, monkeypatch):
    real, asked = subprocess.Popen, []

    def refused(*command, pipesize, **parameters):
        asked.append(pipesize)
        if pipesize > 0:
            raise PermissionError("pipe-user-pages-soft")
        return real(*command, pipesize=pipesize, **parameters)

    monkeypatch.setattr(subprocess, "Popen", refused)
    usual = sizes()
    assert asked == [child.PIPE_BYTES, -1]
    assert max(usual) < child.PIPE_BYTES
