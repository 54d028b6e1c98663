"""Exit codes, and the one place where an exception becomes one."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

from gpu_nx47.errors import Nx47Error, Terminated, UsageError

ALL_DONE: Final = 0
OUR_BUG: Final = 1
USAGE: Final = 2
SOME_FAILED: Final = 3
NO_ZIP: Final = 4
"""Also: a submission that is not acceptable, and a machine that `doctor` finds unfit."""
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""
TERMINATED: Final = 143
"""128 + SIGTERM."""


def leave(code: int) -> NoReturn:
    """End the command with this code."""
    raise typer.Exit(code)


def say_error(sentence: str) -> None:
    """Write a sentence to stderr, whatever --quiet and --json say."""
    print(f"nx47: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def errors_become_exit_codes() -> Iterator[None]:
    """Say what went wrong on stderr, and leave with the code for it."""
    try:
        yield
    except typer.Exit:
        raise
    except UsageError as error:
        say_error(str(error))
        leave(USAGE)
    except Nx47Error as error:
        say_error(str(error))
        leave(NO_ZIP)
    except KeyboardInterrupt as end:
        told_to = isinstance(end, Terminated)
        word = "terminated" if told_to else "interrupted"
        say_error(f"{word}; what was finished is in the output folder, submission.zip is not.")
        leave(TERMINATED if told_to else INTERRUPTED)
    except Exception:  # noqa: BLE001 - the last stop: shown whole, and the exit code says that it is our bug
        traceback.print_exc()
        say_error("this is a bug of nx47, not of your data. Please report it with the lines above and your command.")
        leave(OUR_BUG)
