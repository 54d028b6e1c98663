"""`nx47 bench` measures what was asked for, small, and says it as a table, JSON and a picture."""

import io
import json
import time
from dataclasses import replace

import pytest
from PIL import Image

from gpu_nx47.backend import Meter, select
from gpu_nx47.bench import chart, clock, cold, harness, kernels, report, stages
from gpu_nx47.cli import main
from gpu_nx47.engine import Engine
from gpu_nx47.settings import Settings

LIMITS = {"copy_bytes_per_s": {"1": 1e10, "2": 2e10}, "arithmetic_per_s": {"1": 4e10, "2": 8e10}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(clock, "COPY_BYTES", 1 << 16)
    monkeypatch.setattr(clock, "CHAIN_STEPS", 8)
    monkeypatch.setattr(clock, "REST_S", 0.0)
    monkeypatch.setattr(clock, "REFERENCE_BYTES", 1 << 12)


# Clocks


def test_rivals_take_turns():
    order = []
    times = clock.in_turns({name: (lambda name=name: order.append(name)) for name in "abc"}, 3)
    assert order == [*"abc", *"abc", *"bca", *"cab"]  # first the calls that warm up
    assert all(len(t.wall_s) == len(t.cpu_s) == 3 for t in times.values())


def test_a_long_first_call_counts_and_is_repeated_less(monkeypatch):
    monkeypatch.setattr(clock, "SHORT_S", 0.005)
    monkeypatch.setattr(clock, "LONG_ROUNDS", 2)
    calls = []
    times = clock.in_turns({"long": lambda: (calls.append(1), time.sleep(0.01)), "short": lambda: None}, 4)
    assert (len(calls), len(times["long"].wall_s), len(times["short"].wall_s)) == (2, 2, 4)
    assert times["long"].median_s >= 0.01


def test_the_peak_of_memory_is_seen():
    peak = clock.peak_bytes(lambda: bytearray(1 << 26))
    if peak is None:
        pytest.skip("this kernel does not say")
    assert 1 << 26 <= peak < (1 << 26) + (1 << 24)


def test_percentiles_are_values_that_occurred():
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [clock.percentile(values, share) for share in (0.0, 0.5, 0.6, 0.61, 0.99)] == [1, 3, 3, 4, 5]


def test_a_ratio_is_taken_round_by_round():
    assert clock.ratio([1.0, 2.0, 4.0], [2.0, 4.0, 8.0]) == 2.0  # the machine slowed down, the peer did not


def test_the_roofline_takes_the_longer_of_bytes_and_operations():
    by_bytes = kernels.rates(1.0, 4e9, 5e9, 1e6, LIMITS, 1)
    assert (by_bytes["bound"], by_bytes["of_roofline"], by_bytes["of_arithmetic"]) == ("bytes", 0.5, 0.1)
    by_operations = kernels.rates(1.0, 4e10, 5e9, 1e6, LIMITS, 2)
    assert (by_operations["bound"], by_operations["of_roofline"], by_operations["of_copy"]) == ("arithmetic", 0.5, 0.25)


# Kernels, runs, processes


@pytest.mark.parametrize("backend", ["law", "cpu"])
def test_a_row_is_whole(backend, small, peers):
    room, _ = select(backend)
    row = kernels.measured(small["laplacian"], Engine(Meter(room), (64, 512, 512), 2), 3, LIMITS, peers)
    voxels = small["laplacian"].voxels
    assert (row["voxels"], row["calc_ops"]) == (voxels, 11 * voxels)
    ways = {1: row["one_thread"], 2: row["all_threads"]}
    assert row["median_s"] == ways[row["threads"]]["median_s"] == min(way["median_s"] for way in ways.values())
    assert (row["calc_ops_executed"] > row["calc_ops"]) == (row["threads"] == 2)
    assert row["mvoxel_per_s"] == pytest.approx(voxels / row["median_s"] / 1e6)
    assert len(row["wall_s"]) == len(row["one_thread"]["wall_s"]) == 3
    assert len(row["guard"]["seconds"]) == len(row["guard"]["reference_s"]) == kernels.GUARD_ROUNDS
    assert all(0 < seconds <= row["one_thread"]["cpu_s"][0] * 10 for seconds in row["guard"]["seconds"])
    assert {"SciPy", "OpenCV"} <= {peer["peer"] for peer in row["peers"]}
    json.dumps(row)


def test_the_stages_sum_to_the_wall_time(tmp_path):
    from gpu_nx47.phantom import write_phantom_root

    write_phantom_root(tmp_path / "root", size=40, seeds=[1, 2], train_seeds=[])
    before = {name: owner.__dict__[name] for owner, name, _ in stages._WATCHED}
    run = stages.one_run(tmp_path / "root", tmp_path / "out", Settings(threads=2, tile=(20, 40, 40)))
    assert sum(stage["wall_s"] for stage in run["stages"]) == pytest.approx(run["wall_s"], rel=0.01)
    assert run["named_share"] > 0.9
    names = {stage["stage"] for stage in run["stages"]}
    assert {"decode", "survey", "features", "train", "probability", "null", "encode", "record", "count"} <= names
    assert sum(stage["calc_ops"] for stage in run["stages"]) == run["calc_ops"] > 0
    assert len(run["file_s"]) == 2
    assert {name: owner.__dict__[name] for owner, name, _ in stages._WATCHED} == before  # nothing stays watched


def test_runs_with_the_neuron_that_a_run_finds_give_its_mask_and_train_nothing(monkeypatch):
    zips, one_run = [], stages.one_run

    def seen(root, output, settings):
        run = one_run(root, output, settings)
        zips.append((output / "submission.zip").read_bytes())
        return run

    monkeypatch.setattr(stages, "one_run", seen)
    asked = Settings(threads=2, tile=(20, 40, 40))
    own = stages.runs(40, 1, 1, asked)
    given = stages.runs(40, 1, 1, replace(asked, model=stages.FOUND))
    assert (own["model"], given["model"]) == ("", "found")
    learned, spared = ({row["stage"]: row["calc_ops"] for row in run["stages"]} for run in (own, given))
    assert learned["features"] > 0
    assert learned["train"] > 0
    assert spared["features"] == spared["train"] == 0
    assert len(zips) == 4
    assert len(set(zips)) == 1


@pytest.mark.long
def test_a_fresh_process_is_timed():
    first = cold.first_runs(32, 1, "law")
    assert 0 < first["empty_cache"]["first_line_s"] < first["empty_cache"]["whole_s"]


def test_nothing_is_measured_where_a_run_fails():
    from gpu_nx47.errors import OutputError

    with pytest.raises(OutputError, match="fresh process failed"):
        cold.first_runs(32, 1, "gpu" if select("auto")[0].NAME != "gpu" else "none")


# The command


def test_the_command_says_it_in_three_ways(tmp_path, capsys):
    room = select("cpu")[0].NAME  # the law where Numba is missing
    where = {name: str(tmp_path / f"r.{name}") for name in ("json", "text", "png")}
    options = [part for name, path in where.items() for part in (f"--{name}", path)]
    asked = ["--sizes", "32,40", "--backend", room, "--rounds", "1", "--runs", "1", "--files", "1"]
    code = main(["bench", *asked, "--only", "kernels", "--only", "run", "--case", "label", *options])
    shown = capsys.readouterr()
    assert code == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["schema"] == harness.SCHEMA
    assert [(row["size"], row["case"]) for row in found["kernels"]] == [
        (size, name) for size in (32, 40) for name in ("label 6", "label 26")
    ]
    for row in found["kernels"]:
        assert bool(row["peers"]) == (row["size"] == 40 and room == "cpu")
    assert {"commit", "date", "cpu_model", "load_before", "load_after", "packages"} <= set(found["machine"])
    assert [run["size"] for run in found["runs"]] == [32, 40]
    assert {row["case"] for row in found["growth"]} == {"label 6", "label 26", "whole run"}
    assert (tmp_path / "r.text").read_text() in shown.out
    for words in (f"Kernels, {room}, phantom of 40^3", "Whole run", "How cost grows", "copy", "named"):
        assert words in shown.out
    assert ("Peers, cpu" in shown.out) == (room == "cpu")
    picture = Image.open(io.BytesIO((tmp_path / "r.png").read_bytes()))
    assert picture.width == chart.WIDTH
    assert picture.getcolors(1 << 24)[0][0] < picture.width * picture.height  # something is drawn


def test_without_what_was_not_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(cold, "STARTS", {"import gpu_nx47": cold.STARTS["import gpu_nx47"]})
    monkeypatch.setattr(cold, "first_runs", lambda *_: pytest.fail("the law compiles nothing"))
    assert main(["bench", "--only", "start", "--rounds", "1", "--backend", "law"]) == 0
    shown = capsys.readouterr().out
    assert "import gpu_nx47" in shown
    assert "Kernels" not in shown
    assert report.text(json.loads(json.dumps(harness.measure(harness.Wanted(parts=(), backends=("law",))))))


def test_whole_runs_with_a_model_say_so(capsys):
    room = select("cpu")[0].NAME
    asked = ["bench", "--only", "run", "--sizes", "32", "--backend", room, "--runs", "1", "--files", "1"]
    assert main([*asked, "--model", "found"]) == 0
    assert f"Whole run with the model found, {room}, 1 phantoms of 32^3" in capsys.readouterr().out
    assert main([*asked, "--model", "nowhere.json"]) == 2
    assert "nowhere.json: the model cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--sizes", "a"], ["--sizes", "8"], ["--only", "all"], ["--backend", "tpu"], ["--rounds", "0"],
     ["--compare", "nothing", "here"]],
)  # fmt: skip
def test_what_cannot_be_understood_is_said(arguments, capsys):
    assert main(["bench", *arguments]) == 2
    assert "expected" in capsys.readouterr().err


def test_a_slower_kernel_is_an_exit_code(tmp_path, capsys):
    for name, factor in (("a", 1.0), ("b", 1.5)):
        row = {"case": "k", "backend": "cpu", "shape": [2, 2, 2]}
        row["guard"] = {"seconds": [factor * (1 + k / 100) for k in range(12)], "reference_s": [1.0] * 12}
        (tmp_path / f"{name}.json").write_text(json.dumps({"kernels": [row]}))
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    assert main(["bench", "--compare", a, b]) == 4
    assert "slower" in capsys.readouterr().out
    assert main(["bench", "--compare", a, a]) == 0


def test_an_installed_package_says_where_the_peers_are(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "PEERS", tmp_path / "nowhere.py")
    found, reason = harness._peers()
    assert found is None
    assert "bench/peers" in reason
