"""A small record with outputs, ways to forge it, and both verifiers side by side."""

import hashlib
import json
import shutil

import pytest

from gpu_nx47 import journal
from gpu_nx47.audit.verify import verify
from gpu_nx47.errors import UsageError
from gpu_nx47.events import Event
from gpu_nx47.journal import CHECKPOINT_NAME, RECORD_NAME, verify_record


class Forger:
    """A record in a folder, and what a forger or an accident can do to it."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / RECORD_NAME
        self.notes = folder / CHECKPOINT_NAME

    def lines(self):
        return self.log.read_bytes().splitlines(keepends=True)

    def put(self, lines):
        self.log.write_bytes(b"".join(lines))

    def fields(self, line=0):
        return json.loads(self.lines()[line])

    @property
    def key(self):
        return self.fields()["data"]["public_key"]

    def each_note(self):
        """The notes, split where the text of the next begins: by the specification, not by our reader."""
        text = self.notes.read_text()
        parts = text.split(f"{self.fields()['data']['origin']}\n")[1:]
        return [f"{self.fields()['data']['origin']}\n{part}" for part in parts]

    def rechain(self, events):
        """Number and chain (event, data) anew, as anyone can."""
        prev, lines = "0" * 64, []
        for seq, (old, event, data) in enumerate(events):
            fields = {**old, "seq": seq, "event": event, "data": data, "prev": prev}
            line = json.dumps(fields, separators=(",", ":")).encode()
            prev = hashlib.sha256(line).hexdigest()
            lines.append(line + b"\n")
        self.put(lines)

    def events(self):
        return [(f, f["event"], f["data"]) for f in map(json.loads, self.lines())]

    def keep(self, number=-1):
        """Keep a checkpoint elsewhere."""
        path = self.folder.parent / "kept.txt"
        path.write_text(self.each_note()[number])
        return path

    def copy(self, name="copy"):
        target = self.folder.parent / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target)
        return Forger(target)


def write_record(folder, stats=7, tiles=3, **options):
    """Emit what a short run emits, with a zip and a picture beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    observers = journal.open_observers(folder, None, **options)

    def emit(name, data):
        observers.emit(Event(name, data))

    emit("BOOT", {"version": "1", "root": "in", "output": str(folder), "config": {"seed": 47}, **observers.keys})
    emit("DATASET_DISCOVERY", {"root": "in", "file_count": 1, "volumes": ["a"], "folders": []})
    emit("FILE_START", {"file": "a", "index": 1, "total": 1, "shape": [2, 3, 4], "sha256": "00"})
    for done in range(tiles):
        emit("PROGRESS_UPDATE", {"file": "a", "stage": "features", "done": done, "total": tiles})
    trace = {"stage": "volume", "shape": [2, 3, 4], "dtype": "uint8", "bytes": 24, "min": 0, "max": 9, "mean": 4.5}
    emit("ARRAY_TRACE", {"file": "a", **trace, "digest": "ab", "slices": ["cd", "ef"], "rss": 5})
    emit("FILE_DONE", {"file": "a", "active_ratio": 0.5})
    emit("GLOBAL_STATS", {"files_processed": 1, "pixels_anchor_detected": stats})
    (folder / "submission.zip").write_bytes(b"zip of masks")
    (folder / "overlays_v122").mkdir(exist_ok=True)
    (folder / "overlays_v122" / "a_z0001.png").write_bytes(b"picture")
    digests = journal.outputs_digests(folder, ["a"], ["submission.zip"])
    emit("EXEC_COMPLETE", {"submission": "submission.zip", "digests": digests, "exit_code": 0})
    observers.close()
    return Forger(folder)


@pytest.fixture(scope="session")
def _clean(tmp_path_factory):
    return write_record(tmp_path_factory.mktemp("record") / "out")


@pytest.fixture
def made(_clean, tmp_path):
    """A complete record, of one's own to forge."""
    target = tmp_path / "out"
    shutil.copytree(_clean.folder, target)
    return Forger(target)


@pytest.fixture
def judge(capsys):
    """Both verifiers: (code, sentence, place) of ours, when the stand-alone one comes to the same code and place."""

    def both(forger, expected=(), held=None):
        try:
            ours = verify(forger.folder, expected, held)
            code, sentence, where = ours.code, ours.sentence, ours.where
        except UsageError as error:
            code, sentence, where = 3, str(error), None
        theirs, said = verify_record.check(forger.folder, list(expected), held)
        assert theirs == code, (sentence, said)
        if code == 1:
            assert said.startswith(f"tampered: {where} "), (where, said)
        capsys.readouterr()
        return code, sentence, where

    return both


@pytest.fixture(scope="session")
def writes():
    return write_record
