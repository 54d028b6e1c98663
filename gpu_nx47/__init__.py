"""Find the papyrus surface in CT volumes: one volume, one answer, on every machine."""

from gpu_nx47._version import __version__

__all__ = ["__version__"]
