"""Rules that hold the house together: names, lightness, sizes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from cpu_fallback import law
from gpu_nx47 import kernels

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for room in ("gpu_nx47", "cpu_fallback", "tests", "bench") for p in (ROOT / room).rglob("*.py"))
CODES = {"DIRECTION_BLOCK", "DIRECTION_NONE", "DIRECTION_OPPOSITE", "DIRECTION_STEPS"}
NOT_KERNELS = CODES | {"NAME", "OPERATIONS", "probe", "to_device", "to_host"}

# Frozen on the day the laws were written. A kernel leaves it when its port is here; none may be added.
NOT_ON_GPU_AT_FIRST = {
    "band_pass", "closing", "component_moments", "count", "dilation", "erosion", "gather", "gaussian",
    "gradient_along", "gradient_magnitude", "histogram", "hysteresis", "label", "laplacian", "local_entropy",
    "local_variance", "lookup", "neuron", "neuron_sums", "opening", "remove_small", "z_projection",
}  # fmt: skip


def public(module):
    return {n for n in vars(module) if not n.startswith("_")} - {
        n for n, v in vars(module).items() if type(v).__name__ in {"module", "_Feature"}
    }


def test_law_and_twin_have_the_same_kernels():
    twin = pytest.importorskip("cpu_fallback.twin", reason="Numba is not installed")
    assert set(twin.__all__) - NOT_KERNELS == set(law.__all__) - NOT_KERNELS


def test_all_is_exactly_the_public_names():
    names = {n for n in public(law) if n not in {"annotations", "TYPE_CHECKING"}}
    assert set(law.__all__) == names


def test_the_gpu_room_owes_only_what_it_lists():
    owed = set(kernels.NOT_ON_GPU_YET)
    here = {n for n in vars(kernels) if not n.startswith("_")}
    assert owed.isdisjoint(here)
    assert owed | (here & set(law.__all__)) - NOT_KERNELS == set(law.__all__) - NOT_KERNELS
    assert owed <= NOT_ON_GPU_AT_FIRST, "the list may only shrink"


def test_every_kernel_states_its_cost():
    assert set(law.OPERATIONS) == set(law.__all__) - NOT_KERNELS


def fresh(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_only_compiled_code_calls_what_has_no_way_in_from_python():
    kinds, calls = {}, set()
    for path in (ROOT / "cpu_fallback" / "twin").glob("*.py"):
        functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
        marks = {f.name: {d.id for d in f.decorator_list if isinstance(d, ast.Name)} for f in functions}
        kinds |= {(path.stem, name): mark for name, mark in marks.items()}
        for function in functions:
            names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
            if not marks[function.name]:
                calls |= {(path.stem, name) for name in names}
    inner = {key for key, marks in kinds.items() if "inner" in marks}
    assert len(inner) > 40
    assert calls.isdisjoint(inner), "calling it from Python ends the process: it is to be `compiled`"
    assert {name for _, name in inner if not name.startswith("_")} <= {"clear_row", "copy_row", "pad_row", "sum_row"}


def test_import_is_light():
    heavy = "cupy numba scipy dask tifffile PIL imagecodecs"
    code = f"import sys, gpu_nx47; print(*[m for m in {heavy!r}.split() if m in sys.modules])"
    assert fresh(code) == ""


def test_the_law_is_numpy_alone():
    code = "import sys, cpu_fallback.law; print(*[m for m in ('numba', 'scipy', 'gpu_nx47') if m in sys.modules])"
    assert fresh(code) == ""


def test_no_submodule_shares_a_public_functions_name():
    import gpu_nx47

    modules = {p.stem for p in (ROOT / "gpu_nx47").iterdir()}
    assert modules.isdisjoint(gpu_nx47.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_readable(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "split it, or argue for it here"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno <= 60, node.name
