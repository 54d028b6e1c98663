"""What the log does not show: each thing that a reader would look for and that no event tells."""

from __future__ import annotations

from typing import Any, Final

from gpu_nx47.explain._masks import COUNTERS
from gpu_nx47.explain.chance import expected
from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Section, Slots, rule, where
from gpu_nx47.explain.told import Told, text

TOLD_APART: Final = frozenset({"pixels_anchor_detected", "anomaly_clusters"})
"""Counters whose lack has a sentence of its own, or goes with another's."""


def _no_counts(told: Told) -> Slots | None:
    missing = [key for key in COUNTERS if key not in TOLD_APART and not told.has(key) and not _null(told, key)]
    return where(bool(told.metrics) and bool(missing), keys=[f"`{key}`" for key in missing])


def _null(told: Told, key: str) -> bool:
    """Say whether the log names the key, and gives no figure on purpose."""
    return any(key in block and block[key] is None for block in (told.stats, *told.metrics))


def _no_chance(told: Told) -> Slots | None:
    counted = [key for key in COUNTERS if told.has(key)]
    missing = [key for key in counted if expected(told, key) is None]
    return where(bool(counted) and len(missing) == len(counted))


def _some_chance(told: Told) -> Slots | None:
    counted = [key for key in COUNTERS if told.has(key)]
    missing = [key for key in counted if expected(told, key) is None]
    return where(0 < len(missing) < len(counted), keys=[f"`{key}`" for key in missing])


def _unknown(told: Told) -> list[dict[str, Any]]:
    """Return why `unknown_discoveries` has no figure, each reason once."""
    if told.has("unknown_discoveries"):
        return []
    reasons = [text(entry.get("unknown_discoveries_reason")) for entry in told.metrics]
    return [{"reason": reason} for reason in dict.fromkeys(reasons) if reason]


def no_throughput(told: Told) -> bool:
    """Say whether the log tells no rate of calculation."""
    rated = any("calc_per_sec" in entry for entry in told.files.values())
    return not rated and "calc_per_sec_global" not in told.stats


def _no_digests(told: Told) -> Slots | None:
    without = [file for file, entry in told.files.items() if text(entry.get("sha256")) is None]
    return where(bool(without), count=len(without))


def _unfinished(told: Told) -> Slots | None:
    left = [f"`{file}`" for file in told.files if file not in told.done and file not in told.failed]
    return where(bool(left), files=left[:5], count=len(left))


LACKS: Final = Section(
    Both("What this log does not show", "Ce que ce journal ne montre pas"),
    (
        Group(
            None,
            (
                rule(
                    "lacks.metrics",
                    lambda t: where(not t.metrics),
                    "**Results: absent.** No event NX47_METRICS: no file was finished before this log ends.",
                    "**Résultats : absents.** Aucun événement NX47_METRICS : aucun fichier n'était terminé quand ce "
                    "journal s'arrête.",
                ),
                rule(
                    "lacks.files",
                    _unfinished,
                    "**{count:n} {count:file has|files have} a beginning and no end**: {files}.",
                    "**{count:n} {count:fichier commencé n'est pas terminé|fichiers commencés ne sont pas "
                    "terminés}** : {files}.",
                ),
                rule(
                    "lacks.stats",
                    lambda t: where(not t.stats),
                    "**One block with every count: absent.** No event GLOBAL_STATS. The figures above are the files' "
                    "own, added up where there are several.",
                    "**Un bloc unique avec tous les comptes : absent.** Pas d'événement GLOBAL_STATS. Les chiffres "
                    "plus haut sont ceux des fichiers, additionnés quand il y en a plusieurs.",
                ),
                rule(
                    "lacks.throughput",
                    lambda t: where(no_throughput(t)),
                    "**Throughput: absent.** No event carries `calc_per_sec` or `calc_per_sec_global`.",
                    "**Débit de calcul : absent.** Aucun événement ne porte `calc_per_sec` ni `calc_per_sec_global`.",
                ),
                rule(
                    "lacks.hardware",
                    lambda t: where(not t.hardware),
                    "**Hardware: absent.** No event has a block `hardware` (processors, memory, GPU).",
                    "**Matériel : absent.** Aucun événement n'a de bloc `hardware` (processeurs, mémoire, GPU).",
                ),
                rule(
                    "lacks.gpu",
                    lambda t: where(bool(t.metrics) and "gpu_reason" not in t.stats),
                    "**What a GPU did: absent.** No event tells for how long it worked, what share of the operations "
                    "it computed, what energy it took, or why there was none.",
                    "**Ce qu'a fait un GPU : absent.** Aucun événement ne dit combien de temps il a travaillé, quelle "
                    "part des opérations il a calculée, quelle énergie il a prise, ni pourquoi il n'y en avait pas.",
                ),
                rule(
                    "lacks.slices",
                    lambda t: where(bool(t.metrics) and not t.slices),
                    "**The slices one by one: absent.** No table tells in which of them there is a mask.",
                    "**Les coupes une à une : absentes.** Aucun tableau ne dit dans lesquelles il y a un masque.",
                ),
                rule(
                    "lacks.anchors",
                    lambda t: where(bool(t.metrics) and not t.has("pixels_anchor_detected")),
                    "**The number of anchored pixels: absent** (`pixels_anchor_detected`); what can be told of it "
                    "comes from the shares.",
                    "**Le nombre de pixels ancrés : absent** (`pixels_anchor_detected`) ; ce qu'on peut en dire "
                    "vient des parts.",
                ),
                rule(
                    "lacks.neurons",
                    lambda t: where(
                        bool(t.metrics)
                        and not t.has("active_neurons_start")
                        and not t.has("active_neurons_start_total")
                    ),
                    "**Active neurons at the start and in the middle of the training: absent.**",
                    "**Neurones actifs au début et au milieu de l'entraînement : absents.**",
                ),
                rule(
                    "lacks.folders",
                    lambda t: where(bool(t.discovery) and "folders" not in t.discovery),
                    "**The folders that were scanned: absent**; only the types of files are counted.",
                    "**Les dossiers parcourus : absents** ; seuls les types de fichiers sont comptés.",
                ),
                rule(
                    "lacks.counts",
                    _no_counts,
                    "**Not counted**: {keys}.",
                    "**Non comptés** : {keys}.",
                ),
                rule(
                    "lacks.unknown",
                    _unknown,
                    "**Unknown discoveries: no figure** ({reason}).",
                    "**Découvertes inconnues : pas de chiffre** (raison notée : « {reason} »).",
                ),
                rule(
                    "lacks.chance",
                    _no_chance,
                    "**What chance alone would give: absent.** So none of the counts above says by itself that "
                    "something was found.",
                    "**Ce que donnerait le hasard seul : absent.** Aucun des comptes ci-dessus ne prouve donc à lui "
                    "seul qu'on a trouvé quelque chose.",
                ),
                rule(
                    "lacks.some_chance",
                    _some_chance,
                    "**What chance would give is not told for**: {keys}.",
                    "**Ce que donnerait le hasard n'est pas donné pour** : {keys}.",
                ),
                rule(
                    "lacks.digests",
                    _no_digests,
                    "**Which bytes were read: absent** for {count:n} {count:file|files}: no SHA-256 of the input.",
                    "**Quels octets ont été lus : absent** pour {count:n} {count:fichier|fichiers} : pas de SHA-256 "
                    "de l'entrée.",
                ),
                rule(
                    "lacks.replay",
                    lambda t: where(t.traced == 0),
                    "**Digests of the arrays: absent**: this run cannot be replayed and compared.",
                    "**Empreintes des tableaux : absentes** : cette exécution ne peut pas être rejouée et comparée.",
                ),
                rule(
                    "lacks.signature",
                    lambda t: where(t.kind != "record" or text(t.boot.get("public_key")) is None),
                    "**A signature: absent.** No public key: the log does not show who wrote it, nor that nobody "
                    "rewrote it.",
                    "**Une signature : absente.** Pas de clé publique : le journal ne montre ni qui l'a écrit, ni "
                    "que personne ne l'a réécrit.",
                ),
                rule(
                    "lacks.score",
                    lambda t: where(bool(t.metrics)),
                    "**How good the mask is: never in a log.** Only labels can tell (the score), or eyes.",
                    "**La qualité du masque : jamais dans un journal.** Seules des étiquettes peuvent la dire (le "
                    "score), ou des yeux.",
                ),
            ),
        ),
    ),
)
