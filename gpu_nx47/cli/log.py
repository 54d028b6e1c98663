"""`nx47 log`: verify a run's record, show it, compute it again."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gpu_nx47.cli.exits import leave, say_error
from gpu_nx47.errors import Nx47Error, UsageError

if TYPE_CHECKING:
    from gpu_nx47.audit.verify import Verdict

CANNOT: Final = 3
EXIT_CODES: Final = (
    "Exit codes: 0 complete, or equal; 1 tampered, or different: says which line, output or slice; 2 incomplete; 3 "
    "cannot be checked."
)
FORMATS: Final = ("text", "v122")

_PLAIN: Final[dict[str, Any]] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}
app = typer.Typer(help="Verify, show or replay the record of a run.", no_args_is_help=True, **_PLAIN)

_Place = Annotated[Path, typer.Argument(metavar="PATH", help="The record, or the folder of results that holds it.")]
_Keys = Annotated[
    list[str] | None, typer.Option("--expect-key", metavar="VKEY", help="A key that must have signed; repeatable.")
]
_Held = Annotated[Path | None, typer.Option(metavar="FILE", help="A checkpoint that you kept elsewhere.")]


@contextmanager
def _nothing_else_said() -> Iterator[None]:
    """Leave with 3 where something went wrong: any other code would be a verdict."""
    try:
        yield
    except typer.Exit:
        raise
    except Nx47Error as error:
        say_error(str(error))
        leave(CANNOT)
    except Exception:  # noqa: BLE001 - the last stop: shown whole
        traceback.print_exc()
        say_error("this is a bug of nx47, and no verdict. Please report it with the lines above and your command.")
        leave(CANNOT)


@app.command(epilog=EXIT_CODES)
def verify(path: _Place, expect_key: _Keys = None, checkpoint: _Held = None) -> None:
    """Check that a record, its checkpoints, the outputs and views beside it are what the run wrote."""
    with _nothing_else_said():
        from gpu_nx47.audit.verify import verify as look

        verdict = look(path, expect_key or (), checkpoint)
        _say(verdict)
        leave(verdict.code)


@app.command(epilog=EXIT_CODES)
def show(
    path: _Place, form: Annotated[str, typer.Option("--format", metavar="text|v122", help="How.")] = "text"
) -> None:
    """Show the events of a record, a line each; v122: as the flat JSON that V122 wrote."""
    with _nothing_else_said():
        from gpu_nx47.audit.show import text_line, v122_line
        from gpu_nx47.audit.verify import record_folder
        from gpu_nx47.journal import RECORD_NAME
        from gpu_nx47.journal.recovery import read_record

        if form not in FORMATS:
            raise UsageError(f"--format: expected one of {', '.join(FORMATS)}, got {form!r}")
        line = text_line if form == "text" else v122_line
        read_record(record_folder(path) / RECORD_NAME, lambda stamped: print(line(stamped)))


@app.command(epilog=EXIT_CODES)
def replay(
    path: _Place,
    root: Annotated[Path, typer.Option("--input", metavar="ROOT", help="The inputs, as they were given to the run.")],
    backend: Annotated[str, typer.Option(metavar="auto|gpu|cpu|law", help="Where to compute; same bits.")] = "auto",
    tile: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxels worked on at once; same bits.")] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads (0: every processor); same bits.")] = 0,
    sample: Annotated[str, typer.Option(metavar="5%", help="Share of the volumes, drawn at random, one at least.")] = (
        "100%"
    ),
    expect_key: _Keys = None,
    checkpoint: _Held = None,
) -> None:
    """Verify a record, then compute its traced arrays and masks again from the inputs and compare."""
    with _nothing_else_said():
        from gpu_nx47.audit.replay import Machine, draw, replay_record
        from gpu_nx47.audit.verify import verify as look
        from gpu_nx47.configure import parse_value

        share = _share(sample)
        verdict = look(path, expect_key or (), checkpoint)
        _say(verdict)
        wanted = None if tile is None else tuple(parse_value(tile))
        machine = Machine(backend, wanted, threads)
        code = replay_record(path, root, machine, lambda names: draw(names, share), print)
        leave(verdict.code if code == 0 or verdict.code == 1 else code)


def _say(verdict: Verdict) -> None:
    for note in verdict.notes:
        print(note)
    if verdict.lines:
        print(f"lines: {verdict.lines}" + (f", root {verdict.root}" if verdict.root else ""))
    print(f"tampered: {verdict.sentence}" if verdict.code == 1 else verdict.sentence)
    sys.stdout.flush()


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise UsageError(f"--sample: expected a share such as 5% or 0.05, got {text!r}")
    return value
