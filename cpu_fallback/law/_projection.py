"""Law of the statistics over a run of slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import pad_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STATISTICS = ("max", "mean", "deviation", "coherence")

# A sum over the run costs two (running sum, difference); both moments with the square 5, then A three, the root one.
_COSTS: dict[str, Callable[[int], int]] = {
    "max": lambda window: window.bit_length() + 1,
    "mean": lambda window: 2 + 3,
    "deviation": lambda window: 9 + 2,
    "coherence": lambda window: 9 + 3,
}
OPERATIONS: dict[str, Callable[..., float]] = {
    "z_projection": lambda *, window, statistic: _COSTS[statistic](window),
}


def accept_z_projection(grey: NDArray[np.uint8], window: int, statistic: str) -> None:
    """Refuse what `z_projection` does not define, for law and twin alike."""
    _checks.volume("z_projection", grey, np.uint8)
    _checks.odd_window("z_projection", window, 3, 63)
    _checks.one_of("z_projection", "statistic", statistic, STATISTICS)


def z_projection(grey: NDArray[np.uint8], /, *, window: int, statistic: str) -> NDArray[np.uint16]:
    """Return a statistic of the run of slices around each voxel, along z.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
        Grey values, 0..255.
    window : int
        Slices in the run, odd, 3..63.
    statistic : {"max", "mean", "deviation", "coherence"}

    Returns
    -------
    numpy.ndarray of uint16, shape (z, y, x)
        max, mean 0..65280 and deviation 0..32640: step 1/256 grey; coherence 21845..32768: step 1/32768.

    Raises
    ------
    TypeError
        Not a NumPy array of uint8.
    ValueError
        Not a non-empty C-contiguous volume, or `window` or `statistic` not as above.

    Notes
    -----
    Law.

    - Formula: over the w slices of the run, S = sum g, T = sum g g, A = w T - S S (= w^2 variance), all integers;
      max: 256 max g;
      mean: (512 S + w) // (2 w);
      deviation: rint(sqrt(float32(A)) c), c = float32(256 / w), the quotient in float64 and then rounded to float32;
      coherence = 1 / (1 + deviation / 255): rint(float32(32768 255 w) / (float32(255 w) + sqrt(float32(A)))).
      Sums are differences of running sums; the maximum doubles a run of 1, 2, 4 ... slices and joins two that overlap.
    - Window: w on z, one voxel on y and x. Border: half-sample symmetric on z, repeated.
    - Format: uint16. w T and S S <= 63^2 255^2 = 258,084,225 < 2^31, and A <= w^2 255^2 / 4: int32 would do, the law
      uses int64 so that the running sums fit too. mean <= 65280; deviation <= 127.5 256 = 32640; coherence lies in
      32768 / 1.5 = 21845.3 .. 32768. 32768 255 w = 2^15 times at most 16065 and 255 w are exact in float32.
    - Rounding: mean half up; deviation and coherence once to the code, half to even, after float32 roundings (A, root,
      c, product; sum, quotient) of 2^-24 relative each: below .01 codes.
    - Unit: grey, 1/256 a step; coherence has none, 1/32768 a step.
    - Source: SPEC.md, proj_max, proj_mean, coherence_inter_slice.
    """
    accept_z_projection(grey, window, statistic)
    padded = pad_axis(grey, 0, window // 2)
    if statistic == "max":
        return _run_maximum(padded, window).astype(np.uint16) << np.uint16(8)
    values = padded.astype(np.int64)
    total = _run_sum(values, window)
    if statistic == "mean":
        return ((512 * total + window) // (2 * window)).astype(np.uint16)
    root = np.sqrt((window * _run_sum(values * values, window) - total * total).astype(np.float32))
    if statistic == "deviation":
        return np.rint(root * np.float32(256 / window)).astype(np.uint16)
    return np.rint(np.float32(32768 * 255 * window) / (np.float32(255 * window) + root)).astype(np.uint16)


def _run_sum(values: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Return the sums of `window` successive slices."""
    running = np.add.accumulate(values, axis=0)
    total = running[window - 1 :].copy()
    total[1:] -= running[:-window]
    return total


def _run_maximum(values: NDArray[np.uint8], window: int) -> NDArray[np.uint8]:
    """Return the maxima of `window` successive slices."""
    length = 1
    highest = values
    while 2 * length <= window:
        highest = np.maximum(highest[:-length], highest[length:])
        length *= 2
    rest = window - length  # odd windows: never 0
    return np.maximum(highest[:-rest], highest[rest:])
