"""A result as one picture: each kernel's speed beside its peers, and where a whole run spends its time."""

from __future__ import annotations

import io
import math
from typing import Any, Final

OURS: Final = (255, 72, 0)
"""The vermilion of the overlays."""
PEERS: Final = {
    "SciPy": (70, 130, 180),
    "scikit-image": (106, 90, 205),
    "OpenCV": (46, 139, 87),
    "PyTorch": (184, 134, 11),
    "cc3d": (199, 21, 133),
    "NumPy": (105, 105, 105),
    "cupyx": (70, 130, 180),
    "cuCIM": (106, 90, 205),
}
INK: Final = (20, 20, 20)
PALE: Final = (225, 225, 225)
WIDTH: Final = 1100
LEFT: Final = 210
"""Where bars begin; names stand left of it."""
LINE: Final = 14
"""Pixels of a bar with its gap."""


def draw(found: dict[str, Any]) -> bytes:
    """Return a PNG of the rows measured with the most peers, and of the largest run; blank parts are left out."""
    from PIL import Image, ImageDraw

    rows = _rows(found)
    runs = found["runs"][-1:] if found["runs"] else []
    bars = sum(1 + len(row["peers"]) for row in rows)
    height = 90 + bars * LINE + len(rows) * 6 + sum(60 + LINE * len(run["stages"]) for run in runs)
    image = Image.new("RGB", (WIDTH, height), "white")
    pen = ImageDraw.Draw(image)
    m = found["machine"]
    pen.text((10, 8), f"gpu-nx47 {m['version']} {m['commit'][:12]}  {m['date']}  {m['cpu_model']}", fill=INK)
    at = 30
    if rows:
        at = _speeds(pen, rows, at)
    for run in runs:
        at = _stages(pen, run, at + 20)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one backend and size: where peers stand, else the largest."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in found["kernels"]:
        groups.setdefault((row["backend"], row["size"]), []).append(row)
    return max(groups.values(), key=lambda rows: (sum(len(r["peers"]) for r in rows), rows[0]["size"]), default=[])


def _speeds(pen: Any, rows: list[dict[str, Any]], at: int) -> int:
    """Draw Mvoxel/s on a logarithmic axis, one bar for ours and one for each peer; return where it ends."""
    entries = [
        [("nx47", row["median_s"]), *((peer["peer"], peer["median_s"]) for peer in row["peers"])] for row in rows
    ]
    speeds = [[(name, row["voxels"] / s / 1e6) for name, s in part] for row, part in zip(rows, entries, strict=True)]
    every = [speed for part in speeds for _, speed in part]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)) + 1e-9)
    right = WIDTH - 130

    def place(speed: float) -> int:
        return round(LEFT + (math.log10(speed) - low) / max(1, high - low) * (right - LEFT))

    pen.text((10, at), f"Mvoxel/s, {rows[0]['backend']}, phantom of {rows[0]['size']}^3, medians", fill=INK)
    at += 18
    bottom = at + 16 + sum(len(part) * LINE + 6 for part in speeds)
    for power in range(low, high + 1):
        x = place(10.0**power)
        pen.line((x, at + 14, x, bottom), fill=PALE)
        pen.text((x - 8, at), f"{10.0**power:g}", fill=INK)
    at += 18
    for row, part in zip(rows, speeds, strict=True):
        pen.text((10, at), row["case"], fill=INK)
        for name, speed in part:
            end = max(place(speed), LEFT + 1)
            pen.rectangle((LEFT, at + 1, end, at + LINE - 3), fill=PEERS.get(name, OURS))
            pen.text((end + 4, at), f"{name} {speed:.4g}", fill=INK)
            at += LINE
        at += 6
    return at


def _stages(pen: Any, run: dict[str, Any], at: int) -> int:
    """Draw the seconds of each stage of a run; return where it ends."""
    title = f"seconds of a whole run, {run['backend']}, {run['files']} phantoms of {run['size']}^3: {run['wall_s']:.2f}"
    pen.text((10, at), title, fill=INK)
    at += 18
    ordered = sorted(run["stages"], key=lambda stage: -stage["wall_s"])
    longest = max(stage["wall_s"] for stage in ordered)
    for stage in ordered:
        end = LEFT + max(1, round(stage["wall_s"] / longest * (WIDTH - 130 - LEFT)))
        pen.text((10, at), stage["stage"], fill=INK)
        pen.rectangle((LEFT, at + 1, end, at + LINE - 3), fill=OURS)
        pen.text((end + 4, at), f"{stage['wall_s']:.3f} ({stage['share']:.0%})", fill=INK)
        at += LINE
    return at
