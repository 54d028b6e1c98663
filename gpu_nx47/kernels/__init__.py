"""The GPU backend: the only room that may import cupy or cucim.

The ports are not written yet: every kernel stands in `NOT_ON_GPU_YET`, a list that may only shrink, and asking for one
raises BackendUnavailableError. Nothing here ever computes on the CPU.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from gpu_nx47.errors import BackendUnavailableError

NAME: Final = "gpu"

NOT_ON_GPU_YET: Final = (
    "band_pass",
    "closing",
    "component_moments",
    "count",
    "dilation",
    "erosion",
    "gather",
    "gaussian",
    "gradient_along",
    "gradient_magnitude",
    "histogram",
    "hysteresis",
    "label",
    "laplacian",
    "local_entropy",
    "local_variance",
    "lookup",
    "neuron",
    "neuron_sums",
    "opening",
    "remove_small",
    "z_projection",
)


def probe() -> NoReturn:
    """Raise BackendUnavailableError: a device cannot be used before its kernels exist."""
    raise BackendUnavailableError(
        "this version has no GPU kernels yet. Use --backend auto or cpu: the bits are the same"
    )


def to_device(_array: Any) -> NoReturn:
    """Raise BackendUnavailableError (see `probe`)."""
    probe()


def to_host(_array: Any) -> NoReturn:
    """Raise BackendUnavailableError (see `probe`)."""
    probe()


def __getattr__(name: str) -> Any:
    if name in NOT_ON_GPU_YET:
        raise BackendUnavailableError(f"the kernel {name!r} has no GPU port in this version")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
