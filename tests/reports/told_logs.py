"""Logs of every kind, small: each rule of an explanation is said by one of them."""

import json

from old_logs import V121_FACTS, write_lines, write_list
from records import CONFIG, METRICS, SLICES, events, record

from gpu_nx47.journal import LOGS_NAME, RECORD_NAME

ALERT = {
    "code": "RECTO_UNKNOWN", "severity": "warning", "value": 0.1, "limit": 0.5, "sentence": "Both faces are marked.",
    "advice": "Run on a larger piece.", "file": "100",
}  # fmt: skip
FAILED = {"file": "200", "what": "cut short", "expected": "12 pages", "found": "7", "advice": "Copy it again."}
GPU = {
    "gpu_reason": None, "gpu_time_ratio": 0.625, "gpu_phase_coverage_pct": 87.5, "cpu_fallback_count": 0,
    "gpu_device_s": 12.5, "gpu_joules": 1234.0, "gpu_memory_used_bytes_max": 3_000_000_000, "gpu_samples": 40,
    "gpu_devices": [], "gpu_unknown": {},
}  # fmt: skip
V122_METRICS = {
    "pixels_processed_2d": 102_400, "golden_nonce_detected": 11, "anomalies_detected": 52, "active_neurons_start": 0,
    "active_neurons_mid": 6, "active_neurons_end": 6,
}  # fmt: skip


def without(told, *names):
    return [event for event in told if event[0] not in names]


def changed(told, name, **data):
    return [(event, {**old, **data} if event == name else old) for event, old in told]


def _ends(add, whole):
    """Logs that differ in how they end, or in what happened to them since."""
    add("whole", whole)
    add("signed", events(key="gpu-nx47/0+1+2"))
    add("alerted", [*events(alerts=[ALERT])[:-1], ("FILE_FAILED", FAILED), events()[-1]])
    add("killed", without(whole, "GLOBAL_STATS", "EXEC_COMPLETE", "SUBMISSION_VALIDATED", "FILE_DONE", "NX47_METRICS"))
    add("cut", changed(whole, "EXEC_COMPLETE", submission=None, exit_code=130, reason="KeyboardInterrupt"))
    add("recovered", [*whole[:3], ("RECOVERED", {"size": 3}), *whole[3:]])
    add(
        "recovered and killed", [*changed(whole, "EXEC_COMPLETE", exit_code=4, reason="OutputError"), ("RECOVERED", {})]
    )
    add("torn", whole, lambda data: data[:-40])
    add("flipped", whole, lambda data: data.replace(b"asked for", b"asked fur"))
    add("twice", [*events(file="99", alerts=[ALERT]), *whole])


def _masks(add, whole):
    """Logs that differ in what was found."""
    chance = {
        "materials_detected": {"value": 3.5, "low": 0.5, "high": 2.0, "verdict": "above", "unit": "corner cube"},
        "golden_nonce_detected": {"value": 7, "low": 0, "high": 2.5, "verdict": "above", "unit": "volume"},
        "anomalies_detected": {"value": 20, "low": 1, "high": 29.25, "verdict": "within", "unit": "volume"},
        "anomaly_clusters": {"value": 4, "low": None, "high": None, "verdict": "above", "unit": "volume"},
    }
    add("chance", events(metrics={**METRICS, "expected_by_chance": chance}))
    noise = {"golden_nonce_detected": {"value": 7, "low": 0, "high": 50, "verdict": "within", "unit": "volume"}}
    add("noise", events(metrics={**METRICS, "expected_by_chance": noise}))
    doubt = {"golden_nonce_detected": {"value": 7, "low": 0, "high": 3.5, "verdict": "above", "unit": "volume"}}
    add("doubt", events(metrics={**METRICS, "expected_by_chance": doubt}, alerts=[{**ALERT, "code": "NO_SURFACE"}]))
    edges = {"value": 21.5, "low": 0.0, "high": 4.5, "verdict": "above", "unit": "percent"}
    add("sharp", events(metrics={**METRICS, "expected_by_chance": {**noise, "edge_sharpness": edges}}))
    blunt = {"edge_sharpness": {**edges, "value": 3.5, "verdict": "within"}}
    add("blunt", events(metrics={**METRICS, "expected_by_chance": {**chance, **blunt}}))
    given = {**METRICS["thresholds"], "source": "given"}
    blind = {"confidence": 0.1, "used": False}
    by_calibration = {**METRICS, "pixels_final_anchored": 30, "thresholds": given, "axis": blind}
    add("calibrated", events(metrics=by_calibration, config={**CONFIG, "segment": {"ratio": 0.15}}))
    add("anchored", events(metrics={**METRICS, "pixels_final_anchored": 150}))
    add("empty", events(metrics={**METRICS, "pixels_anchor_detected": 0, "active_ratio_hysteresis": 0.0}))
    no_share = {key: value for key, value in METRICS.items() if not key.startswith("active_ratio")}
    add("no share", events(metrics=no_share))
    other = {**METRICS, "selected_features": ["gaussian", "laplace"]}
    several = [(n, {**d, "file": f"f{k}"}) for k in range(14) for n, d in events(metrics=other)[2:6]]
    add("several", [*whole[:6], *several, *whole[6:]])


def _machines_and_slices(add, whole):
    """Logs that differ in where they were made, and slice by slice."""
    gpu = {"hardware": {"cpu_count": 8, "gpu": [{"name": "Tesla T4"}]}}
    on_gpu = changed(changed(whole, "BOOT", **gpu), "GLOBAL_STATS", **gpu)
    add("gpu", changed(on_gpu, "GLOBAL_STATS", **GPU))
    unknown = {"gpu_joules": None, "gpu_unknown": {"gpu_joules": "Tesla T4: Not Supported"}}
    add("gpu short", changed(on_gpu, "GLOBAL_STATS", **{**GPU, "cpu_fallback_count": 2, **unknown}))
    bare = {key: value for key, value in METRICS.items() if key != "slices"}
    early = [
        (name, {k: v for k, v in data.items() if k not in ("cpu_fallback_count",) and not k.startswith("gpu_")})
        for name, data in events(metrics=bare)
    ]
    add("early", early)
    gaps = {**SLICES, "final": [0, 0, 0, 16, 15, 14, 2, 15, 15, 90, 15, 0]}
    add("gaps", events(metrics={**METRICS, "slices": gaps}))
    nothing = {**SLICES, "final": [0] * 12}
    add("no slice", events(metrics={**METRICS, "slices": nothing}))


def corpus(folder):
    """Return logs of every kind: each rule is said by one of them."""
    made = {}

    def add(name, told, damage=lambda data: data):
        (folder / name).mkdir()
        path = folder / name / RECORD_NAME
        path.write_bytes(damage(record(told)))
        made[name] = path

    whole = events()
    _ends(add, whole)
    _masks(add, whole)
    _machines_and_slices(add, whole)
    view = [{"ts_ns": 10**18, "event": name, **data} for name, data in whole]
    (folder / LOGS_NAME).write_text(json.dumps(view))
    made["view"] = folder / LOGS_NAME
    made["V121"] = write_list(folder / "v121_execution_logs.json")
    made["V121 list"] = write_list(folder / "v120_execution_logs.json", without(V121_FACTS, "EXEC_COMPLETE"))
    settings = {"strong_th": 0.85, "weak_th": 0.45, "target_active_ratio": 0.03}
    told = changed(changed(V121_FACTS, "NX47_METRICS", **V122_METRICS), "BOOT", config=settings, version="NX47 V122")
    made["V122"] = write_lines(folder / "v122_ultra.jsonl", told)
    return made
