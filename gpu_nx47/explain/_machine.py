"""What the log shows of the GPU's work, and of single slices."""

from __future__ import annotations

from typing import Any, Final

from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Slots, rule, where
from gpu_nx47.explain.slices import FAR, Slices, places
from gpu_nx47.explain.told import Told, mapping, number, text

MOST_FILES: Final = 3


def on_gpu(told: Told) -> bool:
    """Say whether the run computed on a GPU, and tells of it."""
    return "gpu_reason" in told.stats and told.stats["gpu_reason"] is None


def _figures(told: Told, *keys: str) -> Slots | None:
    return where(on_gpu(told), **{key.removeprefix("gpu_"): number(told.stats.get(key)) for key in keys})


def _coverage(told: Told) -> Slots | None:
    percent = number(told.stats.get("gpu_phase_coverage_pct"))
    return where(on_gpu(told), share=None if percent is None else percent / 100)


def _fallbacks(told: Told, some: bool) -> Slots | None:
    count = number(told.stats.get("cpu_fallback_count"))
    return where(on_gpu(told) and count is not None and (count > 0) is some, count=count)


def _unknown(told: Told) -> list[dict[str, Any]]:
    reasons = mapping(told.stats.get("gpu_unknown")) if on_gpu(told) else {}
    return [{"key": key, "reason": reason} for key, why in reasons.items() if (reason := text(why))]


GPU: Final = Group(
    Both("What the GPU did", "Ce qu'a fait le GPU"),
    (
        rule(
            "gpu.unused",
            lambda t: where(True, reason=text(t.stats.get("gpu_reason"))),
            "Nothing: the run did not compute on a GPU ({reason}).",
            "Rien : l'exécution n'a pas calculé sur un GPU (raison notée : « {reason} »).",
        ),
        rule(
            "gpu.time",
            lambda t: _figures(t, "gpu_device_s", "gpu_time_ratio"),
            "By its own clock it worked {device_s:time}, {time_ratio:share} of the run's time (`gpu_time_ratio`).",
            "D'après sa propre horloge, il a travaillé {device_s:time}, soit {time_ratio:share} de la durée de "
            "l'exécution (`gpu_time_ratio`).",
        ),
        rule(
            "gpu.coverage",
            _coverage,
            "{share:share} of the operations were computed on it (`gpu_phase_coverage_pct`).",
            "{share:share} des opérations ont été calculées sur lui (`gpu_phase_coverage_pct`).",
        ),
        rule(
            "gpu.fallbacks",
            lambda t: _fallbacks(t, some=True),
            "{count:n} {count:part|parts} of its work went to the CPU for want of memory: the same bits.",
            "{count:n} {count:part de son travail est passée|parts de son travail sont passées} au CPU, faute de "
            "mémoire : les mêmes bits.",
        ),
        rule(
            "gpu.no_fallback",
            lambda t: _fallbacks(t, some=False),
            "No piece of its work went to the CPU.",
            "Aucune part de son travail n'est passée au CPU.",
        ),
        rule(
            "gpu.energy",
            lambda t: _figures(t, "gpu_joules"),
            "{joules:n} {joules:joule|joules} by the cards' own counters, whatever else ran on them included.",
            "{joules:n} {joules:joule|joules} d'après les compteurs des cartes, y compris ce qui y tournait d'autre.",
        ),
        rule(
            "gpu.memory",
            lambda t: _figures(t, "gpu_memory_used_bytes_max", "gpu_samples"),
            "At most {memory_used_bytes_max:bytes} of memory used on the fullest card, in {samples:n} "
            "{samples:reading|readings}.",
            "Au plus {memory_used_bytes_max:bytes} de mémoire utilisés sur la carte la plus pleine, en {samples:n} "
            "{samples:relevé|relevés}.",
        ),
        rule(
            "gpu.unknown",
            _unknown,
            "`{key}`: no figure ({reason}).",
            "`{key}` : pas de chiffre (raison notée : « {reason} »).",
        ),
    ),
)


def _tables(told: Told) -> list[tuple[str, Slices]]:
    return [(file, table) for file, table in list(told.slices.items())[:MOST_FILES] if table.boxed]


def _densities(told: Told) -> list[dict[str, Any]]:
    return [
        {"file": f, "rows": t.rows, "boxed": t.boxed, "low": t.low, "middle": t.middle, "high": t.high}
        for f, t in _tables(told)
        if len(t.empty) < t.boxed
    ]


def _which(told: Told, column: str) -> list[dict[str, Any]]:
    found = [(file, getattr(table, column)) for file, table in _tables(told)]
    return [{"file": file, "count": len(zs), "where": places(zs), "far": FAR} for file, zs in found if zs]


SLICES: Final = Group(
    Both("Slices", "Coupes"),
    (
        rule(
            "slices.density",
            _densities,
            "`{file}`: {rows:n} slices, {boxed:n} with voxels of the valid box. Where there is a mask it takes "
            "{low:share} to {high:share} of a slice, {middle:share} in the middle one.",
            "`{file}` : {rows:n} coupes, dont {boxed:n} avec des voxels de la boîte valide. Là où il y a un masque, il "
            "prend de {low:share} à {high:share} d'une coupe, {middle:share} dans la coupe médiane.",
        ),
        rule(
            "slices.none_empty",
            lambda t: [{"file": file} for file, table in _tables(t) if not table.empty],
            "`{file}`: every slice of the valid box has a mask.",
            "`{file}` : chaque coupe de la boîte valide a un masque.",
        ),
        rule(
            "slices.empty",
            lambda t: _which(t, "empty"),
            "`{file}`: **no mask in {count:n} {count:slice|slices}** of the valid box: z = {where}.",
            "`{file}` : **pas de masque dans {count:n} {count:coupe|coupes}** de la boîte valide : z = {where}.",
        ),
        rule(
            "slices.dense",
            lambda t: _which(t, "dense"),
            "`{file}`: the mask is far denser than in the other slices (more than {far:n} robust deviations) at z = "
            "{where}.",
            "`{file}` : le masque est bien plus dense que dans les autres coupes (plus de {far:n} écarts robustes) à "
            "z = {where}.",
        ),
        rule(
            "slices.thin",
            lambda t: _which(t, "thin"),
            "`{file}`: the mask is far thinner than in the other slices (more than {far:n} robust deviations) at z = "
            "{where}.",
            "`{file}` : le masque est bien plus clairsemé que dans les autres coupes (plus de {far:n} écarts robustes) "
            "à z = {where}.",
        ),
    ),
)
