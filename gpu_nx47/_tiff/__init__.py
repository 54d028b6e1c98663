"""TIFF stacks: inspected before they are decoded, because every common reader takes a cut stack for a whole one.

Readers trust the file: tifffile stops at a broken chain of pages without a word, Pillow and OpenCV return the pages
they still find, and imagecodecs returns a short strip as it is. Here the headers are read first, with our own bounds on
every number, and what is decoded must have exactly the size the headers promise.
"""

from gpu_nx47._tiff.decoding import decode, decoder, empty_stack
from gpu_nx47._tiff.inspection import LIMIT_BYTES, StackInfo, inspect, inspect_file
from gpu_nx47._tiff.untrusted import decode_apart

__all__ = [
    "LIMIT_BYTES",
    "StackInfo",
    "decode",
    "decode_apart",
    "decoder",
    "empty_stack",
    "inspect",
    "inspect_file",
]
