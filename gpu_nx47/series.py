"""Features of an array, for those who want them without a run: the bank behind `gpu_nx47.features`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_nx47 import backend as backends
from gpu_nx47 import bank, direction, hardware, settings
from gpu_nx47.direction import Bearing
from gpu_nx47.engine import Engine
from gpu_nx47.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_nx47.engine import Tile


@dataclass(frozen=True)
class FeatureArray:
    """Integer codes and what they mean: value = offset + code * step, in `unit`."""

    codes: Any
    step: float
    offset: float
    unit: str

    def values(self) -> Any:
        """Return the values as float32."""
        return (self.codes * self.step + self.offset).astype("float32")


def compute(volume: Any, names: Sequence[str] | None, backend: str) -> dict[str, FeatureArray]:
    """Return the named features of a volume (see `gpu_nx47.features`)."""
    on_device = not isinstance(volume, np.ndarray)
    if getattr(volume, "dtype", None) != np.uint8:
        raise TypeError(f"features: expected a uint8 array, got {getattr(volume, 'dtype', type(volume).__name__)}")
    if volume.ndim != 3 or volume.size == 0:
        raise ValueError(f"features: expected a non-empty (z, y, x) array, got shape {volume.shape}")
    if names is None:
        names = [n for n in settings.DEFAULT_BANK if bank.base(n) not in bank.ODD]
    odd = [n for n in names if bank.base(n) in bank.ODD]
    if odd:
        raise SettingsError(f"features: {', '.join(odd)} need the scroll's axis, which only a run estimates")
    chosen, _ = backends.select(backend)
    meter = backends.Meter(chosen)
    grey = np.ascontiguousarray(volume.get() if on_device else volume)
    engine = Engine(meter, settings.Settings().tile, hardware.usable_processors())
    margin = bank.halo(names)
    along = any(bank.base(n) in settings.ALONG_SHEETS for n in names)
    bearing = Bearing(None, direction.measure(engine, grey) if along else None)

    def work(tile: Tile) -> list[Any]:
        tile_bank = bank.TileBank(meter, grey, tile, bearing, margin, names)
        return [meter.to_host(tile_bank.codes(name)) for name in names]

    whole: dict[str, Any] = {}
    for tile, parts in engine.map(grey.shape, work):
        for name, codes in zip(names, parts, strict=True):
            whole.setdefault(name, np.empty(grey.shape, codes.dtype))[tile.core] = codes
    result = {}
    for name, codes in whole.items():
        kind = bank.feature(name)
        same_kind = volume.__array_namespace__().asarray(codes) if on_device else codes
        result[name] = FeatureArray(same_kind, kind.step, kind.offset, kind.unit)
    return result
