"""Laws of the Gaussian and of the difference of two Gaussians."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import pad_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

HIGHEST = 255 * 256  # the brightest grey in Q8.8
TAP_FLOOR = 2.0**-42  # three passes multiply three taps: the product stays a normal float32 (2^-126)

OPERATIONS: dict[str, Callable[..., float]] = {
    # an axis: one product at the centre, then sum, product and sum for each pair; at the end scale, rint, two bounds
    "gaussian": lambda *, taps: 3 * (3 * (len(taps) - 1) + 1) + 4,
    "gaussians": lambda *, taps, window=None: sum(3 * (3 * (len(half) - 1) + 1) + 4 for half in taps),
    "band_pass": lambda: 3,
}


def accept_gaussian(grey: NDArray[np.uint8], taps: NDArray[np.float32]) -> None:
    """Refuse what `gaussian` does not define, for law and twin alike."""
    _checks.volume("gaussian", grey, np.uint8)
    _accept_taps(taps)


def accept_gaussians(grey: NDArray[np.uint8], taps: tuple[NDArray[np.float32], ...], window: Window | None) -> Window:
    """Refuse what `gaussians` does not define, for law and twin alike; return its window."""
    _checks.volume("gaussians", grey, np.uint8)
    if not isinstance(taps, tuple) or not taps:
        raise ValueError(f"gaussians: expected a tuple of at least one array of taps, got {taps!r}")
    for half in taps:
        _accept_taps(half)
    return _checks.window("gaussians", grey.shape, window)


def _accept_taps(taps: NDArray[np.float32]) -> None:
    if not isinstance(taps, np.ndarray) or taps.dtype != np.float32 or taps.ndim != 1 or taps.size == 0:
        came = f"{taps.dtype.name} and {taps.shape}" if isinstance(taps, np.ndarray) else type(taps).__name__
        raise ValueError(f"gaussian: expected taps of dtype float32 and shape (r + 1,), got {came}")
    total = float(taps[0]) + 2.0 * sum(float(w) for w in taps[1:])
    # written so that a NaN fails it
    if not (abs(total - 1.0) < 1e-4 and all(w == 0.0 or w >= TAP_FLOOR for w in taps)):
        raise ValueError(
            "gaussian: expected taps that are 0 or at least 2^-42 and that add up to 1 "
            f"(centre once, the others twice), got a total of {total} and a least tap of {float(taps.min())}"
        )


def accept_band_pass(narrow: NDArray[np.uint16], wide: NDArray[np.uint16]) -> None:
    """Refuse what `band_pass` does not define, for law and twin alike."""
    _checks.volume("band_pass", narrow, np.uint16)
    _checks.volume("band_pass", wide, np.uint16)
    _checks.same_shape("band_pass", narrow, wide)


def gaussian(grey: NDArray[np.uint8], /, *, taps: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Smooth a grey volume with a separable symmetric kernel.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
        Grey values, 0..255.
    taps : numpy.ndarray of float32, shape (r + 1,)
        Half of the kernel, centre first; w[0] + 2 (w[1] + ... + w[r]) = 1 within 1e-4; each 0 or >= 2^-42.

    Returns
    -------
    numpy.ndarray of uint16, shape (z, y, x)
        Q8.8 codes, 0..65280; step 1/256 grey.

    Raises
    ------
    TypeError
        `grey` is not a NumPy array of uint8.
    ValueError
        `grey` is not a non-empty C-contiguous volume, or `taps` are not as above.

    Notes
    -----
    Law.

    - Formula: for the axes z, y, x in turn, in float32 and in this order of operations, acc = w[0] c; for k = 1..r: acc
      = acc + (w[k] (lo + hi)), where c, lo and hi are the samples at 0, -k and +k of the pass before; the first pass
      reads the uint8 as float32, nothing is rounded to a code between passes. The code is max(0, min(65280, rint(256
      acc))).
    - Window: 2 r + 1 on each axis; r may exceed the axis.
    - Border: half-sample symmetric on each axis, repeated (`_border.reflect_index`).
    - Format: uint16 Q8.8. acc <= 255 (1 + 1e-4)^3 (1 + 2^-24)^(3 r + 6) (a pass rounds each term at most r + 2 times),
      so 256 acc < 2^17 for every r that fits in memory; the upper bound holds the code at 65280 < 2^16. Taps and greys
      are not negative, so neither is acc. The least product that is not 0 is (2^-42)^3 = 2^-126, so no subnormal
      appears.
    - Rounding: once, half to even, after all three passes: 1/512 grey, plus 3 (r + 3) roundings (the tap's own
      included) of 2^-24 relative: within .005 grey of the same sum over the real numbers for r <= 60.
    - Unit: grey, 1/256 a step.
    - Source: the sampled, truncated Gaussian of scipy.ndimage.gaussian_filter(mode="reflect", radius=r).
    """
    accept_gaussian(grey, taps)
    acc = grey.astype(np.float32)
    for axis in range(3):
        acc = _along(acc, axis, taps)
    code = np.rint(acc * np.float32(256))
    return np.maximum(np.minimum(code, np.float32(HIGHEST)), np.float32(0)).astype(np.uint16)


def _along(values: NDArray[np.float32], axis: int, taps: NDArray[np.float32]) -> NDArray[np.float32]:
    length, radius = values.shape[axis], len(taps) - 1
    padded = np.moveaxis(pad_axis(values, axis, radius), axis, 0)
    acc = taps[0] * padded[radius : radius + length]
    for k in range(1, radius + 1):
        lo = padded[radius - k : radius - k + length]
        hi = padded[radius + k : radius + k + length]
        acc = acc + taps[k] * (lo + hi)
    return np.moveaxis(acc, 0, axis)


def gaussians(
    grey: NDArray[np.uint8], /, *, taps: tuple[NDArray[np.float32], ...], window: Window | None = None
) -> tuple[NDArray[np.uint16], ...]:
    """Smooth a grey volume with several kernels at once, where the results are wanted.

    Parameters
    ----------
    grey : numpy.ndarray of uint8, shape (z, y, x)
        Grey values, 0..255.
    taps : tuple of numpy.ndarray of float32, shape (r + 1,) each
        As `gaussian` takes them, at least one.
    window : tuple of slice, optional
        Part of the array (z, y, x) whose results are asked for; by default all of it.

    Returns
    -------
    tuple of numpy.ndarray of uint16, shape of the window
        Q8.8 codes, 0..65280; step 1/256 grey; in the order of `taps`.

    Raises
    ------
    TypeError
        `grey` is not a NumPy array of uint8.
    ValueError
        `grey` is not a non-empty C-contiguous volume, `taps` are not as `gaussian` takes them, or `window` is empty or
        reaches beyond the array.

    Notes
    -----
    Law.

    - Formula: gaussian(grey, taps=t)[window] for each t: what lies outside of the window is read, not computed. Window,
      border, format, rounding and unit are `gaussian`'s.
    - Source: as `gaussian`.
    """
    within = accept_gaussians(grey, taps, window)
    return tuple(gaussian(grey, taps=half)[within].copy() for half in taps)


def band_pass(narrow: NDArray[np.uint16], wide: NDArray[np.uint16], /) -> NDArray[np.int16]:
    """Subtract a wide Gaussian from a narrow one.

    Parameters
    ----------
    narrow, wide : numpy.ndarray of uint16, shape (z, y, x)
        Q8.8 codes of `gaussian`.

    Returns
    -------
    numpy.ndarray of int16, shape (z, y, x)
        Q8.6 codes; step 1/64 grey.

    Raises
    ------
    TypeError
        Not NumPy arrays of uint16.
    ValueError
        Not non-empty C-contiguous volumes of one shape.

    Notes
    -----
    Law.

    - Formula: (narrow - wide + 2) >> 2 in int32, the shift arithmetic (floor).
    - Window: one voxel. Border: none is read.
    - Format: int16. |narrow - wide| <= 65535, so the code lies in -16384..16384; 15 bits and a sign hold it.
    - Rounding: half up, (d + 2) >> 2 = floor(d / 4 + 1/2).
    - Unit: grey, 1/64 a step. With both inputs within 1/512 grey, the code is within 1/64 grey of the real difference.
    - Source: difference of Gaussians; Marr and Hildreth, Proc. R. Soc. B 207 (1980) 187-217.
    """
    accept_band_pass(narrow, wide)
    difference = narrow.astype(np.int32) - wide.astype(np.int32)
    return ((difference + np.int32(2)) >> np.int32(2)).astype(np.int16)
