"""The process of `press`: masks in on stdin, their TIFFs and what is found in them out on stdout, until stdin ends."""

from __future__ import annotations

import struct
import sys
from typing import IO, Final

from gpu_nx47 import mask_file

SHAPE: Final = struct.Struct("<3Q")
"""Goes before a mask's voxels, 0 or 1 in a byte."""
LENGTH: Final = struct.Struct("<Q")
"""Goes before a mask's file."""
GOOD: Final = b"\1"
"""The answer behind it where Pillow reads from it the voxels it was made of; else another byte."""


def main() -> None:
    """Answer masks, one after the other."""
    while True:
        try:
            z, y, x = SHAPE.unpack(whole(sys.stdin.buffer, SHAPE.size))
            voxels = whole(sys.stdin.buffer, z * y * x)
        except EOFError:  # the run has ended
            return
        file = mask_file.encode_bytes((z, y, x), voxels)
        _tell(LENGTH.pack(len(file)) + file)
        _tell(GOOD if mask_file.good(file, (z, y, x), voxels) else b"\0")


def _tell(answer: bytes) -> None:
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()


def whole(pipe: IO[bytes], length: int) -> bytes:
    """Return so many bytes of a pipe; EOFError where it ends before."""
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


if __name__ == "__main__":
    main()
