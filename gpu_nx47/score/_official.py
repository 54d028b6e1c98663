"""The official TopoScore, where the user has installed the competition's package `topometrics`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def missing() -> str | None:
    """Return why the official package cannot be used here, a sentence; None where it can."""
    try:
        import_module("topometrics.leaderboard")
    except ImportError as error:
        return f"the package topometrics is not usable here ({error})"
    return None


def toposcore(pred: NDArray[np.uint8], label: NDArray[np.uint8]) -> float:
    """Return the official TopoScore, 0..1, with the competition's parameters.

    Parameters
    ----------
    pred, label : numpy.ndarray of uint8, shape (z, y, x)
        Foreground is what is not 0; a label of 2 is ignored.

    Raises
    ------
    ImportError
        The package is not here, or its compiled part is not.
    """
    leaderboard: Any = import_module("topometrics.leaderboard")
    report = leaderboard.compute_leaderboard_score(
        predictions=pred,
        labels=label,
        dims=(0, 1, 2),
        spacing=(1.0, 1.0, 1.0),
        surface_tolerance=2.0,
        voi_connectivity=26,
        voi_transform="one_over_one_plus",
        voi_alpha=0.3,
        combine_weights=(0.3, 0.35, 0.35),
        fg_threshold=None,
        ignore_label=2,
    )
    return float(report.topo.toposcore)
