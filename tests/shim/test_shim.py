"""The shim itself: it runs what CUDA would, and finds what a parity test could miss."""

import os
import subprocess
import sys
from pathlib import Path

import build
import fakecupy
import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import kernels
from gpu_nx47.kernels import _loader

HERE = Path(__file__).parent
HEAD = '#include "nx47.cuh"\n'


@pytest.fixture
def run(device, tmp_path, monkeypatch):
    """Return a function that builds a kernel `k` from its text and launches it."""

    def launch(text, blocks, threads, *arguments, order="forward"):
        (tmp_path / "probe.cu").write_text(HEAD + text)
        (tmp_path / "nx47.cuh").write_text((_loader.HERE / "nx47.cuh").read_text())
        monkeypatch.setattr(_loader, "HERE", tmp_path)
        fakecupy.forget()
        device.order = order
        _loader.launch("probe", "k", blocks, *arguments, threads=threads)

    return launch


LOG = """
extern "C" __global__ void k(u32* log, u32* next) {
  const u32 at = atomicAdd(next, 1u);
  log[at] = (u32)thread_index();
}
"""


def test_threads_run_in_the_order_asked_for(run):
    seen = {}
    for order in fakecupy.ORDERS:
        log, following = (kernels.to_device(np.zeros(n, np.uint32)) for n in (12, 1))
        run(LOG, 3, 4, log, following, order=order)
        seen[order] = kernels.to_host(log).tolist()
    assert seen["forward"] == list(range(12))
    assert seen["reverse"] == list(range(11, -1, -1))
    assert sorted(seen["shuffled"]) == list(range(12))
    assert seen["shuffled"] not in (seen["forward"], seen["reverse"])


ROTATE = """
extern "C" __global__ void k(u32* out) {
  __shared__ u32 room[64];
  u32 mine = threadIdx.x;
  for (int turn = 0; turn < 3; turn++) {
    room[threadIdx.x] = mine;
    __syncthreads();
    mine = room[(threadIdx.x + 1) % 64];
    __syncthreads();
  }
  out[thread_index()] = mine;
}
"""


@pytest.mark.parametrize("order", fakecupy.ORDERS)
def test_a_barrier_holds_all_threads(run, order):
    out = kernels.to_device(np.zeros(128, np.uint32))
    run(ROTATE, 2, 64, out, order=order)
    assert kernels.to_host(out).reshape(2, 64).tolist() == [[(i + 3) % 64 for i in range(64)]] * 2


def test_shared_memory_is_poisoned_for_each_block(run):
    text = 'extern "C" __global__ void k(u32* out) { __shared__ u32 room; out[blockIdx.x] = room; room = 1; }'
    out = kernels.to_device(np.zeros(3, np.uint32))
    run(text, 3, 1, out)
    assert kernels.to_host(out).tolist() == [0xA5A5A5A5] * 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("if (threadIdx.x < 5) __syncthreads();", "only 5 of 64 threads of a block meet the barrier in line"),
        ("if (threadIdx.x < 5) __syncthreads();\nelse __syncthreads();", "different barriers, lines"),
    ],
)
@pytest.mark.parametrize("order", fakecupy.ORDERS)
def test_threads_that_part_at_a_barrier_are_an_error(run, body, words, order):
    out = kernels.to_device(np.zeros(1, np.uint32))
    with pytest.raises(RuntimeError, match=words):
        run(f'extern "C" __global__ void k(u32* out) {{ {body} }}', 1, 64, out, order=order)


@pytest.mark.parametrize(("at", "side"), [(-1, "before"), (8, "past")])
def test_a_write_outside_an_array_is_found(run, at, side):
    out = kernels.to_device(np.zeros(8, np.uint32))
    with pytest.raises(AssertionError, match=f"k wrote {side}"):
        run(f'extern "C" __global__ void k(u32* out) {{ out[{at}] = 1; }}', 1, 1, out)


TWO = 'extern "C" __global__ void k(const u16* in, i32 n) {}'


@pytest.mark.parametrize(
    ("dtype", "number", "words"),
    [
        (np.int16, np.int32(1), "another array than int16"),
        (np.uint16, np.int64(1), "another number than int64"),
        (np.uint16, 1, "wants a NumPy scalar, got int"),
    ],
)
def test_arguments_have_exactly_the_parameters_types(run, dtype, number, words):
    with pytest.raises(AssertionError, match=words):
        run(TWO, 1, 1, kernels.to_device(np.zeros(3, dtype)), number)


def test_numpy_never_reads_a_device_array_by_itself(device):
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(kernels.to_device(np.zeros(3)))


def sanitized(libraries, *mutation):
    """Run sanitized.py in a process whose memory the address sanitizer watches."""
    runtime = subprocess.run(
        [build.compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("g++ has no address sanitizer here")
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        # Python frees little at its end; a read past an array is what is looked for.
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(HERE.parents[1]),
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, str(HERE / "sanitized.py"), str(libraries), *mutation],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_port_trips_a_sanitizer(libraries):
    done = sanitized(libraries)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{len(law.OPERATIONS)} kernels, 3 orders: no complaint, the law's bits"


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        # Both give the law's bits: only a sanitizer sees them.
        (("_table", "end < stop && codes[end] == code", "codes[end] == code && end < stop"), "heap-buffer-overflow"),
        (
            ("_morphology", "i64 number = 0;", "i64 number = 0; volatile i32 top = 2147483647; top = top + 1;"),
            "overflow",
        ),
    ],
)
def test_a_sanitizer_finds_what_leaves_the_bits_alone(libraries, mutation, words):
    done = sanitized(libraries, *mutation)
    assert done.returncode != 0
    assert words in done.stderr
