"""A second reader, from the TIFF 6.0 specification alone and as plain as can be: what an accepted file must equal.

It shares no code with the reader under test, and is meant for small files: it decodes LZW in Python, code by code.
"""

import json
import math
import re
import struct
import zlib
from xml.etree import ElementTree

import imagecodecs
import numpy as np

WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
TYPES = {(1, 8): "u1", (4, 8): "u1", (1, 16): "u2", (4, 16): "u2", (3, 16): "f2", (3, 32): "f4", (3, 64): "f8"}


class Refused(Exception):
    """The file does not hold what it declares."""


def need(condition, what):
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(what)


def read(data):
    """Return the stack (z, y, x) that a file declares, or raise Refused."""
    order, pages = directories(data)
    first = pages[0]
    kinds = {(one(page, 257), one(page, 256), kind(page, order)) for page in pages}
    need(len(kinds) == 1, "pages differ")
    y, x, dtype = kinds.pop()
    number = declared(pages, y, x)
    if len(pages) == 1 < number:
        need(one(first, 259, 1) == 1 and 322 not in first, "one header, and its pixels are not plain")
        size, at = number * y * x * np.dtype(dtype).itemsize, first[273][0]
        need(at + size <= len(data), "the pixels end too early")
        stack = np.frombuffer(data, dtype, number * y * x, at).reshape(number, y, x)
    else:
        need(len(pages) == number, f"{len(pages)} pages, {number} declared")
        stack = np.stack([decode(data, page, y, x, dtype) for page in pages])
    return stack.astype(np.dtype(dtype).newbyteorder("="))


def directories(data):
    """Return the byte order and the tags of each directory: number -> values, text as bytes."""
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    pages = []
    while at:
        need(len(pages) < 10_000, "no end of pages")
        number = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
        at += 8 if big else 2
        tags = {}
        for _ in range(number):
            tag, form, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
            where, room = at + (12 if big else 8), 8 if big else 4
            if WIDTHS.get(form, 0) * count > room:
                where = struct.unpack_from(order + ("Q" if big else "I"), data, where)[0]
                need(where + WIDTHS[form] * count <= len(data), f"tag {tag} lies outside")
            if form in LETTERS:
                tags[tag] = struct.unpack_from(f"{order}{count}{LETTERS[form]}", data, where)
            elif form == 2:
                tags[tag] = bytes(data[where : where + count])
            at += 20 if big else 12
        pages.append(tags)
        at = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
    need(pages, "no page")
    return order, pages


def one(page, tag, default=None):
    """Return a tag's value, or its default."""
    values = page.get(tag, (default,))
    need(len(set(values)) == 1 and values[0] is not None, f"tag {tag}: {values}")
    return values[0]


def kind(page, order):
    """Return the NumPy type of a page's values."""
    need(one(page, 277, 1) == 1 and one(page, 262, 1) in (1, 3) and one(page, 266, 1) == 1, "not plain grey")
    found = TYPES.get((one(page, 339, 1), one(page, 258, 1)))
    need(found, "type")
    return order + found


def text_of(page):
    """Return a page's description."""
    text = page.get(270, b"")
    text = text.rstrip(b"\0") if isinstance(text, bytes) else b""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def declared(pages, y, x):
    """Return the number of pages that the descriptions declare; without one, the number that is there."""
    text = text_of(pages[0])
    if text.startswith("ImageJ="):
        found = re.findall(r"^images=\s*(\d+)\s*$", text, re.MULTILINE)
        return int(found[-1]) if found else len(pages)
    if "<OME" in text:
        pixels = [e for e in ElementTree.fromstring(text.strip()).iter() if e.tag.endswith("Pixels")]
        need(len(pixels) == 1, "images in the OME description")
        return math.prod(int(pixels[0].get(f"Size{axis}", "1")) for axis in "ZCT")
    number = 0
    while number < len(pages) and (text := text_of(pages[number])).startswith('{"shape":'):
        values = math.prod(json.loads(text)["shape"])
        need(values > 0 and values % (y * x) == 0, "the declared shape does not fit the pages")
        number += values // (y * x)
    return number or len(pages)


def decode(data, page, y, x, dtype):
    """Return one page (y, x)."""
    tiled = 322 in page
    rows = one(page, 323) if tiled else min(one(page, 278, y), y)
    columns = one(page, 322) if tiled else x
    offsets, counts = page[324 if tiled else 273], page[325 if tiled else 279]
    down, across = math.ceil(y / rows), math.ceil(x / columns)
    need(len(offsets) == len(counts) == down * across, "number of strips")
    whole = np.zeros((down * rows, across * columns), dtype)
    for k, (at, count) in enumerate(zip(offsets, counts, strict=True)):
        need(count > 0 and at + count <= len(data), "a strip lies outside")
        high = rows if tiled else min(rows, y - k * rows)
        want, most = (n * columns * np.dtype(dtype).itemsize for n in (high, rows))
        raw = unpack(bytes(data[at : at + count]), one(page, 259, 1), most)
        need(len(raw) in (want, most), f"a strip of {len(raw)} bytes, not {want}")
        block = unpredict(np.frombuffer(raw[:want], np.uint8), one(page, 317, 1), (high, columns), np.dtype(dtype))
        top, left = divmod(k, across)
        whole[top * rows : top * rows + high, left * columns : (left + 1) * columns] = block
    return whole[:y, :x]


def unpack(raw, code, most):
    """Return the bytes of a strip, by its compression's code."""
    if code == 1:
        return raw[:most]  # a raw strip may be followed by bytes to fill up
    if code in (8, 32946):
        return zlib.decompressobj().decompress(raw)
    if code == 50000:
        return imagecodecs.zstd_decode(raw)
    need(code in (5, 32773), f"compression {code}")
    return lzw(raw) if code == 5 else packbits(raw)


def packbits(raw):
    """Return the bytes of a PackBits strip."""
    out, at = b"", 0
    while at < len(raw):
        head = raw[at]
        need(head == 128 or at + 1 + (head + 1 if head < 128 else 1) <= len(raw), "PackBits: the last run is cut")
        if head < 128:
            out += raw[at + 1 : at + 2 + head]
            at += 2 + head
        elif head > 128:
            out += raw[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return out


def lzw(raw):
    """Return the bytes of an LZW strip, from its Clear code to its End code (TIFF 6.0, section 13)."""
    bits = int.from_bytes(raw, "big")
    left = 8 * len(raw)
    table, width, last = [], 9, None
    out = []
    while True:
        need(left >= width, "LZW: no End code")
        left -= width
        code = (bits >> left) & ((1 << width) - 1)
        if code == 257:
            return b"".join(out)
        if code == 256:
            table, width, last = [bytes([n]) for n in range(256)] + [b"", b""], 9, None
            continue
        need(table, "LZW: no Clear code")
        if last is None:
            need(code < 256, "LZW: a first code without an entry")
            entry = table[code]
        else:
            need(code <= len(table), "LZW: a code without an entry")
            entry = table[code] if code < len(table) else last + last[:1]
            table.append(last + entry[:1])
        out.append(entry)
        last = entry
        need(len(table) < 4096, "LZW: the table overflows")
        width = 9 + sum(len(table) >= full for full in (511, 1023, 2047))


def unpredict(raw, code, shape, dtype):
    """Return a block (y, x) with its prediction undone, by imagecodecs."""
    if code == 1:
        return raw.view(dtype).reshape(shape)
    if code == 2:
        whole = raw.view(f"{dtype.byteorder}u{dtype.itemsize}" if dtype.itemsize > 1 else "u1").reshape(shape)
        whole = whole.astype(whole.dtype.newbyteorder("="))
        return imagecodecs.delta_decode(whole, axis=-1).view(dtype.newbyteorder("="))
    need(code == 3 and dtype.kind == "f", "predictor")
    block = raw.view(dtype.newbyteorder("=")).reshape(shape).copy()
    return imagecodecs.floatpred_decode(block, axis=-1)
