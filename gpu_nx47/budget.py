"""The memory a run may take: its limit, what the process takes already, and a plan of each volume before it is read."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47 import hardware, load, plan
from gpu_nx47._tiff import LIMIT_BYTES
from gpu_nx47._tiff.inspection import promised
from gpu_nx47.accounts import Job
from gpu_nx47.errors import InputError, TooLargeError, UsageError
from gpu_nx47.plan import MB, MemoryPlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpu_nx47.backend import Backend
    from gpu_nx47.settings import Settings
    from gpu_nx47.volume import Source

_GIVEN: Final = "--memory"
_FOUND: Final = "the memory that is available"
PLENTY: Final = 1.5
"""Plans that fit within the limit, where freed memory may stay: what is taken anew does not always fit in its place."""


class Budget:
    """Plans the volumes of a run within its limit of memory.

    Parameters
    ----------
    settings : Settings
        `memory` is the limit; where it is None, what the process takes now and what the machine has left.
    backend : Backend
        Its probe has run: what it compiled tells what is still to be compiled.
    threads : int
        Tiles worked on at once.

    Raises
    ------
    UsageError
        The limit given lies below what the process takes without any volume.
    """

    def __init__(self, settings: Settings, backend: Backend, threads: int) -> None:
        self._settings = settings
        self._threads = threads
        self._law = backend.NAME == "law"
        self._layouts: dict[tuple[str, tuple[int, int] | None], load.Layout] = {}
        hardware.share_one_pool()
        hardware.release_memory()
        taken = hardware.rss_bytes()
        code = plan.CODE_COMPILED if _compiles(backend) else plan.CODE_CACHED
        self.base = taken + code
        """Bytes that the process takes without any volume, once all its code is loaded."""
        self.source = _FOUND if settings.memory is None else _GIVEN
        self.limit = taken + hardware.available_bytes() if settings.memory is None else settings.memory
        if settings.memory is not None and settings.memory <= self.base:
            raise UsageError(
                f"--memory {settings.memory // MB} MB: expected more than {-(-self.base // MB)} MB, what nx47 takes "
                f"without any volume = {-(-taken // MB)} MB taken now + {code // MB} MB for code still to be loaded. "
                "Give a larger limit."
            )

    @property
    def reading_limit(self) -> int:
        """Most bytes that reading a volume may hold at once; where no limit was given, the reader's own."""
        return LIMIT_BYTES if self._settings.memory is None else self.limit - self.base

    def plan(self, source: Source, *, others: bool, held: int = 0) -> MemoryPlan:
        """Return the plan of a volume, and have the allocator keep to it.

        Parameters
        ----------
        source : Source
            Only its headers are read.
        others : bool
            The volume is compared with others of the run.
        held : int
            Bytes of it that are in memory already: they are in the plan's accounts.

        Raises
        ------
        TooLargeError
            No tile brings the volume within the limit; the message holds the arithmetic.
        InputError
            The headers are refused.
        """
        job = self._job(source, others)
        hardware.release_memory()
        base = max(self.base, hardware.rss_bytes() - held)
        found = plan.fit(job, base, self._settings.tile, self.limit)
        if found.bytes > self.limit:
            raise self._refusal(source, job, base, found)
        if found.tight:
            hardware.return_arrays_at_once()
        else:
            hardware.keep_freed(PLENTY * found.bytes <= self.limit)
        return found

    def with_next(self, found: MemoryPlan, following: Source, *, others: bool) -> MemoryPlan | None:
        """Return a plan with the next volume read beside the work, or None where memory is too short for that.

        It is short where freed memory has to be given back at once, for this volume or for the next one, and where both
        do not fit within the limit. A volume whose headers are refused is left to its turn.
        """
        try:
            job = self._job(following, others)
        except InputError:
            return None
        if found.tight or plan.fit(job, self.base, self._settings.tile, self.limit).tight:
            return None
        both = found.beside(job)
        return both if both.bytes <= self.limit else None

    def outlook(self, sources: Sequence[Source]) -> dict[str, Any]:
        """Plan all volumes of a run before it begins, from their headers; JSON values for the record.

        The limit, and how much is planned for each volume; `too_large` are those that no tile brings within it. One
        whose headers are refused is left out: it fails when its turn comes.
        """
        planned = {}
        for source in sources:
            with suppress(InputError):
                job = self._job(source, others=len(sources) > 1)
                planned[source.id] = plan.fit(job, self.base, self._settings.tile, self.limit).bytes
        too_large = [name for name, size in planned.items() if size > self.limit]
        limits = {"limit_bytes": self.limit, "limit_source": self.source, "base_bytes": self.base}
        return {**limits, "planned_bytes": planned, "too_large": too_large}

    def _job(self, source: Source, others: bool) -> Job:
        shape, dtype, size, _ = self._layout(source)
        return Job.of(shape, dtype, size, self._settings, threads=self._threads, law=self._law, others=others)

    def headers(self, source: Source) -> tuple[tuple[int, int, int], bool] | None:
        """Return what `source.headers` does of a stack, from what is known of its headers already."""
        if source.files != (source.path,):
            return None
        try:
            found = self._layout(source)
        except InputError:
            return None
        return found.shape, found.counted

    def _layout(self, source: Source) -> load.Layout:
        """Return what `load.read_layout` does; while a file is the same its headers are read once for all plans."""
        key = source.id, _stamp(source.files[0])
        if None in key or key not in self._layouts:
            self._layouts[key] = load.read_layout(source, limit_bytes=max(self.reading_limit, LIMIT_BYTES))
        return self._layouts[key]

    def record(self, found: MemoryPlan) -> dict[str, Any]:
        """Return a plan and its limit as JSON values."""
        return {"limit_bytes": self.limit, "limit_source": self.source, **found.record()}

    def _refusal(self, source: Source, job: Job, base: int, found: MemoryPlan) -> TooLargeError:
        alone = plan.fit(replace(job, threads=1), base, self._settings.tile, self.limit)
        need = math.ceil(found.bytes / MB)
        advice = [f"Give --memory {need}MB or more" if self.source == _GIVEN else f"Free memory up to {need} MB"]
        if alone.bytes <= self.limit:
            advice.append("work with --threads 1")
        return TooLargeError(
            str(source.path),
            "the volume does not fit into memory",
            expected=f"at most {self.limit // MB} MB ({self.source})",
            found=f"{found}, with the smallest tile",
            advice=f"{', '.join(advice)}, or cut the volume into smaller stacks.",
            shape=promised(job.shape),
        )


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of a file, or None where it tells none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _compiles(backend: Backend) -> bool:
    """Return whether kernels are still to be compiled: whether the probe had to."""
    if backend.NAME != "cpu":
        return False
    from cpu_fallback.twin._jit import compiled_here

    return compiled_here()
