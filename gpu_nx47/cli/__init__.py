"""The command line: arguments in, exit code out."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `nx47` with these arguments (None: the process's own) and return its exit code."""
    from gpu_nx47.cli.app import app

    try:
        app(args=None if arguments is None else list(arguments), prog_name="nx47")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    return 0
