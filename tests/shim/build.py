"""Build a .cu file for the CPU: one shared library a source text, kept by the digest of what went into it."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-ffp-contract=off",
    "-w",
    "-U_FORTIFY_SOURCE",
    f"-I{HERE}",
)  # fortified jumps stay on one stack
SANITIZERS = ("-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fsanitize-sections=nx47_shared")
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')


def compiler():
    """Return the C++ compiler; None where there is none."""
    return shutil.which("g++")


def build(source, folder, sanitized=False):
    """Return the library of a kernel file's text, built where it is not in `folder` yet."""
    flags = (*FLAGS, *SANITIZERS) if sanitized else FLAGS
    header, runtime = ((HERE / name).read_text() for name in ("shim.h", "shim.cpp"))
    exports = "".join(f"SHIM_EXPORT({name})\n" for name in KERNEL.findall(source))
    threads = _made(folder, ".o", [runtime, header, *flags], [*flags, "-c"], runtime)
    text = f'#include "shim.h"\n{source}\n{exports}'
    return _made(folder, ".so", [text, runtime, header, *flags], [*flags, "-shared"], text, str(threads))


def _made(folder, suffix, stamp, arguments, text, *others):
    """Return what g++ makes of a text, from `folder` where it is there already."""
    path = Path(folder) / (hashlib.sha256("\0".join(stamp).encode()).hexdigest()[:24] + suffix)
    if not path.is_file():
        part = path.with_suffix(f".{os.getpid()}")
        # The text comes first: "-x none" lets g++ take the others for what their suffix says.
        command = [compiler(), *arguments, "-o", str(part), "-x", "c++", "-", "-x", "none", *others]
        # A sanitizer's runtime loaded before Python would be loaded before the compiler too.
        apart = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        done = subprocess.run(command, input=text, env=apart, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"g++ does not compile it:\n{done.stderr}")
        part.replace(path)
    return path
