"""Ports of `cpu_fallback/law/_directional.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cpu_fallback.law._direction import DIRECTION_NONE
from cpu_fallback.law._directional import (
    accept_directional_peak,
    accept_directional_profile,
    accept_directional_sum,
)
from gpu_nx47.kernels._launch import MARCH, columns, each, empty, host, i32, i64, part, shadow, upload, zeros
from gpu_nx47.kernels._loader import cupy, launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpu_fallback._checks import Window
    from cpu_fallback.law._directional import Phase

FILE: Final = "_directional"


def directional_sum(
    codes: Any,
    direction: Any,
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    weights: NDArray[np.int32],
    shift: int,
    signed: bool,
    window: Window | None = None,
) -> Any:
    """Port of law.directional_sum."""
    ways, factors = host(offsets), host(weights)
    accept_directional_sum(shadow(codes), _field(direction), phase, ways, factors, shift, signed, window)
    start, shape = part(codes.shape, window)
    result = empty(shape, np.int16 if signed else np.uint16)
    low, high = (-32768, 32767) if signed else (0, 65535)
    launch(
        FILE,
        f"sums_{codes.dtype.name}",
        columns(shape),
        codes,
        direction,
        upload(offsets),
        upload(weights),
        *_numbers(ways, phase),
        i32(shift),
        i32(low),
        i32(high),
        *i64(*codes.shape, *start, *shape, MARCH),
        result.view(np.uint16),
    )
    return result


def directional_profile(
    codes: Any,
    direction: Any,
    /,
    *,
    phase: Phase,
    offsets: NDArray[np.int8],
    window: Window | None = None,
) -> tuple[Any, ...]:
    """Port of law.directional_profile."""
    ways = host(offsets)
    accept_directional_profile(shadow(codes), _field(direction), phase, ways, window)
    start, shape = part(codes.shape, window)
    result = empty((ways.shape[1], *shape), np.uint16)
    numbers = _numbers(ways, phase)
    places = i64(*codes.shape, *start, *shape, MARCH)
    launch(FILE, "profiles", columns(shape), codes, direction, upload(offsets), *numbers, *places, result)
    return tuple(result[k] for k in range(ways.shape[1]))


def directional_peak(
    codes: Any, direction: Any, /, *, phase: Phase, offsets: NDArray[np.int8], window: Window | None = None
) -> Any:
    """Port of law.directional_peak."""
    ways = host(offsets)
    accept_directional_peak(shadow(codes), _field(direction), phase, ways, window)
    start, shape = part(codes.shape, window)
    result = empty(shape, np.uint16)
    numbers = _numbers(ways, phase)
    places = i64(*codes.shape, *start, *shape, MARCH)
    launch(FILE, "peaks", columns(shape), codes, direction, upload(offsets), *numbers, *places, result)
    return result


def _field(direction: Any) -> Any:
    """Return what the law can judge in place of a field of directions; a code out of range is found on the device."""
    highest = 0
    if isinstance(direction, cupy().ndarray) and direction.dtype == np.uint16 and direction.flags.c_contiguous:
        found = zeros(1, np.uint32)
        each(FILE, "beyond", direction.size, direction, *i64(direction.size), np.uint32(DIRECTION_NONE), found)
        highest = int(host(found)[0])
    return shadow(direction, bounds=(0, highest))


def _numbers(offsets: NDArray[np.int8], phase: Phase) -> tuple[np.int32, ...]:
    """Return the places of a direction, the phase, and how far the farthest place is."""
    reach = max(int(offsets.max()), -int(offsets.min()))
    return i32(offsets.shape[1]), i32(phase[0]), i32(phase[1]), i32(phase[2]), i32(reach)
