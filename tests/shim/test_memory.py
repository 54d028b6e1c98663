"""A GPU without memory for something: the same bits, each step told; and several devices that share the tiles."""

import json

import numpy as np
import pytest
from answer import answer, make_root

from cpu_fallback import law
from gpu_nx47 import bank, kernels, rescue
from gpu_nx47.backend import Meter
from gpu_nx47.direction import BLOCK, Bearing, Field
from gpu_nx47.engine import DEVICE_BYTES, Engine, Tile, histogram
from gpu_nx47.inference import Wanted, infer
from gpu_nx47.neuron import Scaling, Unit
from gpu_nx47.settings import NeuronSettings, Settings

RNG = np.random.default_rng(47)
GREY = RNG.integers(0, 256, (9, 14, 20), dtype=np.uint8)
INDEX = np.sort(RNG.choice(GREY.size, 200, replace=False))
NAMES = ("gaussian", "grad_mag", "bandpass_response@0.5", "local_entropy", "proj_mean", "grad_inward")
AXIS = np.full((9, 2), 33, np.int32)


def measure(backend, threads=1):
    """Return what the bank measures, the events of it, and the operations asked for."""
    meter, events = Meter(backend), []
    meter.tell = events.append
    found = bank.measure(Engine(meter, (9, 8, 20), threads), GREY, NAMES, Bearing(AXIS), INDEX)
    return found, events, meter.total()[0]


@pytest.fixture(scope="module")
def of_law():
    return measure(law)


def same(one, other):
    return all(
        np.array_equal(one.histograms[n].counts, other.histograms[n].counts)
        and np.array_equal(one.samples[n], other.samples[n])
        for n in NAMES
    )


def test_a_given_neuron_counts_its_features_in_slabs_as_the_law_does(device):
    """Of slices cut out of a tile that lies on the device."""
    number = len(NAMES)
    scaling = Scaling(np.zeros(number, np.float32), np.full(number, 0.01, np.float32))
    unit = Unit(NAMES, scaling, np.ones(number, np.float32), np.float32(0.1))
    wanted = Wanted(slabs=[slice(1, 3), slice(4, 8)])
    found, expected = (
        infer(Engine(Meter(backend), tile, 1), GREY, unit, Bearing(AXIS), wanted=wanted)
        for backend, tile in ((kernels, (5, 8, 20)), (law, (9, 14, 20)))
    )
    assert np.array_equal(found.probability, expected.probability)
    assert list(found.histograms) == list(NAMES)
    for name in NAMES:
        assert found.histograms[name].low == expected.histograms[name].low
        assert found.histograms[name].total == 6 * GREY[0].size
        assert np.array_equal(found.histograms[name].counts, expected.histograms[name].counts)


def count_allocations(device):
    _, events, _ = measure(kernels)
    assert events == []
    return device.allocations


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_memory_that_is_missing_once_changes_no_bit(device, of_law, step):
    """Each allocation in turn fails (in the gate one of seven): the tile is halved, the device is left empty."""
    number = count_allocations(device)
    assert number > 80
    for at in range(1, number + 1, step):
        device.allocations, device.fail_at = 0, {at}
        found, events, asked = measure(kernels)
        assert same(found, of_law[0]), f"allocation {at}"
        assert asked == of_law[2], f"allocation {at}"
        assert [e["action"] for e in events] == ["halve"], f"allocation {at}"
        kernels.free_memory()
        assert device.live[0] == 0


def test_a_tile_that_never_fits_is_halved_three_times_and_then_computed_on_the_cpu(device, of_law):
    device.capacity = 64
    found, events, asked = measure(kernels)
    assert same(found, of_law[0])
    assert asked == of_law[2]
    below = ["halve", "cpu", "cpu"]
    a_tile = ["halve", "halve", *below, *below, "halve", *below, *below]
    assert [e["action"] for e in events] == 2 * a_tile
    assert all("Out of memory allocating" in e["reason"] for e in events)
    assert device.freed >= len(events)
    assert all((e["calc_ops_executed"] > 0) == (e["action"] == "cpu") for e in events)
    assert "no memory for the tile of 9 x 8 x 20 voxels at (0, 0, 0): freed the pools, halved it" in events[0]["reason"]


def test_a_tile_that_fits_when_halved_stays_on_the_device(device, of_law):
    measure(kernels)
    device.capacity = device.peak - 1
    found, events, _ = measure(kernels)
    assert same(found, of_law[0])
    assert events
    assert {e["action"] for e in events} == {"halve"}


def test_whole_work_is_begun_again_and_then_goes_to_the_cpu(device):
    meter, events = Meter(kernels), []
    meter.tell = events.append
    device.fail_at = {1}
    assert np.array_equal(histogram(meter, GREY), law.histogram(GREY))
    assert [e["action"] for e in events] == ["free"]
    device.capacity = 64
    assert np.array_equal(histogram(meter, GREY), law.histogram(GREY))
    assert [e["action"] for e in events] == ["free", "free", "cpu"]
    assert meter.backend is kernels
    twice = Meter(law)
    histogram(twice, GREY)
    histogram(twice, GREY)
    assert meter.total()[0] == twice.total()[0]


def test_memory_that_the_host_lacks_is_no_fallback():
    meter, events = Meter(law), []
    meter.tell = events.append

    def hungry(*_):
        raise MemoryError("the host")

    with pytest.raises(MemoryError, match="the host"):
        rescue.whole(meter, "work", hungry)
    with pytest.raises(MemoryError, match="the host"):
        rescue.tile(meter, Tile((0, 0, 0), (4, 4, 4), (4, 4, 4)), hungry)
    assert events == []


def test_halves_cover_a_tile_and_one_voxel_is_not_cut():
    tile = Tile((3, 4, 5), (4, 9, 8), (9, 9, 9))
    first, second = tile.halves()
    assert (first.start, first.stop, second.start, second.stop) == ((3, 4, 5), (4, 6, 8), (3, 6, 5), (4, 9, 8))
    one = Tile((1, 1, 1), (2, 2, 2), (9, 9, 9))
    assert one.halves() == [one]


@pytest.mark.same_bits
@pytest.mark.parametrize("capacity", [1 << 17, pytest.param(1 << 14, marks=pytest.mark.long)])
def test_a_run_without_memory_gives_the_laws_answer_and_says_so(device, tmp_path, capacity):
    root = make_root(tmp_path / "root", size=32, seeds=(1,))
    quick = {"neuron": NeuronSettings(samples=2048, steps=10), "threads": 2}
    expected = answer(root, tmp_path / "law", backend="law", **quick)
    device.capacity = capacity
    assert answer(root, tmp_path / "out", backend="gpu", **quick) == expected
    lines = (tmp_path / "out" / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    fallbacks = [e["data"] for e in events if e["event"] == "GPU_FALLBACK_DETECTED"]
    assert {"halve", "cpu"} <= {f["action"] for f in fallbacks}
    alerts = [e["data"] for e in events if e["event"] == "ALERT" and e["data"]["code"] == "GPU_FALLBACK"]
    assert len(alerts) == 1
    assert alerts[0]["value"] == next(f["reason"] for f in fallbacks if f["action"] == "cpu")


@pytest.mark.parametrize(
    ("capacity", "devices", "threads", "expected"),
    [
        (1 << 30, 1, 1, (64, 512, 512)),  # the whole box of 64 x 100 x 200 fits: the tile stays what it is
        (64 * 100 * 200 * DEVICE_BYTES, 1, 1, (64, 512, 512)),
        (64 * 100 * 200 * DEVICE_BYTES - 1, 1, 1, (64, 100, 100)),
        (64 * 100 * 200 * DEVICE_BYTES - 1, 1, 2, (64, 50, 100)),
        (64 * 100 * 200 * DEVICE_BYTES, 2, 2, (64, 512, 512)),
        (0, 1, 1, (32, 25, 25)),  # never below 32,768 voxels before it is halved
    ],
)
def test_tiles_fit_into_what_is_free(device, capacity, devices, threads, expected):
    device.capacity, device.devices = capacity, devices
    engine = Engine(Meter(kernels), (64, 512, 512), threads)
    assert engine._fitting((64, 100, 200)) == expected
    assert Engine(Meter(law), (64, 512, 512), threads)._fitting((64, 100, 200)) == (64, 512, 512)


def test_the_bytes_planned_for_a_voxel_are_those_it_takes(device):
    """Every feature of the default bank kept at once, as the neuron may ask for; tables are small beside them."""
    n, names = 48, Settings().features.bank
    grey = np.zeros((n, n, n), np.uint8)
    tile = Tile((0, 0, 0), grey.shape, grey.shape)
    blocks = (n // BLOCK,) * 3
    field = Field(np.zeros(blocks, np.uint16), np.zeros(blocks, np.uint8), True)
    bearing = Bearing(np.full((n, 2), 33, np.int32), field)
    features = bank.TileBank(Meter(kernels), grey, tile, bearing, bank.halo(names), names)
    kept = [features.codes(name) for name in names]
    assert 0.75 * DEVICE_BYTES < device.peak / n**3 <= DEVICE_BYTES
    assert len(kept) == len(names)


def test_two_devices_share_the_tiles(device, of_law):
    """No array of one device reaches a kernel on the other: the stand-in would refuse it."""
    device.devices = 2
    found, events, asked = measure(kernels, threads=2)
    assert same(found, of_law[0])
    assert (events, asked) == ([], of_law[2])
    assert device.used == {0, 1}
