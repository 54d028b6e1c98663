"""Every rule fires on its own case and on no other."""

from dataclasses import replace

import pytest

from gpu_nx47 import alerts
from gpu_nx47.events import EVENT_NAMES

GOOD = alerts.Facts(
    anchored=900,
    calibrated=1000,
    final=1000,
    final_unanchored=100,
    validation_ce=0.2,
    prior_ce=0.69,
    active_neurons=6,
    axis_confidence=1.0,
    axis_limit=0.5,
    border_share=0.1,
    border_expected=0.1,
    ties_saturate=False,
    calibrated_share=0.03,
    target_share=0.03,
    unknown=None,
)

CASES = {
    "ANCHOR_WEAK": {"anchored": 99},
    "CALIBRATION_CARRIES": {"final_unanchored": 501},
    "NO_LEARNING": {"validation_ce": 0.69},
    "OUT_OF_DISTRIBUTION": {"unknown": 10},
    "RECTO_UNKNOWN": {"axis_confidence": 0.49},
    "FRAME_ARTIFACT": {"border_share": 0.31},
    "TIES_SATURATE": {"ties_saturate": True},
}


def test_a_good_volume_has_none():
    assert alerts.judge("a", GOOD) == []


@pytest.mark.parametrize("code", CASES)
def test_each_rule_fires_alone_and_explains_itself(code):
    (alert,) = alerts.judge("a", replace(GOOD, **CASES[code]))
    assert alert.code == code
    assert alert.file == "a"
    assert alert.sentence.endswith(".")
    assert alert.advice.endswith((".", "?"))
    assert alert.event().name in EVENT_NAMES
    assert alert.event().data["code"] == code


def test_all_weights_zero_is_no_learning_and_nothing_found_is_no_anchor_alert():
    assert [a.code for a in alerts.judge("a", replace(GOOD, active_neurons=0))] == ["NO_LEARNING"]
    nothing = replace(GOOD, anchored=0, calibrated=0, final=0, final_unanchored=0)
    assert alerts.judge("a", nothing) == []
