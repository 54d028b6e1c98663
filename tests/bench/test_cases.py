"""The harness's cases are calls of every kernel; pytest-benchmark times them small (--benchmark-only)."""

import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47.backend import Meter
from gpu_nx47.bench import kernels
from gpu_nx47.bench.cases import Case, cases
from gpu_nx47.engine import Engine

twin = pytest.importorskip("cpu_fallback.twin", reason="Numba is not installed")

NAMES = [case.name for case in cases(32)]
IN_SLABS = [case.name for case in cases(32) if not case.whole]


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a, b)
        assert getattr(a, "dtype", int) == getattr(b, "dtype", int)


def test_every_kernel_is_timed():
    timed = {kernel for case in cases(32) for kernel, _ in case.calls}
    assert timed == {n for n in law.__all__ if callable(getattr(law, n))} - {"probe", "to_device", "to_host"}


def test_no_name_twice():
    assert len(set(NAMES)) == len(NAMES)


def test_only_what_is_wanted_is_built():
    assert [case.name for case in cases(32, lambda name: "label" in name)] == ["label 6", "label 26"]


@pytest.mark.parametrize("name", NAMES)
def test_twin_and_law_give_the_same(name, small):
    case = small[name]
    same(case.run(twin, case.arrays), case.run(law, case.arrays))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", IN_SLABS)
def test_what_the_slabs_give_is_what_the_whole_gives(name, threads, small):
    case = small[name]
    engine = Engine(Meter(twin), (64, 512, 512), threads)
    found = [np.concatenate(part) if isinstance(part, list) else part for part in kernels.by_slabs(case, engine)]
    same(found, case.run(twin, case.arrays))


def test_slabs_execute_more_than_is_asked_for_unless_a_kernel_takes_a_window(small):
    case = small["z_projection mean"]
    asked, executed = kernels.counted(case, Engine(Meter(twin), (64, 512, 512), 2))
    per_voxel = law.OPERATIONS["z_projection"](**case.calls[0][1])
    depth = case.first.shape[0]
    assert asked == per_voxel * case.voxels
    assert executed == asked * (depth + 2 * case.halo[0]) / depth  # two slabs, each with one halo of eight slices
    assert kernels.counted(case, Engine(Meter(twin), (64, 512, 512), 1)) == (asked, asked)
    case = small["gaussian sigma 3"]
    asked = law.OPERATIONS["gaussian"](taps=case.calls[0][1]["taps"]) * case.voxels
    for threads in (1, 2, 3):
        assert kernels.counted(case, Engine(Meter(twin), (64, 512, 512), threads)) == (asked, asked)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"gather"}))  # it reads the voxels picked, not the volume
def test_the_floor_is_each_input_and_each_result_once(name, small):
    case = small[name]
    inputs = case.arrays[0] if isinstance(case.arrays[0], tuple) else case.arrays
    volumes = [r for r in case.run(twin, case.arrays) if getattr(r, "ndim", 0) == 3]
    assert case.floor * case.voxels == sum(a.nbytes for a in (*inputs, *volumes))
    assert case.twin is None or case.twin >= case.floor


@pytest.mark.parametrize("name", NAMES)
def test_speed(name, small, timed):
    case: Case = small[name]
    result = timed.pedantic(case.run, args=(twin, case.arrays), rounds=3, warmup_rounds=1)
    same(result, case.run(twin, case.arrays))
