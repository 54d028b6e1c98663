"""How good masks are on the frozen phantoms: ours beside the usual methods, with plain cleaning and with our topology.

Every choice of a peer (sigma, cut, cleaning) is made on training seeds, by the mean of SurfaceDice and VOI score; ours
has none to make and sees the images only. Betti errors are sums over octants of |difference|, a volume.

Usage: ``python bench/quality.py [--size 128] [--seeds 0,1,2,3,4] [--train-seeds 101,102,103] [--no-forest | --ours]
[--keep FOLDER] [--write]``
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import scipy.ndimage as ndi
import skimage
from phantom_hardness import (
    CLEANINGS,
    Features,
    body,
    forest_masks,
    forest_probability,
    ilastik_features,
    in_frame,
    train_forest,
)
from skimage.feature import hessian_matrix, hessian_matrix_eigvals
from skimage.filters import threshold_otsu

import gpu_nx47
from gpu_nx47 import bank, scene, survey
from gpu_nx47.backend import Meter, select
from gpu_nx47.engine import Engine, Tile
from gpu_nx47.phantom import Phantom, make_phantom, phantom_id, write_phantom_root
from gpu_nx47.score import Reference, Score
from gpu_nx47.score._files import find_masks, read_mask
from gpu_nx47.segmentation import clean
from gpu_nx47.settings import LEARNING_BANK, SegmentSettings, Settings

RESULT = Path(__file__).parent / "results" / "quality.txt"
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5)
"""Of the voxels of the box that a cut keeps."""
PLAIN = ("plain", "dust", "open+close+dust")

Masks = Iterable[tuple[str, np.ndarray]]
Chosen = tuple[list[np.ndarray], str]


def cut(response: np.ndarray, phantom: Phantom, title: str) -> Masks:
    """Yield the highest shares of a response in the valid box, each with every plain cleaning."""
    box = body(phantom)[1]
    for share, how in itertools.product(SHARES, PLAIN):
        mask = response > np.quantile(response, 1 - share)
        yield f"{title}, highest {share:g}, {how}", in_frame(CLEANINGS[how](mask), box, phantom.image.shape)


def mended(mask: np.ndarray) -> np.ndarray:
    """Return a mask after our cleaning, with its defaults."""
    backend, _ = select("cpu")
    return np.asarray(clean(backend, np.ascontiguousarray(mask), SegmentSettings()))


def repeated(phantom: Phantom) -> Masks:
    """V122's way: the stack's maximum along z is cut, and that one mask repeated in each slice."""
    image, box = body(phantom)
    flat = image.max(axis=0)
    for share, how in itertools.product(SHARES, PLAIN):
        mask = np.repeat((flat > np.quantile(flat, 1 - share))[None], len(image), axis=0)
        yield f"highest {share:g}, {how}", in_frame(CLEANINGS[how](mask), box, phantom.image.shape)


def otsu(phantom: Phantom) -> Masks:
    image, box = body(phantom)
    mask = image > threshold_otsu(image)
    for how in PLAIN:
        yield how, in_frame(CLEANINGS[how](mask), box, phantom.image.shape)


def smoothed(phantom: Phantom) -> Masks:
    image = body(phantom)[0]
    for sigma in (1.0, 2.0, 3.0):
        yield from cut(ndi.gaussian_filter(image, sigma), phantom, f"sigma {sigma:g}")


def sheetness(phantom: Phantom) -> Masks:
    """Minus the smallest eigenvalue of scikit-image's Hessian: bright plates."""
    image = body(phantom)[0]
    for sigma in (1.5, 2.5, 3.5):
        hessian = hessian_matrix(image, sigma, mode="reflect", use_gaussian_derivatives=False)
        yield from cut(-hessian_matrix_eigvals(hessian)[-1], phantom, f"sigma {sigma:g}")


def forest(train: list[Phantom], features: Features = ilastik_features) -> Callable[[Phantom], Masks]:
    """Trained on the first training phantoms; its cut is chosen on the last, which it has not seen."""
    trained = train_forest(train[:-1], features=features)
    return lambda phantom: forest_masks(phantom, forest_probability(trained, phantom, features))


def our_features(image: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return the features that `nx47 train` offers, direction and side as a run tells them, for the voxels kept."""
    grey = image.astype(np.uint8)
    engine = Engine(Meter(select("cpu")[0]), Settings().tile, 2)
    index, _ = survey.draw_voxels(Settings().seed, grey.size, 4 * Settings().neuron.samples)
    bearing = scene.orient(engine, grey, index)[1]
    names = scene.usable(LEARNING_BANK, bearing.axis is not None)
    columns = np.zeros((np.count_nonzero(keep), len(LEARNING_BANK)), np.float32)

    def work(tile: Tile) -> tuple[np.ndarray, list[np.ndarray]]:
        features = bank.TileBank(engine.backend, grey, tile, bearing, bank.halo(names), names)
        return keep[tile.core], [features.codes(name)[keep[tile.core]] for name in names]

    row = np.full(grey.shape, -1, np.int64)
    row[keep] = np.arange(len(columns))
    for tile, (here, parts) in engine.map(grey.shape, work):
        for name, codes in zip(names, parts, strict=True):
            columns[row[tile.core][here], LEARNING_BANK.index(name)] = codes
    return columns


def ours(size: int, seeds: list[int], settings: dict[str, Any]) -> list[np.ndarray]:
    """Our masks: `nx47 run` on the images alone, or with a model."""
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "root", Path(folder) / "out"
        write_phantom_root(root, size=size, seeds=seeds)
        archive = gpu_nx47.run(root, out, settings).submission
        if archive is None:
            raise RuntimeError("the run wrote no submission")
        masks = find_masks(archive, "submission")
        return [read_mask(masks[phantom_id(seed)], (size,) * 3) for seed in seeds]


def choose(method: Callable[[Phantom], Masks], phantoms: list[Phantom]) -> str:
    """Return the variant with the best mean over phantoms."""
    values: dict[str, list[float]] = {}
    for phantom in phantoms:
        reference = Reference(phantom.label, topology=False)
        for name, mask in method(phantom):
            values.setdefault(name, []).append(reference.score(mask).mean)
    return max(values, key=lambda name: float(np.mean(values[name])))


def row(title: str, scores: list[Score], how: str) -> str:
    figures = np.mean([(s.surface_dice, s.voi_score, s.mean) for s in scores], axis=0)
    topologies = [s.topology for s in scores if s.topology is not None]
    errors = np.mean([topology.error for topology in topologies], axis=0)
    bound = float(np.mean([topology.bound.value for topology in topologies]))
    each = " ".join(f"{s.mean:.3f}" for s in scores)
    counts = "".join(f"{error:8.0f}" for error in errors)
    return f"{title:22s} {figures[0]:6.3f} {figures[1]:6.3f} {figures[2]:6.3f} {bound:6.3f} {counts}   {each}   {how}"


def kept(folder: Path | None, title: str, make: Callable[[], Chosen]) -> Chosen:
    """Return a peer's masks and how they were chosen: from the folder, or made, and put there."""
    path = None if folder is None else folder / f"{title.replace(' ', '_')}.npz"
    if path is not None and path.is_file():
        with np.load(path) as parts:
            return list(parts["masks"]), str(parts["how"])
    masks, how = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, masks=np.stack(masks), how=np.array(how))
    return masks, how


def measure(
    size: int, seeds: list[int], train_seeds: list[int], *, with_forest: bool, ours_only: bool, keep: Path | None
) -> list[str]:
    """All rows of the table."""
    train, test = ([make_phantom(size, seed) for seed in group] for group in (train_seeds, seeds))
    references = [Reference(phantom.label) for phantom in test]
    head = "  Dice    VOI   mean Topo<=  components, tunnels, cavities off"
    lines = [f"{'':22s} {head}   mean of each seed; chosen on the training seeds"]
    print(lines[0], flush=True)

    def add(title: str, masks: list[np.ndarray], how: str) -> None:
        scores = [reference.score(mask) for reference, mask in zip(references, masks, strict=True)]
        lines.append(row(title, scores, how))
        print(lines[-1], flush=True)

    add("nx47 autonomous", ours(size, seeds, {}), "its defaults")
    add("nx47 supervised", ours(size, seeds, {"model": "phantoms"}), "its model of other phantoms")
    if ours_only:
        return lines
    peers: dict[str, tuple[Callable[[Phantom], Masks], list[Phantom]]] = {
        "V122's way": (repeated, train),
        "Otsu": (otsu, train),
        "smoothed threshold": (smoothed, train),
        "scikit-image sheetness": (sheetness, train),
    }
    if with_forest:
        peers["random forest"] = (forest(train), train[-1:])
        peers["forest, our features"] = (forest(train, our_features), train[-1:])
    for title, (method, on) in peers.items():

        def make(method: Callable[[Phantom], Masks] = method, on: list[Phantom] = on) -> Chosen:
            how = choose(method, on)
            return [next(mask for name, mask in method(phantom) if name == how) for phantom in test], how

        masks, how = kept(keep, title, make)
        add(title, masks, how)
        add("  and our cleaning", [mended(mask) for mask in masks], how)
    return lines


def integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--seeds", type=integers, default=[0, 1, 2, 3, 4])
    options.add_argument("--train-seeds", type=integers, default=[101, 102, 103])
    options.add_argument("--no-forest", action="store_true", help="leave the random forest out (minutes)")
    options.add_argument("--ours", action="store_true", help="leave all peers out")
    options.add_argument("--keep", type=Path, help="folder for the peers' masks: made once, scored again from there")
    options.add_argument("--write", action="store_true", help="also write bench/results/quality.txt")
    given = options.parse_args()
    start = time.monotonic()
    lines = [
        f"quality, {given.size}-cubes, test seeds {given.seeds}, training seeds {given.train_seeds}, "
        f"{datetime.date.today()}",
        f"nx47 {gpu_nx47.__version__}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, scikit-image {skimage.__version__}",
        "",
        *measure(
            given.size,
            given.seeds,
            given.train_seeds,
            with_forest=not given.no_forest,
            ours_only=given.ours,
            keep=given.keep,
        ),
        f"measured in {time.monotonic() - start:.0f} s",
    ]
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n")
    print(lines[-1])


if __name__ == "__main__":
    main()
