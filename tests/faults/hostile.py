"""Files made to break a reader, and what reading each costs: ``python tests/faults/hostile.py`` prints the table.

Each file is read in a child process with a limit of memory; what it held at most is what the kernel says of it (VmHWM,
set back before each file).
"""

import json
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import tifffile
from tiffs import GREY, by_pillow, by_tifffile, page, tiff

HUGE = 2**25
LIMIT_BYTES = 512 << 20
SPARE_BYTES = 256 << 20
MOST_SECONDS = 10


def inflating(megabytes):
    """Return deflated zeros, and their number: blocks of 1 MB that do not know of one another."""
    machine = zlib.compressobj(9)
    head = machine.compress(bytes(1 << 20)) + machine.flush(zlib.Z_FULL_FLUSH)
    again = machine.compress(bytes(1 << 20)) + machine.flush(zlib.Z_FULL_FLUSH)
    return head + again * (megabytes - 1), megabytes << 20


def many_small_bombs():
    """Return 2 MB that honestly declare 2 GB: 2048 pages of 1 MB of zeros."""
    packed = zlib.compress(bytes(1 << 20), 9)
    pages = [page(1024, 1024, compression=8, at=8 + k * len(packed), count=len(packed)) for k in range(2048)]
    return tiff(*pages, tail=packed * 2048)


def one_large_bomb():
    """Return 2 MB that inflate to 2 GB, on pages that declare 16 MB."""
    packed, _ = inflating(2048)
    return tiff(*[page(4096, 4096, compression=8, count=len(packed) // 2)] * 2, tail=packed)


def with_nan():
    """Return a float stack with one NaN."""
    array = GREY.astype(np.float32)
    array[7, 3, 4] = np.nan
    return by_tifffile(array)


def lists_of_values():
    """Return 15 MB of one tag's values, twice, all different: as Python's numbers they take twenty times as much."""
    values = struct.pack("<3750000I", *range(3_750_000))
    return tiff(*[[(258, 4, values) if tag[0] == 258 else tag for tag in page()]] * 2, tail=bytes(12))


def xml(element, size=15 << 20):
    """Return a stack whose OME description is 15 MB of one element."""
    return b'<OME><Pixels SizeZ="2">' + element * (size // len(element)) + b"</Pixels></OME>"


def described(text):
    """Return two good pages with a description."""
    return tiff(sorted([*page(), (270, 2, text + b"\0")]), page(), tail=bytes(24))


def attributes():
    """Return 15 MB of one element."""
    return b"<a " + b" ".join(b'a%d=""' % k for k in range(1_400_000)) + b"/>"


def strips():
    """Return two pages of half a million strips of one voxel each: as many as are read."""
    number, pages = 500_000, []
    for start in (8, 8 + number):
        at = struct.pack(f"<{number}I", *range(start, start + number))
        ones = struct.pack("<H", 1) * number
        tags = [(tag, kind, value) for tag, kind, value in page(1, number, _278=1) if tag not in (273, 279)]
        pages.append(sorted([*tags, (273, 4, at), (279, 3, ones)]))
    return tiff(*pages, tail=bytes(2 * number))


def by_opencv_bytes():
    """Return a stack as OpenCV writes it."""
    import cv2

    done, data = cv2.imencodemulti(".tif", list(GREY))
    assert done
    return bytes(data)


def tifffile_stack(path, shape):
    """Write a good stack that does not compress away."""
    voxels = np.arange(math.prod(shape), dtype=np.uint32).astype(np.uint8).reshape(shape)
    tifffile.imwrite(path, voxels, photometric="minisblack")


def rgb():
    """Return a stack in colours."""
    return by_pillow("RGB")


FILES = {
    "no bytes": lambda: b"",
    "8-byte header": lambda: b"II*\0\x08\0\0\0",
    "230 bytes declare 2 PiB": lambda: tiff(*[page(HUGE, HUGE, count=8)] * 2, tail=bytes(8)),
    "deflate declares 2 PiB": lambda: tiff(*[page(HUGE, HUGE, compression=8, count=8)] * 2, tail=bytes(8)),
    "shape of 10**15 declared": lambda: described(b'{"shape": [100000000000000, 3, 4]}'),
    "2 MB declare 2 GB": many_small_bombs,
    "2 MB inflate to 2 GB": one_large_bomb,
    "IFD loop": lambda: tiff(*[page()] * 3, tail=bytes(36), loop=True),
    "100,000 IFDs": lambda: tiff(*[page(1, 1, count=1)] * 100_000, tail=bytes(100_000)),
    "RGB": rgb,
    "NaN": with_nan,
    "2-D": lambda: by_tifffile(GREY[0]),
    "zero-size": lambda: tiff(*[page(length=0)] * 2, tail=bytes(12)),
    "strip outside the file": lambda: tiff(page(), page(at=5000), tail=bytes(24)),
    "LZW cut in half (tifffile)": lambda: by_tifffile(compression="lzw")[:6000],
    "LZW cut in half (Pillow)": lambda: by_pillow()[:6000],
    "LZW cut in half (OpenCV)": lambda: by_opencv_bytes()[:6000],
    "30 MB of values in one tag": lists_of_values,
    "15 MB of OME elements": lambda: described(xml(b"<a/>")),
    "15 MB of OME attributes": lambda: described(xml(attributes())),
    "15 MB of JSON": lambda: described(b'{"shape": [' + b"[]," * 5_000_000 + b"1]}"),
    "15 MB of ImageJ lines": lambda: described(b"ImageJ=1\n" + b"a=\n" * 5_000_000),
    "a million strips": strips,
}

SLOW = {"100,000 IFDs", "15 MB of OME elements", "15 MB of OME attributes", "a million strips"}
"""They take more than a second, to write or to read."""

CHILD = """
import json, sys, time
from pathlib import Path
import numpy, imagecodecs, PIL.TiffImagePlugin
from gpu_nx47.errors import InputError
from gpu_nx47.load import load
from gpu_nx47.settings import LoadSettings
from gpu_nx47.volume import Source

def held(field):
    text = Path("/proc/self/status").read_text()
    return int(text.split(field + ":")[1].split()[0]) << 10

for name in sys.stdin.read().splitlines():
    path = Path(name)
    Path("/proc/self/clear_refs").write_text("5")
    before, start, wall = held("VmRSS"), time.process_time(), time.monotonic()
    try:
        said = str(load(Source(path.stem, path, (path,)), LoadSettings(), limit_bytes=int(sys.argv[1])).grey.shape)
    except InputError as error:
        said = f"{type(error).__name__}: {error.what}"
    spent = time.process_time() - start, time.monotonic() - wall
    print(json.dumps({"said": said, "held": held("VmHWM") - before, "cpu_s": spent[0], "wall_s": spent[1]}), flush=True)
"""


def measure(paths, limit_bytes=LIMIT_BYTES):
    """Return for each file what reading it said, the most bytes it held, and its seconds."""
    command = [sys.executable, "-c", CHILD, str(limit_bytes)]
    done = subprocess.run(command, input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def write(folder, leave_out=frozenset()):
    """Write the files into a folder; return name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: folder / f"{k:03d}.tif" for k, name in enumerate(FILES) if name not in leave_out}
    for name, path in found.items():
        path.write_bytes(FILES[name]())
    return found


def main():
    """Print the table."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder))
        print(f"| file | bytes | answer | held, MB (limit {LIMIT_BYTES >> 20}) | CPU, s |\n|---|---|---|---|---|")
        for (name, path), found in zip(paths.items(), measure(paths.values()), strict=True):
            held, size = found["held"] / 2**20, path.stat().st_size
            print(f"| {name} | {size} | {found['said']} | {held:.1f} | {found['cpu_s']:.2f} |")


if __name__ == "__main__":
    main()
