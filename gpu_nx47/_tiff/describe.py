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
    try:
        root = ElementTree.fromstring(description.rstrip("\0").strip().encode())
    except ElementTree.ParseError as error:
        raise Fault("the OME description is damaged", expected="well-formed XML", found=str(error)) from None
    images = [element for element in root.iter() if _local(element) == "Pixels"]
    if len(images) != 1:
        raise Fault(
            "the file does not hold one volume",
            expected="one image in the OME description",
            found=f"{len(images)}",
            advice="Save each image as a stack of its own.",
            kind=NotAVolumeError,
        )
    pixels = images[0]
    axes = {}
    for axis in "ZCT":
        text = pixels.get(f"Size{axis}", "1")
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
            raise Fault(f"OME's Size{axis} is damaged", expected="a positive whole number", found=repr(text[:40]))
        axes[axis] = int(text)
    _ome_order(pixels, axes)
    planes = axes["Z"] * axes["C"] * axes["T"]
    return Declared("OME", planes, axes, _ome_size(pixels))


def _ome_order(pixels: ElementTree.Element, axes: dict[str, int]) -> None:
    """Raise Fault where planes do not stand in the file in order along the only long axis (two: the caller refuses)."""
    long = next((axis for axis in "ZCT" if axes[axis] > 1), "Z")
    for element in pixels:
        ifd, first = element.get("IFD", "0"), element.get(f"First{long}", "0")
        if _local(element) == "TiffData" and ifd != first:
            raise Fault(
                "the planes do not stand in order",
                expected="plane k on page k",
                found=f"plane {first[:12]} on page {ifd[:12]}",
                advice="Save the stack again in plain z order.",
                kind=NotAVolumeError,
            )


def _ome_size(pixels: ElementTree.Element) -> Size | None:
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


def _local(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]
