"""What each part is worth: a run on the frozen phantoms with its defaults, and again with one part left out or changed.

Groups of features are left out of the bank; steps of the cleaning are switched the other way. Each row is the defaults
but for what it names.

Usage: ``python bench/ablation.py [--size 128] [--seeds 101,102,103,104,105,106] [--write]``
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path
from typing import Any

from quality import integers, ours, row

from gpu_nx47.phantom import make_phantom
from gpu_nx47.score import Reference
from gpu_nx47.settings import DEFAULT_BANK

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
    "without cavities": {"segment.cavities": False},
    "without both": {"segment.pinholes": 0, "segment.cavities": False},
    "dust 300": {"segment.dust": 300},
    "no dust": {"segment.dust": 0},
    "closing by 1": {"segment.closing": (1, 1, 1)},
    "opening by 1": {"segment.opening": (1, 1, 1)},
    "frame of 3": {"segment.frame": 3},
}


def variants() -> dict[str, dict[str, Any]]:
    """Return the settings of each row."""
    found: dict[str, dict[str, Any]] = {"defaults": {}, **STEPS}
    for title, group in GROUPS.items():
        found[f"no {title}"] = {"features.bank": tuple(name for name in DEFAULT_BANK if name not in group)}
    return found


def _told(settings: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items() if key != "features.bank")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--seeds", type=integers, default=[101, 102, 103, 104, 105, 106])
    options.add_argument("--write", action="store_true", help="also write bench/results/ablation.txt")
    given = options.parse_args()
    start = time.monotonic()
    references = [Reference(make_phantom(given.size, seed).label) for seed in given.seeds]
    lines = [
        f"ablation, {given.size}-cubes, seeds {given.seeds}, autonomous, {datetime.date.today()}",
        "",
        f"{'':22s}   Dice    VOI   mean Topo<=  components, tunnels, cavities off   mean of each seed; settings",
    ]
    for title, settings in variants().items():
        masks = ours(given.size, given.seeds, settings)
        scores = [reference.score(mask) for reference, mask in zip(references, masks, strict=True)]
        lines.append(row(title, scores, _told(settings)))
        print(lines[-1], flush=True)
    lines.append(f"measured in {time.monotonic() - start:.0f} s")
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
