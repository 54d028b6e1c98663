"""Find the papyrus surface in CT volumes: one volume, one answer, on every machine.

>>> import gpu_nx47
>>> gpu_nx47.run("vesuvius-root", "out").submission  # doctest: +SKIP
PosixPath('out/submission.zip')

Importing this loads neither Numba nor CuPy nor SciPy: each is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_nx47._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from gpu_nx47.pipeline import RunResult
    from gpu_nx47.series import FeatureArray
    from gpu_nx47.settings import Settings

__all__ = ["__version__", "features", "run"]


def run(
    root: str | PathLike[str] | None,
    output: str | PathLike[str],
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
) -> RunResult:
    """Find the surface in every volume under `root` and write a submission to `output`.

    Parameters
    ----------
    root : path or None
        A competition root, a folder of TIFF stacks or slices, or one TIFF; None: where Kaggle puts it.
    output : path
        Folder of the results: submission.zip, the record, overlays.
    settings : Settings or mapping, optional
        A mapping has the form of a configuration file: ``{"segment": {"ratio": 0.03}}``.
    fresh : bool
        Begin anew where `output` holds an unfinished run; else it is gone on with.

    Returns
    -------
    RunResult
        `exit_code`, `submission` (path or None), `stats` (GLOBAL_STATS), `files` (NX47_METRICS of each).

    Raises
    ------
    gpu_nx47.errors.Nx47Error
        The request, the backend or the output cannot be served; the message says what to do.
    """
    from pathlib import Path

    from gpu_nx47 import configure, pipeline
    from gpu_nx47.settings import Settings as Frozen

    if settings is None:
        settings = Frozen()
    elif not isinstance(settings, Frozen):
        settings = configure.from_mapping(settings)
    return pipeline.run(None if root is None else Path(root), Path(output), settings, fresh=fresh)


def features(volume: Any, names: Sequence[str] | None = None, backend: str = "auto") -> dict[str, FeatureArray]:
    """Compute features of a grey volume.

    Parameters
    ----------
    volume : numpy.ndarray or cupy.ndarray of uint8, shape (z, y, x)
        Grey values; the whole array is the valid box.
    names : sequence of str, optional
        `name` or `name@sigma`; by default every feature that needs no axis.
    backend : {"auto", "gpu", "cpu", "law"}

    Returns
    -------
    dict of str to FeatureArray
        For each name `.codes` (integers, of the same kind of array as `volume`), `.step`, `.offset`, `.unit` and
        `.values()`.

    Raises
    ------
    TypeError, ValueError
        Not a uint8 volume.
    gpu_nx47.errors.SettingsError
        No such feature.
    """
    from gpu_nx47 import series

    return series.compute(volume, names, backend)
