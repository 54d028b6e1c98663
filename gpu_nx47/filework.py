"""One file of a run: load it, solve it, write what comes of it, count, and tell."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import alerts, findings, load, metrics, outside, overlay, slices, v122
from gpu_nx47.ahead import Ahead
from gpu_nx47.alerts import Alert
from gpu_nx47.errors import InputError
from gpu_nx47.events import Emit, Event
from gpu_nx47.quick import quick_mask
from gpu_nx47.resume import sha256_of
from gpu_nx47.solve import Solved, Story, solve
from gpu_nx47.solve_outside import solve_outside
from gpu_nx47.spread import beside

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_nx47.budget import Budget
    from gpu_nx47.counters import References
    from gpu_nx47.deadline import Deadline
    from gpu_nx47.engine import Engine
    from gpu_nx47.model import Model
    from gpu_nx47.plan import MemoryPlan
    from gpu_nx47.press import Press
    from gpu_nx47.resume import Left
    from gpu_nx47.settings import Settings
    from gpu_nx47.submission import SubmissionWriter
    from gpu_nx47.teacher import Teacher
    from gpu_nx47.umbilicus import Umbilicus
    from gpu_nx47.volume import Source, Volume

OVERLAY_FOLDER: Final = "overlays_v122"
SAVE_FOLDER: Final = "saved"
REFERENCE_NAME: Final = "{}.reference.npz"
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Counted:
    """What is told of a volume at its end."""

    counters: dict[str, Any]
    training: dict[str, Any]
    """Of the neuron, and the old program's definitions."""
    alerts: list[Alert]


class FileWork:
    """Does the files of a run, one after the other, and knows what came of each.

    Parameters
    ----------
    output : Path
        Folder of the results.
    settings : Settings
    engine : Engine
    emit : Emit
    writer : SubmissionWriter
        Takes the masks.
    deadline : Deadline
    references : References or None
        What the discoveries of a volume are compared with; None: nothing, there is one volume.
    budget : Budget
        Plans the memory of each volume, and with it the tile.
    teacher : Teacher
        Gives the model, where the run has one.
    press : Press
        Encodes masks beside the rest.
    """

    def __init__(
        self,
        output: Path,
        settings: Settings,
        engine: Engine,
        emit: Emit,
        writer: SubmissionWriter,
        deadline: Deadline,
        references: References | None,
        budget: Budget,
        teacher: Teacher,
        press: Press,
    ) -> None:
        self.output = output
        self.settings = settings
        self.engine = engine
        self.emit = emit
        self.writer = writer
        self.deadline = deadline
        self.references = references
        self.budget = budget
        self.teacher = teacher
        self.press = press
        self.done: list[dict[str, Any]] = []
        """NX47_METRICS of each volume done in full."""
        self.shapes: dict[str, Shape] = {}
        """Of each volume that has a mask."""
        self.states: dict[str, str] = {}
        """`full`, `quick`, `empty` (an all-zero mask), or `failed`."""
        self.ahead = Ahead()
        self._voxel_size: tuple[float, float, float] | None = None

    def keep(self, name: str, left: Left) -> None:
        """Take over what an earlier run did."""
        if left.shape is None:
            raise ValueError(f"{name} was kept without a shape")
        self.writer.keep(name)
        self.shapes[name], self.states[name] = left.shape, left.state
        if left.state == "full":
            self._voxel_size = self._voxel_size or left.voxel_size_um
            self.done.append(left.metrics)
            if self.references is not None:
                self.references.load(self.writer.waiting / REFERENCE_NAME.format(name))

    def quick(self, item: Source) -> None:
        """Give a file a cheap mask, or record why it can have none."""
        started = time.monotonic()
        try:
            volume, _ = self._load(item)
        except InputError as error:
            self.refuse(item, error)
            return
        grey = volume.grey[volume.box.slices]
        inner = quick_mask(self.engine, grey) if grey.size and grey.min() < grey.max() else None
        mask = metrics.full_mask(volume, inner)
        digest = self.writer.add(item.id, mask)
        self.shapes[item.id], self.states[item.id] = _shape(volume.grey), "quick"
        data = {
            "name": "quick_done",
            "file": item.id,
            "sha256": volume.sha256,
            "shape": list(volume.grey.shape),
            "active_ratio": int(np.count_nonzero(mask)) / mask.size,
            "mask_sha256": digest,
            "elapsed_s": time.monotonic() - started,
        }
        self.emit(Event("STEP", data))

    def full(self, item: Source, index: int, total: int, following: Source | None = None) -> None:
        """Do a file in full; TimeSpentError where the deadline cuts it off (its cheap mask stays).

        `following` is read meanwhile, where there is memory for it.
        """
        started = time.monotonic()
        story = Story(item.id, self.deadline.watched(self.emit), self.engine, record=self.settings.record)
        with self.deadline.binding():
            model = self.teacher.model(story.emit)
            try:
                with story.stage("load", "load_start"):
                    volume, planned = self._load(item)
                    given = self._given(volume)
            except InputError as error:
                self.refuse(item, error)
                return
            planned = self._read_ahead(following, planned)
            drawn = self.teacher.umbilicus.of(item.id, len(volume.grey))
            self._opened(volume, index, total, planned, given, drawn)
            spare = self.budget.limit - planned.bytes
            solved = self._solve(volume, story, model, given, drawn, spare)
        with story.stage("write", "write_start"):
            mask = metrics.full_mask(volume, solved.final if solved else None)
            digest = self.writer.add(item.id, mask, self.press.file(item.id))
            self.shapes[item.id] = _shape(volume.grey)
            shown = overlay.chosen(self.output / OVERLAY_FOLDER, item.id, mask, self.settings.overlays)
            del mask
            written = list(shown)
            if solved:
                written += self._save(volume, solved)
                solved.saved.clear()  # written: nothing counts them
        threads = self.engine.threads
        with beside(lambda: overlay.write(shown, volume.grey, threads), threads, "nx47-drawing"):
            counted = self._count(volume, solved, story, started)
        self._report(volume, solved, counted, story, started, digest, written)
        self.states[item.id] = "full"

    def _load(self, item: Source) -> tuple[Volume, MemoryPlan]:
        """Plan the memory of a volume, take the plan's tile, and read it."""
        ready = self.ahead.take(item)
        held = 0 if ready is None else ready.grey.nbytes
        planned = self.budget.plan(item, others=self.references is not None, held=held)
        self.engine.tile = planned.tile
        if ready is not None:
            return ready, planned
        limit = self.budget.reading_limit
        return load.load(item, self.settings.load, limit_bytes=limit, threads=self.engine.threads), planned

    def _read_ahead(self, following: Source | None, planned: MemoryPlan) -> MemoryPlan:
        """Begin to read the next volume, where there is memory and time for it; return the plan with it."""
        if following is None or self.deadline.over or self.settings.load.untrusted:
            return planned
        both = self.budget.with_next(planned, following, others=self.references is not None)
        if both is None:
            return planned
        self.ahead.begin(following, self.settings.load, self.budget.reading_limit)
        return both

    def _given(self, volume: Volume) -> outside.Read | None:
        """Return another program's probability of a volume, where the run is to cut that."""
        folders = self.teacher.folders
        return outside.read(folders, volume.source.id, _shape(volume.grey)) if folders else None

    def refuse(self, item: Source, error: InputError) -> None:
        """Record a file that cannot be used; where its shape is known it still gets an all-zero mask."""
        self.states[item.id] = "failed"
        fields = ("what", "expected", "found", "advice", "page", "shape")
        data = {"file": item.id, "error": type(error).__name__, "message": str(error)}
        self.emit(Event("FILE_FAILED", data | {k: getattr(error, k) for k in fields}))
        code = "NON_FINITE" if "finite" in error.what else "INPUT_DAMAGED"
        self.emit(Alert(code, "error", error.found, error.expected, str(error), error.advice, item.id).event())
        if error.shape is not None:
            self._empty(item.id, error.shape)

    def empty(self, item: Source) -> None:
        """Give a file that there was no time for an all-zero mask, where its headers tell the shape."""
        try:
            self._empty(item.id, load.read_shape(item))
            self.states[item.id] = "empty"
        except InputError as error:
            self.refuse(item, error)

    def _empty(self, name: str, shape: Shape) -> None:
        self.writer.add(name, np.zeros(shape, np.bool_))
        self.shapes[name] = shape

    def _opened(
        self,
        volume: Volume,
        index: int,
        total: int,
        planned: MemoryPlan,
        given: outside.Read | None,
        drawn: Umbilicus | None,
    ) -> None:
        data = {
            "file": volume.source.id,
            "path": str(volume.source.path),
            "index": index,
            "total": total,
            "sha256": volume.sha256,
            "shape": list(volume.grey.shape),
            "dtype": volume.original_dtype,
            "window": None if volume.window is None else vars(volume.window),
            "box": {"start": list(volume.box.start), "stop": list(volume.box.stop)},
            "voxel_size_um": volume.voxel_size_um,
            "read_ahead_s": self.ahead.seconds,
            "memory_plan": self.budget.record(planned),
        }
        data |= {} if given is None else {"probability": given.sources}
        data |= {} if drawn is None else {"umbilicus": drawn.points}
        self.emit(Event("FILE_START", data))
        if volume.voxel_size_um and self._voxel_size:
            factor = max(max(a / b, b / a) for a, b in zip(volume.voxel_size_um, self._voxel_size, strict=True))
            if factor > alerts.SCALE_FACTOR:
                self.emit(Alert.of("SCALE_MISMATCH", factor, alerts.SCALE_FACTOR, volume.source.id).event())
        self._voxel_size = self._voxel_size or volume.voxel_size_um

    def _solve(
        self,
        volume: Volume,
        story: Story,
        model: Model | None,
        given: outside.Read | None,
        drawn: Umbilicus | None,
        spare_bytes: int,
    ) -> Solved | None:
        grey = volume.grey[volume.box.slices]
        story.trace("volume", volume.grey)
        if _constant(grey):
            return None
        if given is not None:
            probability = np.ascontiguousarray(given.codes[volume.box.slices])
            return solve_outside(grey, probability, self.engine, self.settings, story)
        line = None if drawn is None else drawn.eighths(volume.box)

        def standing(final: NDArray[np.bool_]) -> None:
            self.press.begin(volume.source.id, metrics.full_mask(volume, final), spare_bytes)

        return solve(grey, self.engine, self.settings, story, self.references, model, line, standing)

    def _count(self, volume: Volume, solved: Solved | None, story: Story, started: float) -> Counted:
        """Count what was found, and judge it."""
        name = volume.source.id
        with story.stage("count"):
            if solved is None:
                nothing: dict[str, Any] = {"selected_features": [], "train_mode": "autonomous", "train_info": None}
                alarm = Alert.of("CONSTANT_VOLUME", volume.box.voxels, None, name)
                return Counted(metrics.empty_counters(volume), nothing, [alarm])
            counters, old = metrics.volume_counters(volume, solved, self.engine, self.settings, self.references)
            training = metrics.training_block(solved)
            training["v122"] = v122.block(
                old,
                materials=counters["materials_detected"],
                features=len(solved.selected.names),
                elapsed_s=time.monotonic() - started,
            )
            return Counted(counters, training, metrics.volume_alerts(name, solved, counters))

    def _report(
        self,
        volume: Volume,
        solved: Solved | None,
        counted: Counted,
        story: Story,
        started: float,
        digest: str,
        written: list[Path],
    ) -> None:
        name, found = volume.source.id, counted.counters
        for alert in counted.alerts:
            self.emit(alert.event())
        for point in found["golden_nonce_points_topk"]:
            self.emit(Event("GOLDEN_NONCE_FOUND", {"file": name, **point}))
        written.append(slices.write_table(self.output / slices.FOLDER, name, found["slices"]))
        if solved is not None and self.settings.overlays:
            points, odd = found["golden_nonce_points_topk"], found["findings"]
            written += findings.write_picture(self.output / OVERLAY_FOLDER, volume, solved, points, odd)
        speed = metrics.throughput(story, volume, time.monotonic() - started)
        entry = {"file": name, **counted.training, **found, **speed}
        self.done.append(entry)
        self.emit(Event("NX47_METRICS", entry))
        if self.references is not None:  # for a run that goes on behind this one
            written.append(self.writer.waiting / REFERENCE_NAME.format(name))
            self.references.save(written[-1])
        keys = ("file", "active_ratio_final", "calc_per_sec", "elapsed_s", "stages")
        data = {**{k: entry[k] for k in keys}, "active_ratio": entry["active_ratio_final"], "mask_sha256": digest}
        outputs = {path.relative_to(self.output).as_posix(): sha256_of(path) for path in written}
        self.emit(Event("FILE_DONE", {**data, "outputs": outputs}))

    def _save(self, volume: Volume, solved: Solved) -> list[Path]:
        from gpu_nx47.saving import save_outputs

        return save_outputs(self.output / SAVE_FOLDER, volume, solved, self.engine, self.settings.save)


def _constant(grey: NDArray[np.uint8]) -> bool:
    """Return whether there are no two voxels that differ; nearly always the first slice tells."""
    return all(int(part.min()) == int(part.max()) == int(grey[0, 0, 0]) for part in grey)


def _shape(array: NDArray) -> Shape:
    z, y, x = array.shape
    return z, y, x
