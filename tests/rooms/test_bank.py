"""The features of a tile: what they share is computed once and changes no bit, in whatever order they are asked for."""

from collections import Counter

import numpy as np
import pytest

from cpu_fallback import costs, law
from gpu_nx47 import bank, phantom, tables
from gpu_nx47.backend import Meter
from gpu_nx47.direction import Bearing
from gpu_nx47.engine import Engine, Tile
from gpu_nx47.errors import SettingsError
from gpu_nx47.inference import Wanted, infer
from gpu_nx47.neuron import Scaling, Unit
from gpu_nx47.settings import ALONG_SHEETS, DEFAULT_BANK

GREY = phantom.make_phantom(40, 3).image
AXIS = np.array([[8 * 20 + z, 8 * 55 - z] for z in range(GREY.shape[0])], np.int32)
PIECES = [
    Tile((0, 0, 0), GREY.shape, GREY.shape),
    Tile((0, 13, 27), (5, 30, 40), GREY.shape),
    Tile((17, 14, 15), (23, 25, 16), GREY.shape),
]
PLAIN = [name for name in DEFAULT_BANK if name not in ALONG_SHEETS]
MORE = (*PLAIN, "grad_mag@3", "bandpass_response@2", "gaussian@2", "laplace@0.7")


class Watched:
    """A backend that notes which kernels are called."""

    def __init__(self):
        self.NAME, self.calls = "law", []

    def __getattr__(self, name):
        def noted(*arrays, **parameters):
            self.calls.append((name, parameters))
            return getattr(law, name)(*arrays, **parameters)

        return noted if name in law.OPERATIONS else getattr(law, name)


def of(piece, names, *, told=True, axis=AXIS):
    """Return the bank of a tile that is told what will be asked for, or not, and the calls of its kernels."""
    watched = Watched()
    meter = Meter(watched)
    return bank.TileBank(meter, GREY, piece, Bearing(axis), bank.halo(names), names if told else ()), watched.calls


def by_definition(name):
    """Return a feature over the whole volume from the single kernels."""
    kind, scale = bank.split_feature(name)
    smooth = law.gaussian(GREY, taps=tables.gaussian_taps(scale or 1.0))
    if kind == "grad_mag":
        return law.gradient_magnitude(smooth)
    if kind == "laplace":
        return law.laplacian(smooth, shift=bank.LAPLACE_SHIFT)
    if kind == "bandpass_response":
        return law.band_pass(smooth, law.gaussian(GREY, taps=tables.gaussian_taps(bank.BAND_RATIO * (scale or 1.0))))
    if kind == "grad_inward":
        return law.gradient_along(smooth, axis=AXIS, origin=(0, 0))
    return smooth


@pytest.mark.parametrize("piece", PIECES, ids=str)
@pytest.mark.parametrize("told", [True, False])
def test_shared_features_are_those_of_single_kernels(piece, told):
    names = [n for n in MORE if bank.base(n) in (*bank.STENCILS, "gaussian")]
    for order in (names, names[::-1]):
        features, _ = of(piece, order, told=told)
        for name in order:
            codes = features.codes(name)
            assert np.array_equal(codes, by_definition(name)[piece.core]), name
            assert codes.flags.c_contiguous


def test_each_scale_is_smoothed_once_and_passed_over_once():
    features, calls = of(PIECES[1], MORE)
    for name in MORE:
        features.codes(name)
    times = Counter(name for name, _ in calls)
    assert times["gaussians"] == 1
    assert times["stencils"] == len(bank.shared(MORE)) == 4
    (taps,) = (parameters["taps"] for name, parameters in calls if name == "gaussians")
    assert len(taps) == len({scale for name in MORE for scale in bank.scales(name)})
    assert not set(times) & {"gaussian", "gradient_magnitude", "laplacian", "band_pass", "gradient_along"}


def test_what_is_not_asked_for_is_not_computed():
    features, calls = of(PIECES[1], ("laplace", "grad_mag@2"))
    features.codes("laplace")
    features.codes("grad_mag@2")
    assert [parameters["results"] for name, parameters in calls if name == "stencils"] == [
        ("laplacian",),
        ("gradient_magnitude",),
    ]


def test_what_was_asked_for_is_not_kept_and_comes_again_alone():
    features, calls = of(PIECES[2], ("grad_mag", "laplace"))
    first = features.codes("grad_mag")
    assert np.array_equal(features.codes("grad_mag"), first)
    features.codes("laplace")
    assert [parameters["results"] for name, parameters in calls if name == "stencils"] == [
        ("gradient_magnitude", "laplacian"),
        ("gradient_magnitude",),
    ]
    assert not features._stencils


def test_what_no_feature_left_needs_is_forgotten():
    names = ("grad_mag", "laplace@2", "local_var")
    features, _ = of(PIECES[1], names)
    features.codes("grad_mag")
    assert set(features._smooth) == {2.0}
    again = features.codes("laplace@2")
    assert not features._smooth
    assert (features.codes("laplace@2") == again).all(), "asked for again, it is computed again"


def test_a_bank_costs_the_same_however_much_it_shares():
    """The operations asked for belong to the features, not to the way they are computed together."""

    def asked(told):
        watched = Meter(Watched())
        with watched.asking(PIECES[1].voxels):
            features = bank.TileBank(watched, GREY, PIECES[1], Bearing(AXIS), bank.halo(MORE), MORE if told else ())
            for name in MORE:
                features.codes(name)
        return watched.total()[0]

    assert asked(True) == asked(False) > 0


def test_what_lies_outside_of_a_window_is_not_counted_as_executed():
    meter, names = Meter(Watched()), ("grad_mag", "laplace")
    features = bank.TileBank(meter, GREY, PIECES[1], Bearing(AXIS), bank.halo(names), names)
    for name in names:
        features.codes(name)
    around = np.prod([part.stop - part.start for part in PIECES[1].crop(1)])
    smooth = costs.operations("gaussian", taps=tables.gaussian_taps(1.0))
    both = costs.operations("stencils", results=("gradient_magnitude", "laplacian"), shift=bank.LAPLACE_SHIFT)
    assert meter.total()[1] == smooth * around + both * PIECES[1].voxels


def test_without_an_axis_only_what_needs_it_is_refused():
    features, _ = of(PIECES[1], ("grad_mag", "laplace"), axis=None)
    features.codes("grad_mag")
    features, _ = of(PIECES[1], ("grad_inward",), axis=None)
    with pytest.raises(SettingsError, match="grad_inward needs the scroll's axis"):
        features.codes("grad_inward")


@pytest.mark.parametrize(("tile", "threads"), [((64, 64, 64), 1), ((16, 24, 40), 2), ((5, 9, 64), 1)])
@pytest.mark.parametrize("slabs", [[slice(0, GREY.shape[0])], [slice(3, 5), slice(9, 18)], [slice(15, 17)]])
def test_the_neuron_counts_its_features_as_a_measurement_does(tile, threads, slabs):
    names = ("grad_mag", "laplace", "local_entropy", "grad_inward")
    scaling = Scaling(np.zeros(4, np.float32), np.full(4, 0.01, np.float32))
    unit = Unit(names, scaling, np.array([1, -1, 0.5, 2], np.float32), np.float32(0.1))
    engine = Engine(Meter(law), tile, threads)
    measured = bank.measure(engine.within(slabs), GREY, names, Bearing(AXIS), np.zeros(0, np.int64)).histograms
    before = engine.backend.asked["histogram"]
    counted = infer(engine, GREY, unit, Bearing(AXIS), wanted=Wanted(slabs=slabs)).histograms
    voxels = sum(slab.stop - slab.start for slab in slabs) * GREY[0].size
    assert list(counted) == list(names)
    for name in names:
        assert counted[name].low == measured[name].low
        assert counted[name].total == voxels
        assert np.array_equal(counted[name].counts, measured[name].counts)
    # Those of the features, and that of the probability.
    assert engine.backend.asked["histogram"] - before == costs.operations("histogram") * (
        len(names) * voxels + GREY.size
    )
    assert infer(engine, GREY, unit, Bearing(AXIS)).histograms == {}
