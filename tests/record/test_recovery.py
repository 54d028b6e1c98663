"""A run that was cut short and gone on with: each state has its verdict, and the whole is replayed."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_nx47 import phantom, pipeline
from gpu_nx47.audit import replay
from gpu_nx47.audit.verify import verify
from gpu_nx47.journal import RECORD_NAME, verify_record
from gpu_nx47.settings import FIRST_SIX, FeatureSettings, NeuronSettings, Settings

QUICK = Settings(
    features=FeatureSettings(bank=FIRST_SIX, top_k=2),
    neuron=NeuronSettings(samples=512, steps=5, l1=(1e-3,), l2=(1e-3,)),
    overlays=1,
    threads=1,
    backend="cpu",
)


class Interrupt:
    """Presses Ctrl-C when an event has come so many times."""

    def __init__(self, name, times):
        self.name = name
        self.left = times

    def __call__(self, stamped):
        if stamped.event.name == self.name:
            self.left -= 1
            if self.left == 0:
                import signal

                signal.raise_signal(signal.SIGINT)

    def close(self):
        pass


def codes(folder):
    """What both verifiers say."""
    found = verify(folder)
    assert verify_record.check(folder, [], None)[0] == found.code
    return found.code, found.sentence


def names(folder):
    return [json.loads(line)["event"] for line in (folder / RECORD_NAME).read_text().splitlines()]


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory):
    """A root and the folder of a run that was interrupted behind its first volume."""
    folder = tmp_path_factory.mktemp("recovery")
    phantom.write_phantom_root(folder / "root", size=32, seeds=[6, 7], train_seeds=[])
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(folder / "root", folder / "out", QUICK, Interrupt("FILE_DONE", 1))
    return folder


def test_a_run_that_was_cut_short_is_a_complete_record_of_it(cut_short, tmp_path):
    code, sentence = codes(cut_short / "out")
    assert code == 0
    assert sentence.endswith("; the run was cut short (KeyboardInterrupt)")


def test_a_killed_run_is_incomplete_and_gone_on_with_it_is_complete_with_two_keys(cut_short, tmp_path, capsys):
    out = shutil.copytree(cut_short / "out", tmp_path / "out")
    lines = (out / RECORD_NAME).read_bytes().splitlines(keepends=True)
    signed = json.loads(lines[-1])["seq"]
    notes = out / RECORD_NAME.replace(".jsonl", ".checkpoint")
    text = notes.read_text()
    notes.write_text(text[: text.rindex(f"\n{signed + 1}\n")].rpartition("\n")[0] + "\n")  # kill -9 before the end
    (out / RECORD_NAME).write_bytes(b"".join(lines[:-1]) + lines[-1][:30])
    code, sentence = codes(out)
    assert code == 2
    assert "the last line is torn" in sentence
    assert pipeline.run(cut_short / "root", out, QUICK).exit_code == 0
    code, sentence = codes(out)
    assert code == 0
    assert sentence.endswith("2 keys, continuity unproven")
    assert names(out).count("RECOVERED") == 1
    assert names(out).count("FILE_DONE") == 2  # the first volume was kept
    said = []
    assert replay.replay_record(out, cut_short / "root", replay.Machine("law"), lambda every: every, said.append) == 0
    assert said[-1] == "equal: 2 of 2 volumes computed again"


DIES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gpu_nx47 import pipeline
from test_recovery import QUICK

class Dies:
    def __call__(self, stamped):
        if stamped.event.name == "RECOVERED":
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self):
        pass

pipeline.run(Path(sys.argv[2]), Path(sys.argv[3]), QUICK, Dies())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_run_killed_between_recovered_and_boot_is_gone_on_with_again(cut_short, tmp_path):
    """Found by kills at random moments: RECOVERED stood behind RECOVERED, and was called a forgery."""
    out = shutil.copytree(cut_short / "out", tmp_path / "out")
    for _ in range(2):
        given = [str(Path(__file__).parent), str(cut_short / "root"), str(out)]
        assert subprocess.run([sys.executable, "-c", DIES, *given], check=False).returncode == -signal.SIGKILL
        assert names(out)[-1] == "RECOVERED"
        assert codes(out)[0] == 2
    assert pipeline.run(cut_short / "root", out, QUICK).exit_code == 0
    code, sentence = codes(out)
    assert code == 0, sentence
    at = names(out).index("RECOVERED")
    assert names(out)[at : at + 4] == ["RECOVERED", "RECOVERED", "RECOVERED", "BOOT"]
