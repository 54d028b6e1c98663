"""The Nth write, flush or rename of a run of three files fails: nothing half under a final name, and it goes on."""

import errno
import os
import random
import shutil

import pytest
from unfinished import QUICK, answer, check_whole, make_root

from gpu_nx47 import atomic, pipeline
from gpu_nx47.errors import Nx47Error

pytest.importorskip("numba", reason="what a run is cut off by has nothing to do with the backend; laws take minutes")

REAL = {name: getattr(os, name) for name in ("write", "fsync", "replace")}
REAL_OPEN = open
SOME = 1
"""Places tried of each kind in the gate; with --long all are."""


class Faults:
    """Counts the calls of one kind, and fails the Nth with no room left."""

    def __init__(self, kind, nth):
        self.kind, self.nth, self.count = kind, nth, 0

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        if self.kind == "file write":  # of outputs, which go through a buffered file
            self.patch.setattr(atomic, "open", self._open, raising=False)
        else:
            self.patch.setattr(os, self.kind, self._call)
        return self

    def __exit__(self, *_):
        self.patch.undo()

    def _step(self):
        self.count += 1
        if self.count == self.nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _call(self, *args, **kwargs):
        self._step()
        return REAL[self.kind](*args, **kwargs)

    def _open(self, *args, **kwargs):
        file = REAL_OPEN(*args, **kwargs)
        return Watched(file, self._step)


class Watched:
    """A file whose writes are counted; half of the one that fails is written."""

    def __init__(self, file, step):
        self._file, self._step = file, step

    def write(self, data):
        try:
            self._step()
        except OSError:
            self._file.write(bytes(data)[: len(data) // 2])
            raise
        return self._file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return self._file.__exit__(*args)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("faults") / "root", (32, 34, 33))


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    pipeline.run(root, out, QUICK)
    return answer(out)


def calls_of(kind, root, out):
    with Faults(kind, 0) as faults:
        assert pipeline.run(root, out, QUICK).exit_code == 0
    return faults.count


def places(count, some, drawn):
    return range(1, count + 1) if some is None else sorted({1, 2, count, *drawn.sample(range(1, count + 1), some)})


@pytest.mark.parametrize("some", [SOME, pytest.param(None, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize("kind", ["write", "file write", "fsync", "replace"])
def test_the_nth_call_fails_and_the_run_is_gone_on_with(root, whole, tmp_path, kind, some):
    count = calls_of(kind, root, tmp_path / "counted")
    assert count > 10
    failed, tried = 0, places(count, some, random.Random(47))
    for nth in tried:
        out = tmp_path / "out"
        with Faults(kind, nth):
            try:
                pipeline.run(root, out, QUICK)
            except Nx47Error as error:
                failed += "No space left" in str(error)
        check_whole(out, root)
        assert pipeline.run(root, out, QUICK).exit_code == 0
        assert answer(out) == whole, (kind, nth)
        shutil.rmtree(out)
    assert failed >= len(tried) - 1  # the last flush of a folder may fail behind all that counts
