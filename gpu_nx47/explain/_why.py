"""Why the log shows what it shows, and lacks what it lacks."""

from __future__ import annotations

from typing import Final

from gpu_nx47.explain._brief import EARLIER, EVIDENCE
from gpu_nx47.explain._lacks import no_throughput
from gpu_nx47.explain._masks import no_anchor
from gpu_nx47.explain.chance import expected
from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Section, Slots, rule, where
from gpu_nx47.explain.told import Told, first_number, mapping, number, text

CLOSED_EMPTY: Final = range(115, 123)
"""Versions of the old program whose closing left no anchored pixel (SPEC; read in the sources of V115 and V122)."""
GOLDEN_SHARE: Final = 1e-4
ANOMALY_SHARE: Final = 5e-4
"""What a count above an image's own 99.99th, 99.95th percentile is of its pixels, whatever it shows."""


def _fixed(told: Told) -> Slots | None:
    """Return the pixels of the old program's images, and what its counters must be there by their definitions."""
    pixels = told.total("pixels_processed_2d")
    counted = told.has("golden_nonce_detected") and told.has("anomalies_detected")
    if told.ours or not pixels or not counted:
        return None
    return where(
        True,
        pixels=pixels,
        golden=told.total("golden_nonce_detected"),
        anomalies=told.total("anomalies_detected"),
        golden_share=GOLDEN_SHARE,
        anomaly_share=ANOMALY_SHARE,
    )


def _thresholds(told: Told) -> Slots | None:
    known = [limits for entry in told.metrics if (limits := mapping(entry.get("thresholds")))]
    if len(known) != 1:
        return None
    limits = known[0]
    sources = {
        "measured": Both("measured from the probabilities", "mesurés sur les probabilités"),
        "given": Both("given by the user", "donnés par l'utilisateur"),
    }
    source = sources.get(text(limits.get("source")) or "")
    return where(
        True,
        strong=number(limits.get("strong")),
        weak=number(limits.get("weak")),
        source=source,
        cut=number(limits.get("calibrated")),
        target=number(limits.get("target_ratio")),
    )


def _axis(told: Told, used: bool) -> Slots | None:
    known = [axis for entry in told.metrics if (axis := mapping(entry.get("axis")))]
    lowest = [confidence for axis in known if (confidence := number(axis.get("confidence"))) is not None]
    fits = bool(lowest) and all(axis.get("used") is used for axis in known)
    return where(fits, confidence=min(lowest, default=None))


def _gpu_reason(told: Told) -> Slots | None:
    return where(told.hardware.get("gpu") == [], reason=text(told.hardware.get("gpu_reason")))


def _at_quantile(told: Told) -> Slots | None:
    share, target = told.share("active_ratio_calibrated"), number(told.setting("target_active_ratio"))
    return where(not told.ours, share=first_number({"a": share, "b": target}, "a", "b"))


WHY: Final = Section(
    Both("Why", "Pourquoi"),
    (
        Group(
            None,
            (
                rule(
                    "why.spread",
                    lambda t: where(not t.ours and not t.stats),
                    "The old program spread its figures over several events (NX47_METRICS, FILE_DONE, ARRAY_TRACE); "
                    "this log has no block that gathers them, so on the console they went by and were lost to the "
                    "eye.",
                    "L'ancien programme répartissait ses chiffres entre plusieurs événements (NX47_METRICS, "
                    "FILE_DONE, ARRAY_TRACE) ; ce journal n'a pas de bloc qui les rassemble : sous la cellule, ils "
                    "défilaient et se perdaient.",
                ),
                rule(
                    "why.not_measured",
                    lambda t: where(not t.ours and no_throughput(t) and not t.hardware),
                    "Throughput and hardware were not written down by the program that made this log. They cannot "
                    "be computed afterwards: nothing here says how much was calculated, or on what.",
                    "Le débit et le matériel n'ont pas été notés par le programme qui a écrit ce journal. On ne "
                    "peut pas les calculer après coup : rien ici ne dit combien de calculs ont été faits, ni sur "
                    "quoi.",
                ),
                rule(
                    "why.closed_empty",
                    lambda t: where(no_anchor(t) and t.old_number in CLOSED_EMPTY, version=t.old_number),
                    "Why 0 anchors: up to V122 the old program closed the anchored mask in a stack of 3 slices with "
                    "an element of 7, which leaves nothing, whatever the volume. The 0 of V{version} is its own "
                    "mistake and says nothing about the papyrus.",
                    "Pourquoi 0 ancrage : jusqu'à V122, l'ancien programme fermait le masque ancré dans une pile de "
                    "3 coupes avec un élément de 7, ce qui ne laisse rien, quel que soit le volume. Le 0 de "
                    "V{version} est sa propre erreur et ne dit rien du papyrus.",
                ),
                rule(
                    "why.quantile",
                    _at_quantile,
                    "The calibrated mask is a percentile of the image's own probabilities: it activates its share "
                    "({share:share} here) of any image, papyrus or not.",
                    "Le masque calibré est un percentile des probabilités de l'image elle-même : il active sa part "
                    "(ici {share:share}) de n'importe quelle image, papyrus ou non.",
                ),
                rule(
                    "why.fixed",
                    _fixed,
                    "Golden nonces ({golden:n}) and anomalies ({anomalies:n}) are counted above the image's own "
                    "percentiles: by construction at most {golden_share:share} and about {anomaly_share:share} of "
                    "its {pixels:n} pixels, papyrus or not.",
                    "Les golden nonces ({golden:n}) et les anomalies ({anomalies:n}) sont comptés au-dessus des "
                    "percentiles de l'image elle-même : par construction au plus {golden_share:share} et environ "
                    "{anomaly_share:share} de ses {pixels:n} pixels, papyrus ou non.",
                ),
                rule(
                    "why.hashes",
                    lambda t: where(not t.ours and t.sealed),
                    "The `signature` of each entry is a hash without a key: whoever changes an entry computes it "
                    "again. It shows no author and proves nothing.",
                    "La `signature` de chaque entrée est une empreinte sans clé : quiconque change une entrée la "
                    "recalcule. Elle ne désigne aucun auteur et ne prouve rien.",
                ),
                rule(
                    "why.list_early",
                    lambda t: where(not t.ours and t.complete is None and not t.health.torn),
                    "The missing end may mean nothing: V115 and V122 wrote their list of events to the disk before "
                    "their last event, EXEC_COMPLETE.",
                    "La fin absente ne veut peut-être rien dire : V115 et V122 écrivaient leur liste d'événements "
                    "sur le disque avant leur dernier événement, EXEC_COMPLETE.",
                ),
                rule(
                    "why.cut",
                    lambda t: where(True, reason=text((t.complete or {}).get("reason"))),
                    "The run ended before its time; the reason it noted: {reason}.",
                    "L'exécution s'est arrêtée avant l'heure ; raison notée : {reason}.",
                ),
                rule(
                    "why.killed",
                    lambda t: where(t.ours and t.complete is None and t.health.unreadable == 0),
                    "A run of gpu-nx47 writes EXEC_COMPLETE however it ends: without it, it was killed or lost its "
                    "power or its disk, or it is still running.",
                    "Une exécution de gpu-nx47 écrit EXEC_COMPLETE quelle que soit sa fin : sans lui, elle a été "
                    "tuée, a perdu le courant ou son disque, ou tourne encore.",
                ),
                rule(
                    "why.chance",
                    lambda t: where(any(expected(t, key) for key in (EVIDENCE, EARLIER))),
                    "What chance gives was counted in volumes made up of this one's own pieces: the same grey values "
                    "and roughness, no sheets, the same neuron and thresholds. The range holds 95 of 100 such volumes. "
                    "A surface shows in edges sharper than those, and less surely in golden voxels; as many anchored "
                    "voxels and materials are found where there is none, so these prove nothing by themselves.",
                    "Ce que donne le hasard a été compté dans des volumes composés de morceaux de celui-ci : mêmes "
                    "gris, même rugosité, pas de feuilles, même neurone, mêmes seuils. L'intervalle vaut pour 95 de "
                    "ces volumes sur 100. Une surface se voit à des arêtes plus nettes, moins "
                    "sûrement aux voxels d'or ; on trouve autant de voxels ancrés et de matériaux là où il n'y en a "
                    "pas : ceux-ci ne prouvent donc rien à eux seuls.",
                ),
                rule(
                    "why.thresholds",
                    _thresholds,
                    "Voxels of a probability of {strong:share} and more are anchors; those of {weak:share} and more "
                    "that connect to one are anchored by it (thresholds {source}). The calibrated mask takes all from "
                    "{cut:share} on, so that {target:share} of the voxels are active.",
                    "Les voxels d'une probabilité d'au moins {strong:share} sont des ancres ; ceux d'au moins "
                    "{weak:share} qui s'y rattachent sont ancrés par elles (seuils {source}). Le masque calibré prend "
                    "tout à partir de {cut:share}, pour que {target:share} des voxels soient actifs.",
                ),
                rule(
                    "why.axis",
                    lambda t: _axis(t, True),
                    "Recto and verso are told apart by the side on which the scroll's axis lies: the recto is the face "
                    "towards it (confidence {confidence:share}; of several volumes, the lowest).",
                    "Le recto et le verso sont distingués par le côté où se trouve l'axe du rouleau : le recto est la "
                    "face tournée vers lui (confiance {confidence:share} ; de plusieurs volumes, la plus basse).",
                ),
                rule(
                    "why.no_axis",
                    lambda t: _axis(t, False),
                    "Recto and verso are not told apart: the side of the scroll's axis is not sure (confidence "
                    "{confidence:share}).",
                    "Le recto et le verso ne sont pas distingués : le côté de l'axe du rouleau n'est pas sûr "
                    "(confiance {confidence:share}).",
                ),
                rule(
                    "why.no_gpu",
                    _gpu_reason,
                    "Why no GPU: {reason}.",
                    "Pourquoi pas de GPU (raison notée) : « {reason} ».",
                ),
            ),
        ),
    ),
)
