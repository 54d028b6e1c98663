"""Memory is planned before it is taken: the plan adds up, holds what is measured, and shrinks the tile or refuses."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile

import gpu_nx47
from cpu_fallback import law
from gpu_nx47 import budget, hardware, load, phantom, plan, source
from gpu_nx47.accounts import Job
from gpu_nx47.configure import from_mapping, parse_bytes, resolve, to_json
from gpu_nx47.errors import InputError, SettingsError, TooLargeError, UsageError
from gpu_nx47.plan import MB
from gpu_nx47.settings import NeuronSettings, Settings

SMALL = Settings(neuron=NeuronSettings(samples=1024, l1=(1e-3,), l2=(1e-3,), steps=20), overlays=1)


def job(shape=(320, 320, 320), dtype="uint8", settings=SMALL, **changes):
    given = {"threads": 2, "law": False, "others": False, **changes}
    return Job.of(shape, np.dtype(dtype), 35 * MB, settings, **given)


def sums(text):
    """The total that a plan's text names, and the sum of its lines."""
    total, _, lines = text.partition(" = ")
    return int(re.match(r"(\d+) MB", total)[1]), sum(int(n) for n in re.findall(r"(\d+) MB ", lines))


# ------------------------------------------------------------------ the setting
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9), ("4GiB", 4 * 2**30), ("800MB", 800 * 10**6), ("1.5 GB", 1_500_000_000), ("7kib", 7168),
        ("2TB", 2 * 10**12), ("123B", 123), ("0.3GB", 300_000_000), (5, 5), ("4G", "4G"), ("GB", "GB"), (None, None),
    ],
)  # fmt: skip
def test_a_size_is_said_in_the_units_people_use(text, size):
    assert parse_bytes(text) == size


def test_memory_is_a_setting_like_the_others(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('memory = "4GB"\n')
    assert resolve(None, [], {})[0].memory is None
    assert resolve(config, [], {})[0].memory == 4 * 10**9
    assert resolve(config, ["memory=800MB"], {})[0].memory == 800 * 10**6
    settings = resolve(config, ["memory=800MB"], {}, memory="1GiB")[0]
    assert settings.memory == 2**30
    assert from_mapping(to_json(settings)) == settings
    for bad in ("4G", "-1", "0", "1.5", "true", "much"):
        with pytest.raises(SettingsError, match=r"memory: expected bytes above 0, or a size such as 4GB.*from --set"):
            resolve(None, [f"memory={bad}"], {})


# ------------------------------------------------------------------ the plan
@pytest.mark.parametrize("shape", [(96, 96, 96), (320, 320, 320), (7, 900, 40), (1, 1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_text_adds_up_and_the_record_says_the_same(shape, dtype):
    made = plan.plan(job(shape, dtype), 200 * MB, (64, 512, 512), tight=False)
    total, lines = sums(str(made))
    assert total == lines == made.bytes // MB
    record = json.loads(json.dumps(made.record()))
    assert record["planned_bytes"] == made.bytes == max(sum(items.values()) for items in record["stages"].values())
    assert record["stages"][record["stage"]]["interpreter, libraries and compiled code"] == 200 * MB


def test_more_work_is_never_planned_smaller():
    def planned(tile=(64, 512, 512), tight=False, **changes):
        return plan.plan(job(**changes), 200 * MB, tile, tight=tight).bytes

    one = planned()
    assert planned(threads=4) > one
    assert planned(shape=(320, 320, 640)) > one
    assert planned(dtype="float64") > one
    assert planned(law=True) > one
    assert planned(settings=Settings(save=("features",))) > one
    assert planned(tile=(32, 64, 64)) < one
    assert planned(tight=True) < one
    assert planned(others=True) > one


def test_every_array_of_a_stage_is_in_its_account():
    n = 100 * 200 * 300
    made = plan.plan(job((100, 200, 300), "uint16", others=True), 0, (64, 512, 512), tight=True)
    stages = {stage.name: {item.name: item.bytes for item in stage.items} for stage in made.stages}
    assert 0 <= stages["load"]["file, voxels and grey values"] - (2 * n + 35 * MB) < 2 * MB, "a page's copies beside"
    assert stages["count"]["grey values"] == n
    assert stages["count"]["probability"] == stages["count"]["joint cells"] == 2 * n
    assert stages["count"]["masks"] == n
    assert 0 <= stages["count"]["hysteresis mask"] - n / 8 < MB
    assert stages["segment"]["masks"] == 5 * n
    assert {"runs of a mask", "anomalies"} <= set(stages["count"])
    many = plan.plan(job((512, 512, 513), "uint8"), 0, (64, 512, 512), tight=True)
    large = {s.name: {i.name: i.bytes for i in s.items} for s in many.stages}
    assert large["segment"]["masks"] < 2 * 512**2 * 514
    assert "runs of a mask" not in large["count"], "they have gone before anomalies are listed"


def test_the_tile_shrinks_until_the_plan_fits():
    wide, tile = job(), (64, 512, 512)
    first = plan.fit(wide, 200 * MB, tile, 10**12)
    assert (first.tile, first.tight) == ((64, 320, 320), False)
    tight = plan.fit(wide, 200 * MB, tile, first.bytes - 1)
    assert (tight.tile, tight.tight) == ((64, 320, 320), True)
    cut = plan.fit(wide, 200 * MB, tile, tight.bytes - 1)
    assert cut.tile == (64, 160, 320)
    assert cut.bytes <= tight.bytes - 1
    assert plan.fit(wide, 200 * MB, tile, 0).tile == (32, 32, 32)
    assert plan.fit(wide, 200 * MB, (5, 7, 9), 0).tile == (5, 7, 9), "a smaller tile that was asked for stays"


# ------------------------------------------------------------------ the limit
@pytest.fixture
def still(monkeypatch):
    """A process that takes 100 MB, on a machine with a terabyte left; returns whether the allocator was told."""
    told = []
    monkeypatch.setattr(hardware, "rss_bytes", lambda: 100 * MB)
    monkeypatch.setattr(hardware, "available_bytes", lambda: 10**12)
    monkeypatch.setattr(hardware, "return_arrays_at_once", lambda: told.append(True))
    return told


def test_a_limit_below_the_process_itself_is_refused_before_anything_is_touched(tmp_path):
    write(tmp_path / "1.tif", (40, 40, 40))
    out = tmp_path / "out"
    out.mkdir()
    (out / "submission.zip").write_bytes(b"of an earlier run")
    with pytest.raises(
        UsageError, match=r"--memory 1 MB: expected more than (\d+) MB, .* = (\d+) MB taken now \+ "
    ) as e:
        gpu_nx47.run(tmp_path / "1.tif", out, {"memory": 10**6})
    total, taken, code = (int(n) for n in re.findall(r"(\d+) MB", str(e.value))[1:])
    assert taken <= total <= taken + code
    assert (out / "submission.zip").read_bytes() == b"of an earlier run"


def write(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ones(shape, np.uint8), compression="zlib", photometric="minisblack")


def test_without_a_limit_the_machine_is_the_limit(still, tmp_path):
    write(tmp_path / "1.tif", (40, 41, 42))
    (item,) = source.discover(tmp_path / "1.tif").sources
    free = budget.Budget(SMALL, law, 2)
    assert free.limit == 10**12 + 100 * MB
    assert free.reading_limit == load.LIMIT_BYTES
    found = free.plan(item, others=False)
    assert (found.tile, found.tight, still) == ((40, 41, 42), False, [])
    assert free.record(found)["limit_source"] == "the memory that is available"
    given = budget.Budget(Settings(memory=10**9), law, 2)
    assert (given.limit, given.reading_limit) == (10**9, 10**9 - given.base)


@pytest.mark.same_bits
def test_what_fits_only_with_small_tiles_has_the_same_bytes(still, tmp_path):
    image = np.random.default_rng(5).integers(1, 256, (16, 200, 200), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "1.tif", image, photometric="minisblack")
    few = {**to_json(SMALL), "features": {"fixed": ["grad_mag", "proj_mean"]}, "backend": "law", "threads": 1}
    free = budget.Budget(from_mapping(few), law, 1)
    (item,) = source.discover(tmp_path / "1.tif").sources
    shape, dtype, size, _ = load.read_layout(item)
    alone = Job.of(shape, dtype, size, from_mapping(few), threads=1, law=True, others=False)
    limit = plan.plan(alone, free.base, SMALL.tile, tight=True).bytes - 5 * MB
    zips, plans, tiles = [], [], []
    for memory in (None, limit):
        result = gpu_nx47.run(tmp_path / "1.tif", tmp_path / f"out{memory}", {**few, "memory": memory})
        assert result.exit_code == 0
        zips.append(result.submission.read_bytes())
        plans += [event["memory_plan"] for event in events(tmp_path / f"out{memory}", "FILE_START")]
        told = events(tmp_path / f"out{memory}", "PROGRESS_UPDATE")
        tiles.append({event["total"] for event in told if event["stage"] == "features"})
    assert zips[0] == zips[1]
    assert plans[0]["tile"] == [16, 200, 200]
    assert plans[1]["tile"] == [16, 100, 200]
    assert tiles == [{1}, {2}]
    assert plans[1]["limit_bytes"] == limit >= plans[1]["planned_bytes"]
    assert plans[1]["limit_source"] == "--memory"
    assert still == [True]


def events(output, name):
    lines = (output / "v122_ultra_authentic_360_merkle.jsonl").read_text().splitlines()
    return [e["data"] for e in map(json.loads, lines) if e["event"] == name]


def test_a_volume_that_cannot_fit_fails_with_the_arithmetic_and_the_others_are_done(still, tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=40, seeds=[1], train_seeds=[])
    write(tmp_path / "root" / "test_images" / "7.tif", (150, 400, 400))
    changed = {**to_json(SMALL), "backend": "law", "threads": 2, "memory": 300 * MB}
    result = gpu_nx47.run(tmp_path / "root", tmp_path / "out", changed)
    assert result.exit_code == 3
    assert [f["file"] for f in result.files] == ["100000001"]
    (failed,) = events(tmp_path / "out", "FILE_FAILED")
    assert (failed["file"], failed["error"]) == ("7", TooLargeError.__name__)
    total, lines = sums(failed["found"])
    assert total == lines > 300
    assert failed["expected"] == "at most 300 MB (--memory)"
    assert f"--memory {total}MB or more" in failed["advice"]
    (outlook,) = [e for e in events(tmp_path / "out", "STEP") if e["name"] == "memory_planned"]
    assert (outlook["too_large"], sorted(outlook["planned_bytes"])) == (["7"], ["100000001", "7"])
    assert outlook["planned_bytes"]["7"] > outlook["limit_bytes"] == 300 * MB
    assert result.submission is not None, "the refused volume has an empty mask: the zip is valid"


def test_the_layout_is_read_from_the_headers_alone(tmp_path):
    write(tmp_path / "stack.tif", (5, 40, 41))
    (item,) = source.discover(tmp_path / "stack.tif").sources
    size = (tmp_path / "stack.tif").stat().st_size
    assert load.read_layout(item) == ((5, 40, 41), np.dtype("uint8"), size, True)
    slices = tmp_path / "slices"
    slices.mkdir()
    for k in range(3):
        tifffile.imwrite(slices / f"{k}.tif", np.ones((30, 31), np.uint16))
    (item,) = source.discover(slices).sources
    assert load.read_layout(item)[:2] == ((3, 30, 31), np.dtype("uint16"))
    assert budget.Budget(SMALL, law, 2).headers(item) is source.headers(item) is None


def test_headers_are_read_once_for_all_plans_of_a_file_that_stays_the_same(tmp_path, monkeypatch):
    path, read, real = tmp_path / "stack.tif", [], load.read_layout
    monkeypatch.setattr(load, "read_layout", lambda item, **given: (read.append(item.id), real(item, **given))[1])
    write(path, (5, 40, 41))
    (item,) = source.discover(path).sources
    free = budget.Budget(SMALL, law, 2)
    for _ in range(2):
        free.outlook([item])
        assert free.plan(item, others=False).stages
        assert free.headers(item) == source.headers(item) == ((5, 40, 41), True)
    assert read == ["stack"]
    write(path, (6, 40, 41))
    assert free._job(item, False).shape == (6, 40, 41)
    assert free.headers(item) == ((6, 40, 41), True)
    path.unlink()
    assert free.headers(item) is None
    with pytest.raises(InputError):
        free.plan(item, others=False)


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 400\ninactive_file 200\n"}, 500),
        ({"memory.max": "max", "memory.current": "700", "memory.stat": "inactive_file 200\n"}, None),
        ({"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "900", "memory.stat": "total_inactive_file 1\n"}, 1),
        ({}, None),
    ],
)
def test_a_control_group_limits_the_memory_that_is_left(tmp_path, files, left):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert hardware._folder_memory(tmp_path) == left
    assert 0 < hardware.available_bytes() <= hardware.psutil.virtual_memory().total


# ------------------------------------------------------------------ planned and measured
CHILD = """
import json, sys
import gpu_nx47
from pathlib import Path
root, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
print(gpu_nx47.run(root, out, settings).stats["hardware"]["peak_rss_bytes"])
jit = sys.modules.get("cpu_fallback.twin._jit")
print(int(jit is not None and jit.compiled_here()))
"""


def measured(root, out, **settings):
    """Planned and measured peak of a run in a process of its own, in bytes; one for which nothing is compiled.

    Two processes that compile at once may each forget in the cache what the other kept.
    """
    for attempt in range(5):
        here = out / str(attempt)
        command = [sys.executable, "-c", CHILD, str(root), str(here), json.dumps(settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, compiled = map(int, done.stdout.split())
        if not compiled:
            return events(here, "FILE_START")[0]["memory_plan"]["planned_bytes"], peak
    raise AssertionError("the cache of compiled kernels keeps nothing")


def test_a_run_takes_no_more_than_planned(tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=48, seeds=[1], train_seeds=[])
    planned, peak = measured(tmp_path / "root", tmp_path / "out")
    assert peak <= planned


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"threads": 1, "tile": [32, 96, 96]},
        {"memory": 480 * MB, "threads": 2, "save": ["probability", "normals", "features"]},
    ],
    ids=str,
)
def test_larger_runs_take_no_more_than_planned_and_not_far_less(tmp_path, settings):
    phantom.write_phantom_root(tmp_path / "root", size=192, seeds=[1], train_seeds=[])
    planned, peak = measured(tmp_path / "root", tmp_path / "out", **settings)
    assert planned <= settings.get("memory", planned)
    assert peak <= planned <= 1.5 * peak
