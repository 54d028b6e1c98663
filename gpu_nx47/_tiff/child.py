"""The process that decodes an untrusted file: bytes in on stdin, voxels out on stdout, under limits it cannot raise.

``python -m gpu_nx47._tiff.child '{"name": ..., "single": ..., "limit_bytes": ..., "threads": ..., "room": ..., "cpu":
...}'``. Exit code 0: stdout holds the voxels; REFUSED: it holds the fields of an InputError as JSON.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from pathlib import Path
from typing import Final

from gpu_nx47._tiff.decoding import decode, decoder
from gpu_nx47._tiff.inspection import inspect
from gpu_nx47._tiff.untrusted import REFUSED
from gpu_nx47.errors import InputError

FIELDS: Final = ("what", "expected", "found", "advice", "page", "shape")


def main(argument: str) -> int:
    """Decode; return the exit code."""
    asked = json.loads(argument)
    if decoder().startswith("Pillow"):  # either way the library is there before its memory is limited
        importlib.import_module("PIL.TiffImagePlugin")
    _limit(asked["room"], asked["cpu"])
    data = sys.stdin.buffer.read()
    try:
        info = inspect(data, asked["name"], single=asked["single"], limit_bytes=asked["limit_bytes"])
        voxels = decode(data, info, threads=asked["threads"])
    except InputError as error:
        said = {key: getattr(error, key) for key in FIELDS} | {"kind": type(error).__name__}
        sys.stdout.buffer.write(json.dumps(said).encode())
        return REFUSED
    sys.stdout.buffer.write(voxels.data.cast("B"))
    return 0


def _limit(room: int, cpu: int) -> None:
    """Allow `room` bytes of address space beyond what is taken now, `cpu` seconds, and no core file."""
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    for kind, most in ((resource.RLIMIT_AS, taken + room), (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
