"""Which side of the sheets is taken, and what it is worth: phantoms with the axis known, estimated, mirrored, unknown.

The phantoms' axes lie inside the cube, near it or far from it, and every sheet is buckled. The side is right where most
of the clear normals (planarity above 100 of 255) point as they do when they are turned by the true axis.

Usage: ``python bench/axis.py [--size 128] [--seeds 301-330] [--write]``
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import gpu_nx47
from gpu_nx47 import backend, direction, hardware, scene, survey
from gpu_nx47.engine import Engine
from gpu_nx47.phantom import Phantom, make_phantom, phantom_id, write_phantom_root
from gpu_nx47.score import Reference
from gpu_nx47.score._files import find_masks, read_mask
from gpu_nx47.settings import NO_SIDE, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULT: Final = Path(__file__).parent / "results" / "axis.txt"
WAYS: Final = ("known", "estimated", "mirrored", "unknown")
FRAME: Final = 3
CLEAR: Final = 100


def side(phantom: Phantom) -> tuple[bool, float]:
    """Return whether a side is claimed, and the share of clear normals that the fitted axis turns the right way."""
    inner = slice(FRAME, -FRAME)
    grey = np.ascontiguousarray(phantom.image[inner, inner, inner])
    engine = Engine(backend.Meter(backend.select("cpu")[0]), (64, 512, 512), hardware.usable_processors())
    settings = Settings()
    index, _ = survey.draw_voxels(settings.seed, grey.size, survey.DRAWS_PER_SAMPLE * settings.neuron.samples)
    axis, bearing = scene.orient(engine, grey, index)
    field = bearing.field
    clear = field.planarity > CLEAR
    true = direction.turned(field, np.rint(8 * (phantom.axis[inner] - FRAME)).astype(np.int32))
    fitted = direction.turned(field, axis.eighths(len(grey)))
    return bearing.axis is not None, float((true.direction == fitted.direction)[clear].mean())


def places(phantom: Phantom, folder: Path) -> dict[str, str]:
    """Return the setting `umbilicus` of each way; files are written into the folder."""
    lines = {"known": phantom.axis, "mirrored": len(phantom.axis) - 1 - phantom.axis}
    for name, line in lines.items():
        (folder / f"{name}.txt").write_text("".join(f"{z}, {y}, {x}\n" for z, (y, x) in enumerate(line.tolist())))
    return {
        "known": str(folder / "known.txt"),
        "estimated": "",
        "mirrored": str(folder / "mirrored.txt"),
        "unknown": NO_SIDE,
    }


def score(size: int, seed: int, phantom: Phantom) -> dict[str, float]:
    """Return the mean of SurfaceDice and VOI score of a run in each way."""
    reference = Reference(phantom.label, topology=False)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom_root(folder / "root", size=size, seeds=[seed])
        for way, place in places(phantom, folder).items():
            result = gpu_nx47.run(folder / "root", folder / way, {"umbilicus": place, "overlays": 0, "record": "light"})
            if result.submission is None:
                raise RuntimeError("the run wrote no submission")
            mask = find_masks(result.submission, "submission")[phantom_id(seed)]
            found[way] = reference.score(read_mask(mask, (size,) * 3)).mean
    return found


def report(rows: list[tuple[str, bool, float, dict[str, float]]]) -> Iterator[str]:
    """Yield the table: each kind of phantom, and all."""
    kinds: dict[str, list[tuple[str, bool, float, dict[str, float]]]] = defaultdict(list)
    for row in rows:
        kinds[row[0]].append(row)
        kinds["all"].append(row)
    yield f"{'axis':8s} {'phantoms':>8s} {'claimed':>8s} {'right':>8s}" + "".join(f"{way:>11s}" for way in WAYS)
    for kind, group in sorted(kinds.items(), key=lambda item: item[0] == "all"):
        claimed = [row for row in group if row[1]]
        right = sum(row[2] > 0.5 for row in claimed)
        means = "".join(f"{np.mean([row[3][way] for row in group]):11.3f}" for way in WAYS)
        yield f"{kind:8s} {len(group):8d} {len(claimed):8d} {right:8d}{means}"


def main() -> None:
    """Do every seed and print the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--size", type=int, default=128)
    ask.add_argument("--seeds", default="301-330", help="first-last")
    ask.add_argument("--write", action="store_true", help=f"write {RESULT.name} too")
    given = ask.parse_args()
    first, last = map(int, given.seeds.split("-"))
    rows = []
    for seed in range(first, last + 1):
        phantom = make_phantom(given.size, seed)
        claimed, right = side(phantom)
        rows.append((phantom.kind, claimed, right, score(given.size, seed, phantom)))
        told = " ".join(f"{way} {value:.3f}" for way, value in rows[-1][3].items())
        print(f"{seed} {phantom.kind}: claimed {claimed}, right {right:.2f}; {told}", flush=True)
    cpu = hardware.hardware()["cpu_model"]
    head = f"which side, {given.size}-cubes, seeds {given.seeds}, {datetime.now(UTC):%Y-%m-%d}, {cpu}"
    lines = [
        head,
        "claimed: a side is taken; right: of these, the true one; then mean of SurfaceDice and VOI score",
        *report(rows),
    ]
    print("\n".join(lines))
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
