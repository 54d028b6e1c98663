"""What the user watches: observers of the run's events that write to a terminal, a log, or a pipe."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final, TextIO

from gpu_nx47.cli.block import number, stats_block
from gpu_nx47.cli.learning import training_lines
from gpu_nx47.journal.encoding import compact
from gpu_nx47.journal.record import record_fields
from gpu_nx47.journal.roadmap import Progress
from gpu_nx47.journal.views import flat_entry

if TYPE_CHECKING:
    from gpu_nx47.journal import Stamped

FIRST_INTERVAL_S: Final = 10.0
INTERVAL_GROWTH: Final = 0.1
"""Plain progress lines come every 10 s at first, later each time the run is a tenth older: 60 lines in 9 hours."""
UNSIGNED: Final = "The record is not signed: the package cryptography is missing. pip install cryptography"
KEEP: Final = "The record's last checkpoint. Kept elsewhere, it shows any later change (nx47 log verify --checkpoint):"
GO_ON: Final = "the same command goes on from here."
PATIENCE_S: Final = 0.8
"""Seconds without an event after which a reader is told what takes so long: kernels that no cache holds yet."""
FIRST_TIME: Final = (
    "nx47 is looking at this machine; its first run here compiles the kernels once, about half a minute in all."
)
MOST_ALERTS: Final = 20
"""Alerts shown for one file."""


class _Lines:
    """Lines to a stream that may be closed at the other end or speak a narrow encoding."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def write(self, line: str) -> None:
        if self._broken:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            # A file name may hold bytes that are no text: shown escaped, never a reason to stop.
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()
        except BrokenPipeError:  # `nx47 run | head`: the reader left, the run and its record go on
            self._broken = True
            # Python flushes the stream once more at its end, and would turn the exit code into 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


class ErrorLines:
    """Observer that shows errors, how to go on with a run that was cut short, and the last checkpoint (--quiet).

    Parameters
    ----------
    errors : TextIO
    go_on : str
        A clause: what goes on with a run that was cut short.
    """

    def __init__(self, errors: TextIO, *, go_on: str = GO_ON) -> None:
        self._errors = _Lines(errors)
        self._go_on = go_on
        self._note: str | None = None

    def __call__(self, stamped: Stamped) -> None:
        """Show the event where it is an error, or the end of a run before its time."""
        name, data = stamped.event.name, stamped.event.data
        for line in (error_line(name, data), unfinished_line(name, data, self._go_on)):
            if line is not None:
                self._errors.write(line)

    def checkpoint(self, note: str) -> None:
        """Keep the newest signed checkpoint of the record, to be shown at the end."""
        self._note = note

    def close(self) -> None:
        """Show the last checkpoint."""
        note, self._note = self._note, None
        for line in () if note is None else (KEEP, note):
            self._errors.write(line)


class EventLines(ErrorLines):
    """Observer that shows each event as a line of JSON on one stream, and what --quiet shows on another (--json).

    The lines of JSON are those of the record and nothing else: the checkpoint, which is no event, is on the other one.
    """

    def __init__(self, stream: TextIO, errors: TextIO, *, go_on: str = GO_ON) -> None:
        super().__init__(errors, go_on=go_on)
        self._lines = _Lines(stream)

    def __call__(self, stamped: Stamped) -> None:
        """Show the event."""
        self._lines.write(compact(record_fields(stamped)).decode("ascii"))
        super().__call__(stamped)


class Console:
    """Observer that shows progress, short sentences, and GLOBAL_STATS as the last block.

    Parameters
    ----------
    stream, errors : TextIO
        Where sentences go, and where progress bar and errors go.
    every_event : bool
        Show each event as V122 did, a line of flat JSON, in place of progress and sentences.
    go_on : str
        A clause: what goes on with a run that was cut short.
    """

    def __init__(self, stream: TextIO, errors: TextIO, *, every_event: bool = False, go_on: str = GO_ON) -> None:
        self._lines = _Lines(stream)
        self._errors = _Lines(errors)
        self._every_event = every_event
        self._go_on = go_on
        self._unfinished: str | None = None
        self._progress = Progress()
        self._bar = None if every_event or not errors.isatty() else _bar(errors)
        self._stats: dict[str, Any] | None = None
        self._note: str | None = None
        self._start_ns: int | None = None
        self._next_ns = 0
        self._index = 0
        self._shape = ""
        self._features: int | None = None
        self._alerts: set[tuple[str, str]] = set()
        self._alerts_hidden = 0
        self._waiting: threading.Timer | None = None

    def wait(self) -> None:
        """Say why nothing is said yet, where the first event is long in coming."""
        self._waiting = threading.Timer(PATIENCE_S, self._lines.write, (FIRST_TIME,))
        self._waiting.daemon = True
        self._waiting.start()

    def __call__(self, stamped: Stamped) -> None:
        """Show what the event says to a reader, if anything."""
        self._begun()
        name, data = stamped.event.name, stamped.event.data
        if self._start_ns is None:
            self._start_ns = stamped.mono_ns
            self._next_ns = stamped.mono_ns + int(FIRST_INTERVAL_S * 1e9)
        self._progress.see(stamped.event)
        if name == "GLOBAL_STATS":
            self._stats = data  # shown when all else is said: at the end
        self._unfinished = unfinished_line(name, data, self._go_on) or self._unfinished
        if self._every_event:
            self._say(compact(flat_entry(stamped)).decode("ascii"))
            return
        error = error_line(name, data)
        if name == "FILE_FAILED" and error is not None:
            self._forget_file()
            self._clear_bar()
            self._errors.write(error)
        else:
            for line in self._sentences(name, data):
                self._say(line)
        self._show_progress(stamped.mono_ns)

    def _begun(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting.join()  # its line, if it has begun one, comes before ours
            self._waiting = None

    def checkpoint(self, note: str) -> None:
        """Keep the newest signed checkpoint of the record, to be shown at the end."""
        self._note = note

    def close(self) -> None:
        """Take the progress bar away; show how an unfinished run goes on, the last checkpoint, and the block."""
        self._begun()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None:
            self._lines.write(unfinished)
        note, self._note = self._note, None
        if note is not None:
            self._lines.write(KEEP)
            self._lines.write(note)
        stats, self._stats = self._stats, None
        if stats is not None:
            for line in stats_block(stats):
                self._lines.write(line)

    def _sentences(self, name: str, data: dict[str, Any]) -> list[str]:
        match name:
            case "BOOT":
                backend, reason = data.get("backend", "?"), data.get("backend_reason") or data.get("reason", "")
                unsigned = [] if data.get("public_key", "") is not None else [UNSIGNED]
                return [f"nx47 {data.get('version', '?')} on {backend}: {reason}", *unsigned]
            case "DATASET_DISCOVERY":
                kinds = ", ".join(f"{n} {suffix}" for suffix, n in (data.get("suffix_stats") or {}).items())
                count, assets = data.get("file_count"), number(data.get("total_assets"))
                volumes = f"{number(count)} volume{'' if count == 1 else 's'}"
                return [f"{data.get('root')}: {volumes} to do among {assets} files ({kinds})"]
            case "STEP" if data.get("too_large"):
                return [_memory_line(data)]
            case "FILE_START":
                self._index = data.get("index") or self._progress.files_done + 1
                self._shape = " x ".join(map(str, data.get("shape") or ()))
            case "NX47_METRICS":
                self._features = len(data.get("selected_features") or ())
            case "FILE_DONE":
                return [self._file_line(data)]
            case "ALERT":
                return self._alert_lines(data)
            case "GPU_FALLBACK_DETECTED":
                return [f"GPU FALLBACK: {data.get('reason') or data.get('sentence', 'the GPU was left')}"]
            case "RECOVERED":
                kept = data.get("files_kept") or {}
                full = sum(state == "full" for state in kept.values())
                return [f"Goes on with an unfinished run of {number(data.get('size'))} events; volumes done: {full}."]
            case "SUPERVISED_TRAIN":
                return training_lines(data)
            case "SUBMISSION_VALIDATED":
                if data.get("ok"):
                    return [f"The submission is acceptable; masks re-read page by page: {number(data.get('members'))}."]
                return [f"The submission is not acceptable: {problem}" for problem in (data.get("problems") or ())[:10]]
            case "EXEC_COMPLETE":
                path = data.get("submission")
                return [f"Submission: {path}" if path else "No submission was written."]
        return []

    def _file_line(self, data: dict[str, Any]) -> str:
        ratio, rate = data.get("active_ratio"), data.get("calc_per_sec")
        parts = [
            f"[{self._index}/{max(self._index, self._progress.files_total)}] {data.get('file')}",
            self._shape,
            "" if self._features is None else f"{self._features} features",
            "" if ratio is None else f"{100 * ratio:.3g} % active",
            f"{data.get('elapsed_s') or 0:.1f} s",
            "" if rate is None else f"{rate:.3g} calc/s",
        ]
        hidden, self._alerts_hidden = self._alerts_hidden, 0
        self._forget_file()
        return "  ".join(filter(None, parts)) + (f"  ({hidden} further alerts are in the record)" if hidden else "")

    def _forget_file(self) -> None:
        self._shape, self._features = "", None
        self._alerts.clear()

    def _alert_lines(self, data: dict[str, Any]) -> list[str]:
        """Return an alert as one line, once for each code and file."""
        code, file = str(data.get("code", "ALERT")), str(data.get("file") or "")
        if code == "INPUT_DAMAGED" or (code, file) in self._alerts:
            return []  # FILE_FAILED has said it
        if len(self._alerts) >= MOST_ALERTS:
            self._alerts_hidden += 1
            return []
        self._alerts.add((code, file))
        return [alert_line(data)]

    def _say(self, line: str) -> None:
        self._clear_bar()
        self._lines.write(line)

    def _clear_bar(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def _show_progress(self, now_ns: int) -> None:
        progress, start_ns = self._progress, now_ns if self._start_ns is None else self._start_ns
        percent = progress.work()
        place = f"{progress.files_done + bool(progress.file)}/{progress.files_total} {progress.file} {progress.stage}"
        if self._bar is not None:
            changed = self._bar.desc != place
            self._bar.set_description_str(place, refresh=False)
            self._bar.n = round(percent, 1)
            self._bar.update(0)  # redraws where the last time is long enough ago
            if changed:
                self._bar.refresh()
            return
        if now_ns < self._next_ns or not progress.file:
            return
        elapsed_s = (now_ns - start_ns) / 1e9
        self._next_ns = now_ns + int(max(FIRST_INTERVAL_S, INTERVAL_GROWTH * elapsed_s) * 1e9)
        left = f", about {elapsed_s * (100 - percent) / percent:.0f} s left" if percent >= 5 else ""
        self._say(f"  {elapsed_s:.0f} s: {percent:.0f} % {place}{left}")


def _memory_line(data: dict[str, Any]) -> str:
    """Return which volumes are planned to need more than the memory there is: told at the start, not hours later."""
    names = data["too_large"]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    limit = f"{data['limit_bytes'] / 1e6:,.0f} MB ({data['limit_source']})"
    return f"Planned to need more than {limit}: {shown}. They will be refused, the others done."


def error_line(name: str, data: dict[str, Any]) -> str | None:
    """Return what must be shown even with --quiet: a file that failed, an invalid submission; None for all else."""
    if name == "FILE_FAILED":
        what, page = data.get("what") or data.get("error", "failed"), data.get("page")
        where = f"{data.get('file')}" + ("" if page is None else f", page {page}")
        rule = "".join(f"; {key} {data[key]}" for key in ("expected", "found") if data.get(key) is not None)
        return f"FAILED {where}: {what}{rule}. {data.get('advice') or ''}".rstrip()
    if name == "ALERT" and data.get("severity") == "error" and data.get("code") != "INPUT_DAMAGED":
        return alert_line(data)
    return None


def unfinished_line(name: str, data: dict[str, Any], go_on: str) -> str | None:
    """Return how a run that ended before its time goes on; None where it came to its end, or has not ended yet."""
    if name != "EXEC_COMPLETE" or data.get("reason") is None:
        return None
    return f"Not finished ({data['reason']}): {go_on}"


def alert_line(data: dict[str, Any]) -> str:
    """Return an alert as one line: code, file, sentence, value against limit, advice."""
    file = f" {data['file']}" if data.get("file") else ""
    values = [f"{key} {number(data[key])}" for key in ("value", "limit") if data.get(key) is not None]
    figures = f" ({', '.join(values)})" if values else ""
    advice = f" -> {data['advice']}" if data.get("advice") else ""
    return f"ALERT {data.get('code')}{file}: {data.get('sentence', '')}{figures}{advice}".replace("\n", " ")


def _bar(stream: TextIO) -> Any:
    from tqdm.auto import tqdm

    form = "{desc} {percentage:3.0f} %|{bar}| {elapsed} < {remaining}"
    # miniters=0: tqdm's own guess of how rarely to look at the clock is made for steady steps
    return tqdm(total=100.0, file=stream, bar_format=form, leave=False, dynamic_ncols=True, mininterval=0.2, miniters=0)
