"""The results beside the record: their digests, and the verifier that a stranger can run."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from gpu_nx47.atomic import write_whole
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

VERIFIER_NAME: Final = "verify_record.py"
"""The stand-alone verifier: a file of this package, copied beside each record."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex, in constant memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def outputs_digests(output: Path, volumes: Collection[str], names: Collection[str] = ()) -> dict[str, str]:
    """Return the digest of each result in `output`, by its path there with `/`, sorted.

    These are the verifier, the files named, and in each folder of `output` that is not hidden the files whose names
    begin with a volume's id: others are an earlier run's, or the user's, and nobody's claim.

    Parameters
    ----------
    output : Path
    volumes : collection of str
        Ids of the run.
    names : collection of str
        Further files; one that is not there is left out.

    Raises
    ------
    OutputError
        A result cannot be read again.
    """
    found = [output / name for name in (VERIFIER_NAME, *names)]
    try:
        for folder in output.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                found += [path for path in folder.iterdir() if _belongs(path.name, volumes)]
        return {path.relative_to(output).as_posix(): file_digest(path) for path in sorted(found) if path.is_file()}
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be read again: {error.strerror}") from error


def write_verifier(output: Path) -> None:
    """Copy the stand-alone verifier beside the record, unless it is there."""
    text = files("gpu_nx47.journal").joinpath(VERIFIER_NAME).read_bytes()
    path = output / VERIFIER_NAME
    if not path.is_file() or path.read_bytes() != text:
        write_whole(path, text)


def _belongs(name: str, volumes: Collection[str]) -> bool:
    return any(name.startswith((f"{volume}_", f"{volume}.")) for volume in volumes)
