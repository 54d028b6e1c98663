"""`nx47 bench`: how fast kernels, stages and whole runs are here, and whether they became slower."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from gpu_nx47.cli.exits import ALL_DONE, NO_ZIP, errors_become_exit_codes, leave
from gpu_nx47.errors import UsageError

EXIT_CODES: Final = (
    "Exit codes: 0 measured, or nothing is slower; 1 a bug of nx47; 2 the request cannot be understood; 4 a kernel is "
    "slower, or a backend asked for cannot run."
)
LARGEST: Final = 1024


def bench(
    sizes: Annotated[str, typer.Option(metavar="A,B", help="Voxels a side; peers at the largest.")] = "64,320",
    backend: Annotated[
        list[str] | None, typer.Option(metavar="gpu|cpu|law", help="Measure it (repeatable; default: each present).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="kernels|run|start", help="Measure this part (repeatable).")
    ] = None,
    case: Annotated[str, typer.Option(metavar="TEXT", help="Kernels whose name holds TEXT.")] = "",
    rounds: Annotated[int, typer.Option(metavar="N", help="Calls of each kernel and peer.")] = 9,
    runs: Annotated[int, typer.Option(metavar="N", help="Whole runs.")] = 5,
    files: Annotated[int, typer.Option(metavar="N", help="Volumes of a whole run.")] = 2,
    model: Annotated[
        str, typer.Option(metavar="FILE|found", help="Whole runs with a model; found: the neuron of a run without.")
    ] = "",
    threads: Annotated[int | None, typer.Option(metavar="N", help="Threads (default: every processor).")] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Also measure other libraries.")] = True,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write every reading.")] = None,
    text: Annotated[Path | None, typer.Option("--text", metavar="FILE", help="Write the tables there too.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw kernels and stages.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare", metavar="A B", help="Two results, or two trees to be measured in turns: is B slower?"
        ),
    ] = None,
) -> None:
    """Measure kernels, stages and whole runs beside peers and the machine's limits; or compare two results."""
    with errors_become_exit_codes():
        numbers = _sizes(sizes)
        if compare is not None:
            _compare(compare, min(numbers), (backend or ["cpu"])[0], case)
        from gpu_nx47.atomic import write_whole
        from gpu_nx47.bench import chart, harness, report

        _accept_names("only", only, harness.PARTS)
        _accept_names("backend", backend, ("gpu", "cpu", "law"))
        for name, number in (("rounds", rounds), ("runs", runs), ("files", files), ("threads", threads or 1)):
            if not 1 <= number <= 1000:
                raise UsageError(f"--{name}: expected 1 to 1000, got {number}")
        wanted = harness.Wanted(
            sizes=numbers,
            backends=tuple(backend or ()),
            parts=tuple(only or harness.PARTS),
            case=case,
            rounds=rounds,
            runs=runs,
            files=files,
            model=model,
            peers=peers,
            threads=threads,
        )
        found = harness.measure(wanted, _tell)
        shown = report.text(found)
        typer.echo(shown)
        if as_json is not None:
            write_whole(as_json, (json.dumps(found, indent=1) + "\n").encode())
        if text is not None:
            write_whole(text, shown.encode())
        if png is not None:
            write_whole(png, chart.draw(found))


def _compare(pair: tuple[Path, Path], size: int, backend: str, case: str) -> None:
    from gpu_nx47.bench import compare

    verdicts = compare.compare(*pair, size=size, backend=backend, case=case, tell=_tell)
    typer.echo(compare.table(verdicts))
    leave(NO_ZIP if any(verdict.said == "slower" for verdict in verdicts) else ALL_DONE)


def _accept_names(option: str, asked: list[str] | None, known: tuple[str, ...]) -> None:
    if unknown := sorted(set(asked or ()) - set(known)):
        raise UsageError(f"--{option}: expected some of {', '.join(known)}, got {unknown[0]!r}")


def _sizes(text: str) -> tuple[int, ...]:
    from gpu_nx47.cli.app import SMALLEST_PHANTOM

    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise UsageError(f"--sizes: expected integers A,B, got {text!r}") from error
    if not SMALLEST_PHANTOM <= numbers[0] <= numbers[-1] <= LARGEST:
        raise UsageError(f"--sizes: expected {SMALLEST_PHANTOM} to {LARGEST} voxels, got {text!r}")
    return numbers


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
