"""What the log shows beside masks: what was learned, how fast and on what, where it went, and the alerts."""

from __future__ import annotations

from typing import Any, Final

from gpu_nx47.explain.alert_words import FRENCH
from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.rule import Group, Slots, rule, where
from gpu_nx47.explain.told import Told, first_number, mapping, number, text, texts


def _features(told: Told) -> Slots | None:
    sets = [tuple(texts(entry.get("selected_features"))) for entry in told.metrics]
    different = {names for names in sets if names}
    return where(len(different) == 1, names=next(iter(different), None))


def _feature_sets(told: Told) -> Slots | None:
    sets = {tuple(sorted(texts(entry.get("selected_features")))) for entry in told.metrics} - {()}
    common = sorted(set.intersection(*map(set, sets))) if sets else []
    return where(len(sets) > 1, sets=len(sets), common=common or Both("none", "aucune"))


def _chosen(told: Told) -> list[dict[str, Any]]:
    """Return the chosen training of each file."""
    infos = [mapping(entry.get("train_info")) for entry in told.metrics]
    return [dict(chosen) for info in infos if (chosen := mapping(info.get("selected_hyperparams")))]


def _neurons(told: Told) -> Slots | None:
    def whole(time: str) -> float | int | None:
        return first_number(
            {"all": told.total(f"active_neurons_{time}_total"), "own": told.total(f"active_neurons_{time}")},
            "all",
            "own",
        )

    return where(True, start=whole("start"), mid=whole("mid"), end=whole("end"))


def _weights(told: Told) -> Slots | None:
    known = [n for chosen in _chosen(told) if (n := number(chosen.get("non_zero_weights"))) is not None]
    return where(bool(known) and _neurons(told) is None, count=sum(known))


OWN_LABELS: Final = Both(
    "labels that the run set itself, where its face search found the sharpest steps of grey across a sheet",
    "des étiquettes posées par l'exécution elle-même, là où sa recherche de faces a trouvé les sauts de gris les plus "
    "nets à travers une feuille",
)
LABELS: Final = {
    "autonomous": OWN_LABELS,
    "supervised": Both("labels of other volumes", "des étiquettes d'autres volumes"),
}
"""What was trained on, by `train_mode`."""


def _learned(better: bool, mode: str | None, surfaceless: bool) -> Both:
    """Say what a neuron that beats the labels' share has learned, and what that does not show."""
    if not better:
        return Both("it has learned nothing of them", "il n'en a rien appris")
    if surfaceless:
        return Both(
            "it has learned to repeat these labels. That says nothing of papyrus here: NO_SURFACE fired, so what was "
            "found is no more than chance gives",
            "il a appris à répéter ces étiquettes. Cela ne dit rien du papyrus ici : NO_SURFACE s'est déclenchée, ce "
            "qui a été trouvé ne dépasse donc pas ce que donne le hasard",
        )
    if mode == "autonomous":
        return Both(
            "it has learned to repeat its own search. Whether that search found papyrus, this figure does not say",
            "il a appris à répéter sa propre recherche. Ce chiffre ne dit pas si elle a trouvé du papyrus",
        )
    return Both("it has learned to repeat these labels", "il a appris à répéter ces étiquettes")


def _held_out(told: Told) -> list[dict[str, Any]]:
    found = []
    noise = told.alerts["NO_SURFACE"].files if "NO_SURFACE" in told.alerts else []
    for file, entry in told.files.items():
        info = mapping(entry.get("train_info"))
        cost = number(mapping(info.get("selected_hyperparams")).get("val_ce"))
        prior = number(info.get("validation_prior_ce"))
        if cost is not None and prior is not None:
            mode = text(entry.get("train_mode"))
            labels = LABELS.get(mode or "", Both("labels", "des étiquettes"))
            verdict = _learned(cost < prior, mode, file in noise)
            found.append({"file": file, "cost": cost, "prior": prior, "labels": labels, "verdict": verdict})
    return found[:3]


NEURON: Final = Group(
    Both("Features and neuron", "Caractéristiques (features) et neurone"),
    (
        rule(
            "neuron.features",
            _features,
            "What the neuron sees of a voxel and around it (features kept; @ a scale or a distance in voxels): "
            "{names}.",
            "Ce que le neurone voit d'un voxel et de ses alentours (caractéristiques retenues ; @ une échelle ou une "
            "distance en voxels) : {names}.",
        ),
        rule(
            "neuron.feature_sets",
            _feature_sets,
            "The files kept {sets:n} different sets of features; in all of them: {common}.",
            "Les fichiers ont retenu {sets:n} jeux de caractéristiques différents ; communes à tous : {common}.",
        ),
        rule(
            "neuron.active",
            _neurons,
            "Active neurons: {start:n} at the start of the chosen training, {mid:n} in the middle, {end:n} at the end "
            "(features in use: their weight is above 1e-8 in size; of several files, the sum).",
            "Neurones actifs : {start:n} au début de l'entraînement choisi, {mid:n} au milieu, {end:n} à la fin "
            "(caractéristiques en usage : poids au-dessus de 1e-8 en valeur absolue ; pour plusieurs fichiers, la "
            "somme).",
        ),
        rule(
            "neuron.weights",
            _weights,
            "{count:n} {count:weight was|weights were} active at the end of the training (`non_zero_weights`); start "
            "and middle are not given.",
            "{count:n} {count:poids actif|poids actifs} en fin d'entraînement (`non_zero_weights`) ; le début et le "
            "milieu ne sont pas donnés.",
        ),
        rule(
            "neuron.held_out",
            _held_out,
            "`{file}`: the neuron was trained on {labels}. On labelled voxels held out of the training it errs by "
            "{cost:f} nats a voxel (cross-entropy; 0: always sure and right); always answering the share of faces "
            "among them would cost {prior:f}: {verdict}.",
            "`{file}` : le neurone a été entraîné sur {labels}. Sur des voxels étiquetés tenus à l'écart de "
            "l'entraînement, son erreur est de {cost:f} nats par voxel (entropie croisée ; 0 : toujours sûr et juste) "
            "; répondre toujours la part de faces parmi eux coûterait {prior:f} : {verdict}.",
        ),
    ),
)


def _memory(told: Told) -> Slots | None:
    kilobytes = number(told.hardware.get("mem_total_kb"))
    peak = number(told.hardware.get("peak_rss_bytes"))
    return where(True, total=None if kilobytes is None else 1024 * kilobytes, peak=peak)


def _gpus(told: Told) -> Slots | None:
    gpus = told.hardware.get("gpu")
    names = [text(mapping(gpu).get("name")) or text(gpu) or "?" for gpu in gpus] if isinstance(gpus, list) else []
    return where(bool(names), names=names)


def _python(told: Told) -> str | None:
    words = (text(told.hardware.get("python")) or "").split()
    return words[0] if words else None


MACHINE: Final = Group(
    Both("Throughput and machine", "Débit et machine"),
    (
        rule(
            "rate.global",
            lambda t: where(
                True, rate=number(t.stats.get("calc_per_sec_global")), seconds=number(t.stats.get("elapsed_total_s"))
            ),
            "{rate:rate} calculations a second over the whole run ({seconds:time}).",
            "{rate:rate} de calculs par seconde sur toute l'exécution ({seconds:time}).",
        ),
        rule(
            "rate.file",
            lambda t: [
                {"file": f, "rate": r}
                for f, e in list(t.files.items())[:3]
                if (r := number(e.get("calc_per_sec"))) is not None
            ],
            "`{file}`: {rate:rate} calculations a second.",
            "`{file}` : {rate:rate} de calculs par seconde.",
        ),
        rule(
            "rate.voxels",
            lambda t: where(True, rate=number(t.stats.get("voxels_per_sec"))),
            "{rate:n} voxels a second.",
            "{rate:n} voxels par seconde.",
        ),
        rule(
            "machine.cpu",
            lambda t: where(True, model=text(t.hardware.get("cpu_model")), count=number(t.hardware.get("cpu_count"))),
            "Processor: {model}, {count:n} logical {count:processor|processors}.",
            "Processeur : {model}, {count:n} {count:processeur logique|processeurs logiques}.",
        ),
        rule(
            "machine.cpus",
            lambda t: where(text(t.hardware.get("cpu_model")) is None, count=number(t.hardware.get("cpu_count"))),
            "{count:n} logical {count:processor|processors}.",
            "{count:n} {count:processeur logique|processeurs logiques}.",
        ),
        rule(
            "machine.memory",
            _memory,
            "Memory: {total:bytes}, of which the run used {peak:bytes} at most.",
            "Mémoire : {total:bytes}, dont l'exécution a utilisé au plus {peak:bytes}.",
        ),
        rule(
            "machine.gpus",
            _gpus,
            "GPU: {names}.",
            "GPU : {names}.",
        ),
        rule(
            "machine.no_gpu",
            lambda t: where(t.hardware.get("gpu") == []),
            "GPU: none was seen.",
            "GPU : aucun n'a été vu.",
        ),
        rule(
            "machine.python",
            lambda t: where(True, python=_python(t), platform=text(t.hardware.get("platform"))),
            "Python {python} on {platform}.",
            "Python {python} sur {platform}.",
        ),
    ),
)


def _submission(told: Told) -> Slots | None:
    digests = mapping((told.complete or {}).get("digests"))
    sha = next((text(value) for key, value in digests.items() if key.endswith("submission.zip")), None)
    return where(True, path=text((told.complete or {}).get("submission")), sha=(sha or "")[:12] or None)


def _path_alone(told: Told) -> Slots | None:
    return where(_submission(told) is None, path=text((told.complete or {}).get("submission")))


OUTPUT: Final = Group(
    Both("Output", "Sortie"),
    (
        rule(
            "output.zip",
            _submission,
            "`{path}`, SHA-256 {sha}...",
            "`{path}`, SHA-256 {sha}...",
        ),
        rule(
            "output.path",
            _path_alone,
            "`{path}`",
            "`{path}`",
        ),
        rule(
            "output.checked",
            lambda t: where(t.validated.get("ok") is True, count=number(t.validated.get("members"))),
            "Re-read page by page: {count:n} {count:mask|masks}, acceptable.",
            "Relu page par page : {count:n} {count:masque|masques}, acceptable.",
        ),
        rule(
            "output.none",
            lambda t: where(t.complete is not None and t.complete.get("submission") is None),
            "No submission.zip was written.",
            "Aucun submission.zip n'a été écrit.",
        ),
    ),
)


def _alerts(told: Told) -> list[dict[str, Any]]:
    found = []
    for alert in told.alerts.values():
        words = FRENCH.get(alert.code)
        sentence = Both(alert.sentence, words.sentence if words else alert.sentence)
        found.append({"code": alert.code, "count": alert.count, "sentence": sentence, "figures": _figures(alert)})
    return found


def _figures(alert: Any) -> Both:
    """Return files, value and limit of an alert, in brackets; empty where there are none."""
    value, limit = (number(figure) for figure in (alert.value, alert.limit))
    files = ", ".join(f"`{file}`" for file in alert.files)
    if len(alert.files) == 1 and value is not None and limit is not None:
        return Both(
            f" ({files}: {value:.4g}, limit {limit:.4g})",
            f" ({files} : {value:.4g}, limite {limit:.4g})".replace(".", ","),
        )
    return Both(f" ({files})", f" ({files})") if files else Both("", "")


ALERTS: Final = Group(
    Both("Alerts", "Alertes"),
    (
        rule(
            "alert.fired",
            _alerts,
            "**{code}**, {count:n} {count:time|times}: {sentence}{figures}",
            "**{code}**, {count:n} fois : {sentence}{figures}",
        ),
        rule(
            "alert.none",
            lambda t: where(t.ours and not t.alerts and t.complete is not None),
            "No rule of the run's own criticism fired.",
            "Aucune règle d'autocritique ne s'est déclenchée.",
        ),
    ),
)
