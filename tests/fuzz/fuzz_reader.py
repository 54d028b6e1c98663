"""Fuzz the TIFF reader: ``python tests/fuzz/fuzz_reader.py --seconds 60 --seed 1``; --help tells the rest.

A changed file is refused with an InputError, or read equal to what an independent reader (`reference`) makes of it;
with imagecodecs and without it alike. Anything else is a finding: another exception, an end after more than 10 s of
processor time, memory above the limit by more than 256 MB, voxels or a shape that the file does not declare. Exit code
1: findings.
"""

import argparse
import collections
import hashlib
import itertools
import json
import pathlib
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from unittest import mock

import corpus
import mutate
import reference

from gpu_nx47._tiff import decode, decoding, inspect, inspect_file
from gpu_nx47.errors import InputError

LIMIT_BYTES = 16 << 20
SPARE_BYTES = 256 << 20
MOST_SECONDS = 10


class Finding(Exception):
    """The reader did what it never may."""


class Hang(BaseException):
    """The time is over; not an Exception, so that no handler of the reader takes it."""


def judge(data, path=None):
    """Read a file as a run does; return what became of it, or raise Finding.

    Parameters
    ----------
    data : bytes
    path : Path, optional
        Where to write the file, to inspect it through a memory map too.

    Returns
    -------
    tuple of str
        ("accepted",), or the class of the error and what it says is wrong.
    """
    outcome, stack = watched(attempt, data, path)
    if stack is not None:
        compare(data, stack)
    return outcome


def watched(action, *arguments):
    """Return what an action returns; raise Finding where it raises, takes too long, or holds too much."""
    before = peak_bytes()
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        result = action(*arguments)
    except Hang:
        raise Finding(f"no end after {MOST_SECONDS} s") from None
    except Finding:
        raise
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = pathlib.Path(where.filename).name
        raise Finding(f"{type(error).__name__} in {name}, {where.name}: {str(error)[:80]}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if peak_bytes() - before > LIMIT_BYTES + SPARE_BYTES:
        raise Finding(f"{peak_bytes() - before} bytes of memory")
    return result


def attempt(data, path):
    """Return the outcome and the stack (None: refused), the same with each decoder."""
    try:
        info = inspect(data, "fuzz.tif", limit_bytes=LIMIT_BYTES)
    except InputError as error:
        outcome = type(error).__name__, error.what
        if path is not None and by_file(path, data) != outcome:
            raise Finding("inspected otherwise through a memory map") from None
        return outcome, None
    outcome, stack = decoded(data, info)
    if {page.compression for page in info.pages} & {decoding.LZW, decoding.PACKBITS}:
        with mock.patch.object(decoding, "_imagecodecs", return_value=None):
            _, other = decoded(data, info)
        if (stack is None) != (other is None) or (stack is not None and stack.tobytes() != other.tobytes()):
            said = ["refused" if found is None else "read" for found in (stack, other)]
            raise Finding(f"{said[0]} with imagecodecs, {said[1]} without")
    return outcome, stack


def decoded(data, info):
    """Decode an inspected file; return the outcome and the stack."""
    try:
        return ("accepted",), decode(data, info)
    except InputError as error:
        if "memory" in error.what:
            raise Finding(error.what) from error
        return (type(error).__name__, error.what), None


def by_file(path, data):
    """Return the refusal of a file on the disk."""
    path.write_bytes(data)
    try:
        inspect_file(path, limit_bytes=LIMIT_BYTES)
    except InputError as error:
        return type(error).__name__, error.what
    return None


def compare(data, stack):
    """Raise Finding where the independent reader does not read the very same stack."""
    try:
        expected = reference.read(data)
    except Exception as error:  # whatever it is: the reader took a file that the other does not
        raise Finding(f"read, and the reference says {type(error).__name__}: {str(error)[:80]}") from error
    if (expected.shape, expected.dtype) != (stack.shape, stack.dtype):
        raise Finding("another shape or type than the reference")
    if expected.tobytes() != stack.tobytes():
        raise Finding("other voxels than the reference")


def peak_bytes():
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def smaller(data, kind, judge):
    """Return a shorter or emptier file with the same finding."""

    def same(candidate):
        try:
            judge(candidate)
        except Finding as error:
            return str(error)[:30] == kind[:30]
        return False

    end = time.monotonic() + 20
    size = len(data) // 2
    while size and time.monotonic() < end:
        for at in range(len(data) - size, -1, -size):
            cut, empty = data[:at] + data[at + size :], data[:at] + bytes(size) + data[at + size :]
            data = next((d for d in (cut, empty) if d != data and same(d)), data)
        size //= 2
    return data


def campaign(rng, *, seconds=None, executions=None, keep=None, folder=None):
    """Fuzz the reader for some seconds or executions; return the summary."""
    seeds = [data for data, _ in corpus.seeds().values()]
    mutator = mutate.Mutator(rng, seeds)
    done = itertools.count(1)

    def check(data):
        return judge(data, folder / "fuzz.tif" if folder and next(done) % 64 == 0 else None)

    return fuzz(lambda: mutator.change(rng.choice(seeds)), check, seconds=seconds, executions=executions, keep=keep)


def fuzz(make, judge, *, seconds=None, executions=None, keep=None):
    """Judge files that are made, for some seconds or executions; return the summary."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    outcomes, findings = collections.Counter(), {}
    begun, done = time.monotonic(), 0
    while (executions is None or done < executions) and (seconds is None or time.monotonic() - begun < seconds):
        data = make()
        done += 1
        if keep:
            (keep / "last.tif").write_bytes(data)  # what is left to look at where the process itself dies
        try:
            outcome = judge(data)
            outcomes[tuple(re.sub(r"tag \d+", "a tag", word) for word in outcome)] += 1
        except Finding as error:
            if str(error) not in findings and len(findings) < 200:
                print(f"finding after {done}: {error}", flush=True)
                least = smaller(data, str(error), judge)
                name = hashlib.sha256(least).hexdigest()[:12]
                findings[str(error)] = {"times": 0, "name": name, "bytes": least.hex() if len(least) < 4000 else None}
                if keep:
                    (keep / f"{name}.tif").write_bytes(least)
                    (keep / f"{name}.whole.tif").write_bytes(data)
            if str(error) in findings:
                findings[str(error)]["times"] += 1
        if done % 100_000 == 0:
            rate = done / (time.monotonic() - begun)
            print(
                f"{done} executions, {rate:.0f}/s, {outcomes['accepted',]} read, {len(findings)} findings", flush=True
            )
    refused = collections.defaultdict(dict)
    for outcome, times in sorted(outcomes.items()):
        if outcome != ("accepted",):
            refused[outcome[0]][outcome[1]] = times
    return {
        "executions": done,
        "seconds": round(time.monotonic() - begun, 1),
        "accepted": outcomes["accepted",],
        "refused": refused,
        "findings": findings,
        "peak_rss_bytes": peak_bytes(),
    }


def limited():
    """Let a hang raise, and bound the address space: memory asked for and never touched counts too."""

    def over(*_):
        raise Hang

    signal.signal(signal.SIGVTALRM, over)


def bound_memory():
    """Allow the limit and the spare memory beyond what is taken now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + LIMIT_BYTES + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main():
    """Run a campaign, print it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files of findings")
    asked = parser.parse_args()
    limited()
    for data, array in corpus.seeds().values():  # every codec is loaded before the memory is bounded
        judge(data)
        assert decode(data, inspect(data, "seed.tif")).tobytes() == array.tobytes()
    bound_memory()
    with tempfile.TemporaryDirectory() as folder:
        summary = campaign(
            random.Random(asked.seed), seconds=asked.seconds, keep=asked.keep, folder=pathlib.Path(folder)
        )
    summary["seed"] = asked.seed
    print(json.dumps({k: v for k, v in summary.items() if k != "findings"}, indent=1))
    for kind, found in summary["findings"].items():
        print(f"FINDING {found['name']}, {found['times']} times: {kind}")
    print(
        f"{summary['executions']} executions, {summary['accepted']} read, {len(summary['findings'])} kinds of finding"
    )
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return 1 if summary["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
