"""Membranes that are no papyrus: learned on one half of a real volume, scored on the other, beside the same peers.

Two stacks with ground truth, by path (their licences are their owners'): cell walls of an ovule, where the truth is the
border between cells, and ISBI 2012's membranes in electron micrographs, which are dark and so are inverted. Neither has
an axis, nor sheets with two faces: ours marks membranes only as far as labels tell it to. Each half is scored alone.

Usage: ``NX47_REAL_DATA=folder python bench/real.py [--write] [--pictures FOLDER]``
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tifffile
from quality import choose, forest, otsu, sheetness, smoothed
from skimage.segmentation import find_boundaries

import gpu_nx47
from gpu_nx47 import hardware, overlay
from gpu_nx47.phantom import FRAME, Phantom
from gpu_nx47.score import Reference
from gpu_nx47.score._files import find_masks, read_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULT: Final = Path(__file__).parent / "results" / "real.txt"
OURS: Final[dict[str, dict[str, Any]]] = {
    "nx47 autonomous": {},
    "nx47, no side": {"umbilicus": "unknown"},
    "nx47 trained, neuron": {"train": True, "neuron": {"hidden": []}},
    "nx47 trained, net": {"train": True},
}
LEAST: Final = 64
"""Least edge of the pieces, two an axis, that the learned half is cut into: one of them at least is held out."""


def ovule(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return cell walls (bright), and their truth: where two cells meet, a voxel of each."""
    cells = tifffile.imread(folder / "ovule_cells.tif")
    return tifffile.imread(folder / "ovule_walls.tif"), find_boundaries(cells, mode="thick").astype(np.uint8)


def isbi(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return membranes (dark, so inverted), and their truth."""
    truth = tifffile.imread(folder / "isbi2012_membrane.tif")
    return 255 - tifffile.imread(folder / "isbi2012_em.tif"), (truth > 0).astype(np.uint8)


SETS: Final[dict[str, Callable[[Path], tuple[NDArray[np.uint8], NDArray[np.uint8]]]]] = {
    "ovule": ovule,
    "isbi": isbi,
}


def framed(image: NDArray[np.uint8], label: NDArray[np.uint8]) -> Phantom:
    """Return a volume as the peers take it: with a frame of zeros."""
    image, label = (np.pad(a, FRAME) for a in (image, label))
    return Phantom(image, label, label > 0, label > 0, np.zeros((len(image), 2)), "none")


def halves(array: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the half to learn from, and the half to be scored on."""
    middle = array.shape[2] // 2
    return np.ascontiguousarray(array[..., :middle]), np.ascontiguousarray(array[..., middle:])


def cut(length: int) -> list[slice]:
    """Return an axis in two pieces, or in one where it is short."""
    middle = length // 2
    return [slice(0, middle), slice(middle, length)] if middle >= LEAST else [slice(0, length)]


def write_root(root: Path, learn: Phantom, test: Phantom) -> None:
    """Write the competition's layout: the learned half in pieces, the other as the one test volume."""
    for name in ("train_images", "train_labels", "test_images"):
        (root / name).mkdir(parents=True)
    inner = (slice(FRAME, -FRAME),) * 3
    cuts = [cut(n - 2 * FRAME) for n in learn.image.shape[1:]]
    for number, (rows, columns) in enumerate(itertools.product(*cuts)):
        for folder, array in (("train_images", learn.image), ("train_labels", learn.label)):
            piece = np.ascontiguousarray(array[inner][:, rows, columns])
            tifffile.imwrite(root / folder / f"{number}.tif", piece, compression="lzw")
    tifffile.imwrite(root / "test_images" / "test.tif", test.image, compression="lzw")


def masks(learn: Phantom, test: Phantom) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of each method; a peer's choices are made on the learned half."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_root(Path(folder) / "root", learn, test)
        for number, (title, settings) in enumerate(OURS.items()):
            archive = gpu_nx47.run(Path(folder) / "root", Path(folder) / str(number), settings).submission
            if archive is None:
                raise RuntimeError("the run wrote no submission")
            found[title] = read_mask(find_masks(archive, "submission")["test"], test.image.shape)
    # The forest's cut needs a volume it was not trained on: the second half of the learned one.
    middle = learn.image.shape[1] // 2
    parts = [Phantom(*(a[:, rows] for a in (learn.image, learn.label, learn.sheets, learn.recto)), learn.axis, "none")
             for rows in (slice(0, middle), slice(middle, None))]  # fmt: skip
    for title, method, on in (
        ("Otsu", otsu, [learn]),
        ("smoothed threshold", smoothed, [learn]),
        ("scikit-image sheetness", sheetness, [learn]),
        ("random forest", forest(parts), parts[1:]),
    ):
        how = choose(method, on)
        found[f"{title} ({how})"] = next(mask for name, mask in method(test) if name == how)
    return found


def main() -> None:
    """Do every set; print and perhaps write the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--write", action="store_true", help=f"write {RESULT.name} too")
    ask.add_argument("--pictures", type=Path, help="folder for overlays of each mask")
    given = ask.parse_args()
    if "NX47_REAL_DATA" not in os.environ:
        ask.error("NX47_REAL_DATA: expected the folder of the stacks")
    began = time.monotonic()
    lines = [f"real membranes, {datetime.now(UTC):%Y-%m-%d}, {hardware.hardware()['cpu_model']}", ""]
    lines.append(f"{'learned on one half, scored on the other':60s}   Dice    VOI   mean")
    for name, read in SETS.items():
        pairs = zip(*map(halves, read(Path(os.environ["NX47_REAL_DATA"]))), strict=True)
        learn, test = (framed(*pair) for pair in pairs)
        reference = Reference(test.label, topology=False)
        lines.append(f"{name}, {' x '.join(str(n - 2 * FRAME) for n in test.image.shape)} scored")
        for number, (title, mask) in enumerate(masks(learn, test).items()):
            score = reference.score(mask)
            lines.append(f"  {title:58s} {score.surface_dice:6.3f} {score.voi_score:6.3f} {score.mean:6.3f}")
            print(lines[-1], flush=True)
            if given.pictures:
                overlay.write_overlays(given.pictures, f"{name}_{number}", test.image, mask, 2)
    lines.append(f"measured in {time.monotonic() - began:.0f} s")
    print("\n".join(lines))
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
