"""A time budget: a valid zip in time, whatever is done by then, and the state of each file told."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from gpu_nx47 import backend, phantom, pipeline, schedule
from gpu_nx47.deadline import Deadline
from gpu_nx47.engine import Engine
from gpu_nx47.errors import SettingsError, TimeSpentError
from gpu_nx47.events import Event
from gpu_nx47.quick import quick_mask
from gpu_nx47.settings import NeuronSettings, Settings
from gpu_nx47.submission import check_submission

SETTINGS = Settings(neuron=NeuronSettings(samples=1024, steps=5), overlays=0)


class Hand:
    """A clock moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget") / "root"
    phantom.write_phantom_root(folder, size=32, seeds=[1, 2, 3], train_seeds=[])
    return folder


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """The zip of a run that had the time."""
    result = pipeline.run(root, tmp_path_factory.mktemp("whole"), SETTINGS)
    assert result.exit_code == 0
    return result.submission.read_bytes()


def events_of(out):
    return [json.loads(line) for line in (out / "v122_ultra_authentic_360_merkle.jsonl").read_bytes().splitlines()]


def test_only_a_binding_block_is_cut_off_and_only_behind_its_event():
    clock, seen = Hand(), []
    deadline = Deadline(10.0, 100.0, clock)
    emit = deadline.watched(seen.append)
    clock.now = 111.0
    emit(Event("STEP"))
    with deadline.binding(), pytest.raises(TimeSpentError):
        emit(Event("STEP"))
    emit(Event("STEP"))
    assert len(seen) == 3


def test_what_is_kept_for_packing_comes_off_the_budget():
    clock = Hand()
    deadline = Deadline(10.0, 100.0, clock)
    deadline.keep(4.0)
    clock.now = 105.9
    assert not deadline.over
    clock.now = 106.0
    assert deadline.over
    assert not Deadline(None, 100.0, clock).over


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h30m", 30600.0), ("20s", 20.0), ("90", 90.0), ("1.5h", 5400.0), ("1h 2min 3s", 3723.0)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    from gpu_nx47.configure import resolve

    assert resolve(None, [f"time_budget={text}"], {})[0].time_budget == seconds


@pytest.mark.parametrize("text", ["0", "-3", "soon", "3x", "8h30"])
def test_what_is_no_time_is_refused_with_an_example(text):
    from gpu_nx47.configure import resolve

    with pytest.raises(SettingsError, match="time_budget: expected seconds above 0, or a time such as 8h30m"):
        resolve(None, [f"time_budget={text}"], {})


@pytest.mark.parametrize("tile", [(64, 512, 512), (7, 11, 13)])
def test_the_quick_mask_is_the_smoothed_grey_above_otsu(tile):
    from skimage.filters import threshold_otsu

    made = phantom.make_phantom(48, 3)
    grey = np.ascontiguousarray(made.image[3:-3, 3:-3, 3:-3])
    found = quick_mask(Engine(backend.Meter(backend.select("law")[0]), tile, 1), grey)
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(grey.astype(float), 0.7, radius=3, mode="reflect")
    expected = np.floor(smooth) > threshold_otsu(np.floor(smooth).astype(np.uint8))
    assert np.mean(found != expected) < 1e-3


class CutAt:
    """Spends the budget when the `number`-th file is begun."""

    def __init__(self, number, clock):
        self.number, self.clock = number, clock

    def __call__(self, stamped):
        data = stamped.event.data
        if stamped.event.name == "FILE_START" and data["index"] == self.number:
            self.clock.now += 1e6

    def close(self):
        pass


@pytest.mark.same_bits
@pytest.mark.parametrize("number", [1, 2, 3])
def test_files_behind_the_deadline_keep_their_cheap_masks(root, whole, tmp_path, monkeypatch, number):
    clock = Hand()
    monkeypatch.setattr(pipeline, "Deadline", lambda budget, started: Deadline(budget, clock.now, clock))
    settings = Settings(neuron=SETTINGS.neuron, overlays=0, time_budget=60.0)
    result = pipeline.run(root, tmp_path, settings, CutAt(number, clock))
    assert result.exit_code == 3
    assert check_submission(result.submission, root).ok
    names = sorted(p.stem for p in (root / "test_images").iterdir())
    assert result.stats["files_by_state"] == {"quick": names[number - 1 :], "empty": [], "failed": []}
    assert [m["file"] for m in result.files] == names[: number - 1]
    events = events_of(tmp_path)
    (alert,) = [e["data"] for e in events if e["event"] == "ALERT" and e["data"]["code"] == "TIME_BUDGET"]
    assert alert["value"] == f"{number - 1} of 3 volumes"
    assert events[-1]["data"]["reason"] == "TIME_BUDGET"
    # Given more time, a run goes on with it: no cheap mask is left.
    monkeypatch.undo()
    after = pipeline.run(root, tmp_path, SETTINGS)
    assert after.exit_code == 0
    assert after.submission.read_bytes() == whole
    begun = [e["data"]["file"] for e in events_of(tmp_path)[len(events) :] if e["event"] == "FILE_START"]
    assert begun == names[number - 1 :]


def test_no_time_at_all_gives_empty_masks_of_the_right_shape(root, tmp_path):
    result = pipeline.run(root, tmp_path, Settings(time_budget=1e-6))
    assert (result.exit_code, len(result.stats["files_by_state"]["empty"])) == (3, 3)
    assert check_submission(result.submission, root).foreground == 0


def test_a_file_that_cannot_be_read_fails_once_and_the_others_are_done(root, tmp_path):
    import shutil

    mine = tmp_path / "root"
    shutil.copytree(root, mine)
    victim = sorted((mine / "test_images").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    result = pipeline.run(mine, tmp_path / "out", Settings(neuron=SETTINGS.neuron, overlays=0, time_budget=600.0))
    assert (result.exit_code, len(result.files)) == (3, 2)
    assert result.stats["files_by_state"] == {"quick": [], "empty": [], "failed": [victim.stem]}
    assert sum(e["event"] == "FILE_FAILED" for e in events_of(tmp_path / "out")) == 1


def test_every_state_is_told():
    states = {"a": "full", "b": "quick", "c": "failed", "d": "empty", "e": "quick"}
    assert schedule.by_state(states) == {"quick": ["b", "e"], "empty": ["d"], "failed": ["c"]}


@pytest.mark.long
def test_a_budget_of_20_s_on_work_of_60_s(tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=320, seeds=range(4), train_seeds=[])
    phantom.write_phantom_root(tmp_path / "root", size=256, seeds=range(4, 12), train_seeds=[])
    command = [sys.executable, "-m", "gpu_nx47", "run", str(tmp_path / "root"), "--output", str(tmp_path / "out")]
    started = time.monotonic()
    done = subprocess.run([*command, "--time-budget", "20s"], capture_output=True, text=True, check=False)
    elapsed_s = time.monotonic() - started
    print(done.stdout, done.stderr, elapsed_s)
    assert done.returncode == 3
    assert elapsed_s < 25
    assert check_submission(tmp_path / "out" / "submission.zip", tmp_path / "root").ok
