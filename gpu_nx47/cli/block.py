"""GLOBAL_STATS as one aligned block of text."""

from __future__ import annotations

from typing import Any, Final

POINTS_SHOWN: Final = 11
VALUE_WIDTH: Final = 96
"""Longest value on a line: with its key it stays readable in a notebook cell."""
MOST_LINES: Final = 110
"""A console shows at most 200 lines for one volume; the record has everything."""


def stats_block(stats: dict[str, Any]) -> list[str]:
    """Return the lines of the block: a title, then every key with its value, nested blocks indented."""
    rows = _rows(stats, 1)
    width = max((len(label) for label, value in rows if value is not None), default=0)
    lines = [label if value is None else f"{label:<{width}}  {value}".rstrip() for label, value in rows]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"  ... {len(lines) - MOST_LINES} further lines are in the record"]
    return ["GLOBAL_STATS", *lines]


def number(value: Any) -> str:
    """Return a figure as a reader wants it: thousands apart, six digits of a fraction."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.6g}"
    return str(value)


def _rows(block: dict[str, Any], depth: int) -> list[tuple[str, str | None]]:
    """Return (label, value) pairs; a value of None is a heading."""
    pad = "  " * depth
    rows: list[tuple[str, str | None]] = []
    for key, value in block.items():
        if isinstance(value, dict) and depth == 1:
            rows += [(f"{pad}{key}", None), *_rows(value, depth + 1)]
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            rows.append((f"{pad}{key}", None))
            rows += [(f"{pad}  {index}", _short(item)) for index, item in enumerate(value[:POINTS_SHOWN], 1)]
            if len(value) > POINTS_SHOWN:
                rows.append((f"{pad}  ... {len(value) - POINTS_SHOWN} more in the record", None))
        else:
            rows.append((f"{pad}{key}", _short(value)))
    return rows


def _short(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 4] + " ..."


def _text(value: Any) -> str:
    if isinstance(value, dict) and value.keys() >= {"value", "low", "high", "verdict"}:
        per = "" if value.get("unit") in (None, "volume") else f" a {value['unit']}"
        low, high = number(value["low"]), number(value["high"])
        return f"{number(value['value'])}{per}; chance gives {low} to {high}: {value['verdict']}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return number(value).replace("\n", " ")
