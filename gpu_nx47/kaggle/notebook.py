"""The notebook: a template of cells, filled in, as Jupyter's JSON."""

from __future__ import annotations

import json
from importlib.resources import files
from string import Template
from typing import Any, Final

from gpu_nx47._version import __version__

CELL: Final = "# %%"
"""What begins a cell in the template (the percent format of editors)."""
MARKDOWN: Final = "# %% [markdown]"


def notebook(
    *,
    owner: str,
    dataset: str,
    competition: str,
    pins: list[str],
    backend: str,
    model: str = "",
    train: bool = False,
) -> dict[str, Any]:
    """Return the notebook that installs the wheels and runs on the competition's volumes.

    Parameters
    ----------
    owner, dataset, competition : str
        Slugs of the data set's owner, of the data set with the wheels, and of the competition.
    pins : list of str
        `name==version` of each wheel, in the order of installation.
    backend : {"auto", "gpu", "cpu", "law"}
        What `nx47 run` is told.
    model : str
        Name of a model file in the data set; empty: none.
    train : bool
        Whether the run trains on the competition's labels.

    Returns
    -------
    dict
        nbformat 4.5, no outputs.
    """
    text = Template(files("gpu_nx47.kaggle").joinpath("notebook.template").read_text(encoding="utf-8")).substitute(
        version=__version__,
        owner=owner,
        dataset=dataset,
        competition=competition,
        backend=backend,
        model=model,
        train=train,
        pins=json.dumps(pins),
    )
    return {
        "cells": [_cell(number, part) for number, part in enumerate(_parts(text))],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _parts(text: str) -> list[tuple[bool, list[str]]]:
    """Return each cell of the template: whether it is Markdown, and its lines."""
    cells: list[tuple[bool, list[str]]] = []
    for line in text.splitlines():
        if line.startswith(CELL):
            cells.append((line == MARKDOWN, []))
        else:
            cells[-1][1].append(line)
    return cells


def _cell(number: int, part: tuple[bool, list[str]]) -> dict[str, Any]:
    is_markdown, lines = part
    if is_markdown:
        lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
    source = "\n".join(lines).strip("\n").splitlines(keepends=True)
    cell: dict[str, Any] = {"id": f"nx47-{number:02d}", "metadata": {}, "source": source}
    if is_markdown:
        return {"cell_type": "markdown", **cell}
    return {"cell_type": "code", "execution_count": None, "outputs": [], **cell}
