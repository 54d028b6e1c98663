"""From a .cu file to a kernel on the device: a shipped cubin, or the source compiled here with the same options.

`cupy.RawModule(code=...)` appends ``-ftz=true``, which would change bits; so NVRTC is called directly and the cubin is
loaded. CuPy is imported on first use: `import gpu_nx47` must work, and be quick, without it.
"""

from __future__ import annotations

import hashlib
import threading
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from gpu_nx47.errors import BackendUnavailableError
from gpu_nx47.kernels._clock import timed

HERE: Final = Path(__file__).parent
OPTIONS: Final = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--std=c++17")
"""What keeps float32 the law's: no contraction, no flushing of subnormals, correctly rounded quotients and roots."""

ARCHITECTURES: Final = ("60", "70", "75", "80", "86", "89", "90", "100", "120")
"""Compute capabilities whose cubins a wheel may hold."""

INCLUDE: Final = '#include "nx47.cuh"\n'

_lock = threading.Lock()
_modules: dict[tuple[int, str], Any] = {}


@cache
def cupy() -> Any:
    """Return the module CuPy.

    Raises
    ------
    BackendUnavailableError
        It is not installed, or cannot be imported.
    """
    try:
        return import_module("cupy")
    except Exception as error:
        # A CuPy of another CUDA version fails with whatever its libraries raise; each means that it cannot serve.
        raise BackendUnavailableError(
            f"CuPy cannot be imported ({error}). pip install 'gpu-nx47[cuda12]', or use --backend cpu: the same bits"
        ) from error


def source(name: str) -> str:
    """Return the text of a kernel file with the shared header in it: NVRTC gets one text and no include path."""
    text = (HERE / f"{name}.cu").read_text(encoding="utf-8")
    header = (HERE / "nx47.cuh").read_text(encoding="utf-8").replace("#pragma once\n", "\n")
    before, after = text.split(INCLUDE)
    line = before.count("\n") + 2
    return f'{before}#line 1 "nx47.cuh"\n{header}#line {line} "{name}.cu"\n{after}'


def cubin_name(name: str, architecture: str) -> str:
    """Return the file name of a cubin: it holds a digest of source and options, so that a stale one is never loaded."""
    digest = hashlib.sha256("\0".join([source(name), *OPTIONS]).encode()).hexdigest()[:16]
    return f"{name}.sm_{architecture}.{digest}.cubin"


def files() -> list[str]:
    """Return the names of all kernel files."""
    return sorted(path.stem for path in HERE.glob("*.cu"))


def launch(name: str, kernel: str, blocks: int, *arguments: Any, threads: int = 256) -> None:
    """Run a kernel of a file on the current device and stream.

    Parameters
    ----------
    name, kernel : str
        The file without its suffix, and the function in it.
    blocks : int
        Blocks of the one-dimensional grid, 1 .. 2^31 - 1.
    *arguments : cupy.ndarray or NumPy scalar
        In the kernel's order, of exactly its types: nothing checks them on the device.
    threads : int
        Threads of a block.
    """
    with timed(cupy().cuda):
        _module(name).get_function(kernel)((blocks,), (threads,), arguments)


def _module(name: str) -> Any:
    device = cupy().cuda.Device()
    key = (device.id, name)
    with _lock:  # tiles run on threads; a file is compiled once
        if key not in _modules:
            module = cupy().cuda.function.Module()
            module.load(_cubin(name, device.compute_capability))
            _modules[key] = module
        return _modules[key]


def _cubin(name: str, architecture: str) -> bytes:
    shipped = HERE / "compiled" / cubin_name(name, architecture)
    return shipped.read_bytes() if shipped.is_file() else _compile(name, architecture)


def _compile(name: str, architecture: str) -> bytes:
    nvrtc = cupy().cuda.nvrtc
    program = nvrtc.createProgram(source(name), f"{name}.cu", (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture=sm_{architecture}", *OPTIONS))
        return bytes(nvrtc.getCUBIN(program))
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise BackendUnavailableError(
            f"{name}.cu does not compile for sm_{architecture} ({error}): {log.strip()[:500]}. Use --backend cpu: the "
            "bits are the same"
        ) from error
    finally:
        nvrtc.destroyProgram(program)
