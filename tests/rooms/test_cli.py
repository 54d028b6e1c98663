"""The commands understand what is asked, and each ending has its exit code."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gpu_nx47 import backend, pipeline
from gpu_nx47._version import __version__
from gpu_nx47.cli import app, checks, main
from gpu_nx47.cli.checks import Check
from gpu_nx47.cli.exits import NO_ZIP as NO_ZIP_CODE
from gpu_nx47.cli.exits import OUR_BUG, SOME_FAILED, USAGE
from gpu_nx47.errors import BackendUnavailableError, OutputError, UsageError
from gpu_nx47.events import Event
from gpu_nx47.journal import Dispatcher


@pytest.fixture(autouse=True)
def plain_place(tmp_path, monkeypatch):
    """An empty working folder, no Kaggle, no variables of V122."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "KAGGLE_OUTPUT", tmp_path / "kaggle" / "working")
    for name in [name for name in os.environ if name.startswith(("V122_", "VESUVIUS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def fake_run(monkeypatch):
    """Stands for the pipeline: notes how it was called, says a little, ends as told."""
    calls = []

    def run(root, output, settings, console=None, *, fresh=False, started=None):
        calls.append((root, output, settings))
        dispatcher = Dispatcher([console])
        dispatcher.emit(Event("BOOT", {"version": "0", "backend": "law", "backend_reason": "asked for"}))
        dispatcher.emit(Event("FILE_FAILED", {"file": "b", "what": "cut short", "advice": "Copy it again."}))
        dispatcher.emit(Event("GLOBAL_STATS", {"files_processed": 1}))
        dispatcher.emit(Event("EXEC_COMPLETE", {"submission": "out/submission.zip", "reason": run.reason}))
        if isinstance(run.ending, BaseException):
            raise run.ending
        dispatcher.close()
        return pipeline.RunResult(run.ending, None if run.ending == 4 else Path("out/submission.zip"), {})

    run.ending = 0
    run.reason = None
    run.calls = calls
    monkeypatch.setattr(pipeline, "run", run)
    return run


# Exit codes of run


@pytest.mark.parametrize("code", [0, 3, 4])
def test_the_pipelines_code_is_the_exit_code(fake_run, code):
    fake_run.ending = code
    assert main(["run", "in"]) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no volumes under in"), USAGE),
        (BackendUnavailableError("no GPU here"), NO_ZIP_CODE),
        (OutputError("the disk is full"), NO_ZIP_CODE),
        (ZeroDivisionError("oops"), OUR_BUG),
        (KeyboardInterrupt(), 130),
    ],
)
@pytest.mark.parametrize("option", [[], ["--quiet"], ["--json"]])
def test_each_error_has_its_code_and_is_said_on_stderr(fake_run, capsys, error, code, option):
    fake_run.ending = error
    assert main(["run", "in", *option]) == code
    shown = capsys.readouterr()
    said = shown.err
    assert ("GLOBAL_STATS\n  files_processed" in shown.out) == (not option)  # what was counted is not lost
    if code == OUR_BUG:
        assert "Traceback" in said
        assert "ZeroDivisionError: oops" in said
        assert "Please report it" in said
    else:
        assert "Traceback" not in said
        assert (str(error) or "interrupted") in said


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["run", "in"], "the same command"),
        (["run", "in", "--fresh"], "the same command without --fresh"),
        (["demo", "--size", "32", "--output", "o"], f"nx47 run {Path('o', 'phantom')} --output o"),
    ],
)
def test_what_goes_on_with_a_run_that_was_cut_short_is_said(fake_run, capsys, arguments, command):
    fake_run.reason = "OutputError"
    assert main(arguments) == 0
    assert f"Not finished (OutputError): {command} goes on from here." in capsys.readouterr().out.splitlines()
    assert len(fake_run.calls) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "in", "--nonsense"],
        ["run", "in", "--threads", "two"],
        ["run", "in", "--backend", "cuda"],
        ["run", "in", "--tile", "8,8"],
        ["run", "in", "--set", "segment.dsut=1"],
        ["run", "in", "--config", "missing.toml"],
        ["run"],
        ["fly"],
        ["submission", "check", "x.zip"],
        ["submission", "check", "x.zip", "--images", "."],
        ["phantom", "p", "--size", "8", "--seeds", "1"],
        ["phantom", "p", "--size", "64", "--seeds", "1,one"],
        ["phantom", "p", "--size", "64", "--seeds", "1,1"],
        ["demo", "--size", "5"],
    ],
)
def test_what_cannot_be_understood_is_2(fake_run, capsys, arguments):
    assert main(arguments) == USAGE
    assert capsys.readouterr().err.strip()
    assert fake_run.calls == []


# What run hands on


def test_every_option_reaches_the_pipeline(fake_run, tmp_path):
    (tmp_path / "c.toml").write_text("overlays = 7\nthreads = 5\n")
    options = ["--output", "o", "--backend", "law", "--tile", "16,32,64", "--threads", "2", "--config", "c.toml"]
    assert (
        main(["run", "in", *options, "--set", "preset=v121", "--set", "seed=3", "--save", "probability,normals"]) == 0
    )
    ((root, output, settings),) = fake_run.calls
    assert (root, output) == (Path("in"), Path("o"))
    assert (settings.backend, settings.tile, settings.threads, settings.overlays) == ("law", (16, 32, 64), 2, 7)
    assert (settings.seed, settings.segment.ratio, settings.save) == (3, 0.03, ("probability", "normals"))


def test_root_and_output_come_from_the_environment_where_not_given(fake_run, monkeypatch):
    monkeypatch.setenv("VESUVIUS_ROOT", "/v/in")
    monkeypatch.setenv("VESUVIUS_OUTPUT", "/v/out")
    assert main(["run"]) == 0
    assert main(["run", "in", "--output", "o"]) == 0
    assert [call[:2] for call in fake_run.calls] == [(Path("/v/in"), Path("/v/out")), (Path("in"), Path("o"))]


def test_on_kaggle_both_may_be_left_out(fake_run, tmp_path):
    (tmp_path / "kaggle" / "working").mkdir(parents=True)
    assert main(["run"]) == 0
    assert main(["run", "in"]) == 0
    working = tmp_path / "kaggle" / "working"
    assert [call[:2] for call in fake_run.calls] == [(None, working), (Path("in"), working)]


def test_elsewhere_the_output_is_out(fake_run):
    assert main(["run", "in"]) == 0
    assert fake_run.calls[0][1] == Path("out")


def test_an_ignored_variable_is_named(fake_run, monkeypatch, capsys):
    monkeypatch.setenv("V122_FULL_PIXEL_TRACE", "1")
    assert main(["run", "in"]) == 0
    assert "V122_FULL_PIXEL_TRACE is ignored" in capsys.readouterr().err
    assert main(["run", "in", "--quiet"]) == 0
    assert "V122_FULL_PIXEL_TRACE" not in capsys.readouterr().err


# What run shows


def test_the_ways_to_show_a_run(fake_run, capsys):
    assert main(["run", "in"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-2:] == ["GLOBAL_STATS", "  files_processed  1"]
    assert shown.err == "FAILED b: cut short. Copy it again.\n"
    assert main(["run", "in", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "FAILED b: cut short. Copy it again.\n")
    assert main(["run", "in", "--json"]) == 0
    names = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert names == ["BOOT", "FILE_FAILED", "GLOBAL_STATS", "EXEC_COMPLETE"]
    assert main(["run", "in", "--set", "ultra_console_log=true"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["event"] == "BOOT"


# Other commands


def test_help_is_quick_and_loads_no_numbers():
    code = (
        "import sys; from gpu_nx47.cli import main; assert main(['--help']) == 0;"
        "loaded = {'numpy', 'numba', 'cupy', 'scipy', 'tifffile', 'PIL', 'rich', 'psutil'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_module_is_the_command():
    shown = subprocess.check_output([sys.executable, "-m", "gpu_nx47", "--version"], text=True)
    assert shown == f"nx47 {__version__}\n"
    command = [sys.executable, "-m", "gpu_nx47", "run", "/nowhere/at/all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == USAGE
    assert "Traceback" not in done.stderr
    assert "/nowhere/at/all" in done.stderr


def test_the_help_names_each_option_and_the_exit_codes(capsys):
    assert main(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    for word in ("--output", "--backend", "--tile", "--threads", "--config", "--set", "--save", "--quiet", "--json"):
        assert word in shown
    assert "3 some files failed" in " ".join(shown.split())
    assert "\x1b" not in shown


def test_doctor_says_yes_on_this_machine(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "`nx47 run` would work here."
    for name in (
        "Python",
        "packages",
        "numba",
        "imagecodecs",
        "GPU",
        "CuPy",
        "backend",
        "output",
        "processors",
        "memory",
    ):
        assert any(line.split()[1:2] == [name] for line in lines)


def test_doctor_says_no_where_a_run_would_not_work(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--output", "file"]) == NO_ZIP_CODE
    shown = capsys.readouterr().out
    assert "-> Choose another folder with --output." in shown
    assert shown.splitlines()[-1].startswith("`nx47 run` would not work here")

    def dead(choice="auto"):
        raise BackendUnavailableError("nothing computes")

    monkeypatch.setattr(backend, "select", dead)
    assert main(["doctor"]) == NO_ZIP_CODE
    assert "nothing computes" in capsys.readouterr().out


def test_doctor_judges_a_missing_package_by_what_it_is_for():
    installed = dict.fromkeys(checks.CORE_PACKAGES, "1.0")
    assert checks._packages(installed).verdict == "ok"
    assert checks._packages({**installed, "numba": None}).verdict == "note"
    assert checks._packages({**installed, "numpy": None}).verdict == "no"
    assert checks._numba(None).verdict == "note"
    assert "law serves" in checks._numba(None).found
    assert checks._packages({**installed, "imagecodecs": None}).verdict == "note"
    assert checks._imagecodecs(None).verdict == "note"
    assert "Pillow decodes LZW" in checks._imagecodecs(None).found
    assert checks.report([Check("a", "note", "x", "do y")]).splitlines() == [
        "note  a  x",
        "         -> do y",
        "`nx47 run` would work here.",
    ]


def test_a_module_that_breaks_on_import_does_not_count_as_there(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("raise OSError('libcuda.so is missing')")
    (tmp_path / "loads_well.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert not checks._imports("breaks_on_import")
    assert checks._imports("loads_well")


# A whole run


@pytest.fixture(scope="module")
def phantom_run(tmp_path_factory):
    """The commands of a newcomer, in a process of their own: a phantom, then a run on it."""
    folder = tmp_path_factory.mktemp("whole")

    def nx47(*arguments):
        command = [sys.executable, "-m", "gpu_nx47", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=300)

    drawn = nx47("phantom", "root", "--size", "48", "--seeds", "5", "--train-seeds", "6")
    assert drawn.returncode == 0, drawn.stderr
    return folder, nx47, nx47("run", "root", "--output", "o", "--set", "neuron.steps=20")


def test_a_run_ends_with_a_submission_a_record_and_the_block(phantom_run):
    folder, nx47, done = phantom_run
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 200
    start = lines.index("GLOBAL_STATS")
    assert all(line.startswith("  ") for line in lines[start + 1 :])
    assert any(line.split() == ["files_processed", "1"] for line in lines)
    with zipfile.ZipFile(folder / "o" / "submission.zip") as archive:
        assert len(archive.namelist()) == 1
    for name in ("v122_execution_logs", "v122_memory_tracker", "v122_execution_metadata", "v122_roadmap_realtime"):
        assert json.loads((folder / "o" / f"{name}.json").read_bytes())
    roadmap = json.loads((folder / "o" / "v122_roadmap_realtime.json").read_bytes())
    assert roadmap["overall_progress_percent"] == 100.0
    checked = nx47("submission", "check", "o/submission.zip", "--images", "root/test_images")
    assert (checked.returncode, checked.stdout[:3]) == (0, "yes")


def test_a_submission_for_other_images_is_not_acceptable(phantom_run):
    _, nx47, _ = phantom_run
    checked = nx47("submission", "check", "o/submission.zip", "--images", "root/train_images")
    assert checked.returncode == NO_ZIP_CODE
    assert checked.stdout.startswith("no: ")
    assert checked.stderr.count("nx47: ") >= 1


def test_a_damaged_volume_beside_a_good_one_is_3(phantom_run, tmp_path):
    folder, nx47, _ = phantom_run
    images = tmp_path / "both"
    images.mkdir()
    (good,) = (folder / "root" / "test_images").glob("*.tif")
    (images / good.name).write_bytes(good.read_bytes())
    (images / "cut.tif").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    done = nx47("run", str(images), "--output", str(tmp_path / "o"), "--set", "neuron.steps=20", "--json")
    assert done.returncode == SOME_FAILED, done.stderr
    assert "FAILED cut" in done.stderr
    record = (tmp_path / "o" / "v122_ultra_authentic_360_merkle.jsonl").read_bytes().splitlines()
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [{**line, "prev": json.loads(raw)["prev"]} for line, raw in zip(shown, record, strict=True)] == [
        json.loads(raw) for raw in record
    ]


def test_untrusted_reaches_the_settings(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("gpu_nx47.cli.app._run", lambda root, output, settings, **how: asked.append(settings))
    main(["run", str(tmp_path), "--untrusted", "--set", "seed=5"])
    main(["run", str(tmp_path)])
    assert [(settings.load.untrusted, settings.seed) for settings in asked] == [(True, 5), (False, 47)]
