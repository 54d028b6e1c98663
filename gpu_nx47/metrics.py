"""NX47_METRICS of a volume and GLOBAL_STATS of a run: every key of the record, from what the stages found."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import (
    alerts,
    anomalies,
    chance,
    counters,
    findings,
    golden,
    neuron,
    rescue,
    slices,
    survey,
    tables,
    v122,
)
from gpu_nx47.engine import ASIDE_VOXELS, histogram, slabs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gpu_nx47.alerts import Alert
    from gpu_nx47.backend import Meter
    from gpu_nx47.engine import Engine
    from gpu_nx47.segmentation import Cut
    from gpu_nx47.settings import Settings
    from gpu_nx47.solve import Solved, Story
    from gpu_nx47.volume import Volume

    Explained = Callable[[findings.Clusters], list[dict[str, Any]]]

SUMMED: Final = (
    "files_processed", "slices_processed", "pixels_processed", "valid_voxels", "pixels_anchor_detected",
    "pixels_papyrus_without_anchor", "pixels_active_before_cleaning", "pixels_active_final", "pixels_active_calibrated",
    "pixels_final_anchored", "materials_detected", "patterns_detected", "golden_before_cleaning",
    "golden_nonce_detected", "unknown_discoveries", "anomalies_detected", "anomaly_clusters",
    "active_neurons_start_total", "active_neurons_mid_total", "active_neurons_end_total",
    "active_neurons_start_total_all", "active_neurons_mid_total_all", "active_neurons_end_total_all", "calc_ops",
    "calc_ops_executed", "bytes_read",
)  # fmt: skip
"""Keys that GLOBAL_STATS adds up; where a volume has none (null), the sum is over the others."""

OF_THE_NEURON: Final = frozenset({"NO_LEARNING", "RECTO_UNKNOWN"})
"""Alerts that mean nothing where the probability is another program's."""


def volume_counters(
    volume: Volume,
    solved: Solved,
    engine: Engine,
    settings: Settings,
    references: counters.References | None,
) -> tuple[dict[str, Any], v122.Counts]:
    """Return the counters of a solved volume that need no clock, and what the old definitions find in it.

    Notes
    -----
    The clusters of anomalies take longest and begin as soon as anomalies are listed; the others are counted beside
    them. Of a large volume they are counted before: the runs of its final mask have gone then.
    """
    grey, origin = volume.grey[volume.box.slices], volume.box.start
    explained = partial(findings.explained_clusters, engine, grey, solved, origin=origin)
    works: list[Callable[[], Any]] = [
        lambda: _unknown(solved, engine, references, explained),
        lambda: slices.counted(volume, solved),
        lambda: _components(engine.backend, solved.final),
        lambda: _golden(engine, grey, solved, settings.golden_points, origin),
    ]
    before = engine.together(*works) if grey.size > ASIDE_VOXELS else []
    anomalous = anomalies.listed(engine, solved.probability)
    (bends, odd), old, *beside = engine.together(
        lambda: _anomalies(anomalous, engine, explained),
        lambda: _old(engine.backend, solved),
        *([] if before else works),
    )
    (unknown, reason, strange), counts, moments, best = before or beside
    counted = {
        **_counted(volume),
        **_of_masks(solved.masks, counts, volume.box.voxels),
        "materials_detected": len(moments),
        "materials_by_class": counters.materials_by_class(
            solved.scene.grey_counts, volume.grey.size - volume.box.voxels
        ),
        "largest_component": int(moments[:, 0].max()) if len(moments) else 0,
        "patterns_detected": counters.patterns([moments])[0],
        "golden_before_cleaning": sum(counts["golden_active"]) if solved.null.tallies else None,
        **best,
        "unknown_discoveries": unknown,
        "unknown_discoveries_reason": reason,
        "anomalies_detected": bends.voxels,
        "anomaly_clusters": bends.clusters,
    }
    by_chance = {"expected_by_chance": _by_chance(solved, counted)}
    listed = {"findings": odd + strange, "slices": slices.table(counts)}
    return {**counted, **by_chance, **listed}, old


def _of_masks(masks: Cut, rows: dict[str, list[int]], box: int) -> dict[str, Any]:
    """Return the counters of the masks' voxels, and the steps of the cleaning, from what is known of their slices."""
    shared = counters.anchor_calibration(masks, rows)
    anchored, calibrated, final = (sum(rows[name]) for name in ("hysteresis", "calibrated", "final"))
    return {
        "pixels_anchor_detected": anchored,
        "pixels_papyrus_without_anchor": calibrated - shared["both"],
        "pixels_active_before_cleaning": shared["either"],
        "pixels_active_final": final,
        "pixels_active_calibrated": calibrated,
        "pixels_final_anchored": shared["final_anchored"],
        "anchor_calibration": shared,
        "cleaning": list(masks.cleaning),
        "active_ratio_final": final / box,
        "active_ratio_hysteresis": anchored / box,
        "active_ratio_calibrated": calibrated / box,
    }


def _old(meter: Meter, solved: Solved) -> v122.Counts:
    """Return what the old definitions find; not metered: they are no calculation of the answer."""

    def bends(codes: NDArray[np.uint16]) -> NDArray[np.int16]:
        backend = meter.backend
        found: NDArray[np.int16] = backend.to_host(backend.laplacian(backend.to_device(codes), shift=v122.SHIFT))
        return found

    known = tables.PROBABILITY_ONE, solved.levels.counts, bends
    return rescue.whole(meter, "the old counters", lambda: v122.Counts.of(solved.probability, solved.final, *known))


def _anomalies(
    listed: anomalies.Listed, engine: Engine, explained: Explained
) -> tuple[anomalies.Anomalies, list[dict[str, Any]]]:
    """Return the anomalies in their clusters, and the largest of these explained."""
    bends = listed.clustered(engine)
    usual, unit = bends.limits.median, bends.limits.unit
    return bends, explained(findings.Clusters("anomaly", bends.index, bends.cluster, bends.bend, usual, unit))


def _golden(
    engine: Engine, grey: NDArray[np.uint8], solved: Solved, listed: int, origin: tuple[int, int, int]
) -> dict[str, Any]:
    """Return how many golden voxels there are, and the best of these explained; null where nothing tells of chance."""
    limit, known = solved.null.golden_limit, bool(solved.null.tallies)
    number, points = golden.golden_points(solved.probability, solved.final, limit, listed, origin)
    return {
        "golden_nonce_detected": number if known else None,
        "golden_nonce_limit": limit / tables.PROBABILITY_ONE if known else None,
        "golden_nonce_points_topk": findings.explained_points(engine, grey, solved, points, origin),
    }


def _components(backend: Meter, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the moments of a mask's components."""
    moments: NDArray[np.int64] = rescue.whole(
        backend, "the components", lambda: backend.mask_moments(backend.to_device(mask), connectivity=26)
    )
    return moments


def _by_chance(solved: Solved, counted: dict[str, Any]) -> dict[str, Any]:
    if not solved.null.tallies:  # no neuron, so no surrogates
        return {}
    return chance.expected(solved.final.shape, counted, solved.null)


def empty_counters(volume: Volume) -> dict[str, Any]:
    """Return the counters of a volume in which nothing can be found: constant, or all zero."""
    grey = np.zeros(256, np.int64)
    for part in slabs(volume.grey.shape):
        grey += np.bincount(volume.grey[part].reshape(-1), minlength=256)
    zero = (
        "pixels_anchor_detected", "pixels_papyrus_without_anchor", "pixels_active_final", "pixels_active_calibrated",
        "pixels_active_before_cleaning", "pixels_final_anchored", "materials_detected", "largest_component",
        "patterns_detected", "golden_before_cleaning", "golden_nonce_detected",
        "anomalies_detected", "anomaly_clusters", "active_neurons_start_total", "active_neurons_mid_total",
        "active_neurons_end_total", "active_neurons_start_total_all", "active_neurons_mid_total_all",
        "active_neurons_end_total_all",
    )  # fmt: skip
    return {
        **_counted(volume),
        **dict.fromkeys(zero, 0),
        **dict.fromkeys(("active_ratio_final", "active_ratio_hysteresis", "active_ratio_calibrated"), 0.0),
        "materials_by_class": counters.materials_by_class(grey, volume.grey.size - volume.box.voxels),
        "anchor_calibration": None,
        "cleaning": [],
        "golden_nonce_limit": None,
        "golden_nonce_points_topk": [],
        "unknown_discoveries": None,
        "unknown_discoveries_reason": "nothing was selected in a constant volume",
        "expected_by_chance": {},
        "findings": [],
        "slices": slices.table(slices.counted(volume, None), found=False),
    }


def _counted(volume: Volume) -> dict[str, Any]:
    return {
        "files_processed": 1,
        "slices_processed": volume.grey.shape[0],
        "pixels_processed": volume.grey.size,
        "valid_voxels": volume.box.voxels,
        "bytes_read": volume.bytes_read,
    }


def _unknown(
    solved: Solved, engine: Engine, references: counters.References | None, explained: Explained
) -> tuple[int | None, str | None, list[dict[str, Any]]]:
    """Return the number of unknown discoveries, or why there is none, and the largest clusters of them explained."""
    if references is None:
        return None, "no reference: this volume is the only one of the run", []
    if solved.cells is None:
        return None, "no reference: more than eight selected features", []
    names, cells, meter = solved.selected.names, solved.cells, engine.backend
    rare = references.rare(names)
    # Not metered: what a volume is compared with is no calculation of its answer.
    counts = rescue.whole(meter, "the joint cells", lambda: histogram(meter.backend, cells))
    references.add(names, counts)
    if rare is None:
        return None, "no reference: no volume before this one selected the same features", []
    index = counters.unknown_voxels(cells, rare, solved.masks.anchored)
    if not index.size:
        return 0, None, []
    cluster, _ = anomalies.clusters_of(engine, cells.shape, index)
    bright = solved.probability.reshape(-1)[index]
    return index.size, None, explained(findings.Clusters("discovery", index, cluster, bright))


def training_block(solved: Solved) -> dict[str, Any]:
    """Return what NX47_METRICS says of selection and training."""
    chosen, trainings = solved.trained.chosen, solved.trained.trainings
    times = ("start", "mid", "end")
    axis = solved.scene.axis
    own = solved.trained.mode == neuron.AUTONOMOUS  # else no voxel of this volume was learned from
    info = {
        **solved.trained.info(),
        "label_keep_ratio": solved.scene.keep_ratio if own else None,
        "pseudo_labels": solved.scene.counted if own else None,
        "measured_slices": [[slab.start, slab.stop] for slab in solved.scene.slabs] if own else None,
        "bias_after_prior": float(solved.trained.unit.bias),
    }
    return {
        "selected_features": list(solved.selected.names),
        "feature_scores": solved.selected.scores,
        "features_dropped": solved.selected.dropped,
        "train_mode": solved.trained.mode,
        "model": solved.trained.model,
        "train_info": None if solved.trained.mode == neuron.OUTSIDE else info,
        **{f"active_neurons_{t}": getattr(chosen, f"active_neurons_{t}") for t in times},
        **{f"active_neurons_{t}_total": getattr(chosen, f"active_neurons_{t}") for t in times},
        **{f"active_neurons_{t}_total_all": sum(getattr(g, f"active_neurons_{t}") for g in trainings) for t in times},
        "axis": {
            "y": axis.y,
            "x": axis.x,
            "confidence": axis.confidence,
            "source": axis.source,
            "used": solved.scene.axis_used,
        },
        "thresholds": {
            "strong": solved.thresholds.strong / tables.PROBABILITY_ONE,
            "weak": solved.thresholds.weak / tables.PROBABILITY_ONE,
            "source": solved.thresholds.source,
            "calibrated": solved.calibration.threshold / tables.PROBABILITY_ONE,
            "target_ratio": solved.calibration.target,
            "target_source": solved.calibration.source,
        },
        "null": {"shape": list(solved.null.shape), "families": list(solved.null.tallies)},
    }


def throughput(story: Story, volume: Volume, elapsed_s: float) -> dict[str, Any]:
    """Return operations, rates and the stage table of a volume."""
    asked = sum(round(s["calc_ops"]) for s in story.stages.values())
    executed = sum(round(s["calc_ops_executed"]) for s in story.stages.values())
    rate = 1 / elapsed_s if elapsed_s > 0 else 0.0
    return {
        "calc_ops": asked,
        "calc_ops_executed": executed,
        "calc_per_sec": asked * rate,
        "voxels_per_sec": volume.grey.size * rate,
        "bytes_per_sec": volume.bytes_read * rate,
        "elapsed_s": elapsed_s,
        "stages": story.stages,
    }


def volume_alerts(file: str, solved: Solved, counted: dict[str, Any]) -> list[Alert]:
    """Return the alerts of a solved volume."""
    share, expected = counters.border_share(solved.final, alerts.FRAME_DEPTH)
    neural = solved.trained.mode != neuron.OUTSIDE
    facts = alerts.Facts(
        anchored=counted["pixels_anchor_detected"],
        calibrated=counted["pixels_active_calibrated"],
        final=counted["pixels_active_final"],
        final_unanchored=counted["pixels_active_final"] - counted["pixels_final_anchored"],
        validation_ce=solved.trained.chosen.val_ce,
        prior_ce=solved.trained.validation_prior_ce,
        active_neurons=solved.trained.chosen.active_neurons_end,
        axis_confidence=solved.scene.axis.confidence,
        axis_limit=survey.AXIS_LIMIT,
        border_share=share,
        border_expected=expected,
        ties_saturate=solved.calibration.ties_saturate,
        calibrated_share=solved.calibration.share,
        target_share=solved.calibration.target,
        unknown=counted["unknown_discoveries"],
    )
    found = [alert for alert in alerts.judge(file, facts) if neural or alert.code not in OF_THE_NEURON]
    stands_out = chance.evidence(counted["expected_by_chance"])
    if stands_out is not None and stands_out <= alerts.NO_SURFACE:
        found.append(alerts.Alert.of("NO_SURFACE", stands_out, alerts.NO_SURFACE, file))
    return found


def global_stats(
    per_file: list[dict[str, Any]], failed: int, elapsed_s: float, hardware: dict[str, Any]
) -> dict[str, Any]:
    """Return GLOBAL_STATS: the sums, the shares of the sums, the rates of the whole run."""
    totals: dict[str, Any] = {}
    for key in SUMMED:
        known = [m[key] for m in per_file if m.get(key) is not None]
        totals[key] = sum(known) if known or key != "unknown_discoveries" else None
    box = totals["valid_voxels"]
    classes: dict[str, int] = {}
    for entry in per_file:
        for name, count in entry["materials_by_class"].items():
            classes[name] = classes.get(name, 0) + count
    rate = 1 / elapsed_s if elapsed_s > 0 else 0.0
    return {
        **totals,
        "files_failed": failed,
        "active_ratio_final": counters.ratio(totals["pixels_active_final"], box),
        "active_ratio_hysteresis": counters.ratio(totals["pixels_anchor_detected"], box),
        "active_ratio_calibrated": counters.ratio(totals["pixels_active_calibrated"], box),
        "materials_by_class": classes,
        "largest_component": max((m["largest_component"] for m in per_file), default=0),
        "expected_by_chance": chance.over_files([m["expected_by_chance"] for m in per_file if m["expected_by_chance"]]),
        "golden_nonce_points_topk": [{**p, "file": m["file"]} for m in per_file for p in m["golden_nonce_points_topk"]],
        "calc_per_sec_global": totals["calc_ops"] * rate,
        "voxels_per_sec": totals["pixels_processed"] * rate,
        "bytes_per_sec": totals["bytes_read"] * rate,
        "elapsed_total_s": elapsed_s,
        "hardware": hardware,
    }


def full_mask(volume: Volume, inner: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return the mask of the whole stack from that of the valid box."""
    mask = np.zeros(volume.grey.shape, np.bool_)
    if inner is not None:
        mask[volume.box.slices] = inner
    return mask
