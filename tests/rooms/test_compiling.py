"""A second process compiles beside a run: what it takes over, what it costs, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

pytest.importorskip("numba")

from cpu_fallback.twin import _jit
from gpu_nx47 import compiling, hardware, phantom

PROBED = {"_gaussian._smooth", "_gradient._march"}
"""What `twin.probe` compiles: a run has it before a helper begins."""
PLENTY = {"limit_bytes": 10**12, "planned_bytes": {"a": 10**9}}
RUN = """
import sys
from pathlib import Path
import gpu_nx47
gpu_nx47.run(Path(sys.argv[1]), Path(sys.argv[2]), {"threads": int(sys.argv[3]), "backend": "cpu"})
from cpu_fallback.twin import _jit
name = lambda kernel: kernel.__module__.rpartition(".")[2] + "." + kernel.__name__  # two modules may use one word
print("missed", *sorted(name(k) for k in _jit._KERNELS if k.stats.cache_misses))
print("found", *sorted(name(k) for k in _jit._KERNELS if k.stats.cache_hits))
import psutil
print("children", *psutil.Process().children())
"""
HELPED = """
import sys, time
from pathlib import Path
from cpu_fallback.twin import _jit
from gpu_nx47 import compiling
_jit.folder = lambda: Path(sys.argv[1])
print(compiling._start()._process.pid, flush=True)
time.sleep(60)
"""
WARM = [sys.executable, "-m", "cpu_fallback.twin._warm"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiling") / "root"
    phantom.write_phantom_root(folder, size=64, seeds=[1], train_seeds=[])
    return folder


def told(root, output, cache, threads):
    """Return what a run in a fresh process says of its kernels."""
    command = [sys.executable, "-c", RUN, str(root), str(output), str(threads)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return {word: set(rest) for word, *rest in map(str.split, done.stdout.splitlines())}


def test_a_run_finds_all_that_the_helper_alone_has_compiled(root, tmp_path):
    cache = tmp_path / "cache"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    with subprocess.Popen(WARM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as helper:
        names = {name.split("-")[0] for line in helper.stdout for name in line.split()}
    assert helper.returncode == 0
    found = told(root, tmp_path / "out", cache, 2)
    assert found["missed"] == PROBED, "a signature differs: twin/_warm.py calls what no run calls"
    assert found["found"] == names, "twin/_warm.py compiles what no run needs"
    assert told(root, tmp_path / "out2", cache, 2)["missed"] == set()


def test_a_first_run_takes_over_what_the_helper_has_done_and_leaves_nothing_of_it(root, tmp_path):
    cache = tmp_path / "cache"
    found = told(root, tmp_path / "out", cache, 2)
    assert found["missed"] > PROBED
    if hardware.usable_processors() > 1:
        assert "_label._sum_runs" in found["found"]  # what a run needs last, the helper has first
    assert found["missed"].isdisjoint(found["found"])
    assert found["children"] == set()
    assert [path for path in cache.rglob("*") if path.name.startswith(".nx47")] == []


# ------------------------------------------------------------------ taking over
@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the folder where this process keeps what it compiles, and one with what another has compiled."""
    for name in ("home", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(_jit, "folder", lambda: tmp_path / "home")
    for name in ("m.f-1.py311.nbi", "m.f-1.py311.1.nbc", "m.f-1.py311.2.nbc", "m.f-11.py311.1.nbc"):
        (tmp_path / "there" / name).write_text("theirs")
    return tmp_path / "home"


def test_a_function_is_taken_over_whole(home):
    assert _jit.adopt(home.parent / "there" / "m.f-1.py311.nbi")
    assert {p.name for p in home.iterdir()} == {"m.f-1.py311.nbi", "m.f-1.py311.1.nbc", "m.f-1.py311.2.nbc"}


def test_a_function_that_is_here_already_is_left_alone(home):
    (home / "m.f-1.py311.nbi").write_text("ours")
    assert not _jit.adopt(home.parent / "there" / "m.f-1.py311.nbi")
    assert [p.read_text() for p in home.iterdir()] == ["ours"]


def test_files_that_a_third_process_has_begun_to_write_stay_its_own(home):
    (home / "m.f-1.py311.2.nbc").write_text("of a third")
    with pytest.raises(FileExistsError):
        _jit.adopt(home.parent / "there" / "m.f-1.py311.nbi")
    assert (home / "m.f-1.py311.2.nbc").read_text() == "of a third"
    assert not (home / "m.f-1.py311.nbi").exists()


# ------------------------------------------------------------------ whether it is started
def backend(name="cpu"):
    return SimpleNamespace(NAME=name)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Have this process be one whose probe had to compile, on a machine of four processors."""
    monkeypatch.setattr(_jit, "compiled_here", lambda: True)
    monkeypatch.setattr(_jit, "folder", lambda: tmp_path)
    monkeypatch.setattr(hardware, "usable_processors", lambda: 4)
    return tmp_path


def started(monkeypatch, *given):
    calls = []
    monkeypatch.setattr(compiling, "_start", lambda: calls.append(1))
    with compiling.beside(*given):
        pass
    return len(calls)


def test_it_is_started_where_it_helps(empty, monkeypatch):
    assert started(monkeypatch, backend(), 2, PLENTY) == 1


@pytest.mark.parametrize("given", [(backend(), 1, PLENTY), (backend("law"), 2, PLENTY), (backend("gpu"), 2, PLENTY)])
def test_it_is_not_started_with_one_thread_or_where_nothing_is_compiled(given, empty, monkeypatch):
    assert started(monkeypatch, *given) == 0


def test_it_is_not_started_with_a_full_cache_one_processor_or_nowhere_to_write(empty, monkeypatch):
    for room, name, value in (
        (_jit, "compiled_here", False),
        (_jit, "folder", None),
        (hardware, "usable_processors", 1),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(room, name, lambda value=value: value)
            assert started(patch, backend(), 2, PLENTY) == 0, name


def test_it_is_not_started_where_two_volumes_leave_it_no_room(empty, monkeypatch):
    planned = {"a": 500, "b": 700, "c": 600}
    for spare, number in ((0, 1), (-1, 0)):
        outlook = {"limit_bytes": 1300 + compiling.HELPER_BYTES + spare, "planned_bytes": planned}
        assert started(monkeypatch, backend(), 2, outlook) == number


# ------------------------------------------------------------------ how it ends
def instead(monkeypatch, code):
    """Have another program be started in the helper's place."""

    def process(folder):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", code], **pipes)

    monkeypatch.setattr(compiling, "_process", process)


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "print('no.such-file'); import time; time.sleep(60)", "print('\\0'); print('/x')"]
)
def test_a_helper_that_fails_is_gone_and_harms_nothing(code, empty, monkeypatch):
    instead(monkeypatch, code)
    helper = compiling._start()
    helper.join(20)
    assert not helper.is_alive()
    assert helper._process.returncode is not None
    assert list(empty.iterdir()) == []


def test_no_process_and_no_folder_mean_no_helper(empty, monkeypatch):
    def refused(folder):
        raise OSError("no more processes")

    monkeypatch.setattr(compiling, "_process", refused)
    assert compiling._start() is None
    assert list(empty.iterdir()) == []
    monkeypatch.setattr(_jit, "folder", lambda: empty / "nowhere")
    assert compiling._start() is None


def test_the_end_of_a_block_ends_the_helper_at_once(empty, monkeypatch):
    instead(monkeypatch, "import time; time.sleep(60)")
    helpers = []
    start = compiling._start
    monkeypatch.setattr(compiling, "_start", lambda: helpers.append(start()) or helpers[-1])
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), compiling.beside(backend(), 2, PLENTY):
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 5
    assert helpers[0]._process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(helpers[0]._process.pid)
    assert list(empty.iterdir()) == []


def test_a_later_run_of_a_process_has_none(empty, monkeypatch):
    instead(monkeypatch, "")
    helpers, start = [], compiling._start
    monkeypatch.setattr(compiling, "_start", lambda: helpers.append(start()) or helpers[-1])
    for _ in range(2):
        with compiling.beside(backend(), 2, PLENTY):
            pass
    assert len(helpers) == 1


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_leaves_no_helper_and_no_cache_of_it(tmp_path):
    command = [sys.executable, "-c", HELPED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        pid = int(run.stdout.readline())
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.nbi")) and time.monotonic() < deadline:
            time.sleep(0.05)  # so that it is compiling
        assert psutil.pid_exists(pid)
        run.kill()
    while (psutil.pid_exists(pid) or list(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # nobody's child here
    assert list(Path(tmp_path).iterdir()) == []
