"""`nx47 tune`: the cleaning's settings that score best on labelled probabilities."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gpu_nx47.cli import options
from gpu_nx47.cli.exits import ALL_DONE, NO_ZIP, errors_become_exit_codes, leave, say_error

if TYPE_CHECKING:
    from gpu_nx47.train.scanning import Tried
    from gpu_nx47.train.tune import Tuned

EXIT_CODES: Final = (
    "Exit codes: 0 scanned; 1 a bug of nx47; 2 the request cannot be understood; 4 a file cannot be used, or the "
    "settings cannot be written."
)
SCHEMA: Final = 1


def tune(
    prob: Annotated[Path, typer.Argument(metavar="PROB", help="Probabilities: a folder of <id>.tif or .npz, or one.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Their labels: a folder, its root, or one TIFF.")],
    volumes: Annotated[int, typer.Option(metavar="N", help="Most volumes scanned on; all are in memory.", min=1)] = 4,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.toml", help="Write the best settings, for --config.")
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write every figure.")] = None,
    topo: Annotated[
        bool,
        typer.Option(
            "--topo/--no-topo",
            help="Choose among six finalists by the whole score, with the package topometrics: minutes for 320-cubes.",
        ),
    ] = False,
    backend: options.Backend = None,
    threads: options.Threads = None,
    config: options.Config = None,
    overrides: options.Overrides = None,
) -> None:
    """Scan thresholds, votes, ratio, hysteresis and the cleaning by SurfaceDice and VOI score; say which are best."""
    with errors_become_exit_codes():
        from gpu_nx47 import backend as backends
        from gpu_nx47 import hardware
        from gpu_nx47.configure import resolve
        from gpu_nx47.engine import Engine
        from gpu_nx47.errors import InputError, UsageError
        from gpu_nx47.score import _official
        from gpu_nx47.train.tune import tune as scan

        if topo and (lacking := _official.missing()):
            raise UsageError(f"--topo: {lacking}. Without it settings are chosen by SurfaceDice and VOI score.")
        settings, _ = resolve(config, overrides or [], os.environ, backend=backend, threads=threads)
        meter = backends.Meter(backends.select(settings.backend)[0])
        engine = Engine(meter, settings.tile, settings.threads or hardware.usable_processors())
        typer.echo(f"{'mean':>7} {'dice':>7} {'voi':>7} {'active':>8}  settings")
        try:
            how = {"official": topo}
            tuned = scan(prob, labels, engine, settings.segment, volumes, lambda one: typer.echo(_line(one)), **how)
        except InputError as error:
            say_error(str(error))
            leave(NO_ZIP)
        best = tuned.best
        typer.echo(f"{len(tuned.tried)} settings scanned on {', '.join(tuned.volumes)}. Best:\n{_line(best)}")
        for key, value in best.segment.items():
            typer.echo(f"  --set segment.{key}={_value(value)}")
        _write(tuned, output, as_json)
        leave(ALL_DONE)


def _line(one: Tried) -> str:
    changed = ", ".join(f"{key} {_value(value)}" for key, value in one.segment.items()) or "as given"
    total = "" if one.total is None else f", TopoScore {one.topo:.4f}, total {one.total:.4f}"
    return f"{one.mean:7.4f} {one.surface_dice:7.4f} {one.voi_score:7.4f} {100 * one.share:7.3f}%  {changed}{total}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"


def _write(tuned: Tuned, output: Path | None, as_json: Path | None) -> None:
    from gpu_nx47.atomic import write_whole

    if output is not None:
        rows = [f"{key} = {_toml(value)}" for key, value in tuned.best.segment.items() if value is not None]
        about = f"# Written by nx47 tune: mean of SurfaceDice and VOI score {tuned.best.mean:.4f}"
        write_whole(output, "\n".join([about, "[segment]", *rows, ""]).encode())
    if as_json is not None:
        document = {
            "schema": SCHEMA,
            "volumes": list(tuned.volumes),
            "best": _row(tuned.best),
            "tried": [_row(one) for one in tuned.tried],
        }
        write_whole(as_json, (json.dumps(document, indent=1) + "\n").encode())


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _row(one: Tried) -> dict[str, Any]:
    return {**asdict(one), "mean": one.mean, "total": one.total}
