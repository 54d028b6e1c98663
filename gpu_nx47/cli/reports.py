"""Commands that read what runs have written: explain a log, list runs, list the alerts."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gpu_nx47.cli.exits import errors_become_exit_codes
from gpu_nx47.errors import UsageError

NARROWEST: Final = 60
WIDEST: Final = 120


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    for command in (explain, runs, alerts):
        app.command()(command)


def explain(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A record, an old NX47 log, or the folder of a run.")],
    lang: Annotated[str, typer.Option(metavar="en|fr", help="Language of the text.")] = "en",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the text there (UTF-8).")
    ] = None,
) -> None:
    """Say in plain words what a log shows, what it does not, why, and what to do."""
    with errors_become_exit_codes():
        from gpu_nx47 import explain as room
        from gpu_nx47.atomic import write_whole

        chosen = next((language for language in room.LANGUAGES if language == lang), None)
        if chosen is None:
            raise UsageError(f"--lang: expected one of {', '.join(room.LANGUAGES)}, got {lang!r}")
        text = room.write(room.tell(log), chosen)
        if output is None:
            _print(text)
        else:
            write_whole(output, text.encode("utf-8"))


def runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder under which the runs lie, at any depth.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of text.")] = False,
) -> None:
    """List every run under DIR, with what changed since the run before it on the same inputs."""
    with errors_become_exit_codes():
        from gpu_nx47 import runs as room

        found = room.registry(folder)
        _print(_json([run.as_json() for run in found]) if as_json else room.table(found))


def alerts(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of text.")] = False,
) -> None:
    """List every alert that a run can raise: when it fires, what it says, what to do."""
    with errors_become_exit_codes():
        from gpu_nx47.alerts import catalogue

        listed = catalogue()
        _print(_json(listed) if as_json else _alert_table(listed))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _print(text: str) -> None:
    """Write a text to stdout; what its encoding cannot say becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))


def _alert_table(listed: list[dict[str, Any]]) -> str:
    """Return code, severity and limit in columns, and the words under them."""
    wide = max(len(alert["code"]) for alert in listed)
    width = min(max(shutil.get_terminal_size((100, 24)).columns, NARROWEST), WIDEST)
    lines = [f"{'code':<{wide}}  severity  limit"]
    for alert in listed:
        limit = "none" if alert["limit"] is None else f"{alert['limit']:g} {alert['unit']}"
        absent = "" if alert["raised"] else "  (not yet raised by this version)"
        lines.append(f"{alert['code']:<{wide}}  {alert['severity']:<8}  {limit}{absent}")
        for word, key in (("fires", "rule"), ("says", "sentence"), ("do", "advice")):
            lead = f"  {word:<5} "
            pad = " " * len(lead)
            lines += textwrap.wrap(
                alert[key], width, initial_indent=lead, subsequent_indent=pad, break_on_hyphens=False
            )
    return "\n".join(lines) + "\n"
