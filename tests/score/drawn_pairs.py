"""Pairs of masks for the score's tests: alike, moved, torn, thick, noisy, unlike, empty, full, thin, at the border."""

import numpy as np

EDITS = ("same", "moved", "thick", "torn", "noisy", "unlike", "empty", "empty label", "both empty", "full")


def sheets(shape, seed):
    """Wavy sheets two or three voxels thick, some holes in them."""
    rng = np.random.default_rng([5, seed])
    z, y, x = np.indices(shape)
    pitch = rng.integers(9, 14)
    height = y + 2 * np.sin(z / 5 + seed) + 2 * np.cos(x / 4) + x * rng.uniform(-0.5, 0.5)
    return (height % pitch < rng.integers(2, 4)) & (rng.random(shape) > 0.02)


def pairs(number=50):
    """Yield (name, truth, pred), bool volumes of drawn shapes."""
    for k in range(number):
        rng = np.random.default_rng([6, k])
        shape = tuple(int(n) for n in rng.integers(5, 28, 3))
        truth = sheets(shape, k)
        kind = EDITS[k % len(EDITS)]
        yield f"{k} {kind} {shape}", *edited(kind, truth, rng)


def edited(kind, truth, rng):
    nothing = np.zeros_like(truth)
    match kind:
        case "same":
            return truth, truth.copy()
        case "moved":
            return truth, np.roll(truth, int(rng.integers(1, 7)), 1)
        case "thick":
            return truth, truth | np.roll(truth, 1, 1) | np.roll(truth, 1, 2)
        case "torn":
            return truth, truth & (np.indices(truth.shape)[2] % 7 > 1)
        case "noisy":
            return truth, truth ^ (rng.random(truth.shape) < 0.1)
        case "unlike":
            return truth, sheets(truth.shape, 1000 + int(rng.integers(99)))
        case "empty":
            return truth, nothing
        case "empty label":
            return nothing, truth
        case "both empty":
            return nothing, nothing.copy()
        case _:
            return truth, ~nothing
