"""The worker of `compare`: times the kernels of whatever tree it imports; a program, started by its path.

The cases come from the file beside it, so that both trees are asked the same. It says which it can do, one line of
JSON; then it answers each line, the name of a case, with the seconds of a call.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOMS: Final = {"law": "cpu_fallback.law", "cpu": "cpu_fallback.twin", "gpu": "gpu_nx47.kernels"}
SHORTEST_S: Final = 0.001
"""A call under it is repeated, so that the clock's own steps do not count."""
TRIES: Final = 5
"""The shortest of so many is told: what others on the machine do only adds."""


def _cases() -> Any:
    spec = importlib.util.spec_from_file_location("nx47_bench_cases", Path(__file__).with_name("cases.py"))
    if spec is None or spec.loader is None:
        raise ImportError("cases.py is not beside worker.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def main(size: int, name: str, wanted: str) -> None:
    """Serve until the input ends."""
    cases = _cases()
    backend = import_module(ROOMS[name])
    wait = getattr(backend, "device_seconds", lambda: None)
    # Twins and laws run in this thread: its own processor time is what others on the machine change least.
    clock = time.perf_counter if name == "gpu" else time.thread_time
    works, repeats = {}, {}
    for case in cases.cases(size, lambda name: wanted in name):
        if all(hasattr(backend, kernel) for kernel, _ in case.calls):
            works[case.name] = (case, cases.put(backend, case.arrays))

    def seconds(which: str, times: int) -> float:
        case, arrays = works[which]
        found = []
        for _ in range(TRIES):
            began = clock()
            for _ in range(times):
                case.run(backend, arrays)
            wait()
            found.append((clock() - began) / times)
        return min(found)

    for which in works:
        seconds(which, 1)
        repeats[which] = max(1, round(SHORTEST_S / max(seconds(which, 1), 1e-6)))
    print(json.dumps({"cases": list(works)}), flush=True)
    for line in sys.stdin:
        which = line.rstrip("\n")
        print(json.dumps({"seconds": seconds(which, repeats[which])}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
