"""`nx47 train`: learn from labelled volumes, write a model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gpu_nx47.cli import options
from gpu_nx47.cli.exits import ALL_DONE, SOME_FAILED, errors_become_exit_codes, leave, say_error

if TYPE_CHECKING:
    from gpu_nx47.journal import Observer

EXIT_CODES: Final = (
    "Exit codes: 0 a model that learned; 1 a bug of nx47; 2 the request cannot be understood, or no labelled volume "
    "can be used; 3 a model was written, but it did not learn; 4 the model cannot be written."
)
DEFAULT_MODEL: Final = Path("model.json")


def train(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="A folder with train_images/ and train_labels/.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")
    ] = DEFAULT_MODEL,
    scrolls: Annotated[
        Path | None, typer.Option(metavar="train.csv", help="Table of id and scroll_id (default: that of ROOT).")
    ] = None,
    backend: options.Backend = None,
    tile: options.Tile = None,
    threads: options.Threads = None,
    config: options.Config = None,
    overrides: options.Overrides = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Learn from every labelled volume under ROOT and write a model for `nx47 run --model`."""
    with errors_become_exit_codes():
        from gpu_nx47.configure import resolve
        from gpu_nx47.train.session import train_model

        given = {"backend": backend, "tile": tile, "threads": threads}
        settings, notes = resolve(config, overrides or [], os.environ, **given)
        if not quiet:
            for note in notes:
                print(note, file=sys.stderr)
        console = _console(quiet=quiet, as_json=as_json)
        model = train_model(root, output, settings, console, scrolls)
        if not model.facts["proof"]["learned"]:
            say_error(f"{output} was written, but the training did not learn: see the alert NO_LEARNING.")
            leave(SOME_FAILED)
        leave(ALL_DONE)


def _console(*, quiet: bool, as_json: bool) -> Observer:
    from gpu_nx47.cli.console import Console, ErrorLines, EventLines

    if as_json:
        return EventLines(sys.stdout, sys.stderr)
    return ErrorLines(sys.stderr) if quiet else Console(sys.stdout, sys.stderr)
