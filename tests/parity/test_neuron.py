"""The NX47 unit: law and twin agree to the bit, on extremes of codes, weights and samples."""

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
        alike = (1, 4, 9)[seed % 3]  # successive features of one dtype: the twin takes them four at a time
        first = draw_codes(seed, np.uint16)
        features = tuple(
            rng.permuted(first.astype(np.int64)).astype([np.uint16, np.int16][(seed + i // alike) % 2])
            for i in range(k)
        )
        agree("neuron", features, **parameters(rng, k))


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
