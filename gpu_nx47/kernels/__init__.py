"""The GPU backend: ports of every law, in CUDA. The only room that imports CuPy, and only when it is used.

Each file is named as its law and its twin; DESIGN.md tells how a port is put together and how it is proved. Nothing
here ever computes on the CPU.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47.errors import BackendUnavailableError
from gpu_nx47.kernels._clock import device_seconds
from gpu_nx47.kernels._direction import directions
from gpu_nx47.kernels._directional import directional_peak, directional_profile, directional_sum
from gpu_nx47.kernels._entropy import local_entropy
from gpu_nx47.kernels._gaussian import band_pass, gaussian, gaussians
from gpu_nx47.kernels._gradient import gradient_along, gradient_magnitude, laplacian, stencils
from gpu_nx47.kernels._label import component_moments, hysteresis, label, mask_moments, remove_small
from gpu_nx47.kernels._launch import forget_tables, page_locked
from gpu_nx47.kernels._loader import cupy
from gpu_nx47.kernels._morphology import closing, dilation, erosion, opening
from gpu_nx47.kernels._neuron import net, neuron, neuron_sums
from gpu_nx47.kernels._projection import z_projection
from gpu_nx47.kernels._table import count, gather, histogram, lookup, row_sums
from gpu_nx47.kernels._variance import local_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NAME",
    "band_pass",
    "closing",
    "component_moments",
    "count",
    "device_seconds",
    "dilation",
    "directional_peak",
    "directional_profile",
    "directional_sum",
    "directions",
    "enter_thread",
    "erosion",
    "free_bytes",
    "free_memory",
    "gather",
    "gaussian",
    "gaussians",
    "gradient_along",
    "gradient_magnitude",
    "histogram",
    "hysteresis",
    "label",
    "laplacian",
    "local_entropy",
    "local_variance",
    "lookup",
    "mask_moments",
    "net",
    "neuron",
    "neuron_sums",
    "opening",
    "probe",
    "remove_small",
    "row_sums",
    "stencils",
    "to_device",
    "to_host",
    "z_projection",
]

NAME: Final = "gpu"

_TURNS: Final = itertools.count()

NOT_ON_GPU_YET: Final[tuple[str, ...]] = ()
"""Laws without a port. It may only shrink, and asking for one of it raises BackendUnavailableError."""


def probe() -> None:
    """Allocate, launch kernels and compare them with the law: libraries say yes on dead GPUs.

    Raises
    ------
    BackendUnavailableError
        CuPy is missing, there is no device, it fails, or it gives other bits than the law.
    """
    from cpu_fallback import law

    grey = (np.arange(5 * 6 * 37, dtype=np.int64) * 47 % 251).astype(np.uint8).reshape(5, 6, 37)
    taps = np.array([0.5, 0.1875, 0.0625], np.float32)
    smooth = law.gaussian(grey, taps=taps)
    cupy()  # its own reason, if it is missing
    try:
        on_device = to_device(grey)
        got = gaussian(on_device, taps=taps)
        pairs: dict[str, tuple[NDArray, NDArray]] = {
            "gaussian": (to_host(got), smooth),
            "gradient_magnitude": (to_host(gradient_magnitude(got)), law.gradient_magnitude(smooth)),
            "local_variance": (to_host(local_variance(on_device, window=3)), law.local_variance(grey, window=3)),
            "label": (
                to_host(label(to_device(grey > 125), connectivity=6)[0]),
                law.label(grey > 125, connectivity=6)[0],
            ),
        }
    except BackendUnavailableError:
        raise
    except Exception as error:
        # CUDA's runtime, driver and compiler raise classes of their own, and any of them means the same: no GPU here.
        raise BackendUnavailableError(
            f"the GPU fails its probe ({error}). Use --backend cpu: the bits are the same"
        ) from error
    for kernel, (port, defined) in pairs.items():
        if port.dtype != defined.dtype or not np.array_equal(port, defined):
            raise BackendUnavailableError(
                f"the GPU's {kernel} gives other bits than the law. Use --backend cpu, and report device and driver"
            )


def free_memory() -> None:
    """Give back to the device, and to the host, what CuPy's pools hold and nothing uses, and the tables kept there."""
    forget_tables()
    cupy().get_default_memory_pool().free_all_blocks()
    cupy().get_default_pinned_memory_pool().free_all_blocks()


def free_bytes() -> int:
    """Return what tiles may take of all devices together, bytes: the least that one has free, times their number."""
    found = []
    for number in range(cupy().cuda.runtime.getDeviceCount()):
        with cupy().cuda.Device(number):
            found.append(cupy().cuda.runtime.memGetInfo()[0] + cupy().get_default_memory_pool().free_bytes())
    return min(found) * len(found)


def enter_thread() -> None:
    """Let this thread use the next of the devices, in turns, and a stream of its own there.

    So one tile's copies and kernels overlap with another's; within a thread they stay in order.
    """
    cupy().cuda.Device(next(_TURNS) % cupy().cuda.runtime.getDeviceCount()).use()
    cupy().cuda.Stream(non_blocking=True).use()


def to_device(array: NDArray) -> Any:
    """Copy an array to the current device.

    Parameters
    ----------
    array : numpy.ndarray
        C-contiguous, or it is made so.

    Raises
    ------
    TypeError
        Not a NumPy array, nor one of the device (which is returned as it is).
    """
    if not isinstance(array, (np.ndarray, cupy().ndarray)):
        raise TypeError(f"gpu: expected a NumPy array, got {type(array).__name__}")
    return cupy().asarray(array)


def to_host(array: Any) -> NDArray:
    """Copy an array of the device to the host, behind all that this thread asked of it.

    Raises
    ------
    TypeError
        Not an array of the device.
    """
    if not isinstance(array, cupy().ndarray):
        raise TypeError(f"gpu: expected a device array, got {type(array).__name__}")
    result: NDArray = cupy().asnumpy(array, out=page_locked(array.shape, array.dtype))
    return result


def __getattr__(name: str) -> Any:
    if name in NOT_ON_GPU_YET:
        raise BackendUnavailableError(f"the kernel {name!r} has no GPU port in this version")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
