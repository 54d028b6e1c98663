"""What an ImageDescription declares: the number of planes and the size of a voxel.

Three writers say it: tifffile (JSON with "shape"), ImageJ (lines of key=value) and OME (XML). The resolution tags alone
are not believed: many programs write 72 or 96 dots per inch into everything.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from gpu_nx47._tiff.walk import Fault
from gpu_nx47.errors import NotAVolumeError

MICROMETRES: Final = {
    "pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0, "\\u00b5m": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6,
    "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
"""Micrometres of one unit. ImageJ writes the micro sign escaped, as six ASCII characters and an m."""

MAX_ELEMENT: Final = 1 << 16
"""Characters of one element of OME's: a parser holds all its attributes at once, at 35 times their room."""

Size = tuple[float, float, float]


@dataclass(frozen=True)
class Declared:
    """What one description declares of the whole file."""

    by: str
    """ImageJ or OME."""
    planes: int | None
    """None where it does not say."""
    axes: dict[str, int]
    """Sizes of the axes beside y and x."""
    voxel_size_um: Size | None


def shaped(description: str) -> tuple[int, ...] | None:
    """Return the shape tifffile wrote into a description, or None where it wrote none."""
    if description.startswith('{"shape":'):
        try:
            shape = json.loads(description)["shape"]
        except (ValueError, RecursionError) as error:
            raise Fault("the description is damaged", expected='JSON with "shape"', found=str(error)[:80]) from None
    elif match := re.match(r"shape=\(([0-9, ]{1,200})\)", description):  # tifffile before 2017
        shape = [int(n) for n in match[1].replace(" ", "").split(",") if n]
    else:
        return None
    good = isinstance(shape, list) and 1 <= len(shape) <= 16 and all(type(n) is int and n > 0 for n in shape)
    if not good:
        raise Fault("the declared shape is damaged", expected="positive whole numbers", found=str(shape)[:80])
    return tuple(shape)


def declared(description: str, resolution: tuple[float | None, float | None]) -> Declared | None:
    """Return what ImageJ or OME declares, or None where the description is neither's.

    Parameters
    ----------
    description : str
        ImageDescription of the first page.
    resolution : tuple of float or None
        Pixels per unit along x and y, from the tags; ImageJ's unit stands in its description.
    """
    if description.startswith("ImageJ="):
        return _imagej(description, resolution)
    if "<OME" in description[:4096]:
        return _ome(description)
    return None


def _imagej(description: str, resolution: tuple[float | None, float | None]) -> Declared:
    pairs = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)

    def number(key: str) -> int:
        text = pairs.get(key, "1").strip()
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
            raise Fault(f"ImageJ's {key} is damaged", expected="a positive whole number", found=repr(text[:40]))
        return int(text)

    planes = number("images") if "images" in pairs else None
    axes = {key: number(key) for key in ("channels", "slices", "frames")}
    scale = MICROMETRES.get(pairs.get("unit", "").strip().replace("\\u00B5", "µ").replace("μ", "µ"))
    x, y = resolution
    if scale is None or not x or not y:
        return Declared("ImageJ", planes, axes, None)
    try:
        spacing = float(pairs.get("spacing", "1"))  # ImageJ leaves out a spacing of 1 unit
    except ValueError:
        spacing = math.nan
    return Declared("ImageJ", planes, axes, _size(spacing * scale, scale / y, scale / x))


def _ome(description: str) -> Declared:
    if "<!DOCTYPE" in description or "<!ENTITY" in description:
        raise Fault("the OME description holds a document type", expected="plain OME-XML", found="<!DOCTYPE")
    if re.search(f"<[^<>]{{{MAX_ELEMENT}}}", description):
        raise Fault("the OME description is damaged", expected=f"elements of at most {MAX_ELEMENT} bytes", found="more")
    kept = _Pixels()
    parser = ElementTree.XMLParser(target=kept)
    try:
        parser.feed(description.rstrip("\0").strip())  # as str: an encoding that the text declares counts for nothing
        parser.close()
    except ElementTree.ParseError as error:
        raise Fault("the OME description is damaged", expected="well-formed XML", found=str(error)) from None
    images = kept.images
    if len(images) != 1:
        raise Fault(
            "the file does not hold one volume",
            expected="one image in the OME description",
            found=f"{len(images)}",
            advice="Save each image as a stack of its own.",
            kind=NotAVolumeError,
        )
    axes = _ome_axes(images[0])
    return Declared("OME", math.prod(axes.values()), axes, _ome_size(images[0]))


class _Pixels:
    """Keeps the attributes of OME's Pixels and checks its planes while the text is parsed: as a tree it takes GBs."""

    def __init__(self) -> None:
        self.images: list[dict[str, str]] = []
        self.long = "Z"

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]  # without its namespace
        if name == "Pixels" and len(self.images) < 2:  # two are too many already
            self.images.append(attributes)
            axes = _ome_axes(attributes)
            self.long = next((axis for axis in "ZCT" if axes[axis] > 1), "Z")
        elif name == "TiffData" and len(self.images) == 1:
            self._plane(attributes.get("IFD", "0"), attributes.get(f"First{self.long}", "0"))

    @staticmethod
    def _plane(ifd: str, first: str) -> None:
        """Raise Fault where planes do not stand in order along the only long axis (two: the caller refuses)."""
        if ifd != first:
            raise Fault(
                "the planes do not stand in order",
                expected="plane k on page k",
                found=f"plane {first[:12]} on page {ifd[:12]}",
                advice="Save the stack again in plain z order.",
                kind=NotAVolumeError,
            )

    def close(self) -> None:
        """End: the parser asks for it."""


def _ome_axes(pixels: dict[str, str]) -> dict[str, int]:
    axes = {}
    for axis in "ZCT":
        text = pixels.get(f"Size{axis}", "1")
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
            raise Fault(f"OME's Size{axis} is damaged", expected="a positive whole number", found=repr(text[:40]))
        axes[axis] = int(text)
    return axes


def _ome_size(pixels: dict[str, str]) -> Size | None:
    size = []
    for axis in "ZYX":
        text = pixels.get(f"PhysicalSize{axis}")
        scale = MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").replace("μ", "µ"))
        if text is None or scale is None:
            return None
        try:
            size.append(float(text) * scale)
        except ValueError:
            return None
    return _size(*size)


def _size(z: float, y: float, x: float) -> Size | None:
    """Return a voxel size only where it can be one."""
    return (z, y, x) if all(math.isfinite(n) and n > 0 for n in (z, y, x)) else None
