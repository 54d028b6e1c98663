"""What the log shows of masks and counts: what was anchored, what was calibrated, and what was counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gpu_nx47.explain.chance import Expected, expected
from gpu_nx47.explain.numbers import LANGUAGES, Both, Speaker
from gpu_nx47.explain.rule import Group, Slots, rule, where
from gpu_nx47.explain.told import Told, mapping, number

COUNTERS: Final = {
    "pixels_anchor_detected": Both(
        "anchored {unit}: strong evidence, and what is connected to it",
        "{unit} {value:ancré|ancrés} : les preuves fortes, et ce qui s'y rattache",
    ),
    "pixels_papyrus_without_anchor": Both(
        "{unit} without an anchor: in the calibrated mask, not in the anchored one",
        "{unit} sans ancre : dans le masque calibré, non dans le masque ancré",
    ),
    "materials_detected": Both(
        "{value:material|materials}: connected pieces of the final mask",
        "{value:matériau : morceau connexe|matériaux : morceaux connexes} du masque final",
    ),
    "patterns_detected": Both(
        "{value:pattern: a shape that occurs|patterns: shapes that occur} more than once among them",
        "{value:motif : forme qui revient|motifs : formes qui reviennent} plus d'une fois parmi eux",
    ),
    "golden_nonce_detected": Both(
        "golden {value:nonce|nonces} (golden {unit}): the most probable {unit} of the final mask",
        "golden {value:nonce|nonces} ({unit} d'or) : les {unit} les plus probables du masque final",
    ),
    "unknown_discoveries": Both(
        "unknown {value:discovery|discoveries}: {unit} unlike what was seen before",
        "{value:découverte inconnue|découvertes inconnues} : des {unit} différents de ce qui a été vu avant",
    ),
    "anomalies_detected": Both(
        "{value:anomaly|anomalies}: {unit} where the probability bends most sharply",
        "{value:anomalie|anomalies} : des {unit} où la probabilité change le plus brutalement",
    ),
    "anomaly_clusters": Both(
        "{value:cluster|clusters} that these anomalies form",
        "{value:amas formé|amas formés} par ces anomalies",
    ),
}
"""The counters that are told with what chance would give, and what they count."""


def unit(told: Told, count: float | None = None) -> Both:
    """Return what masks are made of here: voxels, or the pixels of the old program's projections."""
    word = ("voxel" if told.ours else "pixel", "voxels" if told.ours else "pixels")
    return Both(word[count != 1], word[count is None or abs(count) >= 2])


def calibrated_alone(told: Told) -> float | None:
    """Return the share of the final mask that no anchor holds; None where the log does not let it be told."""
    final, anchored = told.total("pixels_active_final"), told.total("pixels_final_anchored")
    if final and anchored is not None:
        return 1 - anchored / final
    whole, hysteresis = told.share("active_ratio_final"), told.share("active_ratio_hysteresis")
    # The old program's final mask is hysteresis OR calibrated, with nothing cleaned away.
    return None if told.ours or not whole or hysteresis is None else max(0.0, 1 - hysteresis / whole)


def no_anchor(told: Told) -> bool:
    """Say whether the log tells of a final mask, and of not one anchored voxel."""
    anchored = told.total("pixels_anchor_detected")
    share = told.share("active_ratio_hysteresis")
    some = (told.share("active_ratio_final") or 0) > 0
    return some and (anchored == 0 if anchored is not None else share == 0)


def _box(told: Told) -> Both:
    if told.ours:
        return Both(
            "of the valid box (the volume without its frame of zeros)",
            "de la boîte valide (le volume sans son cadre de zéros)",
        )
    return Both("of the pixels", "des pixels")


def _ratios(told: Told) -> Slots | None:
    shares = {key: told.share(f"active_ratio_{key}") for key in ("final", "hysteresis", "calibrated")}
    return where(True, **shares, whole=_box(told))


def _at_target(told: Told) -> Slots | None:
    final, target = told.share("active_ratio_final"), number(told.setting("target_active_ratio", "segment.ratio"))
    met = final is not None and target is not None and abs(final - target) <= 0.01 * target
    return where(met, share=final)


def carried(told: Told, low: float, high: float) -> Slots | None:
    """Return the share of the final mask without an anchor where it lies above `low`, up to `high`, and is not all."""
    share = calibrated_alone(told)
    return where(share is not None and low < share <= high and not no_anchor(told), share=share)


def _evidence(told: Told) -> Slots | None:
    """Return the figures of anchor against calibration, summed over the files that have them."""
    keys = ("both", "either", "final", "final_without_anchor", "final_without_calibration")
    blocks = [mapping(entry.get("anchor_calibration")) for entry in told.metrics]
    known = [block for block in blocks if all(number(block.get(key)) is not None for key in keys)]
    if not known:
        return None
    total = {key: sum(block[key] for block in known) for key in keys}
    jaccard = total["both"] / total["either"] if total["either"] else 1.0
    return where(True, jaccard=jaccard, **total)


MASKS: Final = Group(
    Both("Masks: anchored or calibrated", "Masques : ancrés ou calibrés"),
    (
        rule(
            "mask.ratios",
            _ratios,
            "Share {whole} that is active: final mask {final:share}, hysteresis mask (anchored) "
            "{hysteresis:share}, calibrated mask {calibrated:share}.",
            "Part {whole} qui est active : masque final {final:share}, masque d'hystérésis (ancré) "
            "{hysteresis:share}, masque calibré {calibrated:share}.",
        ),
        rule(
            "mask.no_anchor",
            lambda t: where(no_anchor(t), unit=unit(t)),
            "**0 anchors**: the hysteresis mask is empty. Calibration carried everything: all that the final mask "
            "shows is there because a share of active {unit} was asked for, nothing because of strong evidence.",
            "**0 ancrage** : le masque d'hystérésis est vide. La calibration a tout porté : tout ce que montre le "
            "masque final est là parce qu'une part de {unit} actifs était demandée, rien grâce à une preuve "
            "forte.",
        ),
        rule(
            "mask.carried_most",
            lambda t: carried(t, 0.5, 1.0),
            "Calibration carries the mask: {share:share} of the final mask has no anchor.",
            "La calibration porte le masque : {share:share} du masque final n'a pas d'ancre.",
        ),
        rule(
            "mask.carried_none",
            lambda t: carried(t, -1.0, 0.0),
            "All of the final mask is anchored.",
            "Tout le masque final est ancré.",
        ),
        rule(
            "mask.carried_part",
            lambda t: carried(t, 0.0, 0.5),
            "{share:share} of the final mask has no anchor; the rest is anchored.",
            "{share:share} du masque final est sans ancre ; le reste est ancré.",
        ),
        rule(
            "mask.at_target",
            _at_target,
            "The final share is the one that was asked for ({share:share}): it is a setting, not a finding.",
            "La part finale est celle qui était demandée ({share:share}) : c'est un réglage, pas une découverte.",
        ),
        rule(
            "mask.evidence",
            _evidence,
            "Of {either:n} voxels that the hysteresis or the calibrated mask has, both have {both:n} (Jaccard index "
            "{jaccard:f}; 1: the same mask). The final mask is either of them, cleaned: {final:n} voxels; without the "
            "anchors it would have {final_without_anchor:n}, without the calibration {final_without_calibration:n}.",
            "Sur {either:n} voxels du masque d'hystérésis ou du masque calibré, {both:n} sont dans les deux (indice de "
            "Jaccard {jaccard:f} ; 1 : le même masque). Le masque final est l'un ou l'autre, nettoyé : {final:n} "
            "voxels ; sans les ancres il en aurait {final_without_anchor:n}, sans la calibration "
            "{final_without_calibration:n}.",
        ),
    ),
)


def _counts(told: Told, fits: Callable[[Expected | None], bool]) -> list[dict[str, Any]]:
    """Return the counters whose expectation fits: none, one for the volume, or one for a cube."""
    found = []
    for key, words in COUNTERS.items():
        value, chance = told.total(key), expected(told, key)
        if value is not None and fits(chance):
            single = not key.startswith("pixels_")
            slots = {"value": value, "unit": unit(told, None if single else value)}
            name = Both(*(Speaker(language).fill(words, slots) for language in LANGUAGES))
            found.append({"name": name, "value": value} | (chance.slots() if chance else {}))
    return found


COUNTS: Final = Group(
    Both("Counts", "Comptes"),
    (
        rule(
            "count.pixels",
            lambda t: where(True, count=t.total("pixels_processed"), slices=t.total("slices_processed")),
            "{count:n} {count:voxel|voxels} in {slices:n} {slices:slice|slices} processed.",
            "{count:n} {count:voxel traité|voxels traités} en {slices:n} {slices:coupe|coupes}.",
        ),
        rule(
            "count.alone",
            lambda t: _counts(t, lambda chance: chance is None),
            "{value:n} {name}.",
            "{value:n} {name}.",
        ),
        rule(
            "count.chance",
            lambda t: _counts(t, lambda chance: chance is not None and chance.cube is None),
            "{value:n} {name}. By chance alone {low:f} to {high:f}: {verdict}.",
            "{value:n} {name}. Par le seul hasard, de {low:f} à {high:f} : {verdict}.",
        ),
        rule(
            "count.chance_cube",
            lambda t: _counts(t, lambda chance: chance is not None and chance.cube is not None),
            "{value:n} {name}. Cubes of one size at the corners of the volume hold {cube:f} each on average, {low:f} "
            "to {high:f} by chance alone: {verdict}.",
            "{value:n} {name}. Des cubes d'une même taille, aux coins du volume, en contiennent {cube:f} chacun en "
            "moyenne, de {low:f} à {high:f} par le seul hasard : {verdict}.",
        ),
    ),
)
