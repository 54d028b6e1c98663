"""`nx47 score`: how good masks are, by the competition's measures, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gpu_nx47.cli.exits import ALL_DONE, NO_ZIP, SOME_FAILED, errors_become_exit_codes, leave, say_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpu_nx47.score._compare import Result
    from gpu_nx47.score._files import Pairing

EXIT_CODES: Final = (
    "Exit codes: 0 all scored; 1 a bug of nx47; 2 the request cannot be understood; 3 some masks or labels are missing "
    "or unusable; 4 nothing could be scored."
)
SCHEMA: Final = 1
"""Of the JSON; raised when a key changes its meaning."""


def score(
    pred: Annotated[
        Path, typer.Argument(metavar="PRED", help="A mask, a folder of masks or of a run, or a submission.zip.")
    ],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="A label TIFF, a folder of them, or their root.")],
    scrolls: Annotated[
        Path | None, typer.Option(metavar="train.csv", help="Table of id and scroll_id (default: beside LABELS).")
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write every figure.")] = None,
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Also score masks that cannot have found anything.")
    ] = True,
    official: Annotated[
        bool,
        typer.Option("--topo/--no-topo", help="The official TopoScore where the package topometrics is installed."),
    ] = True,
) -> None:
    """Score masks against labels: SurfaceDice at 2 voxels, VOI score, Betti numbers, TopoScore or a bound of it."""
    with errors_become_exit_codes():
        from gpu_nx47.score import _compare, _files, _official

        pairing = _files.pair(pred, labels)
        table = _files.find_scrolls(labels, scrolls)
        lacking = _official.missing() if official else "--no-topo was given"
        lines = _Lines(pairing, official=lacking is None, null=null)
        for line in lines.head(lacking):
            typer.echo(line)
        results = []
        for result in _compare.compare(pairing.masks, pairing.labels, table, null=null, official=lacking is None):
            typer.echo(lines.volume(result))
            for note in result.notes:
                say_error(note)
            results.append(result)
        for line in lines.means(results):
            typer.echo(line)
        for file in pairing.extra:
            say_error(f"{file.name}: no label of that name; it is not scored")
        if as_json is not None:
            _write(as_json, _document(pred, labels, pairing, results, lacking))
        scored = sum(result.score is not None for result in results)
        leave(NO_ZIP if scored == 0 else ALL_DONE if scored == len(results) else SOME_FAILED)


class _Lines:
    """The table, line by line, so that each volume shows when it is done."""

    def __init__(self, pairing: Pairing, *, official: bool, null: bool) -> None:
        self._width = max(len("volume"), *(len(id_) for id_ in pairing.labels), len("scroll") + 12)
        self._official, self._null = official, null

    def head(self, lacking: str | None) -> list[str]:
        """Return the legend and the column titles."""
        topo = ["Topo", "total"] if self._official else ["Topo<="]
        cells = ["SDice", "VOI", "mean", *topo, *(["moved", "other"] if self._null else [])]
        legend = [
            "SDice: SurfaceDice at 2 voxels. mean: of SDice and VOI score.",
            "Betti: components, tunnels, cavities, summed over octants.",
        ]
        if lacking is None:
            legend.append("total: 0.30 Topo + 0.35 SDice + 0.35 VOI.")
        else:
            legend.append(f"Topo<=: an upper bound, in no total: {lacking}.")
        if self._null:
            legend.append("moved, other: mean of the mask half a pitch away, and of another volume's mask.")
        columns = "".join(f"{cell:>8}" for cell in cells)
        return [*legend, "", f"{'volume':<{self._width}}{columns}  Betti of label | mask"]

    def volume(self, result: Result) -> str:
        """Return the line of one volume."""
        if not result.counts:
            return f"{result.id:<{self._width}}  not scored: the label cannot be used"
        nulls = {}
        if result.nulls is not None:
            nulls = {kind: s.mean for kind in ("moved", "other") if (s := getattr(result.nulls, kind)) is not None}
        betti = ""
        if result.score is not None and result.score.topology is not None:
            topology = result.score.topology
            betti = " | ".join(
                " ".join(str(sum(column)) for column in zip(*octants, strict=True))
                for octants in (topology.label, topology.pred)
            )
        return f"{self._row(result.id, result.measures(), nulls)}  {betti}".rstrip()

    def means(self, results: list[Result]) -> list[str]:
        """Return the lines of the scrolls and of all volumes."""
        from gpu_nx47.score import _compare

        groups = {f"scroll {name}": group for name, group in _compare.by_scroll(results).items()}
        rows = []
        for name, group in {**groups, "all": results}.items():
            number = sum(result.counts for result in group)
            if number:
                row = self._row(f"{name} ({number})", _compare.means(group), _compare.null_means(group))
                rows.append(row.rstrip())
        return ["", *rows] if rows else []

    def _row(self, name: str, figures: dict[str, Any], nulls: dict[str, Any]) -> str:
        keys = ["surface_dice", "voi_score", "mean", *(["topo", "total"] if self._official else ["topo_bound"])]
        values = [figures[key] for key in keys]
        if self._null:
            values += [nulls.get("moved"), nulls.get("other")]
        cells = "".join(f"{'-' if value is None else f'{value:.4f}':>8}" for value in values)
        return f"{name:<{self._width}}{cells}"


def _document(pred: Path, labels: Path, pairing: Pairing, results: list[Result], lacking: str | None) -> dict[str, Any]:
    """Return everything as JSON has it."""
    from gpu_nx47._version import __version__
    from gpu_nx47.score import _compare

    def block(group: Iterable[Result]) -> dict[str, Any]:
        group = list(group)
        volumes = sum(result.counts for result in group)
        return {"volumes": volumes, **_compare.means(group), "null": _compare.null_means(group)}

    return {
        "schema": SCHEMA,
        "version": __version__,
        "pred": str(pred),
        "labels": str(labels),
        "topo_official": lacking is None,
        "topo_missing_because": lacking,
        "volumes": [_compare.as_json(result) for result in results],
        "scrolls": {name: block(group) for name, group in _compare.by_scroll(results).items()},
        "all": block(results),
        "missing": pairing.missing,
        "extra": [file.name for file in pairing.extra],
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    from gpu_nx47.atomic import write_whole

    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
