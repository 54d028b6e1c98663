"""An explanation says what the log says, in both languages, and never a figure that the log does not carry."""

import json
import re
import string

import pytest
from old_logs import V121_FACTS
from records import METRICS, SLICES, events, record
from told_logs import ALERT, corpus

from gpu_nx47 import explain
from gpu_nx47.cli import main
from gpu_nx47.explain import SECTIONS, tell, write
from gpu_nx47.explain.slices import places, summary
from gpu_nx47.journal import RECORD_NAME

RULES = [rule for section in SECTIONS for rule in section.rules()]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("logs"))


def slots(sentence):
    return sorted(name for _, name, _, _ in string.Formatter().parse(sentence) if name)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_has_both_languages_with_the_same_slots(rule):
    assert rule.words.en.strip()
    assert rule.words.fr.strip()
    assert set(slots(rule.words.en)) == set(slots(rule.words.fr))
    assert rule.words.en != rule.words.fr or not re.search("[A-Za-z]{4}", re.sub(r"{.*?}|SHA-256", "", rule.words.en))


def test_the_names_of_rules_are_their_own():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)


def test_every_rule_is_said_by_some_log(logs):
    told = [tell(path) for path in logs.values()]
    unsaid = [rule.name for rule in RULES if not any(rule.said(t) for t in told)]
    assert unsaid == []


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_log_becomes_a_whole_text(logs, language):
    for name, path in logs.items():
        shown = write(tell(path), language)
        assert not re.search(r"\bNone\b|\bnan\b|[{}]", shown), name
        assert max(map(len, shown.splitlines())) <= 160, name


def joined(text):
    """Return a text on one line, all spaces plain."""
    return " ".join(text.replace("\u00a0", " ").split())


def test_the_seeds_v121_log_is_explained_in_english(logs):
    shown = joined(write(tell(logs["V121"]), "en"))
    for words in (
        "a flat log of the old program (NX47 V121)",
        "1 volume to do",
        "1,615 files in all",
        "`.csv = 2`, `.tif = 1613`",
        "`1407735.tif`",
        "/kaggle/working/submission.zip",
        "local_entropy, grad_mag, proj_max, proj_mean, laplace, bandpass_response",
        "6 weights were active at the end of the training (`non_zero_weights`); start and middle are not given",
        "final mask 3 %, hysteresis mask (anchored) 0 %, calibrated mask 3 %",
        "**0 anchors**: the hysteresis mask is empty. Calibration carried everything",
        "**Throughput: absent.**",
        "**Hardware: absent.**",
        "**One block with every count: absent.**",
        "closed the anchored mask in a stack of 3 slices with an element of 7",
        "is a hash without a key",
    ):
        assert words in shown, words


def test_the_seeds_v121_log_is_explained_in_french(logs):
    shown = joined(write(tell(logs["V121"]), "fr"))
    for words in (
        "un journal à plat de l'ancien programme (NX47 V121)",
        "1 615 fichiers en tout",
        "**0 ancrage** : le masque d'hystérésis est vide. La calibration a tout porté",
        "masque final 3 %, masque d'hystérésis (ancré) 0 %, masque calibré 3 %",
        "6 poids actifs en fin d'entraînement",
        "**Débit de calcul : absent.**",
        "**Matériel : absent.**",
        "est une empreinte sans clé",
    ):
        assert words in shown, words


def figures(text):
    return set(re.findall(r"\d+(?:[.,]\d+)?", text.replace(",", "")))


def test_what_the_v121_log_shows_holds_no_figure_of_ours(logs):
    shown = write(tell(logs["V121"]), "en").partition("## What this log shows")[2].partition("## What this log does")[0]
    named = figures("NX47 V121 UTC v121_execution_logs.json SHA-256 1e-8")
    told = figures(json.dumps(V121_FACTS)) | {"3", "0", "6"}  # 0.03 is 3 %; 6 events, 5 s apart
    shown = re.sub(r"First event.*?machine\.", "", shown, flags=re.DOTALL)
    assert figures(shown) <= told | named


@pytest.mark.parametrize("key", [key for key in METRICS if isinstance(METRICS[key], int | float)])
def test_a_figure_that_the_log_lacks_is_not_said(tmp_path, key):
    """Every figure of the log is odd and long; without its key its digits are nowhere."""
    marked = {**METRICS, key: 0.7654321 if isinstance(METRICS[key], float) else 7_654_321}
    gone = {k: v for k, v in METRICS.items() if k != key}
    found = []
    for name, metrics in (("with", marked), ("gone", gone)):
        (tmp_path / name).write_bytes(record(events(metrics=metrics)))
        shown = write(tell(tmp_path / name), "en")
        found.append("7,654,321" in shown or "76.5 %" in shown)
    assert found[1] is False
    sums_are_told = key.startswith(("pixels_anchor", "pixels_papyrus", "materials", "patterns", "golden", "anomal"))
    assert found[0] or not sums_are_told


@pytest.mark.parametrize("garbage", [None, True, "NaN", [None], {"a": "b"}, 10**30, 10**400, "\x1b[31m"])
def test_no_garbage_in_place_of_a_value_stops_it_or_is_believed(tmp_path, garbage):
    path = tmp_path / RECORD_NAME
    for told in (events(alerts=[ALERT]), V121_FACTS):
        for k, (name, data) in enumerate(told):
            spoilt = [*told]
            spoilt[k] = (name, dict.fromkeys(data, garbage))
            path.write_bytes(record(spoilt))
            for language in ("en", "fr"):
                shown = write(tell(path), language)
                assert "\x1b" not in shown
                assert not re.search(r"\bNone\b|\bnan\b", shown)


def test_chance_stands_beside_its_counter_in_both_languages(logs):
    english, french = (joined(write(tell(logs["chance"]), language)) for language in ("en", "fr"))
    for words in (
        "Cubes of one size at the corners of the volume hold 3.5 each on average, 0.5 to 2 by chance alone: above",
        "where the probability bends most sharply. By chance alone 1 to 29.25: no more than chance gives.",
        "What chance would give is not told for**: `pixels_anchor_detected`",
        "- 7 golden voxels, where chance gives 0 to 2.5: something here is sharper than noise.",
    ):
        assert words in english, words
    assert "Par le seul hasard, de 1 à 29,25 : pas plus que ce que donne le hasard." in french
    assert "en contiennent 3,5 chacun en moyenne, de 0,5 à 2 par le seul hasard : au-dessus" in french
    assert "4 clusters that these anomalies form. -" in english  # no range: no verdict is believed
    assert "nothing here stands out from noise" not in english
    sharp, blunt = (joined(write(tell(logs[name]), "en")) for name in ("sharp", "blunt"))
    assert "at a sharp edge, 21.5 % oftener than independently, where chance gives 0 to 4.5 %: something" in sharp
    assert "at a sharp edge, 3.5 % oftener than independently, no more than chance gives (0 to 4.5 %)" in blunt
    assert "golden voxels, " not in sharp + blunt, "one evidence speaks"


def test_what_the_gpu_did_is_said_in_both_languages(logs):
    english, french = (joined(write(tell(logs["gpu"]), language)) for language in ("en", "fr"))
    for words in (
        "By its own clock it worked 12.5 s, 62.5 % of the run's time",
        "87.5 % of the operations were computed on it",
        "No piece of its work went to the CPU.",
        "1,234 joules by the cards' own counters",
        "At most 3 GB of memory used on the fullest card, in 40 readings.",
    ):
        assert words in english, words
    for words in ("il a travaillé 12,5 s, soit 62,5 %", "1 234 joules", "3 Go de mémoire", "87,5 % des opérations"):
        assert words in french, words
    short = joined(write(tell(logs["gpu short"]), "en"))
    assert "2 parts of its work went to the CPU" in short
    assert "`gpu_joules`: no figure (Tesla T4: Not Supported)." in short
    assert "joules by the cards" not in short


def test_a_run_without_a_gpu_and_a_record_without_the_block_are_told_apart(logs):
    whole, early, old = (joined(write(tell(logs[name]), "en")) for name in ("whole", "early", "V121"))
    assert "Nothing: the run did not compute on a GPU (the CPU was asked for)." in whole
    assert "raison notée : « the CPU was asked for »" in joined(write(tell(logs["whole"]), "fr"))
    assert "What a GPU did: absent." not in whole
    for shown in (early, old):
        assert "**What a GPU did: absent.**" in shown
        assert "**The slices one by one: absent.**" in shown
        assert "did not compute on a GPU" not in shown


def test_slices_without_a_mask_and_far_from_the_others_are_named(logs):
    english, french = (joined(write(tell(logs["gaps"]), language)) for language in ("en", "fr"))
    for words in (
        "12 slices, 10 with voxels of the valid box. Where there is a mask it takes 2 % to 90 % of a slice, 15 % in",
        "**no mask in 2 slices** of the valid box: z = 1-2.",
        "far denser than in the other slices (more than 6 robust deviations) at z = 9.",
        "far thinner than in the other slices (more than 6 robust deviations) at z = 6.",
    ):
        assert words in english, words
    assert "**pas de masque dans 2 coupes** de la boîte valide : z = 1-2." in french
    whole = joined(write(tell(logs["whole"]), "en"))
    assert "every slice of the valid box has a mask" in whole
    assert "denser" not in whole
    assert "no mask in 10 slices" in joined(write(tell(logs["no slice"]), "en"))


def test_far_is_six_robust_deviations_and_neighbours_are_runs():
    def table(final):
        return {"z": list(range(len(final))), "voxels": [1000] * len(final), "final": final}

    usual = [100, 102, 104, 106, 108] * 4
    reach = 6 * 1.4826 * 2
    assert summary(table([*usual, 104 + int(reach), 104 - int(reach)])).dense == ()
    found = summary(table([*usual, 104 + int(reach) + 1, 104 - int(reach) - 1]))
    assert (found.dense, found.thin) == ((20,), (21,))
    assert summary(table([50] * 9 + [51, 56, 57])).dense == (11,)  # of one voxel at least
    assert places((1, 2, 3, 7, 9, 10)) == "1-3, 7, 9-10"
    assert places(tuple(range(0, 40, 2))) == "0, 2, 4, 6, 8, 10, 12, 14 ..."


@pytest.mark.parametrize("column", ["z", "voxels", "final"])
@pytest.mark.parametrize("spoilt", [None, [], [1], ["a"] * 12, [True] * 12, [-1] * 12, [10**30] * 12, 5])
def test_a_table_of_slices_that_makes_no_sense_is_none(column, spoilt):
    assert summary(SLICES) is not None
    assert summary({**SLICES, column: spoilt}) is None
    assert summary(spoilt) is None


def test_the_chance_of_one_file_is_not_that_of_several(tmp_path):
    entry = {"low": 1, "high": 2, "verdict": "above", "unit": "volume"}
    metrics = {**METRICS, "expected_by_chance": {"golden_nonce_detected": entry}}
    first, second = (events(file=file, metrics=metrics) for file in "ab")
    path = tmp_path / RECORD_NAME
    path.write_bytes(record([*first[:6], *second[2:6], *events()[6:]]))
    assert "By chance alone" not in write(tell(path), "en")
    path.write_bytes(record(first))
    assert "By chance alone 1 to 2" in joined(write(tell(path), "en"))


def test_shares_of_several_files_are_weighted_by_their_voxels(tmp_path):
    told = [events()[0]]
    for file, share, voxels in (("a", 0.1, 1000), ("b", 0.4, 3000)):
        metrics = {**METRICS, "active_ratio_final": share, "valid_voxels": voxels}
        told += events(file=file, metrics=metrics)[2:6]
    path = tmp_path / RECORD_NAME
    path.write_bytes(record(told))
    assert tell(path).share("active_ratio_final") == pytest.approx(0.325)
    assert tell(path).total("materials_detected") == 6


NO_SURFACE = {**ALERT, "code": "NO_SURFACE"}


@pytest.mark.parametrize(
    ("mode", "cost", "alerts", "labels", "verdict"),
    [
        ("autonomous", 0.2, [], "labels that the run set itself", "to repeat its own search. Whether"),
        ("autonomous", 0.2, [NO_SURFACE], "labels that the run set itself", "says nothing of papyrus here"),
        ("autonomous", 0.2, [{**NO_SURFACE, "file": "200"}], "labels that the run set itself", "search. Whether"),
        ("autonomous", 0.69, [NO_SURFACE], "labels that the run set itself", "it has learned nothing of them."),
        ("supervised", 0.2, [], "labels of other volumes", "it has learned to repeat these labels."),
        ("supervised", 0.2, [NO_SURFACE], "labels of other volumes", "says nothing of papyrus here"),
    ],
)
def test_what_was_learned_follows_figures_labels_and_chance(tmp_path, mode, cost, alerts, labels, verdict):
    info = {"selected_hyperparams": {"val_ce": cost}, "validation_prior_ce": 0.69}
    path = tmp_path / RECORD_NAME
    path.write_bytes(record(events(metrics={**METRICS, "train_info": info, "train_mode": mode}, alerts=alerts)))
    shown = joined(write(tell(path), "en"))
    assert labels in shown
    assert verdict in shown
    assert ("nothing of papyrus" in verdict) == ("nothing of papyrus" in shown)
    assert ("ne dit rien du papyrus ici" in joined(write(tell(path), "fr"))) == ("nothing of papyrus" in shown)


def test_a_stamp_that_is_no_date_is_left_out(tmp_path):
    path = tmp_path / "v121_execution_logs.json"
    path.write_text(json.dumps([{"ts_ns": stamp, "event": "STEP"} for stamp in ("9" * 30, "soon", -5, 2.5, True)]))
    assert tell(path).first_ns is None


# The command


def test_the_command_shows_or_writes_the_text(logs, tmp_path, capsys):
    assert main(["explain", str(logs["V121"])]) == 0
    assert capsys.readouterr().out == write(tell(logs["V121"]), "en")
    target = tmp_path / "rapport.md"
    assert main(["explain", str(logs["V121"]), "--lang", "fr", "-o", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == write(tell(logs["V121"]), "fr")
    assert capsys.readouterr().out == ""


def test_a_folder_stands_for_the_log_in_it(logs, capsys):
    assert main(["explain", str(logs["whole"].parent)]) == 0
    assert RECORD_NAME in capsys.readouterr().out


def test_another_language_is_2(logs, capsys):
    assert main(["explain", str(logs["V121"]), "--lang", "de"]) == 2
    assert "expected one of en, fr" in capsys.readouterr().err
    assert explain.LANGUAGES == ("en", "fr")
