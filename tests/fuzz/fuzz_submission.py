"""Fuzz the check of a submission: ``python tests/fuzz/fuzz_submission.py --seconds 60 --seed 1``.

Of any zip the check makes a report, within 10 s of processor time and 256 MB. Where the report is good, the zip holds a
mask of 0 and 1 for each image and nothing else, by an independent reader (`reference`), and the counts are theirs.
"""

import argparse
import io
import pathlib
import random
import struct
import sys
import tempfile
import zipfile

import corpus
import fuzz_reader
import mutate
import numpy as np
import reference

from gpu_nx47.submission import check_submission, encode_mask

MASKS = {name: np.random.default_rng(k).random((3, 9, 11)) > 0.7 for k, name in enumerate("ab")}
SHAPES = {name: mask.shape for name, mask in MASKS.items()} | {"c": None}
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
FIELDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)),
    b"PK\5\6": ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}
"""Offsets and bytes of the numbers in local headers, central headers and the end of the directory."""


def packed(members, method):
    """Return a zip of the members' bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.tif", data)
    return file.getvalue()


class Maker:
    """Makes zips: a changed mask in a good zip, or a changed zip of good masks."""

    def __init__(self, rng):
        self.rng = rng
        self.masks = {name: encode_mask(mask) for name, mask in (MASKS | {"c": MASKS["a"]}).items()}
        self.whole = [packed(self.masks, method) for method in METHODS]
        pool = [*self.masks.values(), *(data for data, array in corpus.seeds().values() if len(data) < 2000)]
        self.mutator = mutate.Mutator(rng, pool)
        self.blind = mutate.Mutator(rng, self.whole)

    def __call__(self):
        """Return a zip."""
        if self.rng.random() < 0.5:
            name = self.rng.choice(list(self.masks))
            source = self.masks[name] if self.rng.random() < 0.8 else self.rng.choice(self.mutator.pool)
            return packed(self.masks | {name: self.mutator.change(source)}, self.rng.choice(METHODS[:2]))
        data = bytearray(self.rng.choice(self.whole))
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            self.rng.choice((self.field, self.field, self.anywhere))(data)
        return bytes(data)

    def field(self, data):
        """Set a number of a zip's headers."""
        mark = self.rng.choice(list(FIELDS))
        places = [at for at in range(len(data) - 3) if data[at : at + 4] == mark]
        if places:
            at, width = self.rng.choice(FIELDS[mark])
            at += self.rng.choice(places)
            value = self.rng.choice((0, 1, 8, 12, 14, 99, self.blind.number(data)))
            data[at : at + width] = struct.pack("<Q", value % (1 << 8 * width))[:width]

    def anywhere(self, data):
        """Change it blindly."""
        way = self.rng.choice((self.blind.flips, self.blind.cut, self.blind.shift, self.blind.splice))
        if len(data) > 1:
            way(data, mutate.Map())


def judge(data, path):
    """Check a zip; return what the report says in short, or raise Finding."""
    path.write_bytes(data)
    report = fuzz_reader.watched(check_submission, path, SHAPES)
    if not report.ok:
        return "refused", "zip" if "as a zip" in report.problems[0] else "mask"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        stacks = [fuzz_reader.watched(reference.read, archive.read(name)) for name in names]
    if sorted(names) != sorted(f"{name}.tif" for name in SHAPES):
        raise fuzz_reader.Finding("a good report of other members")
    if any(SHAPES[name[0]] not in (None, stack.shape) for name, stack in zip(names, stacks, strict=True)):
        raise fuzz_reader.Finding("a good report of a mask of another shape")
    if any(stack.max() > 1 or stack.dtype != np.uint8 for stack in stacks):
        raise fuzz_reader.Finding("a good report of values that are not 0 or 1")
    if (report.voxels, report.foreground) != (sum(s.size for s in stacks), sum(int(s.sum()) for s in stacks)):
        raise fuzz_reader.Finding("other counts than the masks'")
    return ("accepted",)


def campaign(rng, folder, **bounds):
    """Fuzz for some seconds or executions; return the summary."""
    path = folder / "fuzz.zip"
    return fuzz_reader.fuzz(Maker(rng), lambda data: judge(data, path), **bounds)


def main():
    """Run a campaign, print it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files of findings")
    asked = parser.parse_args()
    fuzz_reader.limited()
    with tempfile.TemporaryDirectory() as folder:
        for data in Maker(random.Random(0)).whole:
            judge(data, pathlib.Path(folder) / "whole.zip")
        fuzz_reader.bound_memory()
        rng = random.Random(asked.seed)
        summary = campaign(rng, pathlib.Path(folder), seconds=asked.seconds, keep=asked.keep)
    for kind, found in summary["findings"].items():
        print(f"FINDING {found['name']}, {found['times']} times: {kind}")
    print(summary["executions"], "executions,", summary["accepted"], "accepted,", len(summary["findings"]), "findings")
    return 1 if summary["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
