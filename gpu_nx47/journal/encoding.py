"""From the values that stages put into events to JSON, in one place, so that all files say the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Final

import numpy as np

ARRAY_LIMIT: Final = 4096
"""Most elements of an array inside an event: an event holds small exact numbers, a volume is traced by its digest."""


def plain(value: Any, odd: list[str] | None = None, where: str = "") -> Any:
    """Return `value` as dict, list, str, int, float, bool and None alone.

    Parameters
    ----------
    value : Any
        JSON values, NumPy scalars and small arrays, paths, enums, bytes (as hex), tuples, sets (sorted), dataclasses;
        nested.
    odd : list of str, optional
        Receives the place of each NaN or infinity, which become the strings "NaN", "Infinity", "-Infinity".
    where : str
        Place of `value`, for `odd` and the error.

    Raises
    ------
    TypeError
        A value of another kind: an event that cannot be read back is a bug of its sender.
    """
    match value:
        case None | bool():
            return value
        case Enum():
            return plain(value.value, odd, where)
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            return _finite(float(value), odd, where)
        case np.generic():
            return plain(value.item(), odd, where)
        case PurePath():
            return str(value)
        case bytes():
            return value.hex()
        case Mapping():
            return {_key(key, where): plain(item, odd, _join(where, key)) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, odd, _join(where, index)) for index, item in enumerate(value)]
        case set() | frozenset():
            return sorted(plain(item, odd, where) for item in value)
        case np.ndarray() if value.size <= ARRAY_LIMIT:
            return plain(value.tolist(), odd, where)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name), odd, _join(where, item.name)) for item in fields(value)}
    size = f" of {value.size} elements" if isinstance(value, np.ndarray) else ""
    raise TypeError(f"{where or 'event'}: a {type(value).__name__}{size} has no place in an event")


def compact(value: Any) -> bytes:
    """Return a plain value as one line of ASCII JSON without spaces; NaN and infinity raise ValueError."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _finite(value: float, odd: list[str] | None, where: str) -> float | str:
    if math.isfinite(value):
        return value
    if odd is not None:
        odd.append(where)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _key(key: Any, where: str) -> str:
    if isinstance(key, str | int | float | np.integer | PurePath):
        return str(key)
    raise TypeError(f"{where or 'event'}: a key of type {type(key).__name__} has no place in an event")


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
