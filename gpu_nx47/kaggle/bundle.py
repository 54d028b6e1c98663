"""The two folders that Kaggle's command line uploads: a data set with the wheels, and a notebook that uses it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47._version import __version__
from gpu_nx47.errors import OutputError, UsageError
from gpu_nx47.kaggle.image import brought_pins, kaggle_image
from gpu_nx47.kaggle.notebook import notebook
from gpu_nx47.kaggle.own import pack_own_wheel
from gpu_nx47.kaggle.wheels import from_folder, from_index, gather

if TYPE_CHECKING:
    from gpu_nx47.kaggle.wheels import Wheel

DATASET_FOLDER: Final = "dataset"
KERNEL_FOLDER: Final = "kernel"
DATASET_SLUG: Final = "nx47-wheels"
KERNEL_SLUG: Final = "nx47-surface"
"""Kaggle makes a notebook's slug of its title: `nx47 surface`."""
NOTEBOOK_NAME: Final = "nx47-surface.ipynb"
MODEL_NAME: Final = "model.json"
SUMS_NAME: Final = "SHA256SUMS"
MACHINE: Final = "NvidiaTeslaT4"
"""`enable_gpu` alone gives a P100, which CUDA 13 no longer serves."""
_SLUG: Final = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_LEFT_BEHIND: Final = ("SHA256SUMS", "kernel-metadata.json")
"""By one of these a folder of an earlier bundle is known, which may be replaced."""


@dataclass(frozen=True)
class Bundle:
    """What was written, and what to do with it."""

    dataset: Path
    kernel: Path
    wheels: tuple[Wheel, ...]
    commands: tuple[tuple[str, str], ...]
    """(what it does, the command), in order."""


def write_bundle(
    out: Path,
    *,
    competition: str,
    owner: str,
    wheels: Path | None = None,
    backend: str = "auto",
    model: bytes | None = None,
    train: bool = False,
) -> Bundle:
    """Write OUT/dataset and OUT/kernel for Kaggle's command line.

    Parameters
    ----------
    out : Path
        Folder of the bundle; that of an earlier bundle in it is replaced.
    competition, owner : str
        Slugs: of the competition, and of the Kaggle account the data set and the notebook will belong to.
    wheels : Path, optional
        Folder of wheels that Kaggle's image lacks; None: pip downloads them.
    backend : {"auto", "gpu", "cpu", "law"}
        What the notebook runs on.
    model : bytes, optional
        A model file: it goes into the data set, and the notebook runs with it.
    train : bool
        The notebook trains on the competition's labels first.

    Raises
    ------
    UsageError
        A slug is none, or `out` holds folders of these names that are no bundle's.
    OutputError
        A wheel cannot be had, or the folders cannot be written.
    """
    _check_slug("--competition", competition, "https://www.kaggle.com/competitions/")
    _check_slug("--owner", owner, "https://www.kaggle.com/")
    if wheels is not None and not wheels.is_dir():
        raise UsageError(f"--wheels: expected a folder of wheels, found none at {wheels}")
    dataset, kernel = out / DATASET_FOLDER, out / KERNEL_FOLDER
    for folder in (dataset, kernel):
        _refuse_foreign(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".nx47-kaggle-", dir=out) as name:
            made = Path(name)
            gathered = _write_dataset(made / DATASET_FOLDER, owner, wheels, model)
            told = {"backend": backend, "model": "" if model is None else MODEL_NAME, "train": train}
            _write_kernel(made / KERNEL_FOLDER, owner, competition, [wheel.pin for wheel in gathered], told)
            for folder in (dataset, kernel):
                if folder.exists():
                    shutil.rmtree(folder)
                (made / folder.name).rename(folder)
    except OSError as error:
        raise OutputError.of(out, error) from error
    placed = tuple(replace(wheel, path=dataset / wheel.path.name) for wheel in gathered)
    return Bundle(dataset, kernel, placed, _commands(dataset, kernel, competition, owner))


def _write_dataset(folder: Path, owner: str, wheels: Path | None, model: bytes | None) -> list[Wheel]:
    folder.mkdir()
    fetch = from_index if wheels is None else from_folder(wheels)
    gathered = gather(folder, pack_own_wheel(folder), kaggle_image(), brought_pins(), fetch)
    sums = sorted((wheel.path.name, hashlib.sha256(wheel.path.read_bytes()).hexdigest()) for wheel in gathered)
    if model is not None:
        (folder / MODEL_NAME).write_bytes(model)
        sums.append((MODEL_NAME, hashlib.sha256(model).hexdigest()))
    _write_text(folder / SUMS_NAME, "".join(f"{digest}  {name}\n" for name, digest in sums))
    listed = "; ".join(f"{wheel.pin}: {wheel.licence}" for wheel in gathered)
    about = {
        "title": DATASET_SLUG.replace("-", " "),
        "id": f"{owner}/{DATASET_SLUG}",
        "subtitle": f"Wheels of gpu-nx47 {__version__}, to be installed offline",
        "description": f"Written by `nx47 kaggle`. Licences: {listed}.",
        "licenses": [{"name": "other"}],  # Kaggle's word for "as the description says": the wheels' licences differ
    }
    _write_json(folder / "dataset-metadata.json", about)
    return gathered


def _write_kernel(folder: Path, owner: str, competition: str, pins: list[str], told: dict[str, Any]) -> None:
    folder.mkdir()
    filled = notebook(owner=owner, dataset=DATASET_SLUG, competition=competition, pins=pins, **told)
    _write_json(folder / NOTEBOOK_NAME, filled)
    about = {
        "id": f"{owner}/{KERNEL_SLUG}",
        "title": KERNEL_SLUG.replace("-", " "),
        "code_file": NOTEBOOK_NAME,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_tpu": False,
        "enable_internet": False,  # left out, the command line takes true
        "machine_shape": MACHINE,
        "dataset_sources": [f"{owner}/{DATASET_SLUG}"],
        "competition_sources": [competition],
        "kernel_sources": [],
        "model_sources": [],
    }
    _write_json(folder / "kernel-metadata.json", about)


def _commands(dataset: Path, kernel: Path, competition: str, owner: str) -> tuple[tuple[str, str], ...]:
    data, code, output = (shlex.quote(str(path)) for path in (dataset, kernel, kernel.parent / "output"))
    return (
        ("upload the wheels (the first time)", f"kaggle datasets create -p {data}"),
        ("or, where the data set is there already", f"kaggle datasets version -p {data} -m {shlex.quote(__version__)}"),
        ("wait until it says ready", f"kaggle datasets status {owner}/{DATASET_SLUG}"),
        ("send the notebook; Kaggle runs it at once", f"kaggle kernels push -p {code}"),
        ("wait until it says complete", f"kaggle kernels status {owner}/{KERNEL_SLUG}"),
        ("look at what it wrote", f"kaggle kernels output {owner}/{KERNEL_SLUG} -p {output}"),
        (
            "submit it (VERSION: the number that push printed)",
            f"kaggle competitions submit {competition} -k {owner}/{KERNEL_SLUG} -v VERSION -f submission.zip "
            f"-m {shlex.quote(f'nx47 {__version__}')}",
        ),
    )  # fmt: skip


def _check_slug(option: str, slug: str, address: str) -> None:
    if not _SLUG.fullmatch(slug):
        raise UsageError(f"{option}: expected the last part of the address {address}..., in lower case, got {slug!r}")


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that is not empty and was not written here: it is about to be replaced."""
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).is_file() for name in _LEFT_BEHIND):
        raise UsageError(
            f"{folder} holds files that are no bundle's: expected a new folder, or one of an earlier bundle"
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
