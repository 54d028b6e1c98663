"""Records as a run writes them, event by event, for tests that need no run."""

import hashlib
import json
import zipfile

from gpu_nx47.submission import encode_mask

START_NS = 1_780_000_000_000_000_000
HARDWARE = {
    "python": "3.12.1 (main)", "platform": "Linux", "cpu_model": "A processor", "cpu_count": 4,
    "mem_total_kb": 30_000_000,
    "gpu": [], "gpu_reason": "no NVIDIA driver answers",
}  # fmt: skip
CONFIG = {"preset": "default", "seed": 47, "segment": {"ratio": None, "dust": 100}}
SLICES = {
    "z": list(range(12)), "voxels": [0, *[100] * 10, 0],
    "final": [0, 14, 15, 16, 15, 14, 15, 16, 15, 15, 15, 0],
}  # fmt: skip
NO_GPU = {
    "gpu_reason": "the CPU was asked for", "gpu_time_ratio": None, "gpu_phase_coverage_pct": None,
    "cpu_fallback_count": None, "gpu_device_s": None, "gpu_joules": None, "gpu_memory_used_bytes_max": None,
    "gpu_samples": None, "gpu_devices": None, "gpu_unknown": {},
}  # fmt: skip
METRICS = {
    "selected_features": ["grad_inward", "gaussian"],
    "train_info": {"selected_hyperparams": {"val_ce": 0.2, "non_zero_weights": 2}, "validation_prior_ce": 0.69},
    "active_neurons_start_total": 1, "active_neurons_mid_total": 2, "active_neurons_end_total": 2,
    "valid_voxels": 1000, "pixels_processed": 1728, "slices_processed": 12,
    "pixels_anchor_detected": 120, "pixels_papyrus_without_anchor": 40,
    "pixels_active_final": 150, "pixels_final_anchored": 110, "pixels_active_calibrated": 155,
    "active_ratio_final": 0.15, "active_ratio_hysteresis": 0.12, "active_ratio_calibrated": 0.155,
    "anchor_calibration": {"both": 115, "either": 160, "final": 150, "final_without_anchor": 146,
                           "final_without_calibration": 109},
    "materials_detected": 3, "patterns_detected": 1, "golden_nonce_detected": 7, "anomalies_detected": 20,
    "anomaly_clusters": 4, "unknown_discoveries": None, "unknown_discoveries_reason": "no reference: the only one",
    "thresholds": {"strong": 0.9, "weak": 0.5, "source": "measured", "calibrated": 0.4, "target_ratio": 0.155},
    "axis": {"confidence": 0.97, "used": True}, "calc_per_sec": 2e9, "elapsed_s": 1.5,
    "slices": SLICES,
}  # fmt: skip
DIGEST = "ab" * 32


def events(file="100", sha=DIGEST, metrics=METRICS, config=CONFIG, zip_digest=DIGEST, alerts=(), key=None):
    """Return the events of a whole run over one file."""
    boot = {"schema": "nx47-events/1", "version": "0.1.0", "root": "in", "config": config, "hardware": HARDWARE}
    boot |= {"backend": "cpu", "backend_reason": "asked for", "public_key": key}
    found = {"root": "in", "file_count": 1, "total_assets": 3, "folders": ["test_images"], "suffix_stats": {".tif": 3}}
    stats = {k: v for k, v in metrics.items() if isinstance(v, int)} | {"calc_per_sec_global": 1.5e9}
    stats |= {"elapsed_total_s": 2.5, "voxels_per_sec": 900.0, "hardware": {**HARDWARE, "peak_rss_bytes": 500_000_000}}
    stats |= NO_GPU
    return [
        ("BOOT", boot),
        ("DATASET_DISCOVERY", found),
        ("FILE_START", {"file": file, "sha256": sha, "shape": [12, 12, 12], "dtype": "uint8"}),
        ("ARRAY_TRACE", {"file": file, "stage": "mask_final", "digest": DIGEST}),
        *(("ALERT", alert) for alert in alerts),
        ("NX47_METRICS", {"file": file, **metrics}),
        ("FILE_DONE", {"file": file, "active_ratio": metrics.get("active_ratio_final"), "calc_per_sec": 2e9}),
        ("GLOBAL_STATS", stats),
        ("SUBMISSION_VALIDATED", {"ok": True, "problems": [], "members": 1}),
        (
            "EXEC_COMPLETE",
            {"submission": "out/submission.zip", "digests": {"submission.zip": zip_digest}, "exit_code": 0},
        ),
    ]


def record(told, start_ns=START_NS):
    """Return the bytes of a record: each line names the SHA-256 of the line before."""
    lines, prev = [], "0" * 64
    for seq, (event, data) in enumerate(told):
        stamps = {"seq": seq, "ts_ns": str(start_ns + seq * 10**9), "mono_ns": str(seq * 10**9)}
        line = json.dumps({**stamps, "event": event, "data": data, "prev": prev}, separators=(",", ":")).encode()
        prev = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    return b"".join(lines)


def write_zip(path, masks):
    """Write masks by their ids as a submission, and return its SHA-256."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, mask in masks.items():
            archive.writestr(f"{name}.tif", encode_mask(mask))
    return hashlib.sha256(path.read_bytes()).hexdigest()
