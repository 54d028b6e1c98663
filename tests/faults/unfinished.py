"""Runs of three small volumes that are cut off somehow, and what a run left: shared by the tests of this folder."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import tifffile

from gpu_nx47 import phantom
from gpu_nx47._tiff import inspect_file
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.submission import check_submission

RECORD = "v122_ultra_authentic_360_merkle.jsonl"
QUICK = Settings(neuron=NeuronSettings(samples=1024, steps=5), overlays=1, save=("probability",), threads=1)
OPTIONS = ["--set", "neuron.steps=5", "--set", "neuron.samples=1024", "--set", "overlays=1", "--save", "probability"]
CLOCKED = {
    "elapsed_s", "calc_per_sec", "voxels_per_sec", "bytes_per_sec", "stages", "v122", "elapsed_total_s",
    "calc_per_sec_global", "hardware", "gpu", "evidence",
}  # fmt: skip
"""Keys that tell of time or of the machine."""


def make_root(folder, sizes=(40, 44, 42)):
    for seed, size in enumerate(sizes, 1):
        phantom.write_phantom_root(folder, size=size, seeds=[seed], train_seeds=[])
    return folder


class DieAt:
    """Observer that ends the process, or raises, at an event."""

    def __init__(self, seq, act):
        self.seq, self.act = seq, act

    def __call__(self, stamped):
        if stamped.seq >= self.seq:
            self.act()

    def close(self):
        pass


def command(root, out, *options):
    return [sys.executable, "-m", "gpu_nx47", "run", str(root), "--output", str(out), "--quiet", *OPTIONS, *options]


def finish(root, out, *options):
    """Run to the end in a process of its own; return its exit code and what it said."""
    done = subprocess.run(command(root, out, *options), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def events_of(out):
    """Return the whole lines of the record as events; each names the one before."""
    raw = (Path(out) / RECORD).read_bytes()
    prev, events = "0" * 64, []
    for line in raw.split(b"\n")[:-1]:
        events.append(json.loads(line))
        assert (events[-1]["seq"], events[-1]["prev"]) == (len(events) - 1, prev)
        prev = hashlib.sha256(line).hexdigest()
    return events


def untimed(value):
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in CLOCKED}
    return [untimed(v) for v in value] if isinstance(value, list) else value


def answer(out):
    """Return all that must not depend on how often a run was cut off: bytes of the outputs, and the counters."""
    events = events_of(out)
    files = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("overlays_v122", "saved", "slices")
        for path in sorted((out / folder).rglob("*"))
        if path.is_file()
    }
    metrics = {e["data"]["file"]: untimed(e["data"]) for e in events if e["event"] == "NX47_METRICS"}
    stats = [untimed(e["data"]) for e in events if e["event"] == "GLOBAL_STATS"]
    return {"zip": (out / "submission.zip").read_bytes(), "files": files, "metrics": metrics, "stats": stats[-1]}


def check_whole(out, root):
    """Check a folder in which a run was killed: what stands under a final name is whole."""
    path = out / "submission.zip"
    if path.exists():
        assert check_submission(path, root / "test_images").ok
        assert events_of(out)[-1]["event"] in ("STEP", "SUBMISSION_VALIDATED", "EXEC_COMPLETE")
    for name in ("execution_logs", "memory_tracker", "execution_metadata", "roadmap_realtime"):
        view = out / f"v122_{name}.json"
        if view.exists():
            json.loads(view.read_bytes())
    for picture in out.glob("overlays_v122/[!.]*"):
        assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")
    for saved in out.glob("saved/[!.]*"):
        assert tifffile.imread(saved).ndim == 3
        inspect_file(saved)  # refuses one that is cut short
    for archive in out.rglob("[!.]*.npz"):
        assert zipfile.ZipFile(archive).testzip() is None


def die():
    os._exit(9)
