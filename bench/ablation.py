"""What each part is worth: runs on the frozen phantoms with their defaults, again with one part left out or changed.

Steps of the cleaning are switched the other way on probabilities that are computed once; groups of features are left
out of the bank, a run each. Each row is the defaults but for what it names. Where the official package `topometrics`
can be imported, its TopoScore stands beside the bound.

Usage: ``python bench/ablation.py [--size 128] [--seeds 104,105,106,107,108,109] [--no-groups] [--write]``
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from phantom_hardness import body, in_frame
from quality import integers, ours

import gpu_nx47
from gpu_nx47 import segmentation, solve
from gpu_nx47.backend import Meter, select
from gpu_nx47.configure import from_mapping
from gpu_nx47.phantom import make_phantom, phantom_id, write_phantom_root
from gpu_nx47.score import Reference, Score
from gpu_nx47.score._official import missing
from gpu_nx47.settings import DEFAULT_BANK
from gpu_nx47.train.tuning import piece_histogram

RESULT = Path(__file__).parent / "results" / "ablation.txt"
GROUPS = {
    "texture": ("local_entropy", "local_var"),
    "stencils": ("grad_mag", "laplace", "bandpass_response", "laplace@2", "gaussian"),
    "towards the axis": ("grad_inward", "grad_inward@2"),
    "projections": ("proj_max", "proj_mean", "coherence_inter_slice"),
    "along the sheets": ("along_mean", "step_outward", "face"),
}
STEPS: dict[str, dict[str, Any]] = {
    "without pinholes": {"segment.pinholes": 0},
    "pinholes of 32": {"segment.pinholes": 32},
    "without loops": {"segment.loops": 0},
    "without cavities": {"segment.cavities": False},
    "without all three": {"segment.pinholes": 0, "segment.loops": 0, "segment.cavities": False},
    "bridges of 64": {"segment.bridges": 64},
    "bridges of 256": {"segment.bridges": 256},
    "dust by corners too": {"segment.dust_connectivity": 26},
    "no dust": {"segment.dust": 0},
    "dust 300": {"segment.dust": 300},
    "dust 1000": {"segment.dust": 1000},
    "dust 2000": {"segment.dust": 2000},
    "closing by 1": {"segment.closing": (1, 1, 1)},
    "opening by 1": {"segment.opening": (1, 1, 1)},
    "frame of 3": {"segment.frame": 3},
}


def probabilities(size: int, seeds: list[int]) -> Iterator[np.ndarray]:
    """Yield the probability codes of each phantom, in its valid box."""
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "root", Path(folder) / "out"
        write_phantom_root(root, size=size, seeds=seeds)
        gpu_nx47.run(root, out, {"save": ("probability",), "overlays": 0})
        for seed in seeds:
            (path,) = out.rglob(f"{phantom_id(seed)}_probability.tif")
            yield np.ascontiguousarray(tifffile.imread(path)[body(make_phantom(size, seed))[1]])


def cut(probability: np.ndarray, shape: tuple[int, ...], changes: dict[str, Any]) -> np.ndarray:
    """Return the final mask of a probability under changed settings of the cleaning."""
    settings = from_mapping(
        {"segment": {key.removeprefix("segment."): value for key, value in changes.items()}}
    ).segment
    calibrated, limits = solve.decide(piece_histogram(probability), settings)
    backend = Meter(select("cpu")[0])
    mask = segmentation.cutter(backend, limits, calibrated.threshold, settings)(probability)[2]
    return in_frame(mask, (slice(3, -3),) * 3, shape)


def line(title: str, scores: list[Score]) -> str:
    figures = np.mean([(s.surface_dice, s.voi_score, s.mean) for s in scores], axis=0)
    topologies = [s.topology for s in scores if s.topology is not None]
    bound = float(np.mean([topology.bound.value for topology in topologies]))
    topos = [s.topo for s in scores if s.topo is not None]
    topo, total = (f"{np.mean(topos):7.4f}", f"{0.3 * np.mean(topos) + 0.7 * figures[2]:7.4f}") if topos else ("-", "-")
    errors = "".join(f"{error:7.1f}" for error in np.mean([topology.error for topology in topologies], axis=0))
    each = " ".join(f"{s.mean:.3f}" for s in scores)
    told = " ".join(f"{figure:6.4f}" for figure in figures)
    return f"{title:24s} {told} {topo:>7s} {total:>7s} {bound:7.4f} {errors}   {each}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--seeds", type=integers, default=[104, 105, 106, 107, 108, 109])
    options.add_argument("--no-steps", action="store_true", help="leave the steps of the cleaning out")
    options.add_argument("--no-groups", action="store_true", help="leave the groups of features out")
    options.add_argument("--write", action="store_true", help="also add to bench/results/ablation.txt")
    given = options.parse_args()
    start, load = time.monotonic(), os.getloadavg()[0]
    references = [Reference(make_phantom(given.size, seed).label) for seed in given.seeds]
    lines = [
        f"ablation, {given.size}-cubes, seeds {given.seeds}, autonomous, {datetime.date.today()}",
        f"{'':24s}   Dice    VOI   mean    Topo   total  Topo<=  components, tunnels, cavities off   mean of each seed",
    ]
    official = missing() is None

    def add(title: str, masks: list[np.ndarray]) -> None:
        scores = [r.score(mask, official=official) for r, mask in zip(references, masks, strict=True)]
        lines.append(line(title, scores))
        print(lines[-1], flush=True)

    if not given.no_steps:
        found = list(probabilities(given.size, given.seeds))
        shape = (given.size,) * 3
        for title, changes in {"defaults": {}, **STEPS}.items():
            add(title, [cut(probability, shape, changes) for probability in found])
    if not given.no_groups:
        add("defaults, run whole", ours(given.size, given.seeds, {}))
        for title, group in GROUPS.items():
            bank = tuple(name for name in DEFAULT_BANK if name not in group)
            add(f"no {title}", ours(given.size, given.seeds, {"features.bank": bank}))
    took = f"measured in {time.monotonic() - start:.0f} s, load {load:.0f} to {os.getloadavg()[0]:.0f}"
    lines.append(took + ("" if official else f"; no official TopoScore: {missing()}"))
    if given.write:
        with RESULT.open("a") as file:
            file.write("\n".join(lines) + "\n\n")


if __name__ == "__main__":
    main()
