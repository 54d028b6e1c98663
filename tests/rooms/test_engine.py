"""Tiles cover a volume once, crops are where they say, and neither tile nor thread changes a bit."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu_fallback import law
from gpu_nx47 import bank, direction, settings
from gpu_nx47 import engine as engine_room
from gpu_nx47.anomalies import bends
from gpu_nx47.backend import Meter
from gpu_nx47.direction import Bearing
from gpu_nx47.engine import Engine, histogram, slabs, tiles
from gpu_nx47.errors import SettingsError

shapes = st.tuples(*[st.integers(1, 20)] * 3)


@given(shapes, shapes)
def test_tiles_cover_every_voxel_once(shape, tile):
    seen = np.zeros(shape, int)
    for piece in tiles(shape, tile):
        seen[piece.core] += 1
        assert seen[piece.core].size == piece.voxels
    assert (seen == 1).all()


@given(shapes, shapes, st.lists(st.integers(0, 20), max_size=6, unique=True))
def test_tiles_of_some_slices_cover_them_once_and_nothing_else(shape, tile, ends):
    ends = sorted(end for end in ends if end <= shape[0])
    within = [slice(a, b) for a, b in zip(ends[::2], ends[1::2], strict=False)] or [slice(0, shape[0])]
    seen = np.zeros(shape, int)
    for piece, _ in Engine(Meter(law), tile, 1).within(within).map(shape, lambda tile: tile):
        seen[piece.core] += 1
    inside = np.isin(np.arange(shape[0]), [z for slab in within for z in range(slab.start, slab.stop)])
    assert (seen == inside[:, None, None]).all()


@given(shapes, shapes, st.integers(0, 6), st.integers(0, 6))
def test_within_finds_the_inner_crop(shape, tile, a, b):
    inner, outer = sorted((a, b))
    index = np.arange(np.prod(shape)).reshape(shape)
    for piece in tiles(shape, tile):
        assert (index[piece.crop(outer)][piece.within(inner, outer)] == index[piece.crop(inner)]).all()


def test_results_come_in_raster_order_and_errors_come_out():
    engine = Engine(Meter(law), (1, 2, 2), 3)
    order = [t.start for t, _ in engine.map((4, 4, 4), lambda tile: tile.start)]
    assert order == [t.start for t in tiles((4, 4, 4), (1, 2, 2))]

    def broken(tile):
        if tile.start == (2, 0, 0):
            raise ArithmeticError("here")
        return 0

    with pytest.raises(ArithmeticError, match="here"):
        list(engine.map((4, 4, 4), broken))
    assert not [t for t in threading.enumerate() if t.name.startswith("nx47-tile")]


FEATURES = [*(n for n in settings.DEFAULT_BANK if "@" not in n), "gaussian@0.7"]


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("tile", [(5, 7, 6), (64, 3, 64), (64, 64, 64)])
def test_no_tiling_changes_a_feature(name, tile):
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (13, 17, 11), dtype=np.uint8)
    axis = np.tile(np.array([40, 30], np.int32), (13, 1))
    bearing = Bearing.of(axis, direction.measure(Engine(Meter(law), (99, 99, 99), 1), grey))

    def whole(size, threads):
        meter = Meter(law)
        engine = Engine(meter, size, threads)
        margin = bank.halo([name])
        result = None
        for piece, codes in engine.map(
            grey.shape, lambda t: bank.TileBank(meter, grey, t, bearing, margin).codes(name)
        ):
            result = np.zeros(grey.shape, codes.dtype) if result is None else result
            result[piece.core] = codes
        return result, meter

    expected, once = whole((99, 99, 99), 1)
    found, cut = whole(tile, 2)
    assert (found == expected).all()
    assert once.total()[0] == cut.total()[0], "operations asked for do not depend on the tiling"
    assert cut.total()[1] >= once.total()[1], "halos are counted as executed"


def test_a_halo_smaller_than_the_stated_one_would_change_bits():
    """The declared halo is needed: with one voxel less some feature differs at a tile's edge."""
    rng = np.random.default_rng(4)
    grey = rng.integers(0, 256, (24, 24, 24), dtype=np.uint8)
    meter = Meter(law)
    name = "grad_mag"
    piece = tiles(grey.shape, (12, 24, 24))[0]
    right = bank.TileBank(meter, grey, piece, Bearing(), bank.halo([name])).codes(name)
    spoiled = grey.copy()
    spoiled[12 + bank.halo([name]) - 1] = 255 - spoiled[12 + bank.halo([name]) - 1]
    beyond = grey.copy()
    beyond[12 + bank.halo([name])] = 255 - beyond[12 + bank.halo([name])]
    assert (bank.TileBank(meter, beyond, piece, Bearing(), bank.halo([name])).codes(name) == right).all()
    assert (bank.TileBank(meter, spoiled, piece, Bearing(), bank.halo([name])).codes(name) != right).any()


def test_the_bank_builds_every_feature_that_settings_know():
    assert set(bank._BUILDERS) == set(settings.KNOWN_FEATURES)
    for name in settings.KNOWN_FEATURES:
        assert bank.feature(name).halo >= 1
        assert bank.feature(name).step > 0
    with pytest.raises(SettingsError, match="sharpness"):
        bank.feature("sharpness")
    with pytest.raises(SettingsError, match="without a scale"):
        bank.feature("proj_max@2")


@pytest.mark.parametrize("voxels", [1, 100, 10**9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_the_histogram_of_slabs_is_that_of_the_whole(monkeypatch, voxels, dtype):
    monkeypatch.setattr(engine_room, "SLAB_VOXELS", voxels)
    array = np.random.default_rng(6).integers(0, 200, (11, 9, 8)).astype(dtype)[:, 1:, :-1]
    assert [k for part in slabs(array.shape) for k in range(part.start, part.stop)] == list(range(11))
    meter = Meter(law)
    assert (histogram(meter, array) == law.histogram(np.ascontiguousarray(array))).all()
    assert meter.total()[0] == array.size, "as many operations are counted as for the whole"
    assert (histogram(law, array, 3) == histogram(law, array)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_independent_works_give_their_results_in_order(threads):
    began = []

    def work(number):
        began.append(number)
        if number == 5:
            raise ValueError("the fifth")
        return number * number

    engine = Engine(Meter(law), (8, 8, 8), threads)
    assert engine.together(*(lambda n=n: work(n) for n in range(5))) == [0, 1, 4, 9, 16]
    assert sorted(began) == list(range(5))
    with pytest.raises(ValueError, match="the fifth"):
        engine.together(lambda: work(5), lambda: work(6))


def test_works_are_done_at_once_by_as_many_threads_as_there_are():
    meet = threading.Barrier(2, timeout=60)  # breaks where one of them is not begun before the other ends
    assert Engine(Meter(law), (8, 8, 8), 2).together(meet.wait, meet.wait) in ([0, 1], [1, 0])


def test_thinner_tiles_give_the_same_bits():
    values = np.random.default_rng(4).integers(0, 65_536, (19, 20, 21)).astype(np.uint16)
    engine = Engine(Meter(law), (16, 16, 16), 2)
    assert [tile.stop[0] for tile, _ in engine.thinner(4).map(values.shape, lambda tile: None)][::4] == [
        4,
        8,
        12,
        16,
        19,
    ]
    assert engine.thinner(100).tile == (1, 16, 16)
    assert np.array_equal(bends(engine, values), bends(engine.thinner(5), values))
