"""What the console says of a supervised training: the sentences of its events."""

from __future__ import annotations

from typing import Any, Final

from gpu_nx47.cli.block import number

MOST_REFUSED: Final = 8


def training_lines(data: dict[str, Any]) -> list[str]:
    """Return the sentences of one SUPERVISED_TRAIN event; none for most of them, which the record holds."""
    match data.get("step"):
        case "audit":
            refused = data.get("refused") or []
            lines = [f"Labelled volumes: {number(data.get('seen'))} seen, {number(data.get('pairs'))} to be used."]
            lines += [f"  not used: {one['file']}: {one['why']}" for one in refused[:MOST_REFUSED]]
            more = len(refused) - MOST_REFUSED
            return [*lines, *([f"  ... {more} more are in the record"] if more > 0 else []), f"  {data['validation']}"]
        case "refused":
            return [f"  not used: {data.get('file')}: {data.get('why')}"]
        case "volume":
            return [f"  learned from {data['file']}: {number(data['samples'])} voxels"] if data.get("file") else []
        case "learned":
            chosen = data.get("chosen") or {}
            return [
                f"Cross-entropy on held-out voxels {number(chosen.get('val_ce'))}; always saying their share costs "
                f"{number(data.get('validation_prior_ce'))}. Active weights: {number(chosen.get('non_zero_weights'))}."
            ]
        case "net":
            sizes, taken = "-".join(map(str, data.get("hidden") or ())), data.get("taken")
            verdict = "it is taken" if taken else "the neuron stays"
            return [f"A net of {sizes} hidden neurons: {number(data.get('val_ce'))} on the same voxels; {verdict}."]
        case "model":
            facts = (data.get("document") or {}).get("facts") or {}
            return [
                f"Trained on {number(data.get('volumes'))} labelled volumes; model {str(data.get('digest'))[:16]}.",
                *_scan_line(facts.get("scan")),
            ]
    return []


def _scan_line(scan: dict[str, Any] | None) -> list[str]:
    if not scan:
        return ["The cleaning's settings were not scanned."]
    best, start = scan["best"], scan["start"]
    changed = ", ".join(f"{key} {number(value)}" for key, value in best["segment"].items()) or "as they were"
    return [
        f"{number(scan['settings_tried'])} settings scanned on {', '.join(scan['volumes'])}: mean of SurfaceDice and "
        f"VOI score {start['mean']:.4f} at first, {best['mean']:.4f} with {changed}."
    ]
