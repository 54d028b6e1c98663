"""Compile every kernel file for every architecture without a GPU: `python -m gpu_nx47.kernels.cubins [FOLDER]`.

Needs the package ``nvidia-cuda-nvrtc-cu12`` 12.9, the last that knows sm_60 and sm_70; `make wheel` installs and runs
it, so that a machine that only installs the wheel compiles nothing.
"""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from gpu_nx47 import atomic
from gpu_nx47.errors import BackendUnavailableError, UsageError
from gpu_nx47.kernels import _loader


def nvrtc() -> Any:
    """Return NVRTC's library, from the wheel of that name.

    Raises
    ------
    BackendUnavailableError
        The package is not installed.
    """
    try:
        found = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        found = None
    folders = found.submodule_search_locations if found else None
    for folder in folders or ():
        for path in sorted(Path(folder, "lib").glob("libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    raise BackendUnavailableError("NVRTC is missing: pip install 'nvidia-cuda-nvrtc-cu12==12.9.*'")


def compile_file(name: str, architecture: str, *, ptx: bool = False) -> bytes:
    """Return the cubin of a kernel file, or its PTX, compiled with the loader's options.

    Parameters
    ----------
    name : str
        File without its suffix.
    architecture : str
        Compute capability, such as "75".
    ptx : bool
        The readable assembly, of the virtual architecture, in place of the cubin.

    Raises
    ------
    UsageError
        It does not compile; the message is NVRTC's log.
    """
    library = nvrtc()
    program = ctypes.c_void_p()
    source = _loader.source(name).encode()
    library.nvrtcCreateProgram(ctypes.byref(program), source, f"{name}.cu".encode(), 0, None, None)
    try:
        target = "compute" if ptx else "sm"
        options = [f"--gpu-architecture={target}_{architecture}", *_loader.OPTIONS]
        given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        if library.nvrtcCompileProgram(program, len(options), given):
            log = _read(library, program, "ProgramLog").decode(errors="replace")
            raise UsageError(f"{name}.cu does not compile for sm_{architecture}:\n{log}")
        return _read(library, program, "PTX" if ptx else "CUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(library: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    return text.raw


def build(folder: Path) -> list[Path]:
    """Write the cubins of every file and architecture into a folder, remove others, and return their paths."""

    def make(pair: tuple[str, str]) -> Path:
        path = folder / _loader.cubin_name(*pair)
        if not path.is_file():
            atomic.write_whole(path, compile_file(*pair))
        return path

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:  # NVRTC lets Python go on while it compiles
        made = list(pool.map(make, product(_loader.files(), _loader.ARCHITECTURES)))
    for stale in set(folder.glob("*.cubin")) - set(made):
        stale.unlink()
    return made


def main() -> None:
    """Build into the folder given, or where the loader looks; print what was made."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _loader.HERE / "compiled"
    made = build(folder)
    print(f"{len(made)} cubins, {sum(path.stat().st_size for path in made)} bytes, in {folder}")


if __name__ == "__main__":
    main()
