"""What to do about it."""

from __future__ import annotations

from typing import Any, Final

from gpu_nx47.explain._masks import no_anchor
from gpu_nx47.explain.alert_words import FRENCH
from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Section, rule, where
from gpu_nx47.explain.told import Told, text


def _advice(told: Told) -> list[dict[str, Any]]:
    """Return the advice of each alert; of files that failed their own advice is given."""
    found = []
    for alert in told.alerts.values():
        if alert.advice and alert.code != "INPUT_DAMAGED":
            words = FRENCH.get(alert.code)
            found.append({"code": alert.code, "advice": Both(alert.advice, words.advice if words else alert.advice)})
    return found


def _failed(told: Told) -> list[dict[str, Any]]:
    shown = list(told.failed.items())[:5]
    return [{"file": file, "advice": advice} for file, data in shown if (advice := text(data.get("advice")))]


def _unsigned(told: Told) -> bool:
    whole = told.complete is not None and not told.health.broken
    return told.kind == "record" and whole and text(told.boot.get("public_key")) is None


def _nothing(told: Told) -> bool:
    fine = told.ours and told.exit_code == 0 and not told.alerts and not told.failed
    return fine and not told.health.unreadable and not told.health.broken


STEPS: Final = Section(
    Both("What to do", "Que faire"),
    (
        Group(
            None,
            (
                rule(
                    "todo.alert",
                    _advice,
                    "{code}: {advice}",
                    "{code} : {advice}",
                ),
                rule(
                    "todo.failed",
                    _failed,
                    "`{file}`: {advice}",
                    "`{file}` : {advice}",
                ),
                rule(
                    "todo.broken",
                    lambda t: where(bool(t.health.broken or t.health.unreadable or t.health.torn)),
                    "Keep this file as it is, and look for another copy of it: what is damaged here cannot be "
                    "restored from the rest.",
                    "Garder ce fichier tel quel et en chercher une autre copie : ce qui est abîmé ici ne peut pas "
                    "être retrouvé à partir du reste.",
                ),
                rule(
                    "todo.again",
                    lambda t: where(t.ours and (t.complete is None or t.exit_code not in (0, 3))),
                    "Run again on the same root; what this log shows as done is no submission.",
                    "Relancer sur la même racine ; ce que ce journal montre comme fait n'est pas une soumission.",
                ),
                rule(
                    "todo.no_anchor",
                    lambda t: where(no_anchor(t)),
                    "Do not read this mask as papyrus that was found: look at the probability map, and at where a "
                    "threshold without calibration would cut it.",
                    "Ne pas lire ce masque comme du papyrus trouvé : regarder la carte de probabilité, et où un "
                    "seuil sans calibration la couperait.",
                ),
                rule(
                    "todo.rerun",
                    lambda t: where(not t.ours),
                    "Run the same volumes with `nx47 run ROOT --set preset=v121`: the old features and thresholds, "
                    "in true 3-D, and a record with throughput, hardware, anchors and inputs' digests.",
                    "Traiter les mêmes volumes avec `nx47 run ROOT --set preset=v121` : les anciennes "
                    "caractéristiques et les anciens seuils, en vraie 3-D, et un registre avec débit, matériel, "
                    "ancrages et empreintes des entrées.",
                ),
                rule(
                    "todo.verify",
                    lambda t: where(t.kind == "record", key=text(t.boot.get("public_key"))),
                    "Check lines, signatures and outputs with `nx47 log verify`. Keep the key elsewhere and give it "
                    "with `--expect-key`: a key that only the record names vouches for nothing.",
                    "Contrôler lignes, signatures et sorties avec `nx47 log verify`. Garder la clé ailleurs et la "
                    "donner avec `--expect-key` : une clé que seul le registre nomme ne garantit rien.",
                ),
                rule(
                    "todo.digest",
                    lambda t: where(
                        _unsigned(t),
                        digest=t.health.last_digest,
                    ),
                    "To be able to show later that this record was not changed, keep this SHA-256 of its last line "
                    "elsewhere: `{digest}`.",
                    "Pour pouvoir montrer plus tard que ce registre n'a pas changé, garder ailleurs ce SHA-256 de "
                    "sa dernière ligne : `{digest}`.",
                ),
                rule(
                    "todo.view",
                    lambda t: where(t.kind == "view"),
                    "For inputs, hashes and order, read the record beside this view: "
                    "`v122_ultra_authentic_360_merkle.jsonl`.",
                    "Pour les empreintes et l'ordre des lignes, lire le registre à côté de cette vue : "
                    "`v122_ultra_authentic_360_merkle.jsonl`.",
                ),
                rule(
                    "todo.look",
                    lambda t: where(_nothing(t)),
                    "Look at the pictures in `overlays_v122/` before anything else: no count replaces eyes.",
                    "Regarder d'abord les images de `overlays_v122/` : aucun compte ne remplace les yeux.",
                ),
            ),
        ),
    ),
)
