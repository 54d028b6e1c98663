"""Compiles what a run needs, from the end to the beginning: a process of its own, started beside a run (`-m`).

It tells on stdout, a line a kernel, which functions its cache holds by then: the names of their index files. It ends
when its stdin does, so it outlives nobody, and takes its cache with it.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback import twin
from cpu_fallback.law._direction import DIRECTION_NONE
from cpu_fallback.twin import _jit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NICE: Final = 5
"""Where processors are few, the run's own threads come first."""


def calls() -> list[Callable[[], object]]:
    """Return calls of all that a run compiles behind the probe, in its order and with its types, on few voxels."""
    grey = np.arange(512, dtype=np.uint8).reshape(8, 8, 8)
    codes, mask = grey.astype(np.uint16), grey > 200
    signed, cells = codes.view(np.int16), np.zeros((4, 4, 4), np.uint16)
    # Tables are read-only in a run, and for Numba that is another type.
    ways = _fixed(np.zeros((DIRECTION_NONE + 1, 3, 3), np.int8))
    sigmoid, softplus = _fixed(np.zeros(65536, np.uint16)), _fixed(np.zeros(65536, np.int32))
    logits, bytes_in_cube = np.zeros(65536, np.int16), _fixed(np.zeros(5**3 + 1, np.uint32))
    one, where = np.ones(1, np.float32), np.zeros(1, np.int64)
    unit: dict[str, Any] = {"weights": one, "bias": np.float32(0), "sigmoid": sigmoid}
    way: dict[str, Any] = {"phase": (0, 0, 0), "offsets": ways}
    total: dict[str, Any] = {"weights": np.ones(3, np.int32), "shift": 0, "signed": False}
    sample, answers = np.zeros((1, 16), np.int16), np.zeros(16, np.uint8)
    return [
        partial(twin.histogram, grey),
        partial(twin.directions, codes),
        partial(twin.local_entropy, grey, window=5, bins=16, table=bytes_in_cube),
        partial(twin.histogram, codes),
        partial(twin.z_projection, grey, window=3, statistic="max"),
        partial(twin.z_projection, grey, window=3, statistic="mean"),
        partial(twin.local_variance, grey, window=3),
        partial(twin.directional_sum, codes, cells, **way, **total),
        partial(twin.directional_peak, signed, cells, **way),
        partial(twin.neuron_sums, sample, answers, **unit, softplus=softplus),
        partial(twin.neuron, (codes,), mean=one, scale=one, **unit),
        partial(twin.hysteresis, codes, weak=100, strong=200),
        partial(twin.remove_small, mask, min_size=2, connectivity=26),
        partial(twin.closing, mask, radius=(1, 1, 1), shape="box"),
        partial(twin.label, mask, connectivity=26, at=where),
        partial(twin.lookup, signed, table=logits),
        partial(twin.row_sums, codes, weights=np.ones(codes.shape[2], np.uint64)),
        partial(twin.mask_moments, mask, connectivity=26),
    ]


def _fixed(table: NDArray[Any]) -> NDArray[Any]:
    table.flags.writeable = False
    return table


def main() -> None:
    """Call each kernel, the last first, and tell what is compiled."""
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICE)
    gc.disable()  # a compiler makes objects by the million: looking through them is a twentieth of its time
    told: set[str] = set()
    for call in reversed(calls()):
        call()
        names = {path.name for path in _jit.kept()} - told
        print(" ".join(sorted(names)), flush=True)
        told |= names


def _end_with_parent(folder: Path) -> None:
    os.read(sys.stdin.fileno(), 1)  # not through Python's buffer, whose lock would be asked for at the end
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
