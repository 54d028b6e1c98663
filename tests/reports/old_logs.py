"""Logs as the old program wrote them: its entries, its unkeyed hashes, and V121's run by the seed's facts."""

import hashlib
import json

START_NS = 1_771_000_000_000_000_000
FEATURES = ["local_entropy", "grad_mag", "proj_max", "proj_mean", "laplace", "bandpass_response"]

V121_FACTS = [
    ("BOOT", {"version": "NX47 V121"}),
    ("DATASET_DISCOVERY", {"file_count": 1, "total_assets": 1615, "suffix_stats": {".csv": 2, ".tif": 1613}}),
    ("FILE_START", {"file": "1407735.tif", "index": 1, "total": 1}),
    (
        "NX47_METRICS",
        {
            "file": "1407735.tif",
            "selected_features": FEATURES,
            "train_info": {"selected_hyperparams": {"non_zero_weights": 6}},
            "active_ratio_final": 0.03,
            "active_ratio_hysteresis": 0.0,
            "active_ratio_calibrated": 0.03,
        },
    ),
    ("FILE_DONE", {"file": "1407735.tif", "active_ratio": 0.03}),
    ("EXEC_COMPLETE", {"submission": "/kaggle/working/submission.zip"}),
]
"""What the seed tells of the logs of V121, and nothing else."""


def entries(facts=V121_FACTS, chained=False):
    """Return events in the old program's form: flat, with a hash of the entry itself, from V122 on chained."""
    found, prev = [], "0" * 128
    for number, (event, data) in enumerate(facts):
        entry = {"ts_ns": START_NS + number * 1_000_000_000, "event": event, **data}
        entry["signature"] = hashlib.sha512(json.dumps(entry, sort_keys=True).encode()).hexdigest()
        if chained:
            merkle = hashlib.sha512((prev + json.dumps(entry, sort_keys=True)).encode()).hexdigest()
            entry, prev = {**entry, "prev_merkle": prev, "merkle": merkle}, merkle
        found.append(entry)
    return found


def write_list(path, facts=V121_FACTS):
    """Write the list of V115 to V144: indented JSON."""
    path.write_text(json.dumps(entries(facts), indent=2), encoding="utf-8")
    return path


def write_lines(path, facts=V121_FACTS):
    """Write the chained lines of V122."""
    lines = [json.dumps(entry, ensure_ascii=False) for entry in entries(facts, chained=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
