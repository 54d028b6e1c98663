"""The host code of the ports: tables kept on the device, the devices' clock, the probe, and a device that fails."""

from concurrent.futures import ThreadPoolExecutor

import fakecupy
import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import backend, kernels, tables
from gpu_nx47.errors import BackendUnavailableError
from gpu_nx47.kernels import _clock, _launch, _loader


def frozen(values):
    table = np.array(values, np.uint32)
    table.flags.writeable = False
    return table


def test_a_frozen_table_goes_to_a_device_once(device):
    table = frozen([1, 2, 3])
    there = _launch.upload(table)
    assert _launch.upload(table) is there
    assert kernels.to_host(there).tolist() == [1, 2, 3]
    kernels.free_memory()
    assert _launch.upload(table) is not there


def test_each_device_has_its_own_copy_of_a_table(device):
    device.devices = 2
    table = frozen([1, 2, 3])
    first = _launch.upload(table)
    fakecupy.Device(device, 1).use()
    assert _launch.upload(table) is not first
    assert _launch.upload(table)._allocation.device == 1


@pytest.mark.parametrize("make", [lambda t: t, lambda t: frozen(t)[:2]], ids=["may be written", "a view"])
def test_a_table_that_may_change_is_copied_each_time(device, make):
    table = make(np.array([1, 2, 3], np.uint32))
    before = _launch.upload(table)
    if table.flags.writeable:
        table[0] = 9
    assert _launch.upload(table) is not before
    assert kernels.to_host(_launch.upload(table)).tolist() == table.tolist()


def test_the_copy_of_a_table_that_is_gone_is_not_kept(device):
    _launch.upload(frozen([1, 2, 3]))
    assert not _launch._kept.tables


def test_each_thread_has_its_own_stream_and_tables(device):
    """A copy on one thread's stream may not have arrived when another's kernel reads it: the stand-in would refuse."""
    table = tables.sigmoid_table()
    codes = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)

    def work(_):
        return kernels.to_host(kernels.lookup(kernels.to_device(codes), table=table))

    with ThreadPoolExecutor(3, initializer=kernels.enter_thread) as pool:
        assert all(np.array_equal(found, law.lookup(codes, table=table)) for found in pool.map(work, range(12)))
    there = kernels.to_device(codes)
    with (
        ThreadPoolExecutor(1, initializer=kernels.enter_thread) as pool,
        pytest.raises(AssertionError, match="an array of another stream"),
    ):
        pool.submit(kernels.lookup, there, table=table).result()


def test_two_tables_at_one_address_are_not_confused(device):
    for value in range(200):
        assert kernels.to_host(_launch.upload(frozen([value]))).tolist() == [value]


def test_the_devices_clock_adds_up_every_kernel(device):
    before = kernels.device_seconds()
    mask = kernels.to_device(np.ones((2, 3, 4), np.bool_))
    for _ in range(5):
        kernels.count(mask)
    assert kernels.device_seconds() - before == pytest.approx(5 / 1000)  # the stand-in's kernels take a millisecond


def test_the_clock_keeps_few_events(device, monkeypatch):
    monkeypatch.setattr(_clock, "WAITING", 3)
    before = kernels.device_seconds()
    mask = kernels.to_device(np.ones((2, 3, 4), np.bool_))
    for _ in range(20):
        kernels.count(mask)
        assert len(_clock._CLOCK.pairs) <= 3
    assert kernels.device_seconds() - before == pytest.approx(20 / 1000)


def test_the_probe_passes(device):
    kernels.probe()
    assert {"gaussian_yx", "stencils", "local_variance", "paint"} <= set(device.launches)


@pytest.mark.parametrize("kernel", ["gaussian", "gradient_magnitude", "local_variance", "label"])
def test_the_probe_finds_one_wrong_bit(device, monkeypatch, kernel):
    right = getattr(kernels, kernel)

    def wrong(*arrays, **parameters):
        result = right(*arrays, **parameters)
        array = result[0] if kernel == "label" else result
        array._view[-1, -1, -1] ^= 1
        return result

    monkeypatch.setattr(kernels, kernel, wrong)
    with pytest.raises(BackendUnavailableError, match=f"the GPU's {kernel} gives other bits than the law"):
        backend.select("gpu")
    assert backend.select("auto")[1].startswith(f"no GPU (the GPU's {kernel} gives other bits than the law)")


def test_a_device_that_fails_is_a_reason_not_a_crash(device):
    device.capacity = 0
    with pytest.raises(BackendUnavailableError, match=r"the GPU fails its probe \(Out of memory .*--backend cpu"):
        backend.select("gpu")
    assert backend.select("auto")[0].NAME in ("cpu", "law")


def test_without_cupy_the_reason_says_so(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    _loader.cupy.cache_clear()
    monkeypatch.setattr(_loader, "import_module", missing)
    with pytest.raises(BackendUnavailableError, match=r"CuPy cannot be imported \(No module named 'cupy'\)"):
        backend.select("gpu")
    assert "no GPU (CuPy cannot be imported" in backend.select("auto")[1]


def test_to_device_and_to_host_want_their_arrays(device):
    there = kernels.to_device(np.arange(3))
    assert kernels.to_device(there) is there
    with pytest.raises(TypeError, match="gpu: expected a NumPy array, got list"):
        kernels.to_device([1])
    with pytest.raises(TypeError, match="gpu: expected a device array, got ndarray"):
        kernels.to_host(np.arange(3))


@pytest.mark.parametrize(("size", "locked"), [(1 << 10, False), (1 << 20, True), (5 << 20, True), (65 << 20, False)])
def test_copies_of_the_size_of_a_tile_go_through_page_locked_memory(device, size, locked):
    codes = np.random.default_rng(8).integers(0, 65536, (4, size // 8), dtype=np.uint16)
    back = kernels.to_host(kernels.to_device(codes))
    assert device.pinned == [size] * locked
    assert (back.dtype, back.shape) == (codes.dtype, codes.shape)
    assert back.flags.c_contiguous
    assert back.flags.writeable
    assert np.array_equal(back, codes)


def test_where_no_memory_can_be_locked_the_copy_goes_without(device):
    device.pinned_capacity = 0
    codes = np.arange(1 << 20, dtype=np.uint16).reshape(4, -1)
    assert np.array_equal(kernels.to_host(kernels.to_device(codes)), codes)
    assert device.pinned


@pytest.mark.parametrize("ask", [lambda a: a[0], lambda a: a + 1, np.any, lambda a: np.add(a, 1), lambda a: a == 1])
def test_a_shadow_has_no_voxels_to_ask_for(device, ask):
    """Its memory is one element long: a check that read more would read whatever lies behind."""
    shadow = _launch.shadow(kernels.to_device(np.zeros((2, 3, 4), np.uint16)), bounds=(3, 9))
    assert (shadow.shape, shadow.dtype, shadow.size, shadow.flags.c_contiguous) == ((2, 3, 4), np.uint16, 24, True)
    assert (shadow.min(), shadow.max()) == (3, 9)
    with pytest.raises(TypeError, match="a check asks for the voxels"):
        ask(shadow)


def test_an_unported_kernel_says_so(monkeypatch):
    monkeypatch.setattr(kernels, "NOT_ON_GPU_YET", ("thinning",))
    with pytest.raises(BackendUnavailableError, match="the kernel 'thinning' has no GPU port in this version"):
        _ = kernels.thinning
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kernels.nothing


def test_more_blocks_than_stay_resident_share_the_work(device, monkeypatch):
    """Grid-stride loops: on a device a volume has more voxels than the grid has threads."""
    monkeypatch.setattr(_launch, "RESIDENT", 2)
    grey = np.random.default_rng(7).integers(0, 256, (11, 13, 17), dtype=np.uint8)
    mask, there = grey > 150, kernels.to_device(grey)
    assert kernels.count(kernels.to_device(mask)) == law.count(mask)
    labels, count = kernels.label(kernels.to_device(mask), connectivity=26)
    expected = law.label(mask, connectivity=26)
    assert count == expected[1]
    assert np.array_equal(kernels.to_host(labels), expected[0])
    table = tables.sigmoid_table()[:256].copy()
    assert np.array_equal(kernels.to_host(kernels.lookup(there, table=table)), law.lookup(grey, table=table))
