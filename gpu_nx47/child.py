"""How a child process of ours is started: this Python, these very packages, whatever folder the run is in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

PIPE_BYTES: Final = 1 << 20
"""Of a pipe, where the system can be asked (Linux): through its usual 64 kB a mask takes twice the system's time."""


def command(module: str) -> list[str]:
    """Return the command that runs a module of ours; -P: nothing is imported from the folder nx47 runs in."""
    return [sys.executable, "-P", "-m", module]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with these packages first on the path, and with `more`."""
    here = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, **more}


def started(module: str, **more: str) -> subprocess.Popen[Any]:
    """Start a module that is talked to by pipes, and return its process; Ctrl-C is the run's to hear.

    Raises
    ------
    OSError
        There is no process to be had.
    """

    def with_pipes_of(size: int) -> subprocess.Popen[Any]:
        return subprocess.Popen(
            command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(**more),
            start_new_session=True,
            pipesize=size,
        )

    try:
        return with_pipes_of(PIPE_BYTES)
    except PermissionError:  # the user has too many such pipes
        return with_pipes_of(-1)
