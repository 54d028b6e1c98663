"""A second process that makes masks into TIFFs, and reads them again, while the run goes on with the volume.

Pillow's encoder holds the interpreter: no thread of a run gets on beside it. The process is started with the first mask
that it helps; whatever fails there, the run encodes and checks by itself, and the bytes are the same.
"""

from __future__ import annotations

import hashlib
import math
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, TypeVar

import numpy as np

from gpu_nx47 import child, hardware
from gpu_nx47.mask_check import Checked
from gpu_nx47.press_child import GOOD, LENGTH, SHAPE, whole

if TYPE_CHECKING:
    import subprocess

    from numpy.typing import NDArray

    from gpu_nx47.mask_check import Shape

Result = TypeVar("Result")
MODULE: Final = "gpu_nx47.press_child"
SMALLEST: Final = 1 << 22
"""Voxels of a mask that is worth starting a process for: so many are encoded and read again in 60 ms."""
START_BYTES: Final = 30 * 10**6
"""What the process takes without a mask."""
VOXEL_BYTES: Final = 3
"""What is taken for each voxel: the mask, there and until it is there, its file, pages in Pillow's hands."""
START_SECONDS: Final = 60.0
VOXELS_PER_SECOND: Final = 10**6
"""Slower than any machine is; what takes longer hangs."""


class Press:
    """The process, seen from the run: a context within which masks can be given to it.

    Parameters
    ----------
    threads : int
        Processors the run may take; with one there is nothing to gain.
    """

    def __init__(self, threads: int) -> None:
        self._helps = min(threads, hardware.usable_processors()) > 1 and bool(sys.executable)
        self._process: subprocess.Popen[bytes] | None = None
        self._talk = ThreadPoolExecutor(1, "nx47-press")  # one mask after the other
        self._files: dict[str, Future[bytes | None]] = {}
        self._found: list[Future[Checked | None]] = []
        self._voxels = 0  # of the largest mask

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the process, whatever it does."""
        if self._process is None:
            return
        self._process.kill()
        self._talk.shutdown(cancel_futures=True)
        with suppress(OSError), self._process:  # what it did not read breaks the pipe
            pass

    def begin(self, name: str, mask: NDArray[np.bool_], spare_bytes: int) -> None:
        """Begin to encode the mask (z, y, x) of a volume, where that helps and fits into `spare_bytes` of memory."""
        if not self._helps or mask.size < SMALLEST or START_BYTES + VOXEL_BYTES * mask.size > spare_bytes:
            return
        try:
            self._process = self._process or child.started(MODULE)
        except OSError:
            self._helps = False
            return
        self._voxels = max(self._voxels, mask.size)
        count = int(np.count_nonzero(mask))
        file = self._files[name] = self._talk.submit(self._encode, self._process, mask)
        self._found.append(self._talk.submit(self._check, self._process, mask.shape, count, file))

    def file(self, name: str) -> bytes | None:
        """Return the file of a mask that was begun, waiting for it, once; None where the run has to make it."""
        begun = self._files.pop(name, None)
        return None if begun is None else self._awaited(begun)

    def checked(self) -> dict[str, Checked]:
        """Return the masks that were found to be good, by the SHA-256 of their files, waiting for the last one."""
        return {found.sha256: found for begun in self._found if (found := self._awaited(begun)) is not None}

    def _awaited(self, begun: Future[Result]) -> Result:
        """Return a result, which is None where the process is at fault; one that hangs is ended."""
        try:
            return begun.result(START_SECONDS + self._voxels / VOXELS_PER_SECOND)
        except TimeoutError:
            assert self._process is not None
            self._process.kill()
            return begun.result()

    def _encode(self, process: subprocess.Popen[bytes], mask: NDArray[np.bool_]) -> bytes | None:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(SHAPE.pack(*mask.shape))
            process.stdin.write(np.ascontiguousarray(mask).data)
            process.stdin.flush()
            return whole(process.stdout, *LENGTH.unpack(whole(process.stdout, LENGTH.size)))
        except (OSError, EOFError):
            self._helps = False
            return None

    def _check(
        self, process: subprocess.Popen[bytes], shape: Shape, foreground: int, begun: Future[bytes | None]
    ) -> Checked | None:
        file = begun.result()
        if file is None:
            return None
        try:
            assert process.stdout is not None
            if whole(process.stdout, len(GOOD)) != GOOD:  # told when the zip is checked, by the run itself
                return None
            return Checked(hashlib.sha256(file).hexdigest(), shape, math.prod(shape), foreground)
        except (OSError, EOFError):
            self._helps = False
            return None
