"""The run, told in order: discover, go on or begin; do each file; package, validate, close the record."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47 import (
    backend,
    compiling,
    configure,
    hardware,
    interrupt,
    journal,
    lock,
    metrics,
    schedule,
    slices,
    source,
    submission,
)
from gpu_nx47._tiff import decoder
from gpu_nx47._version import __version__
from gpu_nx47.alerts import Alert
from gpu_nx47.budget import Budget
from gpu_nx47.counters import References
from gpu_nx47.deadline import Deadline
from gpu_nx47.engine import Engine
from gpu_nx47.errors import Nx47Error, OutputError
from gpu_nx47.events import SCHEMA, Event
from gpu_nx47.evidence import Evidence
from gpu_nx47.filework import OVERLAY_FOLDER, SAVE_FOLDER, FileWork
from gpu_nx47.press import Press
from gpu_nx47.resume import Unfinished
from gpu_nx47.teacher import Teacher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpu_nx47.interrupt import Interruptions
    from gpu_nx47.journal import Dispatcher, Heartbeat, Observer
    from gpu_nx47.resume import Left
    from gpu_nx47.settings import Settings
    from gpu_nx47.source import Discovery

SUBMISSION_NAME: Final = "submission.zip"
EARLIER_NAME: Final = "submission.zip.earlier"
"""What an earlier run's submission.zip is called once a new run has begun in its folder."""
ALL_DONE, OUR_BUG, SOME_FAILED, NO_ZIP = 0, 1, 3, 4


@dataclass
class RunResult:
    """What a run came to."""

    exit_code: int
    submission: Path | None
    stats: dict[str, Any]
    files: list[dict[str, Any]] = field(default_factory=list)
    """NX47_METRICS of each volume done."""


def run(
    root: Path | None,
    output: Path,
    settings: Settings,
    console: Observer | None = None,
    *,
    fresh: bool = False,
    started: float | None = None,
) -> RunResult:
    """Find the surface in every volume under `root` and write a submission to `output`.

    Where `output` holds an unfinished run of the same inputs and settings, it is gone on with.

    Parameters
    ----------
    root : Path or None
        A competition root, a folder of TIFF stacks or slices, or one TIFF; None: where Kaggle puts it.
    output : Path
        Folder of the results.
    settings : Settings
    console : Observer, optional
        Who watches.
    fresh : bool
        Begin anew, whatever `output` holds.
    started : float, optional
        Monotonic clock, seconds, from which the time budget runs; by default now.

    Returns
    -------
    RunResult
        `exit_code` 0: all done; 3: some files failed or there was no time for them, the zip is valid; 4: no zip.

    Raises
    ------
    UsageError
        The request cannot be understood, or `output` holds an unfinished run of other inputs or settings.
    BackendUnavailableError
        The backend asked for cannot run here.
    OutputError
        A result cannot be written, or another run writes to `output`.
    KeyboardInterrupt
        Ctrl-C, or SIGTERM (as `errors.Terminated`): the record is closed, and there is no zip.

    Notes
    -----
    submission.zip is there exactly where the last event, EXEC_COMPLETE, names it. That of an earlier run in the same
    folder is renamed at the start, so that nobody takes it for this run's.
    """
    began = time.monotonic()
    deadline = Deadline(settings.time_budget, began if started is None else started)
    found = source.discover(root)
    teacher = Teacher(settings, found)
    with interrupt.Interruptions() as signals, lock.run_lock(output), hardware.keep_pages():
        before = None if fresh else Unfinished.find(output, SUBMISSION_NAME)
        if before is not None:
            beside = {"model": teacher.digest, "umbilicus": teacher.umbilicus.digest}
            before.require_same(settings, __version__, found.sources, beside)
            teacher.taught(before.model)
        return _begin(found, output, settings, console, signals, before, deadline, began, teacher)


def _begin(
    found: Discovery,
    output: Path,
    settings: Settings,
    console: Observer | None,
    signals: Interruptions,
    before: Unfinished | None,
    deadline: Deadline,
    began: float,
    teacher: Teacher,
) -> RunResult:
    """Open what a run needs, do it, and close everything again."""
    chosen, reason = backend.select(settings.backend)
    engine = Engine(backend.Meter(chosen), settings.tile, settings.threads or hardware.usable_processors())
    budget = Budget(teacher.planned, chosen, engine.threads)
    _put_aside(output)
    heartbeat = journal.Heartbeat()
    evidence = Evidence(engine.backend, reason)
    engine.phase = evidence.phase
    earlier = before.earlier if before is not None else None
    observers = journal.open_observers(
        output, console, heartbeat, evidence, earlier=earlier, identity=settings.identity_key
    )
    heartbeat.start(observers.emit)
    teacher.engine = engine
    work = _Run(found, output, settings, observers, signals, heartbeat, evidence, engine, budget, teacher)
    try:
        return _interruptible(work, signals, lambda: work.all(reason, began, deadline, before))
    finally:
        observers.close()


def _interruptible(work: _Run, signals: Interruptions, act: Callable[[], RunResult]) -> RunResult:
    """Do the run; whatever ends it, the record says how."""
    try:
        with signals.allowed():
            return act()
    except BaseException as error:
        work.cut_short(error)
        raise


def _put_aside(output: Path) -> None:
    """Give the zip of an earlier run another name: the record and the views beside it are begun anew too.

    What a killed run left half written goes: the folder is ours alone now.
    """
    places = [
        (output, SUBMISSION_NAME),
        *((output / name, "*") for name in (OVERLAY_FOLDER, SAVE_FOLDER, slices.FOLDER)),
    ]
    try:
        for folder, name in places:
            for rest in folder.glob(f".{name}.*.tmp"):
                rest.unlink()
        with suppress(FileNotFoundError):
            os.replace(output / SUBMISSION_NAME, output / EARLIER_NAME)
    except OSError as error:
        raise OutputError.of(output / SUBMISSION_NAME, error) from error


class _Run:
    """The state of one run: what is done so far."""

    def __init__(
        self,
        found: Discovery,
        output: Path,
        settings: Settings,
        observers: Dispatcher,
        signals: Interruptions,
        heartbeat: Heartbeat,
        evidence: Evidence,
        engine: Engine,
        budget: Budget,
        teacher: Teacher,
    ) -> None:
        self.found = found
        self.output = output
        self.settings = settings
        self.emit = signals.shielded(observers.emit)
        self.keys = observers.keys  # who signs the record
        self.signals = signals
        self.heartbeat = heartbeat
        self.evidence = evidence
        self.engine = engine
        self.budget = budget
        self.teacher = teacher
        self.ended = False
        self.left_gpu = False
        engine.backend.tell = self._fell_back

    def all(self, reason: str, began: float, deadline: Deadline, before: Unfinished | None) -> RunResult:
        """Run from BOOT to EXEC_COMPLETE."""
        kept = before.kept(self.found.sources) if before is not None else {}
        if before is not None:
            self._recovered(before, kept)
        outlook = self._boot(reason)
        threads = self.engine.threads
        with compiling.beside(self.engine.backend, threads, outlook), Press(threads) as press:
            return self._after_boot(reason, began, deadline, before, kept, press)

    def _after_boot(
        self,
        reason: str,
        began: float,
        deadline: Deadline,
        before: Unfinished | None,
        kept: dict[str, Left],
        press: Press,
    ) -> RunResult:
        self.evidence.start(self.emit)
        several = len(self.found.sources) > 1 and not self.teacher.folders  # without features nothing is compared
        references = References() if several else None
        zip_path = self.output / SUBMISSION_NAME
        writer = submission.SubmissionWriter(zip_path, fresh=before is None)
        shared = (self.engine, self.emit, writer, deadline, references, self.budget, self.teacher, press)
        work = FileWork(self.output, self.settings, *shared)
        for name, left in kept.items():
            work.keep(name, left)
        schedule.do(self.found.sources, work, deadline)
        elapsed_s = time.monotonic() - began + (before.elapsed_s if before is not None else 0.0)
        failed = sum(state == "failed" for state in work.states.values())
        self.evidence.stop()
        gpu = self.evidence.block()
        peaks = {"peak_rss_bytes": hardware.peak_rss_bytes(), "gpu_peak_bytes": gpu["gpu_memory_used_bytes_max"]}
        stats = metrics.global_stats(work.done, failed, elapsed_s, hardware.hardware() | peaks)
        stats |= {"files_by_state": schedule.by_state(work.states)}
        stats |= {"backend": self.engine.backend.NAME, "backend_reason": reason, **gpu}
        self.emit(Event("GLOBAL_STATS", stats))
        return self._package(work, stats)

    def _fell_back(self, data: dict[str, Any]) -> None:
        """Say that the GPU had no memory for something, and what was done; alert when the CPU first takes over."""
        self.emit(Event("GPU_FALLBACK_DETECTED", data))
        if data["action"] == "cpu" and not self.left_gpu:
            self.left_gpu = True
            self.emit(Alert.of("GPU_FALLBACK", data["reason"], None).event())

    def _recovered(self, before: Unfinished, kept: dict[str, Left]) -> None:
        earlier = before.earlier
        data = {
            "size": earlier.lines if earlier else 0,
            "torn_bytes": earlier.torn if earlier else 0,
            "elapsed_s": before.elapsed_s,
            "files_kept": {name: left.state for name, left in kept.items()},
            **self.keys,
        }
        self.emit(Event("RECOVERED", data))

    def _boot(self, reason: str) -> dict[str, Any]:
        """Tell what runs on what; return the plan of memory."""
        self.emit(
            Event(
                "BOOT",
                {
                    "schema": SCHEMA,
                    "version": __version__,
                    "root": str(self.found.root),
                    "output": str(self.output),
                    "config": configure.to_json(self.settings),
                    "hardware": hardware.hardware(),
                    "packages": hardware.packages(),
                    "backend": self.engine.backend.NAME,
                    "backend_reason": reason,
                    "threads": self.engine.threads,
                    "lzw_decoder": decoder(),
                    **self.teacher.told,
                    **self.keys,
                },
            )
        )
        self.emit(
            Event(
                "DATASET_DISCOVERY",
                {
                    "root": str(self.found.root),
                    "layout": self.found.layout,
                    "file_count": self.found.file_count,
                    "volumes": [source.id for source in self.found.sources],
                    "total_assets": self.found.total_assets,
                    "folders": list(self.found.folders),
                    "suffix_stats": dict(self.found.suffix_stats),
                },
            )
        )
        if self.found.train and self.teacher.idle:
            self.emit(Alert.of("LABELS_UNUSED", len(self.found.train), 0).event())
        outlook = self.budget.outlook(self.found.sources)
        self.emit(Event("STEP", {"name": "memory_planned", "file": None, **outlook}))
        for name, shape, usual in source.differing_shapes(self.found.sources, self.budget.headers):
            self.emit(Alert.of("SHAPE_DIFFERS", list(shape), list(usual), name).event())
        return outlook

    def _package(self, work: FileWork, stats: dict[str, Any]) -> RunResult:
        """Close the zip, check it as a stranger would, and say how it ended."""
        if not work.shapes:
            work.writer.discard()
            self._complete(None, NO_ZIP)
            return RunResult(NO_ZIP, None, stats, work.done)
        self.emit(Event("STEP", {"name": "package_start", "file": None}))
        path = work.writer.close()
        report = submission.check_submission(path, work.shapes, threads=self.engine.threads, known=work.press.checked())
        checked = {"ok": report.ok, "problems": list(report.problems), "members": len(work.shapes)}
        self.emit(Event("SUBMISSION_VALIDATED", checked))
        if not report.ok:
            self.emit(Alert.of("SUBMISSION_INVALID", list(report.problems), 0).event())
            raise OutputError(f"{path}: the submission failed its own check: {report.problems[0]}")
        spent = any(state in ("quick", "empty") for state in work.states.values())
        code = ALL_DONE if all(state == "full" for state in work.states.values()) else SOME_FAILED
        if not spent:
            work.writer.discard()
        self._complete(path, code, "TIME_BUDGET" if spent else None)
        return RunResult(code, path, stats, work.done)

    def cut_short(self, error: BaseException) -> None:
        """Say in the record that the run ended before its time; a zip that nobody vouches for goes."""
        if self.ended:
            return
        with suppress(OSError):
            (self.output / SUBMISSION_NAME).unlink()
        code = NO_ZIP if isinstance(error, Nx47Error) else OUR_BUG
        if isinstance(error, KeyboardInterrupt):
            code = interrupt.exit_code(error)
        with suppress(OutputError):  # where the disk is full the record ends here; `error` is what is told
            self._complete(None, code, type(error).__name__)

    def _complete(self, path: Path | None, code: int, reason: str | None = None) -> None:
        # Nothing interrupts the last event, and nothing follows it.
        self.signals.end()
        self.heartbeat.stop()
        self.evidence.stop()
        self.ended = True
        name = None if path is None else str(path)
        volumes = [source.id for source in self.found.sources]
        digests = journal.outputs_digests(self.output, volumes, [SUBMISSION_NAME])
        end = {"submission": name, "digests": digests, "exit_code": code}
        self.emit(Event("EXEC_COMPLETE", end if reason is None else {**end, "reason": reason}))
