"""The roadmap: percentages that only rise, written a few times a second."""

import json

from gpu_nx47.events import Event
from gpu_nx47.journal import Dispatcher, Roadmap
from gpu_nx47.journal.roadmap import FILE_STEPS


class Hand:
    """A clock that moves when told to."""

    def __init__(self):
        self.now = 1_000_000_000

    def __call__(self):
        return 1_700_000_000_000_000_000 + self.now, self.now


def test_the_roadmap_never_falls_and_is_written_a_few_times_a_second(tmp_path, monkeypatch):
    from gpu_nx47.journal import roadmap as module

    written = []
    monkeypatch.setattr(module, "write_json_atomically", lambda path, value: written.append(value))
    clock = Hand()
    roadmap = Roadmap(tmp_path / "r")
    dispatcher = Dispatcher([roadmap], clock=clock)
    dispatcher.emit(Event("DATASET_DISCOVERY", {"file_count": 1}))
    for stage in ("load", "features", "train", "segment"):
        for done in range(100):
            dispatcher.emit(Event("PROGRESS_UPDATE", {"file": "a", "stage": stage, "done": done, "total": 100}))
            clock.now += 10_000_000
        clock.now += 400_000_000
        dispatcher.emit(Event("STEP", {"file": "a", "name": f"{stage}_start"}))  # said late: no step back
    dispatcher.close()
    assert 10 <= len(written) <= 25  # in 5.6 s
    overall = [w["overall_progress_percent"] for w in written]
    assert overall == sorted(overall)
    assert overall[0] == 0.0
    assert overall[-1] < 100.0


def test_without_a_submission_the_package_is_not_done(tmp_path):
    dispatcher = Dispatcher([Roadmap(tmp_path / "r")])
    dispatcher.emit(Event("DATASET_DISCOVERY", {"file_count": 1}))
    dispatcher.emit(Event("FILE_FAILED", {"file": "a"}))
    dispatcher.emit(Event("EXEC_COMPLETE", {"submission": None, "exit_code": 4}))
    dispatcher.close()
    steps = {s["name"]: s["done"] for s in json.loads((tmp_path / "r").read_text())["roadmap"]}
    assert steps == {**dict.fromkeys(("discovery", *FILE_STEPS), True), "package": False}
