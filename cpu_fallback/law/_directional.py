"""Laws of what follows a direction: weighted sums and peaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback import _checks
from cpu_fallback._border import reflect_index
from cpu_fallback.law._direction import DIRECTION_NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cpu_fallback._checks import Window

    Codes = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16]
    Phase = tuple[int, int, int]

FARTHEST: Final = 16  # voxels on an axis, from a voxel to a neighbour that an offset names
LARGEST: Final = {"uint8": 255, "uint16": 65535, "int16": 32768}

_CELL: Final = 1 / 8  # its direction is in range
OPERATIONS: dict[str, Callable[..., float]] = {
    # a product and a sum for each; two bounds; a shift rounds with one sum and one shift. Finding the voxels is index
    # arithmetic.
    "directional_sum": lambda *, phase, offsets, weights, shift, signed, window=None: (
        2 * len(weights) + 2 + (2 if shift else 0) + _CELL
    ),
    # of each directional_sum of one offset that it is; a cell's direction is looked at once for all
    "directional_profile": lambda *, phase, offsets, window=None: 4 * offsets.shape[1] + _CELL,
    # two comparisons, both, the larger
    "directional_peak": lambda *, phase, offsets, window=None: 4 * (offsets.shape[1] - 2) + _CELL,
}


def _accept_field(
    kernel: str,
    codes: Codes,
    direction: NDArray[np.uint16],
    phase: Phase,
    offsets: NDArray[np.int8],
    least: int,
    most: int,
) -> None:
    """Refuse a field of directions or offsets along them that do not fit the codes."""
    _checks.volume(kernel, direction, np.uint16)
    if not isinstance(phase, tuple) or len(phase) != 3:
        raise ValueError(f"{kernel}: expected phase as a tuple (z, y, x), got {phase!r}")
    for axis, one in zip("zyx", phase, strict=True):
        _checks.integer(kernel, f"phase along {axis}", one, 0, 1)
    cells = tuple((n + p + 1) >> 1 for n, p in zip(codes.shape, phase, strict=True))
    if direction.shape != cells:
        raise ValueError(f"{kernel}: expected direction of shape {cells}, got {direction.shape}")
    highest = int(direction.max())
    if highest > DIRECTION_NONE:
        raise ValueError(f"{kernel}: expected directions of at most {DIRECTION_NONE}, got {highest}")
    if not isinstance(offsets, np.ndarray) or offsets.dtype != np.int8:
        came = offsets.dtype.name if isinstance(offsets, np.ndarray) else type(offsets).__name__
        raise TypeError(f"{kernel}: expected offsets of dtype int8, got {came}")
    if (
        offsets.ndim != 3
        or offsets.shape[::2] != (DIRECTION_NONE + 1, 3)
        or not least <= offsets.shape[1] <= most
        or not offsets.flags.c_contiguous
    ):
        raise ValueError(
            f"{kernel}: expected C-contiguous offsets of shape ({DIRECTION_NONE + 1}, {least}..{most}, 3), "
            f"got {offsets.shape}"
        )
    if max(int(offsets.max()), -int(offsets.min())) > FARTHEST:
        raise ValueError(
            f"{kernel}: expected offsets within {FARTHEST} voxels, got {int(offsets.min())}..{int(offsets.max())}"
        )


def accept_directional_sum(
    codes: Codes,
    direction: NDArray[np.uint16],
    phase: Phase,
    offsets: NDArray[np.int8],
    weights: NDArray[np.int32],
    shift: int,
    signed: bool,
    window: Window | None,
) -> Window:
    """Refuse what `directional_sum` does not define, for law and twin alike; return its window."""
    _checks.volume("directional_sum", codes, *map(np.dtype, LARGEST))
    _accept_field("directional_sum", codes, direction, phase, offsets, 1, 64)
    if not isinstance(weights, np.ndarray) or weights.dtype != np.int32 or weights.shape != offsets.shape[1:2]:
        came = (
            f"{weights.dtype.name} and {weights.shape}" if isinstance(weights, np.ndarray) else type(weights).__name__
        )
        raise ValueError(
            f"directional_sum: expected weights of dtype int32 and shape ({offsets.shape[1]},), got {came}"
        )
    _checks.integer("directional_sum", "shift", shift, 0, 16)
    if not isinstance(signed, bool):
        raise TypeError(f"directional_sum: expected signed as a bool, got {signed!r}")
    largest = sum(abs(weight) for weight in weights.tolist()) * LARGEST[codes.dtype.name] + (1 << shift >> 1)
    if largest >= 2**31:
        raise ValueError(f"directional_sum: expected sums below 2^31, and these weights can make {largest}")
    return _checks.window("directional_sum", codes.shape, window)


def accept_directional_profile(
    codes: NDArray[np.uint16],
    direction: NDArray[np.uint16],
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None,
) -> Window:
    """Refuse what `directional_profile` does not define, for law and twin alike; return its window."""
    _checks.volume("directional_profile", codes, np.uint16)
    _accept_field("directional_profile", codes, direction, phase, offsets, 1, 64)
    return _checks.window("directional_profile", codes.shape, window)


def accept_directional_peak(
    codes: NDArray[np.int16],
    direction: NDArray[np.uint16],
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None,
) -> Window:
    """Refuse what `directional_peak` does not define, for law and twin alike; return its window."""
    _checks.volume("directional_peak", codes, np.int16)
    _accept_field("directional_peak", codes, direction, phase, offsets, 3, 32)
    return _checks.window("directional_peak", codes.shape, window)


def _neighbours(
    codes: Codes, direction: NDArray[np.uint16], phase: Phase, offsets: NDArray[np.int8], within: Window
) -> Iterator[Iterator[NDArray]]:
    """Yield, slice by slice of a window, the codes at each offset from each of its voxels along its direction."""
    at_z, at_y, at_x = (reflect_index(n, FARTHEST) for n in codes.shape)
    _, height, width = codes.shape
    z, y, x = (np.arange(part.start, part.stop) for part in within)
    cell_z, cell_y, cell_x = ((at + p) >> 1 for at, p in zip((z, y, x), phase, strict=True))
    flat = codes.reshape(-1)

    def of_slice(here: int, cell: int) -> Iterator[NDArray]:
        along = direction[cell][cell_y[:, None], cell_x]
        for k in range(offsets.shape[1]):
            way = offsets[along, k].astype(np.int64) + FARTHEST
            row = at_z[here + way[..., 0]] * height + at_y[y[:, None] + way[..., 1]]
            yield flat[row * width + at_x[x + way[..., 2]]]

    for here, cell in zip(z.tolist(), cell_z.tolist(), strict=True):
        yield of_slice(here, cell)


def directional_sum(
    codes: Codes,
    direction: NDArray[np.uint16],
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    weights: NDArray[np.int32],
    shift: int,
    signed: bool,
    window: Window | None = None,
) -> NDArray[np.uint16] | NDArray[np.int16]:
    """Return weighted sums over neighbours that each voxel's direction names.

    Parameters
    ----------
    codes : numpy.ndarray of uint8, uint16 or int16, shape (z, y, x)
        Codes of any step.
    direction : numpy.ndarray of uint16, shape ceil((n + phase) / 2) on each axis
        Codes of `directions`, opposites among them.
    phase : tuple of int
        (z, y, x), each 0 or 1: what to add to a voxel's index before it is halved to its cell's.
    offsets : numpy.ndarray of int8, shape (DIRECTION_NONE + 1, K, 3), K 1..64
        The way (z, y, x) to each neighbour, for each direction, within 16 voxels on each axis.
    weights : numpy.ndarray of int32, shape (K,)
    shift : int
        0..16; the result's step is 2^shift steps of `codes`.
    signed : bool
        The result is int16, else uint16.
    window : tuple of slice, optional
        Part of the array (z, y, x) whose results are asked for; by default all of it.

    Returns
    -------
    numpy.ndarray of uint16 or int16, shape of the window

    Raises
    ------
    TypeError, ValueError
        An array or a parameter of another type; what does not fit or is out of range; sums that may overflow.

    Notes
    -----
    Law.

    - Formula: d = direction[(p + phase) >> 1]; s = sum over k of weights[k] codes[p + offsets[d, k]] in int32;
      code = (s + (2^shift >> 1)) >> shift, the shift arithmetic, within the result's range.
    - Window: 33 on each axis at most. Border: half-sample symmetric, repeated.
    - Format: uint16 or int16, saturating. sum |weights| times the dtype's largest code, and the half added, stay below
      2^31. Rounding: half up. Unit: step(codes) 2^shift / (unit of the weights).
    - Source: filters steered by the structure tensor: Knutsson, Wilson and Granlund 1983.
    """
    within = accept_directional_sum(codes, direction, phase, offsets, weights, shift, signed, window)
    return _sum(codes, direction, phase, offsets, weights, shift, np.dtype(np.int16 if signed else np.uint16), within)


def _sum(
    codes: Codes,
    direction: NDArray[np.uint16],
    phase: Phase,
    offsets: NDArray[np.int8],
    weights: NDArray[np.int32],
    shift: int,
    dtype: np.dtype[Any],
    within: Window,
) -> NDArray[Any]:
    low, high = (np.int32(end) for end in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    result = np.empty([part.stop - part.start for part in within], dtype)
    for out, found in zip(result, _neighbours(codes, direction, phase, offsets, within), strict=True):
        total = np.zeros(out.shape, np.int32)
        for weight, code in zip(weights, found, strict=True):
            total += weight * code.astype(np.int32)
        if shift:
            total = (total + np.int32(1 << (shift - 1))) >> np.int32(shift)
        out[...] = np.maximum(np.minimum(total, high), low)
    return result


def directional_profile(
    codes: NDArray[np.uint16],
    direction: NDArray[np.uint16],
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None = None,
) -> tuple[NDArray[np.uint16], ...]:
    """Return the codes at several places along each voxel's direction, where they are wanted.

    Parameters
    ----------
    codes : numpy.ndarray of uint16, shape (z, y, x)
        Codes of any step.
    direction, phase
        As `directional_sum` takes them.
    offsets : numpy.ndarray of int8, shape (DIRECTION_NONE + 1, K, 3), K 1..64
        The way to each place, for each direction, within 16 voxels on each axis.
    window : tuple of slice, optional
        Part of the array (z, y, x) whose results are asked for; by default all of it.

    Returns
    -------
    tuple of K numpy.ndarray of uint16, shape of the window
        Codes of the step of `codes`, in the order of `offsets`.

    Raises
    ------
    TypeError, ValueError
        An array or a parameter of another type; shapes that do not fit, values or a window out of range.

    Notes
    -----
    Law.

    - Formula: directional_sum(codes, offsets=offsets[:, k : k + 1], weights=[1], shift=0, signed=False)[window] for
      each k: codes[p + offsets[d, k]]. What lies outside of the window is read, not computed. Border and unit are
      `directional_sum`'s.
    - Format: uint16. Rounding: none.
    - Source: as `directional_sum`.
    """
    within = accept_directional_profile(codes, direction, phase, offsets, window)
    one, plain = np.ones(1, np.int32), np.dtype(np.uint16)
    ways = (offsets[:, k : k + 1] for k in range(offsets.shape[1]))
    return tuple(_sum(codes, direction, phase, way, one, 0, plain, within) for way in ways)


def directional_peak(
    codes: NDArray[np.int16],
    direction: NDArray[np.uint16],
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None = None,
) -> NDArray[np.uint16]:
    """Return the highest peak of the codes along each voxel's direction.

    Parameters
    ----------
    codes : numpy.ndarray of int16, shape (z, y, x)
        Codes of any step.
    direction, phase
        As `directional_sum` takes them.
    offsets : numpy.ndarray of int8, shape (DIRECTION_NONE + 1, K, 3), K 3..32
        The ways to successive places, for each direction, within 16 voxels on each axis.
    window
        As `directional_sum` takes it.

    Returns
    -------
    numpy.ndarray of uint16, shape of the window
        Codes 0..32767 of the step of `codes`; 0 where there is no peak above 0.

    Raises
    ------
    TypeError, ValueError
        An array or a parameter of another type; shapes that do not fit, values or a window out of range.

    Notes
    -----
    Law.

    - Formula: e_k = codes[p + offsets[d, k]], d as in `directional_sum`; the largest e_k, 0 < k < K - 1, with
      e_k >= e_(k-1) and e_k >= e_(k+1); at least 0.
    - Window: 33 on each axis at most. Border: half-sample symmetric, repeated.
    - Format: uint16. Rounding: none. Unit: that of `codes`.
    - Source: non-maximum suppression along the gradient: Canny 1986.
    """
    within = accept_directional_peak(codes, direction, phase, offsets, window)
    result = np.empty([part.stop - part.start for part in within], np.uint16)
    for out, found in zip(result, _neighbours(codes, direction, phase, offsets, within), strict=True):
        before, here = next(found), next(found)
        peak = np.zeros(out.shape, np.int16)
        for after in found:
            is_peak = (here >= before) & (here >= after)
            peak = np.where(is_peak, np.maximum(peak, here), peak)
            before, here = here, after
        out[...] = peak
    return result
