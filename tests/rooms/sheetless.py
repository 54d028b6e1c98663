"""Volumes for the tests of chance: the inside of a phantom, and noise."""

import numpy as np
from scipy import ndimage

from gpu_nx47 import phantom


def inner(seed, size):
    return np.ascontiguousarray(phantom.make_phantom(size + 6, seed).image[3:-3, 3:-3, 3:-3])


def noise(size, sigma, seed):
    """Noise that is the same everywhere: cut out of a larger field, whose border a filter smooths otherwise."""
    rim = 4 * sigma
    grey = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size + 2 * rim,) * 3), sigma)
    grey = grey[rim : rim + size, rim : rim + size, rim : rim + size]
    return np.clip(np.rint(110 + 35 * (grey - grey.mean()) / grey.std()), 0, 255).astype(np.uint8)
