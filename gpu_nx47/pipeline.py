"""The run, told in order: discover; for each volume load, solve, count, write; package, validate, close the record."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import (
    alerts,
    backend,
    configure,
    hardware,
    interrupt,
    journal,
    load,
    lock,
    metrics,
    overlay,
    source,
    submission,
)
from gpu_nx47._tiff import decoder
from gpu_nx47._version import __version__
from gpu_nx47.alerts import Alert
from gpu_nx47.counters import References
from gpu_nx47.engine import Engine
from gpu_nx47.errors import InputError, Nx47Error, OutputError
from gpu_nx47.events import SCHEMA, Emit, Event
from gpu_nx47.solve import Solved, Story, solve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.interrupt import Interruptions
    from gpu_nx47.journal import Observer
    from gpu_nx47.settings import Settings
    from gpu_nx47.source import Discovery
    from gpu_nx47.volume import Source, Volume

SUBMISSION_NAME: Final = "submission.zip"
OVERLAY_FOLDER: Final = "overlays_v122"
SAVE_FOLDER: Final = "saved"
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


def run(root: Path | None, output: Path, settings: Settings, console: Observer | None = None) -> RunResult:
    """Find the surface in every volume under `root` and write a submission to `output`.

    Parameters
    ----------
    root : Path or None
        A competition root, a folder of TIFF stacks or slices, or one TIFF; None: where Kaggle puts it.
    output : Path
        Folder of the results.
    settings : Settings
    console : Observer, optional
        Who watches.

    Returns
    -------
    RunResult
        `exit_code` 0: all done; 3: some files failed, the zip is valid; 4: no zip.

    Raises
    ------
    UsageError
        The request cannot be understood.
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
    started = time.monotonic()
    found = source.discover(root)
    with interrupt.Interruptions() as signals, lock.run_lock(output):
        chosen, reason = backend.select(settings.backend)
        _put_aside(output)
        heartbeat = journal.Heartbeat()
        observers = journal.open_observers(output, console, heartbeat)
        heartbeat.start(observers.emit)

        def calm() -> None:
            signals.end()
            heartbeat.stop()

        emit = signals.shielded(observers.emit)
        try:
            return _interruptible(_Run(found, output, settings, emit, calm, chosen, reason, started), signals)
        finally:
            observers.close()


def _interruptible(work: _Run, signals: Interruptions) -> RunResult:
    """Do the run; whatever ends it, the record says how."""
    try:
        with signals.allowed():
            return work.all()
    except BaseException as error:
        work.cut_short(error)
        raise


def _put_aside(output: Path) -> None:
    """Give the zip of an earlier run another name: the record and the views beside it are begun anew too.

    What a killed run left of a zip half written goes: the folder is ours alone now.
    """
    try:
        for rest in output.glob(f".{SUBMISSION_NAME}.*.tmp"):
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
        emit: Emit,
        calm: Callable[[], None],
        chosen: Any,
        reason: str,
        started: float,
    ) -> None:
        self.found = found
        self.output = output
        self.settings = settings
        self.emit = emit
        self.calm = calm  # to be called before the last event: nothing interrupts it, and nothing follows it
        self.reason = reason
        self.started = started
        threads = settings.threads or hardware.usable_processors()
        self.engine = Engine(backend.Meter(chosen), settings.tile, threads)
        self.done: list[dict[str, Any]] = []
        self.failed = 0
        self.ended = False
        self.shapes: dict[str, tuple[int, int, int]] = {}
        self.voxel_size: tuple[float, float, float] | None = None
        self.references = References() if len(found.sources) > 1 else None

    def all(self) -> RunResult:
        """Run from BOOT to EXEC_COMPLETE."""
        self._boot()
        with submission.SubmissionWriter(self.output / SUBMISSION_NAME) as writer:
            for index, item in enumerate(self.found.sources, 1):
                self._file(item, index, writer)
            stats = metrics.global_stats(
                self.done, self.failed, time.monotonic() - self.started, hardware.hardware() | self._peaks()
            )
            stats |= {"backend": self.engine.backend.NAME, "backend_reason": self.reason}
            self.emit(Event("GLOBAL_STATS", stats))
            return self._package(writer, stats)

    def _boot(self) -> None:
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
                    "backend_reason": self.reason,
                    "threads": self.engine.threads,
                    "lzw_decoder": decoder(),
                    "public_key": None,
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
                    "total_assets": self.found.total_assets,
                    "folders": list(self.found.folders),
                    "suffix_stats": dict(self.found.suffix_stats),
                },
            )
        )
        if self.found.train:
            self.emit(Alert.of("LABELS_UNUSED", len(self.found.train), 0).event())

    @staticmethod
    def _peaks() -> dict[str, Any]:
        return {"peak_rss_bytes": hardware.peak_rss_bytes(), "gpu_peak_bytes": None}

    def _file(self, item: Source, index: int, writer: submission.SubmissionWriter) -> None:
        started = time.monotonic()
        story = Story(item.id, self.emit, self.engine)
        try:
            with story.stage("load", "load_start"):
                volume = load.load(item, self.settings.load, threads=self.engine.threads)
        except InputError as error:
            self._refuse(item, error, writer)
            return
        self._opened(volume, index)
        solved = self._solve(volume, story)
        with story.stage("write", "write_start"):
            mask = metrics.full_mask(volume, solved.final if solved else None)
            writer.add(item.id, mask)
            self.shapes[item.id] = _shape(volume.grey)
            self._pictures(volume, mask)
            if solved:
                self._save(volume, solved)
        self._report(volume, solved, story, started)

    def _opened(self, volume: Volume, index: int) -> None:
        data = {
            "file": volume.source.id,
            "path": str(volume.source.path),
            "index": index,
            "total": len(self.found.sources),
            "sha256": volume.sha256,
            "shape": list(volume.grey.shape),
            "dtype": volume.original_dtype,
            "window": None if volume.window is None else vars(volume.window),
            "box": {"start": list(volume.box.start), "stop": list(volume.box.stop)},
            "voxel_size_um": volume.voxel_size_um,
        }
        self.emit(Event("FILE_START", data))
        if volume.voxel_size_um and self.voxel_size:
            factor = max(max(a / b, b / a) for a, b in zip(volume.voxel_size_um, self.voxel_size, strict=True))
            if factor > alerts.SCALE_FACTOR:
                self.emit(Alert.of("SCALE_MISMATCH", factor, alerts.SCALE_FACTOR, volume.source.id).event())
        self.voxel_size = self.voxel_size or volume.voxel_size_um

    def _solve(self, volume: Volume, story: Story) -> Solved | None:
        grey = np.ascontiguousarray(volume.grey[volume.box.slices])
        story.trace("volume", volume.grey)
        if grey.size == 0 or int(grey.min()) == int(grey.max()):
            return None
        return solve(grey, self.engine, self.settings, story, self.references)

    def _report(self, volume: Volume, solved: Solved | None, story: Story, started: float) -> None:
        name = volume.source.id
        with story.stage("count"):
            if solved is None:
                counted = metrics.empty_counters(volume)
                found = [Alert.of("CONSTANT_VOLUME", volume.box.voxels, None, name)]
                training: dict[str, Any] = {"selected_features": [], "train_mode": "autonomous", "train_info": None}
            else:
                counted = metrics.volume_counters(volume, solved, self.engine, self.settings, self.references)
                found = metrics.volume_alerts(name, solved, counted)
                training = metrics.training_block(solved)
                old = metrics.old_block(solved, counted["materials_detected"], time.monotonic() - started)
                training["v122"] = old
        for alert in found:
            self.emit(alert.event())
        for point in counted["golden_nonce_points_topk"]:
            self.emit(Event("GOLDEN_NONCE_FOUND", {"file": name, **point}))
        entry = {"file": name, **training, **counted, **metrics.throughput(story, volume, time.monotonic() - started)}
        self.done.append(entry)
        self.emit(Event("NX47_METRICS", entry))
        keys = ("file", "active_ratio_final", "calc_per_sec", "elapsed_s", "stages")
        self.emit(Event("FILE_DONE", {**{k: entry[k] for k in keys}, "active_ratio": entry["active_ratio_final"]}))

    def _refuse(self, item: Source, error: InputError, writer: submission.SubmissionWriter) -> None:
        """Record a file that cannot be used; where its shape is known it still gets an all-zero mask."""
        self.failed += 1
        fields = ("what", "expected", "found", "advice", "page", "shape")
        data = {"file": item.id, "error": type(error).__name__, "message": str(error)}
        self.emit(Event("FILE_FAILED", data | {k: getattr(error, k) for k in fields}))
        code = "NON_FINITE" if "finite" in error.what else "INPUT_DAMAGED"
        self.emit(Alert(code, "error", error.found, error.expected, str(error), error.advice, item.id).event())
        if error.shape is not None:
            writer.add(item.id, np.zeros(error.shape, np.bool_))
            self.shapes[item.id] = error.shape

    def _pictures(self, volume: Volume, mask: NDArray[np.bool_]) -> None:
        if self.settings.overlays:
            folder = self.output / OVERLAY_FOLDER
            overlay.write_overlays(folder, volume.source.id, volume.grey, mask, self.settings.overlays)

    def _save(self, volume: Volume, solved: Solved) -> None:
        from gpu_nx47.saving import save_outputs

        save_outputs(self.output / SAVE_FOLDER, volume, solved, self.engine, self.settings.save)

    def _package(self, writer: submission.SubmissionWriter, stats: dict[str, Any]) -> RunResult:
        """Close the zip, check it as a stranger would, and say how it ended."""
        if not self.shapes:
            self._complete(None, NO_ZIP, {})
            return RunResult(NO_ZIP, None, stats, self.done)
        self.emit(Event("STEP", {"name": "package_start", "file": None}))
        path = writer.close()
        report = submission.check_submission(path, self.shapes)
        checked = {"ok": report.ok, "problems": list(report.problems), "members": len(self.shapes)}
        self.emit(Event("SUBMISSION_VALIDATED", checked))
        if not report.ok:
            self.emit(Alert.of("SUBMISSION_INVALID", list(report.problems), 0).event())
            raise OutputError(f"{path}: the submission failed its own check: {report.problems[0]}")
        code = SOME_FAILED if self.failed else ALL_DONE
        self._complete(path, code, {SUBMISSION_NAME: _sha256(path)})
        return RunResult(code, path, stats, self.done)

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
            self._complete(None, code, {}, type(error).__name__)

    def _complete(self, path: Path | None, code: int, digests: dict[str, str], reason: str | None = None) -> None:
        self.calm()
        self.ended = True
        name = None if path is None else str(path)
        end = {"submission": name, "digests": digests, "exit_code": code}
        self.emit(Event("EXEC_COMPLETE", end if reason is None else {**end, "reason": reason}))


def _shape(array: NDArray) -> tuple[int, int, int]:
    z, y, x = array.shape
    return z, y, x


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
