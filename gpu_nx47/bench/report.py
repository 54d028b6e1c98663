"""A result as text: tables that fit a page, each figure with its unit in the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def text(found: dict[str, Any]) -> str:
    """Return the whole report of a result of `measure`."""
    parts = [_head(found), *_kernels(found), *_runs(found), *_starts(found), *_growth(found)]
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns, the first one to the left."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    told = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        told.append("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return "\n".join(told)


def _head(found: dict[str, Any]) -> str:
    m = found["machine"]
    lines = [
        f"gpu-nx47 {m['version']}, commit {m['commit']}, {m['changed_files']} files changed since; {m['date']}",
        f"{m['cpu_model']}, {m['usable_processors']} processors, {m['mem_total_kb'] / 1e6:.0f} GB; {m['platform']}",
        f"GPU: {', '.join(gpu['name'] for gpu in m['gpu']) or m.get('gpu_reason', 'none')}",
        "load average (1, 5, 15 min) before "
        + ", ".join(f"{v:.2f}" for v in m["load_before"])
        + ", after "
        + ", ".join(f"{v:.2f}" for v in m["load_after"]),
        ", ".join(f"{name} {version}" for name, version in m["packages"].items()),
    ]
    lines += [f"absent: {name}: {reason}" for name, reason in found["absent"].items()]
    for room, limits in found["limits"].items():
        for threads in limits["copy_bytes_per_s"]:
            copy, rate = (limits[key][threads] / 1e9 for key in ("copy_bytes_per_s", "arithmetic_per_s"))
            lines.append(f"limits of {room}, {threads} threads: copy {copy:.1f} GB/s, float32 {rate:.1f} Gop/s")
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}" if seconds >= 0.01 else f"{seconds * 1e3:.3f}"


def _mb(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f}"


def _kernels(found: dict[str, Any]) -> Iterator[str]:
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in found["kernels"]:
        groups.setdefault((row["backend"], row["size"]), []).append(row)
    head = (
        "kernel", "thr", "ms", "spread", "cpu ms", "Mvox/s", "calc_ops", "executed", "Gcalc/s", "MB floor", "MB moved",
        "GB/s", "of copy", "of arith", "bound", "peak MB", "best peer", "x ours", "x cpu",
    )  # fmt: skip
    for (room, size), rows in groups.items():
        lines = []
        for row in rows:
            best = min(row["peers"], key=lambda peer: peer["median_s"], default=None)
            against = (
                ("-", "-", "-")
                if best is None
                else (best["peer"], f"{best['times_ours']:.1f}", f"{best['times_ours_cpu']:.1f}")
            )
            cpu = sorted(row["cpu_s"])[len(row["cpu_s"]) // 2]
            lines.append((
                row["case"], str(row["threads"]), _ms(row["median_s"]), f"{row['spread']:.2f}", _ms(cpu),
                f"{row['mvoxel_per_s']:.0f}", f"{row['calc_ops']:.3g}", f"{row['calc_ops_executed']:.3g}",
                f"{row['calc_per_sec'] / 1e9:.2f}", _mb(row["bytes_floor"]), _mb(row["bytes_moved"]),
                f"{row['gb_per_s']:.2f}", f"{row['of_copy']:.0%}", f"{row['of_arithmetic']:.0%}", row["bound"],
                _mb(row["peak_bytes"]), *against,
            ))  # fmt: skip
        yield f"\nKernels, {room}, phantom of {size}^3 ({rows[0]['shape'][0]}^3 in its frame), medians\n" + _table(
            head, lines
        )
        if any(row["peers"] for row in rows):
            yield _peers(room, rows)


def _peers(room: str, rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        for peer in row["peers"]:
            lines.append((
                row["case"], peer["peer"], _ms(peer["median_s"]), f"{peer['spread']:.2f}", f"{peer['times_ours']:.2f}",
                f"{peer['times_ours_cpu']:.2f}", str(len(peer["wall_s"])),
            ))  # fmt: skip
    told = f"\nPeers, {room}: how many times as long as ours, on the wall and in processor time\n" + _table(
        ("kernel", "peer", "ms", "spread", "x ours", "x cpu", "rounds"), lines
    )
    quicker = [
        f"{peer['peer']} at {row['case']}: {1 / peer['times_ours']:.2f} times. {row.get('note', '')}".rstrip()
        for row in rows
        for peer in row["peers"]
        if peer["times_ours"] < 1
    ]
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for reason in row["absent"].items():
            grouped.setdefault(reason, []).append(row["case"])
    absent = [f"{peer} {reason}: {', '.join(cases)}" for (peer, reason), cases in sorted(grouped.items())]
    notes = [f"{row['case']}: {row['note']}" for row in rows if "note" in row]
    parts = (("Quicker than ours", quicker or ["none"]), ("Notes", notes), ("Absent peers", absent))
    return told + "".join(f"\n{title}:\n  " + "\n  ".join(lines) for title, lines in parts if lines)


def _runs(found: dict[str, Any]) -> Iterator[str]:
    for run in found["runs"]:
        rows = [
            (
                stage["stage"], f"{stage['wall_s']:.3f}", f"{stage['share']:.1%}", _mb(stage["peak_bytes"]),
                f"{stage['calc_ops']:.3g}", f"{stage['calc_ops_executed']:.3g}", f"{stage['calc_per_sec'] / 1e9:.2f}",
                f"{stage['mvoxel_per_s']:.1f}",
            )
            for stage in sorted(run["stages"], key=lambda stage: -stage["wall_s"])
        ]  # fmt: skip
        total = sum(stage["wall_s"] for stage in run["stages"])
        head = ("stage", "s", "share", "peak MB", "calc_ops", "executed", "Gcalc/s", "Mvox/s")
        p = run["file_s"]
        model = f" with the model {run['model']}" if run["model"] else ""
        yield "\n".join([
            f"\nWhole run{model}, {run['backend']}, {run['files']} phantoms of {run['size']}^3, the middle of "
            f"{len(run['wall_rounds_s'])} runs",
            _table(head, rows),
            f"wall {run['wall_s']:.3f} s, sum of the stages {total:.3f} s, named {run['named_share']:.1%}; "
            f"processor {run['cpu_s']:.2f} s; spread {run['spread']:.2f}",
            f"{run['mvoxel_per_s']:.2f} Mvoxel/s, calc_ops {run['calc_ops']:.4g}, "
            f"executed {run['calc_ops_executed']:.4g}, calc_per_sec {run['calc_per_sec']:.4g}; "
            f"peak {_mb(run['peak_bytes'])} MB; read {_mb(run['bytes_read'])} MB, wrote {_mb(run['bytes_written'])} MB",
            f"a file: P50 {p['p50']:.2f} s, P90 {p['p90']:.2f} s, P99 {p['p99']:.2f} s, of {run['files_measured']} "
            f"files; fingerprints within tiles: {run['record_on_threads_s']:.2f} processor seconds",
        ])  # fmt: skip


def _starts(found: dict[str, Any]) -> Iterator[str]:
    if "starts" in found:
        rows = [(name, _ms(t["median_s"]), f"{t['spread']:.2f}") for name, t in found["starts"].items()]
        yield "\nFresh processes, from start to end\n" + _table(("process", "ms", "spread"), rows)
    if "first_runs" in found:
        first = found["first_runs"]
        rows = [
            (kind.replace("_", " "), f"{first[kind]['first_line_s']:.2f}", f"{first[kind]['whole_s']:.2f}")
            for kind in ("empty_cache", "full_cache")
        ]
        yield (
            f"\nA first run in a fresh process, {first['backend']}, phantom of {first['size']}^3, median of "
            f"{first['rounds']}\n" + _table(("compiled kernels", "first line s", "whole run s"), rows)
            + f"\ncompiling, the difference: {first['compile_s']:.2f} s"
        )  # fmt: skip
    for room, moved in found["transfer"].items():
        if isinstance(moved, dict):
            ways = ", ".join(f"{way} {_ms(t['median_s'])} ms ({t['gb_per_s']:.1f} GB/s)" for way, t in moved.items())
            yield f"\nTransfer, {room}: {ways}"


def _growth(found: dict[str, Any]) -> Iterator[str]:
    sizes = sorted({int(size) for row in found["growth"] for size in row["mvoxel_per_s"]})
    if len(sizes) < 2:
        return
    rows = [
        (
            f"{row['case']}, {row['backend']}",
            *(f"{row['mvoxel_per_s'][str(s)]:.1f}" if str(s) in row["mvoxel_per_s"] else "-" for s in sizes),
            "-" if row["over_middle"] is None else f"{row['over_middle']:.2f}",
        )
        for row in found["growth"]
    ]
    yield "\nHow cost grows: Mvoxel/s by size, and the largest over the largest of at most half of it\n" + _table(
        ("work", *(f"{size}^3" for size in sizes), "over half"), rows
    )
