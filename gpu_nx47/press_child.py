"""The process of `press`: masks in on stdin, their TIFFs and what is found in them out on stdout, until stdin ends."""

from __future__ import annotations

import json
import struct
import sys
from typing import IO, Final

import numpy as np

from gpu_nx47.mask_check import check_mask
from gpu_nx47.submission import encode_mask

SHAPE: Final = struct.Struct("<3Q")
"""Goes before a mask's bits, eight voxels a byte."""
LENGTH: Final = struct.Struct("<Q")
"""Goes before each answer: the file, then what was found in it, as JSON."""


def main() -> None:
    """Answer masks, one after the other."""
    while True:
        try:
            z, y, x = SHAPE.unpack(whole(sys.stdin.buffer, SHAPE.size))
            bits = np.frombuffer(whole(sys.stdin.buffer, -(-z * y * x // 8)), np.uint8)
        except EOFError:  # the run has ended
            return
        mask = np.unpackbits(bits, count=z * y * x).reshape(z, y, x)
        file = encode_mask(mask)
        _tell(file)
        problems: list[str] = []
        voxels, foreground = check_mask(file, "mask", (z, y, x), problems, meant=mask)
        _tell(json.dumps({"problems": problems, "voxels": voxels, "foreground": foreground}).encode())


def _tell(answer: bytes) -> None:
    sys.stdout.buffer.write(LENGTH.pack(len(answer)) + answer)
    sys.stdout.buffer.flush()


def whole(pipe: IO[bytes], length: int) -> bytes:
    """Return so many bytes of a pipe; EOFError where it ends before."""
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


if __name__ == "__main__":
    main()
