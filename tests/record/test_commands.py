"""The commands of `nx47 log`, and the verifier that needs nothing of ours."""

import io
import json
import shutil
import subprocess
import sys

import pytest

import gpu_nx47
from gpu_nx47 import cli, journal, phantom
from gpu_nx47.cli.console import KEEP, Console
from gpu_nx47.events import Event
from gpu_nx47.journal import CHECKPOINT_NAME, LOGS_NAME, METADATA_NAME, RECORD_NAME, VERIFIER_NAME
from gpu_nx47.settings import FIRST_SIX, FeatureSettings, NeuronSettings, Settings


def test_verify_says_the_verdict_and_leaves_with_its_code(made, capsys):
    assert cli.main(["log", "verify", str(made.folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "self-signed" in said[0]
    assert said[-1] == "complete: 10 lines, 3 outputs"
    assert cli.main(["log", "verify", str(made.log), "--expect-key", made.key, "--checkpoint", str(made.keep())]) == 0
    assert "vouched for" in capsys.readouterr().out
    made.put(made.lines()[:-1])
    assert cli.main(["log", "verify", str(made.folder)]) == 1
    assert "tampered: line 10 is missing: checkpoint 4 is of 10 lines" in capsys.readouterr().out
    made.notes.write_text("".join(made.each_note()[:-1]))
    assert cli.main(["log", "verify", str(made.folder)]) == 2
    assert "incomplete: it ends at line 9 with GLOBAL_STATS" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nowhere"], ["."], [".", "--expect-key", "x"], [".", "--checkpoint", "none"]])
def test_what_cannot_be_checked_is_no_verdict(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["log", "verify", *arguments]) == 3
    assert capsys.readouterr().err.startswith("nx47: ")


def test_a_bug_is_no_verdict(made, monkeypatch, capsys):
    from gpu_nx47.audit import verify

    monkeypatch.setattr(verify, "whole_lines", lambda stream: 1 / 0)
    assert cli.main(["log", "verify", str(made.folder)]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_show_tells_every_event(made, capsys):
    assert cli.main(["log", "show", str(made.folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in said] == [name for _, name, _ in made.events()]
    assert all(line.isascii() and len(line) < 600 for line in said)
    assert cli.main(["log", "show", str(made.folder), "--format", "v122"]) == 0
    flat = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert flat == json.loads((made.folder / LOGS_NAME).read_text())
    assert cli.main(["log", "show", str(made.folder), "--format", "xml"]) == 3


def test_the_verifier_beside_the_record_runs_alone(made, tmp_path):
    """In an interpreter that sees neither the package's folder nor the environment."""
    alone = shutil.copytree(made.folder, tmp_path / "elsewhere" / "out")
    shutil.move(alone / VERIFIER_NAME, tmp_path / "v.py")  # as somebody who took it from where he trusts it
    (alone / VERIFIER_NAME).write_bytes((tmp_path / "v.py").read_bytes())

    def run(*arguments):
        command = [sys.executable, "-I", str(tmp_path / "v.py"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    code, said = run(alone, "--expect-key", made.key, "--checkpoint", made.keep())
    assert (code, said.splitlines()[-1]) == (0, "complete: 10 lines")
    assert "vouched for" in said
    (alone / "submission.zip").write_bytes(b"other")
    assert run(alone)[0] == 1
    assert run(alone, "--no-such-option")[0] == 3
    assert run(tmp_path)[0] == 3
    imports = [line for line in (tmp_path / "v.py").read_text().splitlines() if "import" in line and "gpu_nx47" in line]
    assert imports == []


def test_the_last_checkpoint_stands_in_the_metadata_and_on_the_console(tmp_path):
    shown = io.StringIO()
    observers = journal.open_observers(tmp_path, Console(shown, io.StringIO()))
    observers.emit(Event("BOOT", {"version": "1", "backend": "law", "backend_reason": "asked", **observers.keys}))
    observers.emit(Event("GLOBAL_STATS", {"files_processed": 0}))
    observers.emit(Event("EXEC_COMPLETE", {"submission": None, "digests": {}}))
    observers.close()
    notes = (tmp_path / CHECKPOINT_NAME).read_text()
    known = json.loads((tmp_path / METADATA_NAME).read_text())["checkpoint"]
    assert notes.endswith(known)
    assert "\n3\n" in known
    assert f"{KEEP}\n{known}" in shown.getvalue()
    assert shown.getvalue().index(known) < shown.getvalue().index("GLOBAL_STATS")


def test_a_run_writes_a_record_that_both_verifiers_take(tmp_path, judge, writes):
    """Every output is named, and nothing behind EXEC_COMPLETE."""
    phantom.write_phantom_root(tmp_path / "root", size=32, seeds=[5], train_seeds=[])
    unit = NeuronSettings(samples=512, steps=5, l1=(1e-3,), l2=(1e-3,))
    chosen = Settings(
        features=FeatureSettings(bank=FIRST_SIX, top_k=2), neuron=unit, save=("probability",), backend="cpu"
    )
    out = tmp_path / "out"
    (out / "overlays_v122").mkdir(parents=True)
    (out / "overlays_v122" / "another_z0001.png").write_bytes(b"of an earlier run")
    assert gpu_nx47.run(tmp_path / "root", out, chosen).exit_code == 0
    lines = (out / RECORD_NAME).read_text().splitlines()
    end = json.loads(lines[-1])["data"]
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")}
    unnamed = names - end["digests"].keys()
    assert unnamed == {n for n in names if n.startswith("v122_")} | {"overlays_v122/another_z0001.png"}
    from gpu_nx47.audit.verify import verify
    from gpu_nx47.journal import verify_record

    assert verify(out).sentence == f"complete: {len(lines)} lines, {len(end['digests'])} outputs"
    assert verify_record.check(out, [], None)[0] == 0
