"""One small run, and all of its answer that must not depend on the machine: run it as a program, or call `answer`."""

import hashlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gpu_nx47
from gpu_nx47 import metrics, phantom
from gpu_nx47.settings import NeuronSettings, Settings

TIMED = {"calc_ops_executed"}  # halos belong to a tiling, not to the answer


def make_root(folder, size=48, seeds=(1, 2)):
    phantom.write_phantom_root(folder, size=size, seeds=seeds, train_seeds=[])
    return folder


def digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def answer(root, output, **changes):
    """Return the digest of the zip, the counters, and the digests of every traced array and of what is told."""
    settings = replace(Settings(neuron=NeuronSettings(samples=8192), overlays=0), **changes)
    result = gpu_nx47.run(root, output, settings)
    assert result.exit_code == 0
    lines = (Path(output) / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    traces = [e["data"] for e in map(json.loads, lines) if e["event"] == "ARRAY_TRACE"]
    return {
        "zip": hashlib.sha256(result.submission.read_bytes()).hexdigest(),
        "counters": {k: result.stats[k] for k in metrics.SUMMED if k not in TIMED},
        "arrays": {f"{t['file']} {t['stage']}": t["digest"] for t in traces},
        "told": {
            "expected_by_chance": digest(result.stats["expected_by_chance"]),
            **{k: digest([f[k] for f in result.files]) for k in ("golden_nonce_points_topk", "findings", "slices")},
        },
        "weights": [list(f["train_info"]["selected_hyperparams"]["weights"]) for f in result.files],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        root = make_root(Path(folder) / "root")
        print(json.dumps(answer(root, Path(folder) / "out", backend=sys.argv[1])))
