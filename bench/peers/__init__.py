"""Other programs' way to the same numbers: same mathematics, same border, each in the best way found.

`nx47 bench` times them in the rounds in which it times ours. A peer works in its own number format and with its own
roundings; tests/bench hold it to ours within them. What it does for our border is its time, as it is ours; bringing the
input into its format (float32, a tensor) is done before, once, as a program of its own would keep it so.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_nx47.bench.cases import Case

ON_CPU: Final = {
    "SciPy": ("scipy.ndimage", "with_scipy"),
    "scikit-image": ("skimage", "with_skimage"),
    "OpenCV": ("cv2", "with_opencv"),
    "PyTorch": ("torch", "with_torch"),
    "cc3d": ("cc3d", "with_cc3d"),
    "NumPy": ("numpy", "with_numpy"),
}
ON_GPU: Final = {
    "cupyx": ("cupyx.scipy.ndimage", "with_cupyx"),
    "cuCIM": ("cucim.skimage", "with_cucim"),
    "PyTorch": ("torch", "with_torch"),
}
"""Peer: what has to be importable, and the file here that uses it."""
NOTES: Final = {
    "gather": "ours is NumPy's own: voxels at random addresses wait for memory",
    "z_projection max": "peers write bytes, ours codes of 16 bits: twice the bytes",
    "lookup": "a table of 128 kB: who reads it waits for the second cache",
    "histogram of 8 bits": "both add to tables in the first cache; ours to four in turn, for equal neighbours",
    "histogram of 16 bits": "counters of 256 kB and more: who adds to them waits for the second cache",
    "neuron_sums": "exact integer sums, whose order cannot matter; peers sum float32, by BLAS",
    "mask_moments": "cc3d's statistics are counts, boxes and centroids only: no second moments, no faces",
    "component_moments": "cc3d's statistics are counts, boxes and centroids only: no second moments, no faces",
}


def peers(case: Case, backend: str, threads: int) -> tuple[dict[str, Callable[[], Any]], dict[str, str], str | None]:
    """Return the peers of a case on the machine of a backend, the reasons of those that are absent, and a note.

    Parameters
    ----------
    case : Case
    backend : str
        "gpu": libraries of a GPU; else of the CPU.
    threads : int
        Threads for a peer that can use several.
    """
    found, absent = {}, {}
    for peer, (needed, file) in (ON_GPU if backend == "gpu" else ON_CPU).items():
        try:
            import_module(needed)
        except ImportError as error:
            absent[peer] = f"not installed ({error})"
            continue
        room = import_module(f"{__name__}.{file}")
        if backend == "gpu" and peer == "PyTorch" and not room.torch.cuda.is_available():
            absent[peer] = "this build of PyTorch sees no GPU"
            continue
        make = room.TABLE.get(case.name)
        if make is None:
            absent[peer] = room.ABSENT.get(case.name, "has nothing for it in three dimensions")
        else:
            found[peer] = make(case, "cuda" if backend == "gpu" else threads)
    return found, absent, NOTES.get(case.name)
