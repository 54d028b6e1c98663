"""What the log shows, first half: the log itself, the run, its inputs and its files."""

from __future__ import annotations

from typing import Any, Final

from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Slots, rule, where
from gpu_nx47.explain.told import Told, first_number, mapping, number, text, texts

MOST_FILES: Final = 12
"""Files told one by one; the rest are told by their number."""
ENDS: Final = {
    0: Both(
        "every file is done, and the zip is valid",
        "tous les fichiers sont traités et le zip est valide",
    ),
    3: Both(
        "some files could not be used; the zip is valid",
        "certains fichiers étaient inutilisables ; le zip est valide",
    ),
    4: Both("there is no zip", "il n'y a pas de zip"),
    130: Both("interrupted from the keyboard", "interrompue au clavier"),
    143: Both("told to end by the system", "arrêtée par le système"),
}
"""What an exit code means."""
OTHER_END: Final = Both("an error of the program", "une erreur du programme")
UNKNOWN: Final = Both("version not given", "version non indiquée")


def _version(told: Told) -> str | Both:
    return told.version or UNKNOWN


def _ends(told: Told) -> Slots | None:
    code = told.exit_code
    return where(code is not None, code=code, meaning=ENDS.get(code or 0, OTHER_END))


def _span(told: Told) -> Slots | None:
    first, last = told.first_ns, told.last_ns
    if first is None or last is None:
        return None
    return where(True, first=first, last=last, span=max(0, last - first) / 1e9)


def _unreadable(told: Told) -> Slots | None:
    health = told.health
    if not health.first_unreadable:
        return None
    kind, place = health.first_unreadable[0]
    kinds = {"line": Both("line", "ligne"), "entry": Both("entry", "entrée")}
    return where(True, number=health.unreadable, kind=kinds[kind], place=place)


def _old_settings(told: Told) -> Slots | None:
    strong, weak = number(told.setting("strong_th")), number(told.setting("weak_th"))
    return where(not told.ours, strong=strong, weak=weak, ratio=number(told.setting("target_active_ratio")))


LOG: Final = Group(
    Both("The log itself", "Le journal lui-même"),
    (
        rule(
            "log.record",
            lambda t: where(t.kind == "record", name=t.name, version=_version(t), events=t.events),
            "`{name}` is the record of a run of gpu-nx47 ({version}): {events:n} {events:event|events}.",
            "`{name}` est le registre d'une exécution de gpu-nx47 ({version}) : {events:n} "
            "{events:événement|événements}.",
        ),
        rule(
            "log.view",
            lambda t: where(t.kind == "view", name=t.name, version=_version(t), events=t.events),
            "`{name}` is a flat view, in V122's keys, of a run of gpu-nx47 ({version}): {events:n} "
            "{events:event|events}.",
            "`{name}` est une vue à plat, avec les clés de V122, d'une exécution de gpu-nx47 ({version}) : "
            "{events:n} {events:événement|événements}.",
        ),
        rule(
            "log.old",
            lambda t: where(t.kind == "old", name=t.name, version=_version(t), events=t.events),
            "`{name}` is a flat log of the old program ({version}): {events:n} {events:event|events}.",
            "`{name}` est un journal à plat de l'ancien programme ({version}) : {events:n} "
            "{events:événement|événements}.",
        ),
        rule(
            "log.runs",
            lambda t: where(t.runs > 1, runs=t.runs),
            "The file holds {runs:n} runs one after the other; the last one is explained here.",
            "Le fichier contient {runs:n} exécutions à la suite ; la dernière est expliquée ici.",
        ),
        rule(
            "log.span",
            _span,
            "First event {first:date}, last event {last:date} (UTC): {span:time} by the clock of the machine.",
            "Premier événement {first:date}, dernier événement {last:date} (UTC) : {span:time} à l'horloge de la "
            "machine.",
        ),
        rule(
            "log.unreadable",
            _unreadable,
            "**Damaged**: {number:n} {number:place|places} could not be read, the first at {kind} {place:n}. All "
            "that follows is from the rest.",
            "**Abîmé** : {number:n} {number:endroit illisible|endroits illisibles}, le premier à la {kind} "
            "{place:n}. Tout ce qui suit vient du reste.",
        ),
        rule(
            "log.torn",
            lambda t: where(t.health.torn),
            "The log is cut off at its end: what came after is not here.",
            "Le journal est coupé à la fin : la suite manque.",
        ),
        rule(
            "log.chain",
            lambda t: where(t.health.chained > 0 and not t.health.broken, lines=t.health.chained),
            "{lines:n} {lines:line names|lines name} the hash of the line before, and all agree: no line before the "
            "last was hurt by accident.",
            "{lines:n} {lines:ligne nomme|lignes nomment} l'empreinte de la ligne précédente, et tout concorde : "
            "aucune ligne avant la dernière n'a été abîmée par accident.",
        ),
        rule(
            "log.broken",
            lambda t: where(bool(t.health.broken), lines=[str(n) for n in t.health.broken]),
            "**The chain is broken** at line {lines}: it does not name the hash of the line before it. Something "
            "was changed, removed or put in there.",
            "**La chaîne est rompue** à la ligne {lines} : elle ne nomme pas l'empreinte de la ligne précédente. "
            "Quelque chose y a été modifié, retiré ou ajouté.",
        ),
        rule(
            "log.signed",
            lambda t: where(t.kind == "record", key=text(t.boot.get("public_key"))),
            "It names the key that signs its checkpoints: `{key}`.",
            "Il nomme la clé qui signe ses points de contrôle : `{key}`.",
        ),
        rule(
            "log.recovered",
            lambda t: where(t.recovered),
            "The run was cut once, and went on in the same record (event RECOVERED).",
            "L'exécution a été coupée, puis reprise dans le même registre (événement RECOVERED).",
        ),
    ),
)

RUN: Final = Group(
    Both("The run", "L'exécution"),
    (
        rule(
            "run.backend",
            lambda t: where(True, name=text(t.boot.get("backend")), reason=text(t.boot.get("backend_reason"))),
            "Computed on `{name}`: {reason}.",
            "Calculs faits sur `{name}` (raison notée : « {reason} »).",
        ),
        rule(
            "run.settings",
            lambda t: where(t.ours, preset=text(t.setting("preset")), seed=number(t.setting("seed"))),
            "Settings: preset `{preset}`, seed {seed}.",
            "Réglages : préréglage `{preset}`, graine {seed}.",
        ),
        rule(
            "run.settings_old",
            _old_settings,
            "Settings: strong threshold {strong:f}, weak threshold {weak:f}, target share {ratio:share}.",
            "Réglages : seuil fort {strong:f}, seuil faible {weak:f}, part visée {ratio:share}.",
        ),
        rule(
            "run.end",
            _ends,
            "It came to its end with exit code {code}: {meaning}.",
            "Elle s'est terminée avec le code de sortie {code} : {meaning}.",
        ),
        rule(
            "run.end_old",
            lambda t: where(t.complete is not None and t.exit_code is None),
            "It came to its end (event EXEC_COMPLETE).",
            "Elle est allée jusqu'au bout (événement EXEC_COMPLETE).",
        ),
        rule(
            "run.no_end",
            lambda t: where(t.complete is None),
            "No EXEC_COMPLETE: this log does not show the end of the run.",
            "Pas d'EXEC_COMPLETE : ce journal ne montre pas la fin de l'exécution.",
        ),
    ),
)


def _types(told: Told) -> Slots | None:
    kinds = mapping(told.discovery.get("suffix_stats"))
    pairs = [f"`{kind} = {count}`" for kind, count in kinds.items() if number(count) is not None]
    return where(bool(pairs), types=pairs)


DATASET: Final = Group(
    Both("Dataset", "Jeu de données"),
    (
        rule(
            "data.root",
            lambda t: where(True, root=text(t.discovery.get("root")) or text(t.boot.get("root"))),
            "Root: `{root}`.",
            "Racine : `{root}`.",
        ),
        rule(
            "data.files",
            lambda t: where(True, count=number(t.discovery.get("file_count"))),
            "{count:n} {count:volume|volumes} to do (`file_count`).",
            "{count:n} {count:volume à traiter|volumes à traiter} (`file_count`).",
        ),
        rule(
            "data.assets",
            lambda t: where(True, count=number(t.discovery.get("total_assets"))),
            "{count:n} {count:file|files} in all under the root (`total_assets`).",
            "{count:n} {count:fichier|fichiers} en tout sous la racine (`total_assets`).",
        ),
        rule(
            "data.types",
            _types,
            "Types: {types}.",
            "Types : {types}.",
        ),
        rule(
            "data.folders",
            lambda t: where(bool(texts(t.discovery.get("folders"))), folders=texts(t.discovery.get("folders"))),
            "Folders: {folders}.",
            "Dossiers : {folders}.",
        ),
    ),
)


def _shown(told: Told) -> list[tuple[str, dict[str, Any]]]:
    return list(told.files.items())[:MOST_FILES]


def _input(told: Told) -> list[dict[str, Any]]:
    """Return shape, dtype and digest of each file that tells them."""
    found = []
    for file, entry in _shown(told):
        shape, sha, kind = entry.get("shape"), text(entry.get("sha256")), text(entry.get("dtype"))
        if isinstance(shape, list) and all(isinstance(n, int) for n in shape) and sha and kind:
            found.append({"file": file, "shape": " x ".join(map(str, shape)), "kind": kind, "sha": sha[:12]})
    return found


def _plain(told: Told) -> list[dict[str, Any]]:
    told_whole = {slots["file"] for slots in _input(told)}
    return [{"file": file} for file, _ in _shown(told) if file not in told_whole]


def _masks(told: Told) -> list[dict[str, Any]]:
    """Return the share of each file's mask, where there are several: of one alone it is told below."""
    if len(told.files) < 2:
        return []
    shares = [(file, first_number(entry, "active_ratio_final", "active_ratio")) for file, entry in _shown(told)]
    return [{"file": file, "share": share} for file, share in shares if share is not None]


def _refused(told: Told) -> list[dict[str, Any]]:
    shown = list(told.failed.items())[:MOST_FILES]
    return [{"file": file, "what": text(data.get("what")) or text(data.get("error")) or "?",
             "expected": text(data.get("expected")) or "?", "found": text(data.get("found")) or "?"}
            for file, data in shown]  # fmt: skip


FILES: Final = Group(
    Both("Files", "Fichiers"),
    (
        rule(
            "file.input",
            _input,
            "`{file}`: {shape} voxels of {kind}, SHA-256 of the bytes read {sha}...",
            "`{file}` : {shape} voxels en {kind}, SHA-256 des octets lus {sha}...",
        ),
        rule(
            "file.plain",
            _plain,
            "`{file}`",
            "`{file}`",
        ),
        rule(
            "file.mask",
            _masks,
            "`{file}`: {share:share} active in the final mask.",
            "`{file}` : {share:share} actifs dans le masque final.",
        ),
        rule(
            "file.failed",
            _refused,
            "`{file}` was not used: {what}; expected {expected}, found {found}.",
            "`{file}` n'a pas été utilisé : « {what} » ; attendu : « {expected} » ; trouvé : « {found} ».",
        ),
        rule(
            "file.more",
            lambda t: where(len(t.files) > MOST_FILES, number=len(t.files) - MOST_FILES),
            "... and {number:n} further {number:file|files}, counted in the sums below.",
            "... et {number:n} {number:autre fichier, compté|autres fichiers, comptés} dans les sommes ci-dessous.",
        ),
    ),
)
