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
NO_SURFACE: Final = 1.0


@dataclass(frozen=True)
class Kind:
    """What an alert is, whatever the run: the data that `nx47 alerts` lists."""

    severity: str
    """info, warning or error; none of them ends a run."""
    limit: float | None
    """The figure that the value is compared with; None: the rule compares with no fixed figure."""
    unit: str
    """What the limit counts; empty where there is none."""
    rule: str
    """When it fires."""
    sentence: str
    """What it says to the user."""
    advice: str
    raised: bool = True
    """Whether a run of this version can raise it."""


KINDS: Final[dict[str, Kind]] = {
    "ANCHOR_WEAK": Kind(
        "warning",
        ANCHOR_WEAK,
        "of the calibrated voxels",
        "The voxels of the hysteresis mask are fewer than this share of those of the calibrated mask.",
        "Anchored voxels are under a tenth of the calibrated ones: the mask stands on a quantile, not on evidence.",
        "Lower segment.strong, or look at the probability (--save probability).",
    ),
    "CALIBRATION_CARRIES": Kind(
        "warning",
        CALIBRATION_CARRIES,
        "of the final mask",
        "More than this share of the final mask lies outside of the hysteresis mask.",
        "More than half of the final mask is there only because a share of active voxels was asked for.",
        "Lower segment.ratio, or leave it to be measured.",
    ),
    "NO_SURFACE": Kind(
        "warning",
        NO_SURFACE,
        "times the upper end of chance",
        "The sharpness of edges (by how many per cent step and bend of the grey values meet oftener than "
        "independently) is no more than this many times the upper end of what sheetless surrogates of the same grey "
        "values and roughness give.",
        "Nothing here stands out from what chance would give.",
        "Do not read the mask as a surface; look at the volume, at its scale and at its window.",
    ),
    "NO_LEARNING": Kind(
        "error",
        None,
        "",
        "On held-out voxels the cross-entropy is not below that of always saying their share (the limit of this "
        "volume), or every weight is zero; or a supervised training gains no more than trainings on shuffled labels.",
        "On held-out voxels the neuron is no better than always saying their share.",
        "Look at the volume and at the features kept; the mask should not be trusted.",
    ),
    "OUT_OF_DISTRIBUTION": Kind(
        "warning",
        UNKNOWN_SHARE,
        "of the anchored voxels",
        "More than this share of the anchored voxels lie in joint cells of features that the volumes before hardly "
        "had.",
        "Many anchored voxels have features that the volumes before this one hardly ever had.",
        "Look at this volume beside the others: another scanner, scale or window?",
    ),
    "RECTO_UNKNOWN": Kind(
        "warning",
        0.5,
        "confidence",
        "The confidence in the side on which the scroll's axis lies is below this; the signed feature is left out.",
        "The side of the scroll's axis cannot be told, so recto and verso cannot: both faces are marked.",
        "Run on a larger piece of the scroll, or give its axis with --umbilicus.",
    ),
    "FRAME_ARTIFACT": Kind(
        "warning",
        FRAME_FACTOR,
        "times the share of an even mask",
        f"The share of the final mask within {FRAME_DEPTH} voxels of the valid box's border is more than this many "
        "times what an evenly spread mask has there.",
        "The mask is far denser at the border of the valid box than the border's share of voxels explains.",
        "Look at the overlays: a frame or a padding may not be zero.",
    ),
    "CONSTANT_VOLUME": Kind(
        "error",
        None,
        "",
        "The valid box has no voxel, or its smallest and its largest grey value are the same.",
        "Every voxel of the valid box has one value, or there is none.",
        "Look at the file: nothing can be found in it. Its mask is empty.",
    ),
    "TIES_SATURATE": Kind(
        "warning",
        1.5,
        "times the share asked for",
        "Voxels of one probability cannot be parted, and with the tie more than this many times the share asked for "
        "would be active.",
        "Many voxels have one and the same probability: the share asked for cannot be met.",
        "Give segment.ratio above the tie, or keep more features (features.top_k).",
    ),
    "NON_FINITE": Kind(
        "error",
        0,
        "values",
        "A float volume holds NaN or infinity (the file is refused), or a figure of an event is not finite (then a "
        "warning).",
        "There are values that are no numbers.",
        "Look at the input named: such a figure is no measurement.",
    ),
    "SCALE_MISMATCH": Kind(
        "warning",
        SCALE_FACTOR,
        "times",
        "The voxel size of this volume differs from the first one's by more than this factor on an axis.",
        "This volume's voxels differ in size from the first one's: scales in voxels mean something else here.",
        "Run volumes of one voxel size together.",
    ),
    "SHAPE_DIFFERS": Kind(
        "warning",
        None,
        "",
        "A stack has another shape than its label; or, telling no number of pages itself, fewer pages than more than "
        "half of the stacks with pages of its size have in common.",
        "This stack has another shape than its label, or fewer pages than the stacks beside it: it may have been cut.",
        "Compare it with the original. It is done as it is.",
    ),
    "LABELS_UNUSED": Kind(
        "info",
        0,
        "labelled volumes",
        "The root holds labelled training volumes, and the run trains on pseudo-labels.",
        "Labelled volumes are here, and the autonomous mode does not look at them.",
        "Give --train to learn from them, or --model with what `nx47 train` learned.",
    ),
    "LABELS_MISPLACED": Kind(
        "warning",
        0,
        "labelled voxels",
        "Surface is labelled in the all-zero frame of the image, outside of its valid box.",
        "Labels mark a surface where the image holds nothing: they may be shifted, or another volume's.",
        "Compare image and labels in a viewer; a shift by one slice shows here. The pair is learned from as it is.",
    ),
    "LABELS_ODD": Kind(
        "warning",
        None,
        "",
        "The model of all volumes explains the labels of this one no better than their share does (the limit of this "
        "volume), in cross-entropy on its sample.",
        "What the labelled volumes teach together does not hold for this one.",
        "Look whether its labels belong to its image, or the side of its scroll's axis was mistaken. The pair is "
        "learned from as it is.",
    ),
    "GPU_FALLBACK": Kind(
        "warning",
        None,
        "",
        "The GPU had no memory for a piece of the work, freed and halved as far as it goes, and the CPU took it over.",
        "The CPU did a part of the GPU's work, for want of memory: the same bits, more slowly.",
        "Free the GPU of other programs, or give a smaller --tile; each step is an event GPU_FALLBACK_DETECTED.",
    ),
    "INPUT_DAMAGED": Kind(
        "error",
        None,
        "",
        "A file is cut short, contradicts itself, cannot be decoded, is no 3-D grey stack, or does not fit in memory.",
        "A file cannot be used; the run goes on without it.",
        "Do what its FILE_FAILED advises: for a damaged file, copy it again.",
    ),
    "SUBMISSION_INVALID": Kind(
        "error",
        0,
        "problems",
        "The submission.zip, re-read page by page, is not what the competition takes.",
        "The submission failed its own check.",
        "Do not upload it. This is our bug: please report it with the log.",
    ),
    "TIME_BUDGET": Kind(
        "warning",
        None,
        "",
        "The time budget was spent before every volume was done in full: the others have cheap masks, or empty ones.",
        "The time asked for is not enough for every volume.",
        "Give more time (--time-budget), or run the volumes left in another run.",
    ),
    "STALL": Kind(
        "warning",
        180.0,
        "seconds",
        "No event but a heartbeat came for this long.",
        "The run has told of no progress for this many seconds: it works on one long step, or something hangs.",
        "Look at the stack in the record: a network drive or a swapping machine is the usual cause. The run goes on.",
    ),
}
"""Every alert of the specification, by its code."""


def catalogue() -> list[dict[str, Any]]:
    """Return every alert as JSON values: code, severity, limit, unit, rule, sentence, advice, raised."""
    return [{"code": code, **asdict(kind)} for code, kind in KINDS.items()]


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
        kind = KINDS[code]
        return cls(code, kind.severity, value, limit, kind.sentence, kind.advice, file)

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
