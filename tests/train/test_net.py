"""A small net of neurons: trained in integers, computed as the neuron one by one, taken only where it pays."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import QUICK, learn, settings, steps

import gpu_nx47
from gpu_nx47 import backend
from gpu_nx47.descent import Sample
from gpu_nx47.engine import Engine
from gpu_nx47.model import read_model
from gpu_nx47.neuron import Layer, Scaling, Unit
from gpu_nx47.train import net


@pytest.fixture(scope="module", autouse=True)
def _short():
    whole = net.STEPS
    net.STEPS = 200
    yield
    net.STEPS = whole


@given(st.integers(1, 70), st.integers(1, 900), st.integers(1, 40), st.integers(0, 2**32))
def test_a_product_is_that_of_integers_however_it_is_cut(rows, inner, columns, seed):
    draw = np.random.default_rng(seed)
    a, b = draw.integers(-(2**17), 2**17, (rows, inner)), draw.integers(-(2**15), 2**15, (inner, columns))
    made = net.exact_product(a.astype(np.float64), b.astype(np.float64), 2.0**32)
    assert (made.astype(np.int64) == a @ b).all()


def test_a_product_that_might_not_be_exact_is_refused():
    wide = np.ones((1, 1 << 13))
    assert net.exact_product(wide, wide.T, 2.0**39) == 1 << 13
    with pytest.raises(ValueError, match="may not be exact"):
        net.exact_product(wide, wide.T, 2.0**40)


def crossed(count, seed):
    """Labels that no single neuron can tell: the product of two features' signs."""
    x = np.random.default_rng(seed).integers(-8000, 8000, (3, count)).astype(np.int16)
    return x, ((x[0] > 0) ^ (x[1] > 0)).astype(np.uint8)


def probability(made, x, name="cpu"):
    plain = Scaling(np.zeros(len(x), np.float32), np.full(len(x), 1 / 4096, np.float32))
    unit = Unit(tuple("abc"[: len(x)]), plain, made.weights, np.float32(made.bias), made.hidden)
    meter = backend.Meter(backend.select(name)[0])
    return meter.to_host(unit.probability(meter, tuple(row.reshape(1, 1, -1) for row in x))).reshape(-1)


def test_a_net_learns_what_no_neuron_can():
    made = net.fit_net(*crossed(20_000, 1), (12,), 47)
    x, y = crossed(5_000, 2)
    assert np.mean((probability(made, x) >= 32768) == (y == 1)) > 0.9
    assert made.curve[-1][1] < 0.5 * made.curve[0][1]


def test_the_kernels_compute_what_was_trained():
    """An independent net in float64 with the same weights, within the steps of its codes."""
    made = net.fit_net(*crossed(8_000, 3), (6, 4), 5)
    x, _ = crossed(500, 4)
    values = x / 4096.0
    for layer in made.hidden:
        values = np.clip(layer.weights.astype(float) @ values + layer.bias[:, None], 0, 8)
    p = 1 / (1 + np.exp(-(made.weights.astype(float) @ values + made.bias)))
    assert np.abs(probability(made, x) / 65535 - p).max() < 2e-3
    assert (probability(made, x, "law") == probability(made, x)).all()


def test_silent_neurons_are_counted():
    x, y = crossed(4096, 6)
    made = net.fit_net(x, y, (10,), 7)
    assert made.active[0] <= 10
    dead = net.fit_net(np.zeros_like(x), y, (10,), 7)
    assert dead.active[0] == 0  # no input, no bias yet: not one of them says anything


@pytest.fixture(scope="module")
def netted(root):
    told = []
    return learn(root, told, backend="cpu", neuron={**QUICK["neuron"], "hidden": [6], "samples": 8192}), told


def test_a_net_is_taken_where_it_beats_the_neuron(netted):
    model, told = netted
    (said,) = steps(told, "net")
    assert said["taken"]
    assert said["val_ce"] < said["neuron_val_ce"]
    assert [len(layer.bias) for layer in model.unit.hidden] == [6]
    assert model.trained.chosen.val_ce == said["val_ce"]
    assert said["active_neurons"]["end"] == model.trained.chosen.active_neurons_end > 0


def test_a_net_that_does_not_pay_is_left(root, monkeypatch):
    monkeypatch.setattr(net, "STEPS", 1)
    told = []
    model = learn(root, told, backend="cpu", neuron={**QUICK["neuron"], "hidden": [2]})
    assert not steps(told, "net")[0]["taken"]
    assert model.unit.hidden == ()


@pytest.mark.same_bits
@pytest.mark.parametrize("how", [{"backend": "law"}, {"backend": "cpu", "tile": [16, 24, 40], "threads": 2}])
def test_a_net_has_the_same_bits_whatever_computes_it(root, netted, how):
    again = learn(root, **how, neuron={**QUICK["neuron"], "hidden": [6], "samples": 8192})
    assert again.document() == netted[0].document()


@pytest.mark.long
def test_a_run_with_a_net_has_one_answer(root, netted, tmp_path, monkeypatch):
    file = tmp_path / "net.json"
    netted[0].write(file)
    assert read_model(file).digest == netted[0].digest
    whole = gpu_nx47.run(root, tmp_path / "a", {**QUICK, "model": str(file)})
    monkeypatch.setattr("gpu_nx47.bank.PART_VOXELS", 5000)
    tiles = {"backend": "cpu", "tile": [20, 64, 31], "threads": 2}
    again = gpu_nx47.run(root, tmp_path / "b", {**QUICK, "model": str(file), **tiles})
    assert again.submission.read_bytes() == whole.submission.read_bytes()
    assert again.files[0]["calc_ops"] == whole.files[0]["calc_ops"]
    points = whole.files[0]["golden_nonce_points_topk"]
    assert all(part["logit"] is None for point in points for part in point["features"].values())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["hidden"][0]["weights"][0].pop(), "numbers"),
        (lambda d: d["hidden"][0]["bias"].pop(), "numbers"),
        (lambda d: d["hidden"][0].update(weights=[]), "weights and bias"),
        (lambda d: d["neuron"]["weights"].append("0x1p0"), "numbers"),
    ],
)
def test_a_net_that_does_not_fit_together_is_refused(netted, tmp_path, change, says):
    from gpu_nx47.errors import UsageError

    document = json.loads(json.dumps(netted[0].document()))
    change(document)
    (tmp_path / "bad.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=says):
        read_model(tmp_path / "bad.json")


def test_the_cross_entropy_of_codes_is_that_of_the_sums():
    """A net without hidden layers is the neuron, whose loss the kernel sums by itself."""
    x, y = crossed(3000, 8)
    weights, bias = [0.5, -1.25, 0.0], 0.125
    meter = backend.Meter(backend.select("cpu")[0])
    plain = Scaling(np.zeros(3, np.float32), np.full(3, 1 / 4096, np.float32))
    unit = Unit(("a", "b", "c"), plain, np.array(weights, np.float32), np.float32(bias), ())
    engine = Engine(meter, settings().tile, 1)
    from gpu_nx47.descent import cross_entropy

    expected = cross_entropy(meter, Sample.of(x, y), weights, bias)
    assert net._cross_entropy(engine, unit, x, y) == pytest.approx(expected, abs=1e-4)
    assert Layer is not None
