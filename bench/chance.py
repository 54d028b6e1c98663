"""How honest the intervals of chance are: how many sheetless volumes lie within them, and how far phantoms lie outside.

Sheetless: white noise, noise smoothed at 1, 2 and 4 voxels (cut out of a larger field, so that no border is smoothed
otherwise than the inside), and phantoms whose phases are those of noise. Each volume has its own seed, and so have its
surrogates. An interval of 95 % should hold 95 of 100 of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

from gpu_nx47 import alerts, backend, chance, hardware, metrics, phantom, solve
from gpu_nx47.backend import Meter
from gpu_nx47.engine import Engine
from gpu_nx47.settings import Settings
from gpu_nx47.volume import Box, Source, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SIGMAS: Final = {"white": 0, "sigma 1": 1, "sigma 2": 2, "sigma 4": 4}
KINDS: Final = (*SIGMAS, "phases", "phantom")
FRAME: Final = 3
"""Voxels of zeros around a phantom."""


def noise(size: int, sigma: int, seed: int) -> NDArray[np.uint8]:
    """Return homogeneous noise: mean 110, deviation 35."""
    rim = 4 * sigma
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size + 2 * rim,) * 3), sigma)
    field = field[rim : rim + size, rim : rim + size, rim : rim + size]
    return np.clip(np.rint(110 + 35 * (field - field.mean()) / field.std()), 0, 255).astype(np.uint8)


def phase_randomised(grey: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Return a volume with the spectrum and the histogram of another, and the phases of noise."""
    white = np.fft.rfftn(np.random.default_rng(seed).standard_normal(grey.shape))
    field = np.fft.irfftn(np.abs(np.fft.rfftn(grey.astype(float))) * white / np.abs(white), grey.shape, axes=(0, 1, 2))
    values = np.empty(grey.size, np.uint8)
    values[np.argsort(field.reshape(-1), kind="stable")] = np.sort(grey.reshape(-1))
    return values.reshape(grey.shape)


def volume_of(kind: str, size: int, seed: int) -> NDArray[np.uint8]:
    """Return a volume of one of KINDS."""
    if kind in SIGMAS:
        return noise(size, SIGMAS[kind], seed)
    inner = slice(FRAME, -FRAME)
    grey = np.ascontiguousarray(phantom.make_phantom(size + 2 * FRAME, seed).image[inner, inner, inner])
    return grey if kind == "phantom" else phase_randomised(grey, seed)


def judged(grey: NDArray[np.uint8], seed: int, threads: int) -> dict[str, Any]:
    """Run on a volume; return the verdict on each counter, how many times the upper end it is, and seconds."""
    engine = Engine(Meter(backend.select("cpu")[0]), (64, 512, 512), threads)
    settings = Settings(seed=seed)
    story = solve.Story("bench", lambda _: None, engine)
    solved = solve.solve(grey, engine, settings, story, None)
    volume = Volume(Source("bench", None, ()), grey, Box((0, 0, 0), grey.shape), "uint8", None, None, "", grey.size)
    with story.stage("count"):
        counted, _ = metrics.volume_counters(volume, solved, engine, settings, None)
    told = counted["expected_by_chance"]
    seconds = {name: stage["seconds"] for name, stage in story.stages.items()}
    return {
        "verdicts": {name: one["verdict"] for name, one in told.items()},
        "times": {name: one["value"] / one["high"] for name, one in told.items() if one["high"]},
        "no_surface": any(a.code == "NO_SURFACE" for a in metrics.volume_alerts("bench", solved, counted)),
        "null_share": seconds["null"] / sum(seconds.values()),
    }


def report(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the tables."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["size"], row["kind"]].append(row)
    for size in dict.fromkeys(size for size, _ in groups):
        kinds = [kind for kind in KINDS if (size, kind) in groups]
        counts = ", ".join(f"{kind} {len(groups[size, kind])}" for kind in kinds)
        yield f"\n{size} voxels a side ({counts}). Within / above the interval, % of the volumes; phantom: above,"
        yield "and the median, and the least, of value / upper end"
        yield f"{'':30s}" + "".join(f"{kind:>12s}" for kind in kinds)
        for name in rows[0]["verdicts"]:
            cells = [_cell(kind, name, groups[size, kind]) for kind in kinds]
            yield f"{name:30s}" + "".join(f"{cell:>12s}" for cell in cells)
        alarm = [f"{100 * np.mean([row['no_surface'] for row in groups[size, kind]]):.0f}" for kind in kinds]
        yield f"{'NO_SURFACE raised, %':30s}" + "".join(f"{cell:>12s}" for cell in alarm)
        yield f"null's share of the run: {100 * np.median([r['null_share'] for r in rows if r['size'] == size]):.1f} %"


def _cell(kind: str, name: str, rows: list[dict[str, Any]]) -> str:
    share = {v: round(100 * np.mean([row["verdicts"][name] == v for row in rows])) for v in ("within", "above")}
    if kind != "phantom":
        return f"{share['within']}/{share['above']}"
    times = [row["times"].get(name, 0.0) for row in rows]
    return f"{share['above']} {np.median(times):.1f} {min(times):.1f}"


def main() -> None:
    """Do every kind, size and seed; write each volume's result as it comes, and the tables at the end."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--sizes", default="96,128,192")
    ask.add_argument("--seeds", type=int, default=40)
    ask.add_argument("--first", type=int, default=1, help="the first of the seeds")
    ask.add_argument("--kinds", default=",".join(KINDS))
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--rows", type=Path, help="JSON lines: results to begin with, and to add to")
    given = ask.parse_args()
    rows = [json.loads(line) for line in given.rows.open()] if given.rows and given.rows.exists() else []
    done = {(row["size"], row["kind"], row["seed"]) for row in rows}
    kinds = given.kinds.split(",")
    for seed in range(given.first, given.first + given.seeds):
        for size in map(int, given.sizes.split(",")):
            for kind in kinds:
                if (size, kind, seed) in done:
                    continue
                found = judged(volume_of(kind, size, seed), seed, given.threads)
                rows.append({"size": size, "kind": kind, "seed": seed, **found})
                if given.rows:
                    with given.rows.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
                print(f"{size} {kind} {seed}", file=sys.stderr, flush=True)
    machine = hardware.hardware()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine['cpu_model']}, {machine['cpu_count']} processors")
    print(f"NO_SURFACE: {chance.EVIDENCE} below {alerts.NO_SURFACE} of its upper end")
    for line in report(rows):
        print(line)


if __name__ == "__main__":
    main()
