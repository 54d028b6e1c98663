"""The run's criticism of itself: each alert a rule on figures that were measured, with its limit and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from gpu_nx47.events import Event

ANCHOR_WEAK: Final = 0.10
CALIBRATION_CARRIES: Final = 0.50
FRAME_FACTOR: Final = 3.0
FRAME_DEPTH: Final = 3
"""Voxels from the box's border that count as its border."""
SCALE_FACTOR: Final = 1.5
UNKNOWN_SHARE: Final = 0.01

TEXTS: Final[dict[str, tuple[str, str, str]]] = {
    "ANCHOR_WEAK": (
        "warning",
        "Anchored voxels are under a tenth of the calibrated ones: the mask stands on a quantile, not on evidence.",
        "Lower segment.strong, or look at the probability (--save probability).",
    ),
    "CALIBRATION_CARRIES": (
        "warning",
        "More than half of the final mask is there only because a share of active voxels was asked for.",
        "Lower segment.ratio, or leave it to be measured.",
    ),
    "NO_LEARNING": (
        "error",
        "On held-out voxels the neuron is no better than always saying their share.",
        "Look at the volume and at the features kept; the mask should not be trusted.",
    ),
    "OUT_OF_DISTRIBUTION": (
        "warning",
        "Many anchored voxels have features that the volumes before this one hardly ever had.",
        "Look at this volume beside the others: another scanner, scale or window?",
    ),
    "RECTO_UNKNOWN": (
        "warning",
        "The side of the scroll's axis cannot be told, so recto and verso cannot: both faces are marked.",
        "Run on a larger piece of the scroll.",
    ),
    "FRAME_ARTIFACT": (
        "warning",
        "The mask is far denser at the border of the valid box than the border's share of voxels explains.",
        "Look at the overlays: a frame or a padding may not be zero.",
    ),
    "CONSTANT_VOLUME": (
        "error",
        "Every voxel of the valid box has one value, or there is none.",
        "Look at the file: nothing can be found in it. Its mask is empty.",
    ),
    "TIES_SATURATE": (
        "warning",
        "Many voxels have one and the same probability: the share asked for cannot be met.",
        "Give segment.ratio above the tie, or keep more features (features.top_k).",
    ),
    "SCALE_MISMATCH": (
        "warning",
        "This volume's voxels differ in size from the first one's: scales in voxels mean something else here.",
        "Run volumes of one voxel size together.",
    ),
    "LABELS_UNUSED": (
        "info",
        "Labelled volumes are here, and the autonomous mode does not look at them.",
        "Nothing to do: this version has no supervised training.",
    ),
    "STALL": (
        "warning",
        "The run has told of no progress for this many seconds: it works on one long step, or something hangs.",
        "Look at the stack in the record: a network drive or a swapping machine is the usual cause. The run goes on.",
    ),
    "SUBMISSION_INVALID": (
        "error",
        "The submission failed its own check.",
        "Do not upload it. This is our bug: please report it with the log.",
    ),
}
"""Severity, sentence and advice of each code."""


@dataclass(frozen=True)
class Alert:
    """One rule that fired."""

    code: str
    severity: str
    value: Any
    limit: Any
    sentence: str
    advice: str
    file: str | None = None

    @classmethod
    def of(cls, code: str, value: Any, limit: Any, file: str | None = None) -> Alert:
        """Return the alert of a code with its own words."""
        severity, sentence, advice = TEXTS[code]
        return cls(code, severity, value, limit, sentence, advice, file)

    def event(self) -> Event:
        """Return the event ALERT."""
        return Event("ALERT", asdict(self))


@dataclass(frozen=True)
class Facts:
    """What the rules look at, of one solved volume."""

    anchored: int
    """Voxels of the hysteresis mask."""
    calibrated: int
    final: int
    final_unanchored: int
    validation_ce: float
    prior_ce: float
    """What always saying the share would cost on the same voxels."""
    active_neurons: int
    axis_confidence: float
    axis_limit: float
    border_share: float
    """Share of the final mask near the box's border."""
    border_expected: float
    """The same for a mask spread evenly."""
    ties_saturate: bool
    calibrated_share: float
    target_share: float
    unknown: int | None


def judge(file: str, facts: Facts) -> list[Alert]:
    """Return the alerts of one solved volume.

    Parameters
    ----------
    file : str
    facts : Facts
    """
    carried = facts.final_unanchored / facts.final if facts.final else 0.0
    anchored = facts.anchored / facts.calibrated if facts.calibrated else 1.0
    frame = FRAME_FACTOR * facts.border_expected
    unknown = (facts.unknown or 0) / facts.anchored if facts.anchored else 0.0
    learned = facts.active_neurons > 0 and facts.validation_ce < facts.prior_ce
    rules = (
        (anchored < ANCHOR_WEAK, "ANCHOR_WEAK", anchored, ANCHOR_WEAK),
        (carried > CALIBRATION_CARRIES, "CALIBRATION_CARRIES", carried, CALIBRATION_CARRIES),
        (not learned, "NO_LEARNING", facts.validation_ce, facts.prior_ce),
        (unknown > UNKNOWN_SHARE, "OUT_OF_DISTRIBUTION", unknown, UNKNOWN_SHARE),
        (facts.axis_confidence < facts.axis_limit, "RECTO_UNKNOWN", facts.axis_confidence, facts.axis_limit),
        (frame > 0 and facts.border_share > frame, "FRAME_ARTIFACT", facts.border_share, frame),
        (facts.ties_saturate, "TIES_SATURATE", facts.calibrated_share, facts.target_share),
    )
    return [Alert.of(code, value, limit, file) for fired, code, value, limit in rules if fired]
