"""Laws of the NX47 unit: a logistic neuron on feature codes, a net of them, and the sums that train one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpu_fallback import _checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cpu_fallback._checks import Layers

F32 = np.float32
RAMP = (2 * np.maximum(np.arange(-32_768, 32_768), 0)).astype(np.uint16)
"""What a hidden neuron gives at each logit code, in place of a probability: entry z + 32768 is 2 max(z, 0)."""
RAMP_STEPS = 4096
"""Its codes of an output of 1: logit codes have 2048."""


def neuron(
    features: tuple[NDArray, ...],
    /,
    *,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> NDArray[np.uint16]:
    """Return the probability code of each voxel.

    Parameters
    ----------
    features : tuple of K arrays, uint16 or int16, equal shape (z, y, x)
        Feature codes, K >= 1.
    mean, scale, weights : numpy.ndarray of float32, shape (K,)
        Mean code, 1 / deviation in codes (0 for a constant feature), weight of the standardised feature.
    bias : numpy.float32
    sigmoid : numpy.ndarray of uint16, shape (65536,)
        Entry z + 32768 is the probability code of logit code z.

    Returns
    -------
    numpy.ndarray of uint16
        Probability, step 1/65535.

    Raises
    ------
    TypeError, ValueError
        Another dtype, shape or length.

    Notes
    -----
    Law: float32, one operation at a time: a = bias; for k = 0 .. K-1: t = (code_k - mean_k) * scale_k; t = min(max(t,
    -8), 8); a = a + weights_k * t. Logit code z = min(max(rint(a * 2048), -32767), 32767); result sigmoid[z + 32768].
    Codes are integers below 2^16, exact in float32; z is an integer below 2^15, exact too. Rounding of a * 2048 is half
    to even.
    """
    _checks.neuron(features, mean, scale, weights, sigmoid)
    acc = np.full(features[0].shape, bias, F32)
    for k, codes in enumerate(features):
        t = (codes.astype(F32) - mean[k]) * scale[k]
        t = np.minimum(np.maximum(t, F32(-8)), F32(8))
        acc = acc + weights[k] * t
    return sigmoid[_logit_index(acc)]


def net(
    features: tuple[NDArray, ...],
    /,
    *,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    hidden: Layers,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
) -> NDArray[np.uint16]:
    """Return the probability code of each voxel from a neuron behind layers of others.

    Parameters
    ----------
    features : tuple of K arrays, uint16 or int16, equal shape (z, y, x)
        Feature codes, K 1..256.
    mean, scale : numpy.ndarray of float32, shape (K,)
        As `neuron` takes them.
    hidden : tuple of (numpy.ndarray of float32, shape (neurons, inputs); numpy.ndarray of float32, shape (neurons,))
        Weights and bias of each layer, at least one; 1..256 neurons, inputs as many as the layer before has.
    weights : numpy.ndarray of float32
        Of the last neuron, for the neurons of the last layer.
    bias : numpy.float32
        Of the last neuron.
    sigmoid : numpy.ndarray of uint16, shape (65536,)
        Entry z + 32768 is the probability code of logit code z.

    Returns
    -------
    numpy.ndarray of uint16
        Probability, step 1/65535.

    Raises
    ------
    TypeError, ValueError
        Another dtype, shape or length.

    Notes
    -----
    Law: `neuron`, several times. Each hidden neuron's codes are neuron(codes of the layer before) with its row of
    weights, its bias and RAMP in the sigmoid's place: RAMP[z + 32768] = 2 max(z, 0), step 1/4096. Behind the first
    layer mean is 0 and scale 1/4096. The result is neuron(codes of the last layer) with the sigmoid. So an output
    enters the next sums as min(max(z, 0), 2^14) / 2^11: subtraction, product and bounds are exact.
    """
    _checks.net(features, mean, scale, hidden, weights, sigmoid)
    result = np.empty(features[0].shape, np.uint16)
    for z in range(len(result)):  # slice by slice: all outputs of a layer are kept until the next has eaten them
        codes, middle, unit = tuple(one[z : z + 1] for one in features), mean, scale
        for rows, offsets in hidden:
            codes = tuple(
                neuron(codes, mean=middle, scale=unit, weights=row, bias=offset, sigmoid=RAMP)
                for row, offset in zip(rows, offsets, strict=True)
            )
            middle, unit = np.zeros(len(codes), F32), np.full(len(codes), 1 / RAMP_STEPS, F32)
        result[z] = neuron(codes, mean=middle, scale=unit, weights=weights, bias=bias, sigmoid=sigmoid)[0]
    return result


def neuron_sums(
    x: NDArray[np.int16],
    y: NDArray[np.uint8],
    /,
    *,
    weights: NDArray[np.float32],
    bias: np.float32,
    sigmoid: NDArray[np.uint16],
    softplus: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Return the exact gradient sums and, where it is asked for, the exact loss of a sample.

    Parameters
    ----------
    x : numpy.ndarray of int16, shape (K, n)
        Standardised features, step 1/4096.
    y : numpy.ndarray of uint8, shape (n,)
        0 or 1.
    weights : numpy.ndarray of float32, shape (K,)
    bias : numpy.float32
    sigmoid : numpy.ndarray of uint16, shape (65536,)
    softplus : numpy.ndarray of int32, shape (65536,), optional
        Entry z + 32768 is ln(1 + exp(z / 2048)), step 2^-16. None: the loss is not asked for.

    Returns
    -------
    gradient : numpy.ndarray of int64, shape (K + 1,)
        Sum of residual * x_k, step 1 / (32767 * 4096), and last the sum of residuals, step 1/32767.
    loss : int
        Sum of the cross-entropies, step 2^-16 nat; 0 where it was not asked for.

    Notes
    -----
    Law: float32: a = bias; for each k: a = a + (weights_k / 4096) * x_k (the division by a power of two is exact); z as
    in `neuron`. Residual = (sigmoid[z + 32768] >> 1) - 32767 y (Q1.15); loss = softplus[z + 32768] - 32 z y (2^16 /
    2048 = 32). The sums are int64, so their order cannot matter: |residual * x| < 2^30, and n < 2^32 samples stay below
    2^62.
    """
    _checks.sample(x, y, weights, sigmoid, softplus)
    acc = np.full(y.shape, bias, F32)
    small = weights * F32(1 / 4096)
    for k in range(len(small)):
        acc = acc + small[k] * x[k].astype(F32)
    index = _logit_index(acc)
    target = y.astype(np.int64)
    residual = (sigmoid[index] >> np.uint16(1)).astype(np.int64) - 32767 * target
    gradient = [int((residual * x[k].astype(np.int64)).sum()) for k in range(len(small))]
    sums = np.array([*gradient, int(residual.sum())], np.int64)
    if softplus is None:
        return sums, 0
    loss = softplus[index].astype(np.int64) - ((index - 32768) * 32) * target
    return sums, int(loss.sum())


def _logit_index(acc: NDArray[np.float32]) -> NDArray[np.int64]:
    z = np.minimum(np.maximum(np.rint(acc * F32(2048)), F32(-32767)), F32(32767))
    return z.astype(np.int64) + 32768


# neuron: 6 for each feature; to the logit code scaling, rint, two bounds and the table's offset, 5; the look-up.
# net: those of its neurons, though a twin standardises the features once.
# neuron_sums, for each sample: 2 for each feature and the same 5; residual 4 (look-up, shift, product, difference);
# product and sum of the gradient 2 for each feature; the sum of residuals; where asked for, the loss 5 and its sum.
OPERATIONS: dict[str, Callable[..., float]] = {
    "neuron": lambda *, weights, **_: 6 * len(weights) + 6,
    "net": lambda *, hidden, weights, **_: (
        sum(len(rows) * (6 * rows.shape[1] + 6) for rows, _ in hidden) + 6 * len(weights) + 6
    ),
    "neuron_sums": lambda *, weights, softplus=None, **_: 4 * len(weights) + (10 if softplus is None else 16),
}

__all__ = ["OPERATIONS", "RAMP", "RAMP_STEPS", "net", "neuron", "neuron_sums"]
