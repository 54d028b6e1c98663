"""The commands. Each loads what it needs when it runs, so that `nx47 --help` is quick."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gpu_nx47.cli import bench as bench_room
from gpu_nx47.cli import kaggle as kaggle_room
from gpu_nx47.cli import log as log_room
from gpu_nx47.cli import options
from gpu_nx47.cli import reports as reports_room
from gpu_nx47.cli import score as score_room
from gpu_nx47.cli import train as train_room
from gpu_nx47.cli import tune as tune_room
from gpu_nx47.cli.exits import ALL_DONE, NO_ZIP, errors_become_exit_codes, leave, say_error
from gpu_nx47.errors import UsageError

if TYPE_CHECKING:
    from gpu_nx47.journal import Observer
    from gpu_nx47.settings import Settings

KAGGLE_OUTPUT: Final = Path("/kaggle/working")
DEFAULT_OUTPUT: Final = Path("out")
WITHOUT_FRESH: Final = "the same command without --fresh goes on from here."
PHANTOM_FOLDER: Final = "phantom"
SMALLEST_PHANTOM: Final = 32

EXIT_CODES: Final = (
    "Exit codes: 0 all done; 1 a bug of nx47; 2 the request cannot be understood; 3 some files failed or lacked the "
    "time, the zip is valid; 4 no zip; 130 interrupted, 143 terminated."
)

_PLAIN: Final[dict[str, Any]] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False}
app = typer.Typer(
    help="Find the papyrus surface in CT volumes of the Herculaneum scrolls.", no_args_is_help=True, **_PLAIN
)
submission_app = typer.Typer(help="Work on a submission.zip.", no_args_is_help=True, **_PLAIN)
app.add_typer(submission_app, name="submission")
app.add_typer(log_room.app, name="log")


def _show_version(wanted: bool) -> None:
    if wanted:
        from gpu_nx47._version import __version__

        typer.echo(f"nx47 {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(epilog=EXIT_CODES)
def run(
    root: options.Root = None,
    output: options.Output = None,
    backend: options.Backend = None,
    tile: options.Tile = None,
    threads: options.Threads = None,
    memory: options.Memory = None,
    config: options.Config = None,
    overrides: options.Overrides = None,
    save: options.Save = None,
    train: options.Train = False,
    model: options.Model = None,
    probability: options.Probability = None,
    umbilicus: options.Umbilicus = None,
    untrusted: options.Untrusted = False,
    record: options.Record = None,
    identity_key: options.IdentityKey = None,
    time_budget: options.TimeBudget = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find the surface in every volume under ROOT and write OUT/submission.zip."""
    with errors_become_exit_codes():
        from gpu_nx47.configure import environment_paths, resolve

        root_variable, output_variable = environment_paths(os.environ)
        wanted = [*(overrides or []), *(["load.untrusted=true"] if untrusted else [])]
        wanted += ["train=true"] if train else []
        wanted += [f"probability={json.dumps(probability)}"] if probability else []
        wanted += [] if model is None else [f"model={json.dumps(str(model))}"]
        wanted += [] if umbilicus is None else [f"umbilicus={json.dumps(str(umbilicus))}"]
        wanted += [] if identity_key is None else [f"identity_key={json.dumps(str(identity_key))}"]
        given = {"backend": backend, "tile": tile, "threads": threads, "save": save, "time_budget": time_budget}
        given |= {"record": record, "memory": memory}
        settings, notes = resolve(config, wanted, os.environ, **given)
        where = root or root_variable
        if where is None and not on_kaggle():
            raise UsageError("ROOT is missing: expected a competition root, a folder of TIFFs, or one TIFF")
        if not quiet:
            for note in notes:
                print(note, file=sys.stderr)
        folder = output or output_variable or default_output()
        go_on = WITHOUT_FRESH if fresh else None
        _run(where, folder, settings, fresh=fresh, quiet=quiet, as_json=as_json, go_on=go_on)


@app.command(epilog=EXIT_CODES)
def demo(
    size: Annotated[int, typer.Option(metavar="N", help="Voxels a side.")] = 96,
    seed: Annotated[int, typer.Option(metavar="S", help="Which phantom.")] = 1,
    output: Annotated[Path | None, typer.Option(metavar="OUT", help="Folder of the results.")] = None,
) -> None:
    """Draw a scroll phantom into OUT/phantom and run on it."""
    with errors_become_exit_codes():
        from gpu_nx47.configure import resolve
        from gpu_nx47.lock import run_lock
        from gpu_nx47.phantom import write_phantom_root

        settings, _ = resolve(None, [], os.environ)
        folder = output or default_output()
        root = folder / PHANTOM_FOLDER
        _check_size(size)
        with run_lock(folder):  # let go before the run takes it: it is the run that must not meet another
            _write_phantoms(write_phantom_root, root, size, [seed], [])
        go_on = f"nx47 run {root} --output {folder} goes on from here."
        _run(root, folder, settings, fresh=True, quiet=False, as_json=False, go_on=go_on)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the competition's layout into.")],
    size: Annotated[int, typer.Option(metavar="N", help="Voxels a side.")],
    seeds: Annotated[str, typer.Option(metavar="A,B", help="One test image for each seed.")],
    train_seeds: Annotated[str, typer.Option(metavar="C,D", help="One labelled training image for each seed.")] = "",
) -> None:
    """Write scroll phantoms in the competition's layout."""
    with errors_become_exit_codes():
        from gpu_nx47.phantom import write_phantom_root

        _check_size(size)
        test, train = _seeds("--seeds", seeds), _seeds("--train-seeds", train_seeds)
        _write_phantoms(write_phantom_root, out, size, test, train)
        typer.echo(f"{out}: {len(test)} test and {len(train)} training volumes of {size} x {size} x {size} voxels.")


@app.command()
def doctor(
    output: Annotated[Path | None, typer.Option(metavar="OUT", help="Folder to check for writing.")] = None,
) -> None:
    """Say whether `nx47 run` would work on this machine, and what to do where it would not."""
    with errors_become_exit_codes():
        from gpu_nx47.cli.checks import examine, report

        checks = examine(output or default_output())
        typer.echo(report(checks))
        leave(NO_ZIP if any(check.verdict == "no" for check in checks) else ALL_DONE)


app.command()(kaggle_room.kaggle)
reports_room.register(app)
app.command(epilog=score_room.EXIT_CODES)(score_room.score)
app.command(epilog=bench_room.EXIT_CODES)(bench_room.bench)
app.command(epilog=train_room.EXIT_CODES)(train_room.train)
app.command(epilog=tune_room.EXIT_CODES)(tune_room.tune)


@submission_app.command("check")
def check(
    archive: Annotated[Path, typer.Argument(metavar="ZIP", help="The submission.zip.")],
    images: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the images it answers.")],
) -> None:
    """Re-read a submission page by page: 0 where it is acceptable, 4 with every problem named where it is not."""
    with errors_become_exit_codes():
        from gpu_nx47.submission import check_submission

        if not archive.is_file():
            raise UsageError(f"{archive}: expected a submission.zip, found no file")
        if not images.is_dir():
            raise UsageError(f"{images}: expected the folder of the images, found no folder")
        found = check_submission(archive, images)
        if found.ok:
            typer.echo(f"yes: {archive} is acceptable.")
            leave(ALL_DONE)
        for problem in found.problems:
            say_error(str(problem))
        typer.echo(f"no: {archive} is not acceptable, {len(found.problems)} problems.")
        leave(NO_ZIP)


def on_kaggle() -> bool:
    """Say whether this is a Kaggle notebook."""
    return KAGGLE_OUTPUT.is_dir()


def default_output() -> Path:
    """Return the folder of the results where the user names none."""
    return KAGGLE_OUTPUT if on_kaggle() else DEFAULT_OUTPUT


def _run(
    root: Path | None,
    output: Path,
    settings: Settings,
    *,
    fresh: bool,
    quiet: bool,
    as_json: bool,
    go_on: str | None = None,
) -> None:
    from gpu_nx47 import pipeline

    console = _console(settings, quiet=quiet, as_json=as_json, go_on=go_on)
    try:
        result = pipeline.run(root, output, settings, console, fresh=fresh, started=_process_start())
    finally:
        console.close()
    if result.submission is None:
        say_error(f"no submission.zip was written; {output} holds the record of why.")
    leave(result.exit_code)


def _process_start() -> float:
    """Return when this process began, on the monotonic clock: a time budget counts the imports too."""
    import psutil

    return time.monotonic() - (time.time() - psutil.Process().create_time())


def _console(settings: Settings, *, quiet: bool, as_json: bool, go_on: str | None) -> Observer:
    from gpu_nx47.cli.console import GO_ON, Console, ErrorLines, EventLines

    go_on = go_on or GO_ON
    if as_json:
        return EventLines(sys.stdout, sys.stderr, go_on=go_on)
    if quiet:
        return ErrorLines(sys.stderr, go_on=go_on)
    console = Console(sys.stdout, sys.stderr, every_event=settings.ultra_console_log, go_on=go_on)
    if not settings.ultra_console_log:  # there each line is an event
        console.wait()
    return console


def _check_size(size: int) -> None:
    if not SMALLEST_PHANTOM <= size <= 1024:
        raise UsageError(f"--size: expected {SMALLEST_PHANTOM} to 1024 voxels, got {size}")


def _seeds(option: str, text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(f"{option}: expected integers A,B, got {text!r}") from error
    if any(seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise UsageError(f"{option}: expected different integers from 0, got {text!r}")
    return seeds


def _write_phantoms(write: Any, out: Path, size: int, test: list[int], train: list[int]) -> None:
    from gpu_nx47.errors import OutputError

    try:
        write(out, size=size, seeds=test, train_seeds=train)
    except OSError as error:
        raise OutputError(f"{out}: the phantom cannot be written: {error}. Choose another folder.") from error
