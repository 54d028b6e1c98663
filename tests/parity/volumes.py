"""Drawn volumes: the shapes and contents on which law and twin must agree to the bit."""

from __future__ import annotations

import numpy as np

SHAPES = [
    (1, 1, 1), (1, 1, 7), (1, 9, 1), (11, 1, 1), (1, 5, 8), (2, 3, 5), (7, 7, 7), (4, 17, 33), (19, 6, 3), (5, 40, 21),
    (23, 24, 65),
]  # fmt: skip
CONTENTS = ["noise", "constant", "zero", "full", "checkerboard", "smooth", "planes", "sparse"]


def draw_grey(seed: int) -> np.ndarray:
    """Return the seed-th drawn grey volume: first every fixed shape, then random ones up to 40 on a side."""
    rng = np.random.default_rng([47, seed])
    if seed < 2 * len(SHAPES):
        shape = SHAPES[seed % len(SHAPES)]
    else:
        shape = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 5, 8, 13, 16, 17, 31, 32, 33, 40], size=3))
    return fill(shape, CONTENTS[seed % len(CONTENTS)], rng)


def fill(shape: tuple[int, ...], content: str, rng: np.random.Generator) -> np.ndarray:
    """Return a uint8 volume of one kind of content."""
    z, y, x = np.indices(shape)
    if content == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if content == "constant":
        return np.full(shape, rng.integers(1, 255), dtype=np.uint8)
    if content == "zero":
        return np.zeros(shape, np.uint8)
    if content == "full":
        return np.full(shape, 255, np.uint8)
    if content == "checkerboard":
        return (((z + y + x) % 2) * 255).astype(np.uint8)
    if content == "smooth":
        return (127.5 + 127.5 * np.sin(0.3 * z + 0.2 * y) * np.cos(0.15 * x)).astype(np.uint8)
    if content == "planes":
        return np.where((y + z // 3) % 9 < 4, 180, 70).astype(np.uint8)
    return (rng.random(shape) < 0.05).astype(np.uint8) * np.uint8(255)


def draw_mask(seed: int) -> np.ndarray:
    """Return the seed-th drawn boolean mask, of densities from empty to full."""
    grey = draw_grey(seed)
    rng = np.random.default_rng([48, seed])
    density = [0.0, 0.1, 0.3, 0.5, 0.8, 1.0][seed % 6]
    return (grey >= 128) if seed % 2 else (rng.random(grey.shape) < density)


def draw_codes(seed: int, dtype: type) -> np.ndarray:
    """Return the seed-th drawn code volume, extremes of the dtype included."""
    grey = draw_grey(seed)
    info = np.iinfo(dtype)
    rng = np.random.default_rng([49, seed])
    if seed % 3 == 0:
        return rng.integers(info.min, info.max, grey.shape, dtype=dtype, endpoint=True)
    if seed % 3 == 1:
        return np.where(grey >= 128, info.max, info.min).astype(dtype)
    codes = grey.astype(np.int64) * 255 + rng.integers(0, 255, grey.shape)
    return codes.clip(info.min, info.max).astype(dtype)
