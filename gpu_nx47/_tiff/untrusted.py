"""Decoding in a child process under limits of memory and time: a codec that crashes takes no run with it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import child
from gpu_nx47._tiff.inspection import LIMIT_BYTES, StackInfo
from gpu_nx47.errors import DamagedInputError, InputError, NotAVolumeError, TooLargeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMMAND: Final = tuple(child.command("gpu_nx47._tiff.child"))
SPARE_BYTES: Final = 256 << 20
"""Memory of the child beyond the file and its voxels."""
MOST_THREADS: Final = 8
"""Their stacks are taken from the spare memory."""
START_SECONDS: Final = 30.0
BYTES_PER_SECOND: Final = 2_000_000
"""Slower than any codec here on any machine; what takes longer hangs."""
REFUSED: Final = 3
"""The child's exit code where it wrote an error instead of voxels."""
_KINDS: Final = {kind.__name__: kind for kind in (InputError, DamagedInputError, NotAVolumeError, TooLargeError)}


def decode_apart(
    data: bytes,
    info: StackInfo,
    *,
    limit_bytes: int = LIMIT_BYTES,
    threads: int = 1,
    spare_bytes: int = SPARE_BYTES,
    seconds: float | None = None,
) -> NDArray[Any]:
    """Return what `decode` returns, decoded in a child process.

    Parameters
    ----------
    data : bytes
        The whole file.
    info : StackInfo
        What `inspect` returned for it.
    limit_bytes : int
        Most bytes that the voxels may take.
    threads : int
        Pages decoded at once.
    spare_bytes : int
        Memory that the child may take beyond the file and its voxels.
    seconds : float, optional
        Time it may take; by default by the number of voxels.

    Raises
    ------
    DamagedInputError
        As `decode`, or the child was killed, failed, or went over its limits.
    InputError
        As `decode`.
    """
    threads = min(threads, MOST_THREADS)
    size = math.prod(info.shape) * info.dtype.itemsize
    if seconds is None:
        seconds = START_SECONDS + (size + len(data)) / BYTES_PER_SECOND
    asked = {
        "name": info.name,
        "single": info.shape[0] == 1,
        "limit_bytes": limit_bytes,
        "threads": threads,
        "room": size + 2 * len(data) + spare_bytes,
        "cpu": math.ceil(seconds) * threads,
    }
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as answer:
        source.write(data)
        source.seek(0)
        code = _run([*COMMAND, json.dumps(asked)], source, answer, seconds)
        answer.seek(0)
        if code == REFUSED:
            raise _refusal(answer.read(1 << 16), info)
        if code != 0:
            raise _lost(info, _ending(code, seconds))
        found = os.fstat(answer.fileno()).st_size
        if found != size:
            raise _lost(info, f"{found} bytes", f"{size} bytes of voxels")
        return np.fromfile(answer, info.dtype.newbyteorder("="), math.prod(info.shape)).reshape(info.shape)


def _run(command: list[str], source: IO[bytes], answer: IO[bytes], seconds: float) -> int | None:
    """Return the child's exit code, or None where it was ended because its time was over."""
    spared = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}  # address space that is reserved and never used
    environ = child.environment(PYTHONDONTWRITEBYTECODE="1", **spared)
    try:
        done = subprocess.run(
            command, stdin=source, stdout=answer, stderr=subprocess.DEVNULL, timeout=seconds, check=False, env=environ
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


def _ending(code: int | None, seconds: float) -> str:
    if code is None:
        return f"no end after {seconds:.0f} s"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code} (out of memory, or a fault of the decoder)"


def _refusal(raw: bytes, info: StackInfo) -> InputError:
    """Return the error that the child wrote down; it is not trusted with more than the words."""
    try:
        said = json.loads(raw)
        kind = _KINDS[said["kind"]]
        words = {key: str(said[key])[:1000] for key in ("what", "expected", "found", "advice")}
        page = None if said["page"] is None else int(said["page"])
    except (ValueError, KeyError, TypeError):
        return _lost(info, "an answer that cannot be read")
    return kind(info.name, page=page, shape=info.shape, **words)


def _lost(info: StackInfo, found: str, expected: str = "the voxels within its limits of memory and time") -> InputError:
    return DamagedInputError(
        info.name,
        "the process that decodes the file did not come to its end",
        expected=expected,
        found=found,
        advice="Copy the file again; if you trust it, run without --untrusted.",
        shape=info.shape,
    )
