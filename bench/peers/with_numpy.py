"""NumPy, where one call or two are all there is to it; what takes more is the law."""

from __future__ import annotations

from typing import Any

import numpy as np


def band_pass(case: Any, _: int) -> Any:
    narrow, wide = (a.astype(np.float32) for a in case.arrays)
    return lambda: narrow - wide


def histogram(case: Any, _: int) -> Any:
    codes = case.arrays[0].reshape(-1)
    return lambda: np.bincount(codes, minlength=256 if codes.dtype == np.uint8 else 65_536)


def lookup(case: Any, _: int) -> Any:
    codes, table = case.arrays[0], case.calls[0][1]["table"]
    return lambda: table[codes]


def count(case: Any, _: int) -> Any:
    mask = case.arrays[0]
    return lambda: np.count_nonzero(mask)


def gather(case: Any, _: int) -> Any:
    flat, index = case.arrays[0].reshape(-1), case.calls[0][1]["index"]
    return lambda: flat.take(index)


def moments(case: Any, _: int) -> Any:
    labels, number = case.arrays[0], case.calls[0][1]["count"]

    def work() -> Any:
        place = np.nonzero(labels)
        of = labels[place]
        z, y, x = (axis.astype(np.float64) for axis in place)
        products = (z, y, x, z * z, y * y, x * x, z * y, z * x, y * x)
        sums = [np.bincount(of, minlength=number + 1)]
        sums += [np.bincount(of, weights=product, minlength=number + 1) for product in products]
        return np.stack([s[1:] for s in sums], axis=1)

    return work


def neuron_sums(case: Any, _: int) -> Any:
    x, y = (a.astype(np.float32) for a in case.arrays)
    x /= 4096
    weights, bias = case.calls[0][1]["weights"], case.calls[0][1]["bias"]

    def work() -> Any:
        z = weights @ x + bias
        residual = 1 / (1 + np.exp(-z)) - y
        return x @ residual, residual.sum(), (np.logaddexp(0, z) - z * y).sum()

    return work


TABLE = {
    "band_pass": band_pass,
    "histogram of 8 bits": histogram,
    "histogram of 16 bits": histogram,
    "lookup": lookup,
    "count": count,
    "gather": gather,
    "component_moments": moments,
    "neuron_sums": neuron_sums,
}


class _Law(dict):  # type: ignore[type-arg]
    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, "is what the law is written in (--backend law)")


ABSENT: dict[str, str] = _Law()
