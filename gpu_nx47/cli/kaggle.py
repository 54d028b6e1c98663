"""`nx47 kaggle`: write what is to be uploaded, and say how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpu_nx47.cli.exits import errors_become_exit_codes
from gpu_nx47.errors import UsageError


def kaggle(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write dataset/ and kernel/ into.")],
    competition: Annotated[str, typer.Option(metavar="SLUG", help="The competition, by the end of its address.")],
    owner: Annotated[str, typer.Option(metavar="NAME", help="Your Kaggle account.")],
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the wheels Kaggle lacks, in place of a download.")
    ] = None,
    backend: Annotated[
        str, typer.Option(metavar="auto|gpu|cpu|law", help="What the notebook computes on; same bits.")
    ] = "auto",
    model: Annotated[Path | None, typer.Option(metavar="FILE", help="A model of `nx47 train` to run with.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Learn from the competition's labels first.")] = False,
) -> None:
    """Write wheels and a notebook that run offline on Kaggle, and print the commands that upload them."""
    with errors_become_exit_codes():
        from gpu_nx47.backend import CHOICES
        from gpu_nx47.kaggle import write_bundle
        from gpu_nx47.model import read_model

        if backend not in CHOICES:
            raise UsageError(f"--backend: expected one of {', '.join(CHOICES)}, got {backend!r}")
        if train and model is not None:
            raise UsageError("--train: expected no --model beside it: the run trains its own")
        data = None if model is None else read_model(model).encoded()  # a bad one is refused here, not there
        bundle = write_bundle(
            out, competition=competition, owner=owner, wheels=wheels, backend=backend, model=data, train=train
        )
        for wheel in bundle.wheels:
            typer.echo(f"{wheel.path}  {wheel.path.stat().st_size / 1e6:.1f} MB")
        for number, (purpose, command) in enumerate(bundle.commands, 1):
            typer.echo(f"{number}. {purpose}:\n   {command}")
