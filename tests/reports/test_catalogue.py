"""Every alert of the specification is data: its rule, limit, sentence and advice, and whether a run can raise it."""

import json
import re
from pathlib import Path

import pytest

from gpu_nx47 import alerts, calibration, survey
from gpu_nx47.cli import main
from gpu_nx47.explain.alert_words import FRENCH
from gpu_nx47.journal import heartbeat

SPECIFIED = [
    "ANCHOR_WEAK", "CALIBRATION_CARRIES", "NO_SURFACE", "NO_LEARNING", "OUT_OF_DISTRIBUTION", "RECTO_UNKNOWN",
    "FRAME_ARTIFACT", "CONSTANT_VOLUME", "TIES_SATURATE", "NON_FINITE", "SCALE_MISMATCH", "SHAPE_DIFFERS",
    "LABELS_UNUSED", "LABELS_MISPLACED", "LABELS_ODD",
    "GPU_FALLBACK", "INPUT_DAMAGED", "SUBMISSION_INVALID", "TIME_BUDGET", "STALL",
]  # fmt: skip
PACKAGE = Path(alerts.__file__).parent


def test_every_alert_of_the_specification_is_there_and_no_other():
    assert list(alerts.KINDS) == SPECIFIED


@pytest.mark.parametrize("code", SPECIFIED)
def test_an_alert_says_when_it_fires_what_it_means_and_what_to_do(code):
    kind = alerts.KINDS[code]
    assert kind.severity in {"info", "warning", "error"}
    assert kind.rule.endswith(".")
    assert kind.sentence.endswith(".")
    assert kind.advice.endswith((".", "?"))
    assert bool(kind.unit) == (kind.limit is not None)


def test_the_limits_are_those_that_the_stages_use():
    limits = {code: kind.limit for code, kind in alerts.KINDS.items()}
    assert limits["RECTO_UNKNOWN"] == survey.AXIS_LIMIT
    assert limits["STALL"] == heartbeat.STALL_S
    assert limits["TIES_SATURATE"] == calibration.OVERSHOOT
    assert limits["ANCHOR_WEAK"] == alerts.ANCHOR_WEAK
    assert limits["SCALE_MISMATCH"] == alerts.SCALE_FACTOR


def raised_by_the_source(code):
    """Say whether a line of the package makes an alert of this code; the table itself and translations do not."""
    told = rf'(Alert\.of\(|code = |"code": )[^\n]*"{code}"'
    sources = [p for p in PACKAGE.rglob("*.py") if "explain" not in p.relative_to(PACKAGE).parts]
    judged = (PACKAGE / "alerts.py").read_text(encoding="utf-8").partition("def judge")[2]
    return f'"{code}"' in judged or any(re.search(told, p.read_text(encoding="utf-8")) for p in sources)


@pytest.mark.parametrize("code", SPECIFIED)
def test_what_is_said_not_to_be_raised_is_raised_nowhere_and_the_rest_somewhere(code):
    assert alerts.KINDS[code].raised == raised_by_the_source(code)


def test_every_alert_has_its_french_words():
    assert set(FRENCH) == set(alerts.KINDS)
    for words in FRENCH.values():
        assert words.sentence.endswith(".")
        assert words.advice.endswith((".", "?"))


def test_the_command_lists_them_as_text_and_as_json(capsys):
    assert main(["alerts", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [alert["code"] for alert in listed] == SPECIFIED
    assert listed == alerts.catalogue()
    assert main(["alerts"]) == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    for alert in listed:
        assert " ".join(alert["rule"].split()) in words
        assert " ".join(alert["advice"].split()) in words
    absent = [line.split()[0] for line in shown.splitlines() if "not yet raised by this version" in line]
    assert absent == [alert["code"] for alert in listed if not alert["raised"]]
