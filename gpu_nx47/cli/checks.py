"""What `nx47 doctor` looks at: each check a verdict, what was found, and what to do."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final, Literal

from gpu_nx47.cli.check import Check
from gpu_nx47.cli.gpu_checks import Machine, diagnose, gather
from gpu_nx47.hardware import CORE_PACKAGES, hardware, packages

if TYPE_CHECKING:
    from pathlib import Path

SMALLEST_MEMORY_KB: Final = 2 * 1024 * 1024
"""A 320-cube stays under 2 GB."""
IMPORT_SECONDS: Final = 60
OPTIONAL_CORE: Final = frozenset({"numba", "imagecodecs", "nvidia-ml-py", "cryptography"})
"""Core packages without which a run still comes to its end."""


def examine(output: Path) -> list[Check]:
    """Look at the machine as `nx47 run` would meet it."""
    machine, versions = hardware(), packages()
    return [
        _python(),
        _packages(versions),
        _numba(versions["numba"]),
        _imagecodecs(versions["imagecodecs"]),
        *diagnose(gather(Machine())),
        _backend(),
        _writable(output),
        Check("processors", "ok", f"{machine['usable_processors']} usable of {machine['cpu_count']}"),
        _memory(machine["mem_available_kb"]),
    ]


def report(checks: list[Check]) -> str:
    """Return the checks as aligned lines, and a last sentence."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:<4}  {check.name:<{width}}  {check.found}")
        if check.advice:
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.advice}")
    works = all(check.verdict != "no" for check in checks)
    lines.append("`nx47 run` would work here." if works else "`nx47 run` would not work here: see the lines with 'no'.")
    return "\n".join(lines)


def _python() -> Check:
    fits = sys.version_info >= (3, 11)
    return Check("Python", "ok" if fits else "no", platform.python_version(), "" if fits else "Install 3.11 or newer.")


def _packages(versions: dict[str, str | None]) -> Check:
    missing = [name for name in CORE_PACKAGES if versions[name] is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    if not missing:
        return Check("packages", "ok", found)
    verdict: Literal["note", "no"] = "note" if OPTIONAL_CORE.issuperset(missing) else "no"
    return Check("packages", verdict, f"{found}; missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def _numba(version: str | None) -> Check:
    if version is None or not _imports("numba"):
        return Check("numba", "note", "does not load: the law serves, slower, with the same bits", "pip install numba")
    return Check("numba", "ok", f"{version}: the compiled twins serve")


def _imagecodecs(version: str | None) -> Check:
    if version is None or not _imports("imagecodecs"):
        return Check(
            "imagecodecs", "note", "does not load: Pillow decodes LZW, with the same bits; no zstd",
            "pip install imagecodecs",
        )  # fmt: skip
    return Check("imagecodecs", "ok", version)


def _backend() -> Check:
    from gpu_nx47 import backend
    from gpu_nx47.errors import Nx47Error

    try:
        chosen, reason = backend.select("auto")
    except Nx47Error as error:
        return Check("backend", "no", str(error))
    return Check("backend", "ok", f"auto takes {chosen.NAME}: {reason}")


def _writable(output: Path) -> Check:
    """Write into the folder, or into its nearest ancestor that is there: `run` makes the rest."""
    folder = output.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"nx47")
    except OSError as error:
        return Check("output", "no", f"{output}: {error}", "Choose another folder with --output.")
    return Check("output", "ok", f"{output} can be written")


def _memory(available_kb: int) -> Check:
    found = f"{available_kb / 2**20:.1f} GiB free"
    if available_kb >= SMALLEST_MEMORY_KB:
        return Check("memory", "ok", found)
    return Check("memory", "note", found, "A 320-cube takes about 2 GB: close other programs, or use smaller tiles.")


def _imports(module: str) -> bool:
    """Say whether a module loads, in another process: a broken one may take the interpreter with it."""
    command = [sys.executable, "-c", f"import {module}"]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=IMPORT_SECONDS, check=False, env=environ)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
