"""Labelled phantoms, and a training on them that takes a second."""

import numpy as np
import pytest
import tifffile

from gpu_nx47 import backend, phantom, pipeline
from gpu_nx47.configure import from_mapping
from gpu_nx47.engine import Engine
from gpu_nx47.train import train

SEEDS = (11, 12, 13, 14)
QUICK = {
    "threads": 1,
    "neuron": {"samples": 2048, "steps": 24, "l1": [1e-4, 1e-2], "l2": [1e-3], "hidden": []},
    "learning": {"bank": [], "block": 40, "blocks": 4, "scan": 1},
    "overlays": 0,
}


def names():
    return [phantom.phantom_id(seed) for seed in SEEDS]


def settings(**more):
    return from_mapping({**QUICK, **more})


def learn(root, told=None, **more):
    """Train; events go to the list `told`."""
    chosen = settings(**more)
    engine = Engine(backend.Meter(backend.select(chosen.backend)[0]), chosen.tile, chosen.threads)
    return train(root, engine, chosen, (lambda _event: None) if told is None else told.append)


def copy_root(root, to):
    """Copy the labelled volumes by links, so that a test may change one."""
    for folder in ("test_images", "train_images", "train_labels"):
        (to / folder).mkdir(parents=True)
        for path in (root / folder).iterdir():
            (to / folder / path.name).symlink_to(path)
    return to


def write(path, array):
    path.unlink(missing_ok=True)
    tifffile.imwrite(path, np.ascontiguousarray(array), photometric="minisblack")


def read(path):
    return tifffile.imread(path)


def steps(told, step):
    return [event.data for event in told if event.name == "SUPERVISED_TRAIN" and event.data["step"] == step]


def codes(told):
    return [event.data["code"] for event in told if event.name == "ALERT"]


def interrupted(root, output, settings):
    """Run until the first volume is done, and stop there."""

    class Stop:
        def __call__(self, stamped):
            if stamped.event.name == "FILE_DONE":
                raise KeyboardInterrupt

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(root, output, from_mapping(settings), Stop())
