"""Trains the model of phantoms that comes with the program: ``python bench/phantom_model.py [--hidden 24,12]``.

The phantoms are drawn again from their seeds, so the file can be made anew by anybody, bit by bit. It is no model of
papyrus.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from gpu_nx47.cli.console import Console
from gpu_nx47.configure import resolve
from gpu_nx47.phantom import write_phantom_root
from gpu_nx47.settings import LEARNING_BANK
from gpu_nx47.train.session import LOG_SUFFIX, train_model

SIZE = 128
NOT_HERE = ("hessian_sheetness", "hessian_sheetness@2", "local_entropy", "local_var", "face")
"""Entropy, variance and face search add nothing here, where the side of the axis is known; sheetness was not tried."""
FEATURES = tuple(name for name in LEARNING_BANK if name not in NOT_HERE)
SEEDS = range(1001, 1049)
"""No seed that a test or another bench uses."""
OUTPUT = Path(__file__).parents[1] / "gpu_nx47" / "models" / "phantoms.json"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hidden", default="24,12", help="neurons of each hidden layer of a net, such as 16 or 24,12")
    options.add_argument("--output", type=Path, default=OUTPUT)
    given = options.parse_args()
    asked = [f"learning.bank={','.join(FEATURES)}", f"neuron.hidden={given.hidden}", "learning.alter=false"]
    settings, _ = resolve(None, asked, os.environ)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        write_phantom_root(root, size=SIZE, seeds=[], train_seeds=SEEDS)
        train_model(root, given.output, settings, Console(sys.stdout, sys.stderr))
    given.output.with_name(given.output.name + LOG_SUFFIX).unlink()


if __name__ == "__main__":
    main()
