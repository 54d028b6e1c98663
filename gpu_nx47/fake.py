"""What a trained neuron says of the surrogates of its volume, and what chance gives by that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gpu_nx47 import chance, direction, edges, null
from gpu_nx47.direction import Bearing
from gpu_nx47.inference import Found, Wanted, infer, votes_of
from gpu_nx47.stats import Histogram

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from gpu_nx47.engine import Engine
    from gpu_nx47.neuron import Unit
    from gpu_nx47.scene import View
    from gpu_nx47.settings import Settings
    from gpu_nx47.tally import Masks


def said(
    engine: Engine,
    grey: NDArray[np.uint8],
    view: View,
    unit: Unit,
    places: tuple[NDArray, ...] | None,
    settings: Settings,
    ahead: Future[dict[str, NDArray[np.uint8]]] | None = None,
) -> dict[str, list[Found]]:
    """Return what the neuron says of the surrogates of each family.

    Parameters
    ----------
    engine : Engine
    grey : numpy.ndarray of uint8
        The valid box.
    view : View
        Of that box.
    unit : Unit
    places : tuple of numpy.ndarray, optional
        As `infer` takes them.
    settings : Settings
    ahead : Future, optional
        Gives the surrogates, where they are drawn already; else they are drawn here.
    """
    with ThreadPoolExecutor(engine.threads, "nx47-null", engine.backend.enter_thread) as pool:
        drawn = ahead.result() if ahead else null.drawn(grey, view.grey_counts, settings.seed, pool.map)
        depth, *plane = drawn["isotropic"].shape[1:]
        # The axis stands to the surrogate's middle as it stands to the volume's.
        first, *corner = ((whole - part) * 4 for whole, part in zip(grey.shape, (depth, *plane), strict=True))
        line = view.bearing.axis
        axis = None if line is None else line[first // 8 :][:depth] - np.array(corner, np.int32)

        def say(one: NDArray[np.uint8]) -> Found:
            bearing = Bearing.of(axis, direction.measure(engine, one))
            wanted = Wanted(edges.FEATURES)
            told = infer(engine, one, unit, bearing, places, votes=votes_of(settings), wanted=wanted)
            met = edges.meetings(*(told.saved[name] for name in edges.FEATURES))
            return replace(told, saved={}, edges=met)

        return {family: list(pool.map(say, fakes)) for family, fakes in drawn.items()}


def compared(
    engine: Engine,
    grey: NDArray[np.uint8],
    view: View,
    probability: NDArray[np.uint16],
    fakes: dict[str, list[Found]],
    masks: Masks,
    rare: NDArray[np.bool_] | None,
) -> chance.Chance:
    """Return what the surrogates of a volume come to, with what is counted in cubes of the volume itself.

    `masks` and `rare` are as `Chance.of` takes them.
    """
    isotropic = fakes["isotropic"]
    met = edges.of_volume(engine, grey, view.bearing.axis, isotropic[0].probability.shape)
    # The probability that voxels of a texture without sheets hardly pass.
    golden = null.golden_limit(Histogram(np.sum([one.histogram.counts for one in isotropic], axis=0)))
    return chance.Chance.of(engine, probability, fakes, masks, golden, rare, met)
