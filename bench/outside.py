"""What our cut and cleaning are worth on other programs' probabilities, by the competition's whole score.

Each peer gives a probability at each voxel. Three ways to make a mask of it: a threshold; a threshold and plain
cleaning; `nx47 run --probability` with what `nx47 tune` found. All are chosen on training seeds by the mean of
SurfaceDice and VOI score, and where the official package `topometrics` can be imported, of six finalists each by the
competition's total; else the bound of the TopoScore stands beside the mean, and no total is told.

Usage: ``python bench/outside.py [--size 128] [--seeds 0,1,2,3,4] [--train-seeds 101,102,103,104,105]
[--peers "random forest,boosting"] [--keep FOLDER] [--rows FILE]``
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.ndimage as ndi
import tifffile
from phantom_hardness import (
    CLEANINGS,
    Features,
    body,
    forest_probability,
    ilastik_features,
    in_frame,
    train_forest,
)
from quality import PLAIN, integers, our_features
from skimage.feature import hessian_matrix, hessian_matrix_eigvals
from sklearn.ensemble import HistGradientBoostingClassifier

import gpu_nx47
from gpu_nx47 import hardware
from gpu_nx47.backend import Meter, select
from gpu_nx47.engine import Engine
from gpu_nx47.phantom import Phantom, make_phantom, phantom_id, write_phantom_root
from gpu_nx47.score import Reference, Score
from gpu_nx47.score._files import find_masks, read_mask
from gpu_nx47.score._official import missing
from gpu_nx47.settings import SegmentSettings, Settings
from gpu_nx47.train.scanning import Tried, shortlist
from gpu_nx47.train.tune import tune

CUTS: Final = tuple(round(0.05 * k, 2) for k in range(2, 19))
LEARN: Final = 2
"""Training phantoms that classifiers learn from; on the others every cut is chosen."""
MIXED: Final = (("random forest", 0.7), ("sheetness", 0.3))
"""Peers averaged into one more, and their weights."""
MIXTURE: Final = " and ".join(f"{peer} x {weight:g}" for peer, weight in MIXED)

WAYS: Final = ("threshold", "plain", "ours")
Probability = Callable[[Phantom], np.ndarray]
Way = tuple[float, str]
"""A threshold, and the name of a cleaning."""


def ranked(response: np.ndarray) -> np.ndarray:
    """Return each voxel's rank, 0..1: a response without a scale as a probability that any threshold can cut."""
    order = np.argsort(response, axis=None, kind="stable")
    rank = np.empty(response.size, np.float32)
    rank[order] = np.linspace(0, 1, response.size, dtype=np.float32)
    return rank.reshape(response.shape) ** 4  # spreads the highest tenth, where surfaces are, over a third of the range


def smoothed(phantom: Phantom) -> np.ndarray:
    """Grey values through a Gaussian of sigma 1: bright is papyrus."""
    return ranked(ndi.gaussian_filter(body(phantom)[0], 1.0))


def sheetness(phantom: Phantom) -> np.ndarray:
    """Minus the smallest eigenvalue of scikit-image's Hessian at sigma 1.5: bright plates."""
    hessian = hessian_matrix(body(phantom)[0], 1.5, mode="reflect", use_gaussian_derivatives=False)
    return ranked(-hessian_matrix_eigvals(hessian)[-1])


def learned(phantoms: list[Phantom], features: Features = ilastik_features, classifier: Any = None) -> Probability:
    """Return what a classifier says that was trained on phantoms."""
    trained = train_forest(phantoms, features=features, classifier=classifier)
    return lambda phantom: forest_probability(trained, phantom, features)


def write(folder: Path, phantoms: dict[str, Phantom], probability: dict[str, np.ndarray]) -> None:
    """Write probabilities as another program would: float32 TIFF of the image's shape."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, phantom in phantoms.items():
        whole = np.zeros(phantom.image.shape, np.float32)
        whole[body(phantom)[1]] = probability[name]
        tifffile.imwrite(folder / f"{name}.tif", whole, photometric="minisblack")


def mask_of(phantom: Phantom, probability: np.ndarray, way: Way) -> np.ndarray:
    """Return the mask of a threshold and a plain cleaning."""
    cut, how = way
    return in_frame(CLEANINGS[how](probability > cut), body(phantom)[1], phantom.image.shape)


def chosen(train: dict[str, Phantom], probability: dict[str, np.ndarray], cleanings: tuple[str, ...]) -> Way:
    """Return the best threshold and cleaning on the training phantoms, as `nx47 tune --topo` chooses its own."""
    official = missing() is None
    references = {name: Reference(phantom.label, topology=official) for name, phantom in train.items()}

    def scores(way: Way, official: bool) -> list[Score]:
        found = {name: mask_of(phantom, probability[name], way) for name, phantom in train.items()}
        return [references[name].score(mask, official=official, topology=not official) for name, mask in found.items()]

    tried = []
    for way in itertools.product(CUTS, cleanings):
        dice, voi, bound = figures(scores(way, False))
        tried.append(Tried("", {"way": way}, dice, voi, 0.0, bound if official else None))
    if not official:
        found: Way = max(tried, key=lambda one: one.mean).segment["way"]
        return found
    totals = {}
    for one in shortlist(tried):
        totals[one.segment["way"]] = float(np.mean([s.total or 0.0 for s in scores(one.segment["way"], True)]))
    return max(totals, key=lambda way: totals[way])


def figures(scores: list[Score]) -> tuple[float, float, float]:
    """Return mean SurfaceDice, VOI score and bound of the TopoScore."""
    dice, voi = (float(np.mean([getattr(s, key) for s in scores])) for key in ("surface_dice", "voi_score"))
    return dice, voi, float(np.mean([s.topology.bound.value for s in scores if s.topology is not None] or [0.0]))


def ours(
    places: dict[str, list[tuple[Path, float]]], roots: dict[str, Path], names: list[str], out: Path
) -> tuple[list[np.ndarray], str]:
    """Return the masks of `nx47 run --probability` with what the scan found on the training volumes, and that."""
    engine = Engine(Meter(select("auto")[0]), Settings().tile, hardware.usable_processors())
    scanned = out / "scanned"
    if len(places["train"]) == 1:
        scanned = places["train"][0][0]
    else:  # the scan takes one folder: what a run would average
        scanned.mkdir(parents=True)
        for path in sorted(places["train"][0][0].iterdir()):
            parts = [weight * tifffile.imread(folder / path.name) for folder, weight in places["train"]]
            tifffile.imwrite(scanned / path.name, sum(parts[1:], parts[0]), photometric="minisblack")
    how = {"official": missing() is None}
    best = tune(
        scanned,
        roots["train"] / "train_labels",
        engine,
        SegmentSettings(),
        len(list(scanned.iterdir())),
        lambda _: None,
        **how,
    ).best
    texts = [str(folder) if weight == 1 else f"{folder}={weight:g}" for folder, weight in places["test"]]
    archive = gpu_nx47.run(roots["test"], out / "run", {"probability": texts, "segment": best.segment}).submission
    if archive is None:
        raise RuntimeError("the run wrote no submission")
    found = find_masks(archive, "submission")
    shape = tifffile.imread(next((roots["test"] / "test_images").iterdir())).shape
    told = " ".join(f"{key}={value}" for key, value in best.segment.items())
    return [read_mask(found[name], shape) for name in names], told


def row(title: str, scores: list[Score], how: str) -> str:
    dice, voi, bound = figures(scores)
    mean = (dice + voi) / 2
    official = [(s.topo, s.total) for s in scores if s.topo is not None and s.total is not None]
    told = "".join(f"{figure:7.3f}" for figure in np.mean(official, axis=0)) if official else f"{'-':>7s}{'-':>7s}"
    return f"{title:28s} {dice:6.3f} {voi:6.3f} {mean:6.3f} {bound:6.3f} {told}   {how}"


def made(phantoms: dict[str, Phantom], method: Callable[[], Probability], keep: Path | None) -> dict[str, np.ndarray]:
    """Return a peer's probability of each phantom: from the folder, or made, and put there."""
    found = {}
    for name, phantom in phantoms.items():
        path = None if keep is None else keep / f"{name}.npy"
        if path is not None and path.is_file():
            found[name] = np.load(path)
            continue
        probability = method()
        found[name] = probability(phantom).astype(np.float32)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, found[name])
    return found


def methods(learn: list[Phantom]) -> dict[str, Callable[[], Probability]]:
    """Return what makes each peer ready; it learns when it is first asked."""
    return {
        "random forest": cache(lambda: learned(learn)),
        "boosting": cache(lambda: learned(learn, classifier=HistGradientBoostingClassifier(random_state=0))),
        "forest on our features": cache(lambda: learned(learn, features=our_features)),
        "sheetness": lambda: sheetness,
        "smoothed grey": lambda: smoothed,
    }


def measure(
    size: int,
    seeds: list[int],
    train_seeds: list[int],
    peers: list[str],
    ways: list[str],
    keep: Path | None,
    tell: Callable[[str], None],
) -> None:
    """Tell all rows of the table, as they come."""
    train, test = ({phantom_id(seed): make_phantom(size, seed) for seed in group} for group in (train_seeds, seeds))
    official = missing() is None
    references = [Reference(phantom.label) for phantom in test.values()]
    tell(f"{'':28s}   Dice    VOI   mean Topo<=    Topo  total   chosen on the training seeds")

    def add(title: str, found: list[np.ndarray], how: str) -> None:
        tell(row(title, [r.score(m, official=official) for r, m in zip(references, found, strict=True)], how))

    # A forest is too sure of voxels it was trained on: cuts are chosen on training phantoms that none has seen.
    on = dict(list(train.items())[LEARN:])
    of = methods(list(train.values())[:LEARN])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roots = {"train": folder / "train", "test": folder / "test"}
        write_phantom_root(roots["train"], size=size, seeds=[], train_seeds=train_seeds)
        write_phantom_root(roots["test"], size=size, seeds=seeds)
        said = cache(lambda peer: made(on | test, of[peer], None if keep is None else keep / peer))
        for title in peers:
            parts = MIXED if title == MIXTURE else ((title, 1.0),)
            for peer, _ in parts:
                for part, phantoms in (("train", on), ("test", test)):
                    write(folder / part / "probability" / peer, phantoms, said(peer))
            found = {key: sum(weight * said(peer)[key] for peer, weight in parts) for key in on | test}
            for how in (("plain",), PLAIN):
                if WAYS[len(how) > 1] not in ways:
                    continue
                way = chosen(on, found, how)
                masks = [mask_of(phantom, found[key], way) for key, phantom in test.items()]
                add(title if len(how) == 1 else "  with plain cleaning", masks, f"p > {way[0]:g}, {way[1]}")
            if WAYS[2] in ways:
                places = {part: [(folder / part / "probability" / peer, w) for peer, w in parts] for part in roots}
                add(f"  nx47: {title}", *ours(places, roots, list(test), folder / f"out {title}"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--seeds", type=integers, default=[0, 1, 2, 3, 4])
    options.add_argument("--train-seeds", type=integers, default=[101, 102, 103, 104, 105])
    every = [*methods([]), MIXTURE]
    options.add_argument("--peers", type=lambda text: text.split(","), default=every, help=", ".join(every))
    options.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS), help=", ".join(WAYS))
    options.add_argument(
        "--keep",
        type=Path,
        help="folder for the probabilities, of the same --size and teachers: made once, read from there",
    )
    options.add_argument("--rows", type=Path, help="file to which each row is added as it comes")
    given: Any = options.parse_args()
    if unknown := set(given.peers) - set(every):
        options.error(f"no peer is called {', '.join(sorted(unknown))}")
    start = time.monotonic()

    def tell(line: str) -> None:
        print(line, flush=True)
        if given.rows is not None:
            with given.rows.open("a") as rows:
                rows.write(line + "\n")

    tell(
        f"other programs' probabilities, {given.size}-cubes, test seeds {given.seeds}, training seeds "
        f"{given.train_seeds}, the first {LEARN} to learn from, {datetime.date.today()}"
    )
    tell(f"official TopoScore: {missing() or 'computed'}\n")
    measure(given.size, given.seeds, given.train_seeds, given.peers, given.ways, given.keep, tell)
    tell(f"measured in {time.monotonic() - start:.0f} s\n")


if __name__ == "__main__":
    main()
