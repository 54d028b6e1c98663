"""The NX47 unit: law and twin agree to the bit, on extremes of codes, weights and samples."""

from itertools import pairwise

import numpy as np
import pytest
from volumes import draw_codes

from gpu_nx47 import tables

SIGMOID, SOFTPLUS = tables.sigmoid_table(), tables.softplus_table()


def parameters(rng, k):
    spread = 10.0 ** rng.integers(-3, 3)
    return {
        "mean": rng.normal(0, 20_000, k).astype(np.float32),
        "scale": (1 / rng.uniform(1, 9000, k)).astype(np.float32) * (rng.random(k) < 0.9),
        "weights": rng.normal(0, spread, k).astype(np.float32),
        "bias": np.float32(rng.normal(0, spread)),
        "sigmoid": SIGMOID,
    }


def test_neuron(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([55, seed])
        k = 1 + seed % 11
        alike = (1, 4, 9)[seed % 3]  # successive features of one dtype
        first = draw_codes(seed, np.uint16)
        features = tuple(
            rng.permuted(first.astype(np.int64)).astype([np.uint16, np.int16][(seed + i // alike) % 2])
            for i in range(k)
        )
        agree("neuron", features, **parameters(rng, k))


def layers(rng, sizes, spread=1.0):
    """Return hidden layers, and the last neuron's weights, of a net of these sizes, the features' number first."""

    def drawn(*shape):
        return rng.normal(0, spread / np.sqrt(shape[-1]), shape).astype(np.float32)

    hidden = tuple((drawn(n, before), drawn(n)) for before, n in pairwise(sizes))
    return {"hidden": hidden, "weights": drawn(sizes[-1])}


def test_net(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([57, seed])
        # Neurons that are four, a few more, fewer; one layer and three; each a voxel count of its own.
        sizes = [(1, 1), (2, 4), (3, 5, 2), (9, 8, 6, 7), (4, 13), (23, 24, 12)][seed % 6]
        first = draw_codes(seed, np.uint16)
        features = tuple(
            rng.permuted(first.astype(np.int64)).astype([np.uint16, np.int16][(seed + i // 2) % 2])
            for i in range(sizes[0])
        )
        p = parameters(rng, sizes[0])
        agree("net", features, **p | layers(rng, sizes, spread=[1, 9, 0.1][seed % 3]))


def test_net_of_the_widest_layers(agree):
    rng = np.random.default_rng(58)
    codes = rng.integers(0, 65_536, (2, 3, 7)).astype(np.uint16)
    agree("net", (codes,) * 256, **parameters(rng, 256) | layers(rng, (256, 256, 255)))


def test_net_ramps_at_every_logit_code(agree):
    """A hidden neuron whose logit code is the feature's code, and a last one that hands its output on."""
    from cpu_fallback import law

    code = np.arange(65_536).astype(np.uint16).reshape(16, 64, 64)
    one = np.ones(1, np.float32)
    given = {"mean": one * 32_768, "scale": one / 4096, "weights": one, "bias": np.float32(0)}
    given |= {"hidden": ((2 * one[None], 0 * one),), "sigmoid": np.arange(65_536).astype(np.uint16)}
    agree("net", (code,), **given)
    expected = 32_768 + np.clip(code.astype(int) - 32_768, 0, 8 * 2048)
    assert np.array_equal(law.net((code,), **given), expected)


def test_net_is_its_neurons_one_by_one():
    from cpu_fallback import law

    rng = np.random.default_rng(59)
    features = tuple(rng.integers(0, 65_536, (3, 4, 5)).astype(np.uint16) for _ in range(3))
    p, own = parameters(rng, 3), layers(rng, (3, 4, 2))
    codes, given = features, {"mean": p["mean"], "scale": p["scale"], "sigmoid": law._neuron.RAMP}
    for rows, bias in own["hidden"]:
        codes = tuple(law.neuron(codes, weights=r, bias=b, **given) for r, b in zip(rows, bias, strict=True))
        given |= {"mean": np.zeros(len(codes), "f4"), "scale": np.full(len(codes), 1 / 4096, "f4")}
    expected = law.neuron(codes, weights=own["weights"], bias=p["bias"], **given | {"sigmoid": SIGMOID})
    assert np.array_equal(law.net(features, **p | own), expected)


def test_neuron_is_the_logistic_of_the_standardised_codes():
    from cpu_fallback import law

    rng = np.random.default_rng(1)
    codes = tuple(rng.integers(0, 65_536, (9, 8, 7)).astype(np.uint16) for _ in range(3))
    p = {**parameters(rng, 3), "mean": np.full(3, 32_768, "f4"), "scale": np.full(3, 1 / 9000, "f4")}
    p["weights"], p["bias"] = np.array([0.5, -1.0, 0.2], "f4"), np.float32(0.3)
    z = 0.3 + sum(w * (c.astype(float) - 32_768) / 9000 for w, c in zip((0.5, -1.0, 0.2), codes, strict=True))
    expected = 65_535 / (1 + np.exp(-z))
    assert np.abs(law.neuron(codes, **p) - expected).max() < 65_535 / 4 / 2048 / 2 + 1


def test_neuron_sums(agree, seeds):
    for seed in seeds:
        rng = np.random.default_rng([56, seed])
        k = 1 + seed % 7
        n = [1, 2, 1023, 1024, 1025, 3000][seed % 6]
        x = rng.integers(-32_768, 32_768, (k, n)).astype(np.int16)
        if seed % 4 == 0:
            x[:] = [-32_768, 32_767][seed % 8 // 4]
        y = (rng.random(n) < [0, 0.3, 1][seed % 3]).astype(np.uint8)
        p = parameters(rng, k)
        agree("neuron_sums", x, y, weights=p["weights"], bias=p["bias"], sigmoid=SIGMOID, softplus=SOFTPLUS)
        agree("neuron_sums", x, y, weights=p["weights"], bias=p["bias"], sigmoid=SIGMOID)


def test_neuron_sums_of_any_tables_and_labels(agree):
    rng = np.random.default_rng(57)
    x = rng.integers(-32_768, 32_768, (3, 3000)).astype(np.int16)
    y = (rng.random(3000) < 0.5).astype(np.uint8)
    p = parameters(rng, 3)
    for low, high in ((-(2**31), 2**31), (2**31 - 9, 2**31), (-(2**31), -(2**31) + 9)):
        tables = {
            "sigmoid": rng.integers(0, 65_536, 65_536).astype(np.uint16),
            "softplus": rng.integers(low, high, 65_536).astype(np.int32),
        }
        agree("neuron_sums", x, y, weights=p["weights"], bias=p["bias"], **tables)
        agree("neuron_sums", x, y * np.uint8(255), weights=p["weights"], bias=p["bias"], **tables)
        agree("neuron_sums", x, y * np.uint8(255), weights=p["weights"], bias=p["bias"], sigmoid=tables["sigmoid"])


def test_a_loss_that_is_not_asked_for_changes_no_gradient():
    from cpu_fallback import law

    rng = np.random.default_rng(58)
    x = rng.integers(-32_768, 32_768, (3, 50)).astype(np.int16)
    y = (rng.random(50) < 0.5).astype(np.uint8)
    given = {"weights": np.ones(3, "f4"), "bias": np.float32(0.5), "sigmoid": SIGMOID}
    gradient, loss = law.neuron_sums(x, y, **given)
    with_loss = law.neuron_sums(x, y, **given, softplus=SOFTPLUS)
    assert loss == 0 < with_loss[1]
    assert np.array_equal(gradient, with_loss[0])


def test_neuron_sums_are_the_gradient_of_the_loss():
    from cpu_fallback import law

    rng = np.random.default_rng(2)
    x = rng.integers(-12_000, 12_000, (2, 4000)).astype(np.int16)
    y = (rng.random(4000) < 0.4).astype(np.uint8)
    weights, bias = np.array([0.7, -0.4], np.float32), np.float32(-0.2)
    gradient, loss = law.neuron_sums(x, y, weights=weights, bias=bias, sigmoid=SIGMOID, softplus=SOFTPLUS)
    z = -0.2 + np.array([0.7, -0.4]) @ (x / 4096)
    residual = 1 / (1 + np.exp(-z)) - y
    assert loss / 65_536 == pytest.approx((np.logaddexp(0, z) - y * z).sum(), rel=1e-4)
    assert gradient[:2] / (32_767 * 4096) == pytest.approx((x / 4096) @ residual, rel=1e-3)
    assert gradient[2] / 32_767 == pytest.approx(residual.sum(), abs=0.5)


CODES = (np.zeros((2, 3, 4), np.uint16),)
GOOD = {k: np.ones(1, np.float32) for k in ("mean", "scale", "weights")} | {"bias": np.float32(0), "sigmoid": SIGMOID}


def test_neuron_refuses(refuse):
    refuse(ValueError, "at least one feature", "neuron", (), **GOOD)
    refuse(ValueError, "equal shapes", "neuron", (*CODES, np.zeros((2, 3, 5), np.uint16)), **GOOD)
    refuse(TypeError, "dtype uint16 or int16", "neuron", (np.zeros((2, 3, 4), np.uint8),), **GOOD)
    refuse(ValueError, "weights", "neuron", CODES, **GOOD | {"weights": np.ones(2, np.float32)})
    sums = {"weights": GOOD["weights"], "bias": np.float32(0), "sigmoid": SIGMOID, "softplus": SOFTPLUS}
    x, y = np.zeros((1, 5), np.int16), np.zeros(5, np.uint8)
    refuse(TypeError, "int16", "neuron_sums", x.astype(np.int32), y, **sums)
    refuse(ValueError, "n >= 1", "neuron_sums", x, y[:4], **sums)
    refuse(ValueError, "softplus", "neuron_sums", x, y, **sums | {"softplus": SOFTPLUS[:9]})


def test_net_refuses(refuse):
    good = GOOD | {"hidden": ((np.ones((2, 1), np.float32), np.ones(2, np.float32)),), "weights": np.ones(2, "f4")}
    (rows, bias), one = good["hidden"][0], np.ones(1, np.float32)
    refuse(ValueError, "at least one feature", "net", (), **good)
    refuse(ValueError, "equal shapes", "net", (*CODES, np.zeros((2, 3, 5), np.uint16)), **good)
    refuse(ValueError, "at least one layer", "net", CODES, **good | {"hidden": ()})
    refuse(ValueError, r"shape \(neurons, 1\)", "net", CODES, **good | {"hidden": ((np.ones((2, 2), "f4"), bias),)})
    refuse(ValueError, "float32", "net", CODES, **good | {"hidden": ((rows.astype(float), bias),)})
    refuse(ValueError, "bias", "net", CODES, **good | {"hidden": ((rows, one),)})
    refuse(ValueError, "1..256", "net", CODES, **good | {"hidden": ((rows[:0], bias[:0]),)})
    wide = {"hidden": ((np.ones((257, 1), "f4"), np.ones(257, "f4")),), "weights": np.ones(257, "f4")}
    refuse(ValueError, "1..256", "net", CODES, **good | wide)
    refuse(ValueError, "weights", "net", CODES, **good | {"weights": one})
    refuse(ValueError, "scale", "net", CODES, **good | {"scale": np.ones(2, "f4")})
