"""The explanation in a few sentences, for who reads no further."""

from __future__ import annotations

from typing import Final

from gpu_nx47.explain._masks import carried, no_anchor
from gpu_nx47.explain.chance import expected
from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Section, Slots, rule, where
from gpu_nx47.explain.told import Told


def _done(told: Told) -> Slots | None:
    share = told.share("active_ratio_final")
    whole = Both("of the voxels", "des voxels") if told.ours else Both("of the pixels", "des pixels")
    return where(bool(told.metrics), count=len(told.metrics), share=share, whole=whole)


EVIDENCE: Final = "edge_sharpness"
"""The counter in which a surface stands out from chance (gpu_nx47.chance.EVIDENCE)."""
EARLIER: Final = "golden_nonce_detected"
"""The counter that logs without it were judged by."""


def _judged(told: Told, key: str, verdict: str) -> Slots | None:
    """Return figure and range of the evidence where the null gives this verdict on it, and the run's alert no other."""
    chance = expected(told, key)
    if chance is None or chance.verdict != verdict or (verdict == "above" and "NO_SURFACE" in told.alerts):
        return None
    if key == EARLIER:
        return where(expected(told, EVIDENCE) is None, value=told.total(key), low=chance.low, high=chance.high)
    return where(True, value=chance.cube, low=chance.low, high=chance.high)


def _hurt(told: Told) -> bool:
    health = told.health
    return bool(health.unreadable or health.broken or health.torn)


BRIEF: Final = Section(
    Both("In short", "En bref"),
    (
        Group(
            None,
            (
                rule(
                    "brief.done",
                    _done,
                    "{count:n} {count:volume was|volumes were} searched for the surface of papyrus; {share:share} "
                    "{whole} are marked.",
                    "{count:n} {count:volume fouillé|volumes fouillés} à la recherche de la surface du papyrus ; "
                    "{share:share} {whole} sont marqués.",
                ),
                rule(
                    "brief.count",
                    lambda t: where(bool(t.metrics) and _done(t) is None, count=len(t.metrics)),
                    "{count:n} {count:volume|volumes} done.",
                    "{count:n} {count:volume traité|volumes traités}.",
                ),
                rule(
                    "brief.nothing",
                    lambda t: where(not t.metrics),
                    "By this log no volume was done.",
                    "D'après ce journal, aucun volume n'a été traité.",
                ),
                rule(
                    "brief.failed",
                    lambda t: where(bool(t.failed), count=len(t.failed)),
                    "{count:n} {count:file|files} could not be used.",
                    "{count:n} {count:fichier inutilisable|fichiers inutilisables}.",
                ),
                rule(
                    "brief.no_anchor",
                    lambda t: where(no_anchor(t)),
                    "0 anchors: calibration carried everything. The mask stands on a quantile, not on evidence.",
                    "0 ancrage : la calibration a tout porté. Le masque repose sur un quantile, pas sur des preuves.",
                ),
                rule(
                    "brief.most",
                    lambda t: carried(t, 0.5, 1.0),
                    "{share:share} of the mask has no anchor: calibration carries it.",
                    "{share:share} du masque est sans ancre : c'est la calibration qui le porte.",
                ),
                rule(
                    "brief.all",
                    lambda t: carried(t, -1.0, 0.0),
                    "All of the mask is anchored: it hangs together with voxels of high probability.",
                    "Tout le masque est ancré : il se rattache à des voxels de probabilité élevée.",
                ),
                rule(
                    "brief.part",
                    lambda t: carried(t, 0.0, 0.5),
                    "All but {share:share} of the mask is anchored: it hangs together with voxels of high probability.",
                    "Tout le masque est ancré, sauf {share:share} : il se rattache à des voxels de probabilité élevée.",
                ),
                rule(
                    "brief.sharp",
                    lambda t: _judged(t, EVIDENCE, "above"),
                    "Grey values rise and bend in the same places, as they do at a sharp edge, {value:f} % oftener "
                    "than independently, where chance gives {low:f} to {high:f} %: something here is sharper than "
                    "noise.",
                    "Les gris montent et s'infléchissent aux mêmes endroits, comme sur une arête nette, {value:f} % "
                    "plus souvent qu'indépendamment, quand le hasard donne de {low:f} à {high:f} % : "
                    "quelque chose ici est plus net que du bruit.",
                ),
                rule(
                    "brief.not_sharp",
                    lambda t: _judged(t, EVIDENCE, "within"),
                    "Grey values rise and bend in the same places, as they do at a sharp edge, {value:f} % oftener "
                    "than independently, no more than chance gives ({low:f} to {high:f} %): nothing here stands out "
                    "from noise.",
                    "Les gris montent et s'infléchissent aux mêmes endroits, comme sur une arête nette, {value:f} % "
                    "plus souvent qu'indépendamment, pas plus que n'en donne le hasard (de {low:f} à {high:f} %) : "
                    "rien ici ne se distingue du bruit.",
                ),
                rule(
                    "brief.above",
                    lambda t: _judged(t, EARLIER, "above"),
                    "{value:n} golden {value:voxel|voxels}, where chance gives {low:f} to {high:f}: something here is "
                    "sharper than noise. (Golden: the most probable voxels of the mask.)",
                    "{value:n} {value:voxel|voxels} d'or, quand le hasard en donne de {low:f} à {high:f} : quelque "
                    "chose ici est plus net que du bruit. (D'or : les voxels les plus probables du masque.)",
                ),
                rule(
                    "brief.within",
                    lambda t: _judged(t, EARLIER, "within"),
                    "{value:n} golden {value:voxel|voxels}, no more than chance gives ({low:f} to {high:f}): nothing "
                    "here stands out from noise. (Golden: the most probable voxels of the mask.)",
                    "{value:n} {value:voxel|voxels} d'or, pas plus que n'en donne le hasard (de {low:f} à {high:f}) : "
                    "rien ici ne se distingue du bruit. (D'or : les voxels les plus probables du masque.)",
                ),
                rule(
                    "brief.alerts",
                    lambda t: where(bool(t.alerts), codes=list(t.alerts)),
                    "The run doubts itself ({codes}): see Alerts and What to do.",
                    "L'exécution doute d'elle-même ({codes}) : voir Alertes et Que faire.",
                ),
                rule(
                    "brief.unfinished",
                    lambda t: where(t.ours and t.complete is None),
                    "The run did not come to its end here.",
                    "L'exécution ne va pas jusqu'à sa fin dans ce journal.",
                ),
                rule(
                    "brief.hurt",
                    lambda t: where(_hurt(t)),
                    "The log itself is damaged; it is explained as far as it can be read.",
                    "Le journal lui-même est abîmé ; il est expliqué autant qu'on peut le lire.",
                ),
            ),
        ),
    ),
)
