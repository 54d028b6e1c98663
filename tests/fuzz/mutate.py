"""Changes to TIFF bytes: some know the structure (tags, counts, offsets, chains, strips, text), some are blind."""

import contextlib
import re
import struct
from dataclasses import dataclass, field

WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
TAGS = (254, 256, 257, 258, 259, 262, 266, 270, 273, 277, 278, 279, 282, 317, 320, 322, 323, 324, 325, 330, 339, 32997)
CODES = (1, 2, 5, 7, 8, 32946, 32773, 50000)


@dataclass
class Map:
    """Where the numbers of a TIFF stand."""

    order: str = "<"
    fields: list = field(default_factory=list)
    """(offset, bytes) of header, entry and pointer fields."""
    values: list = field(default_factory=list)
    """(offset, bytes) of the values of integer tags."""
    codes: list = field(default_factory=list)
    """Offsets of the values of Compression and Predictor."""
    entries: list = field(default_factory=list)
    """(offset, bytes) of whole directory entries."""
    strips: list = field(default_factory=list)
    """(offset, bytes) of pixel data."""
    text: list = field(default_factory=list)
    """(offset, bytes) of descriptions."""

    @property
    def borders(self):
        """Offsets where something begins or ends."""
        parts = self.fields + self.values + self.entries + self.strips + self.text
        return sorted({at for at, _ in parts} | {at + size for at, size in parts})


def layout(data):
    """Return the Map of a TIFF, as far as it can be followed."""
    found = Map()
    with contextlib.suppress(struct.error, KeyError, IndexError, OverflowError):
        found.order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
        big = struct.unpack_from(found.order + "H", data, 2)[0] == 43
        _follow(data, found, big)
    return found


def _follow(data, found, big):
    order, word, number = found.order, ("Q" if big else "I"), ("Q" if big else "H")
    size, step = struct.calcsize("=" + word), 20 if big else 12
    link = 8 if big else 4
    found.fields += [(0, 4), (link, size)]
    seen = set()
    while (at := struct.unpack_from(order + word, data, link)[0]) and at not in seen and len(seen) < 20:
        seen.add(at)
        count = min(struct.unpack_from(order + number, data, at)[0], 100)
        found.fields.append((at, struct.calcsize("=" + number)))
        at += struct.calcsize("=" + number)
        tags = {}
        for entry in range(at, at + count * step, step):
            found.entries.append((entry, step))
            found.fields += [(entry, 2), (entry + 2, 2), (entry + 4, size), (entry + 4 + size, size)]
            tag, kind, many = struct.unpack_from(order + "HH" + word, data, entry)
            width, where = WIDTHS.get(kind, 0), entry + 4 + size
            if width * many > size:
                where = struct.unpack_from(order + word, data, where)[0]
            if kind == 2:
                found.text.append((where, many))
            elif kind in (1, 3, 4, 13, 16, 18):
                tags[tag] = [(where + width * k, width) for k in range(min(many, 50))]
                found.values += tags[tag]
            found.codes += [where] if tag in (259, 317) else []
        link = at + count * step
        found.fields.append((link, size))
        for offsets, counts in ((273, 279), (324, 325)):
            for (a, wa), (b, wb) in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
                found.strips.append((_get(data, a, wa, order), _get(data, b, wb, order)))


def _get(data, at, width, order):
    return int.from_bytes(data[at : at + width], "little" if order == "<" else "big")


def _put(data, at, width, order, value):
    if at + width <= len(data):
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little" if order == "<" else "big")


class Mutator:
    """Makes one file of another.

    Parameters
    ----------
    rng : random.Random
    pool : list of bytes
        Files to splice with.
    """

    def __init__(self, rng, pool):
        self.rng = rng
        self.pool = pool
        self.ways = (
            self.field, self.field, self.value, self.value, self.nudge, self.nudge, self.code, self.entry, self.cut,
            self.shift, self.digits, self.pixels, self.pixels, self.flips, self.splice, self.repeat,
        )  # fmt: skip

    def change(self, data):
        """Return a changed copy: one to four changes, more often few."""
        data = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 1, 2, 2, 3, 4))):
            if len(data) < 2:
                break
            self.rng.choice(self.ways)(data, layout(data))
        return bytes(data)

    def number(self, data):
        """Return a number that is a limit of something."""
        rng = self.rng
        some = rng.choice((0, 1, 2, 3, 4, 8, 16, 255, 256, 4096, 65535, -1, -2))
        power = 1 << rng.randrange(64)
        near = len(data) + rng.randrange(-1, 2)
        return rng.choice((some, some, power, power - 1, near, rng.randrange(1 << 32), rng.randrange(len(data))))

    def field(self, data, found):
        """Set a field of a header or an entry: a tag's number to a tag's, another to a limit or a place."""
        if found.fields:
            at, width = self.rng.choice(found.fields)
            place = self.rng.choice(found.borders)
            value = self.rng.choice((self.number(data), place, self.rng.choice(TAGS), self.rng.randrange(20)))
            _put(data, at, width, found.order, value)

    def value(self, data, found):
        """Set a value of a tag."""
        if found.values:
            at, width = self.rng.choice(found.values)
            other = self.rng.choice(found.values)
            value = self.rng.choice((self.number(data), _get(data, *other, found.order)))
            _put(data, at, width, found.order, value)

    def nudge(self, data, found):
        """Add a little to a value, or take it away."""
        if found.values:
            at, width = self.rng.choice(found.values)
            by = self.rng.choice((-40, -12, -4, -3, -2, -1, 1, 2, 3, 4, 12, 40))
            _put(data, at, width, found.order, _get(data, at, width, found.order) + by)

    def code(self, data, found):
        """Set a compression or a predictor."""
        if found.codes:
            _put(data, self.rng.choice(found.codes), 2, found.order, self.rng.choice(CODES))

    def entry(self, data, found):
        """Lay one entry of a directory over another."""
        if found.entries:
            (a, size), (b, _) = self.rng.choice(found.entries), self.rng.choice(found.entries)
            if max(a, b) + size <= len(data):
                data[a : a + size] = data[b : b + size]

    def cut(self, data, found):
        """Cut the end off, at a border of something or anywhere."""
        near = self.rng.choice(found.borders or [0]) + self.rng.randrange(-3, 4)
        del data[min(max(self.rng.choice((near, self.rng.randrange(len(data)))), 0), len(data)) :]

    def shift(self, data, found):
        """Put bytes in, or take some out: all behind moves, and no offset knows it."""
        at = min(self.rng.choice([*found.borders, self.rng.randrange(len(data))]), len(data))
        size = self.rng.choice((1, 1, 2, 4, 12, 100))
        if self.rng.random() < 0.5:
            del data[at : at + size]
        else:
            data[at:at] = self.rng.choice((bytes(size), self.rng.randbytes(size)))

    def digits(self, data, found):
        """Change a number in a description, or a byte of it."""
        if not found.text:
            return
        at, size = self.rng.choice(found.text)
        numbers = list(re.finditer(rb"\d+", bytes(data[at : at + size])))
        if numbers and self.rng.random() < 0.8:
            hit = self.rng.choice(numbers)
            digits = b"%0*d" % (len(hit[0]), self.rng.choice((0, 1, 5, 99, self.rng.randrange(10**9), int(hit[0]) + 1)))
            data[at + hit.start() : at + hit.end()] = digits[: len(hit[0])]
        elif size and at + size <= len(data):
            data[at + self.rng.randrange(size)] = self.rng.choice(b'\0"<>=:,[]{}\\ 0A\xff')

    def pixels(self, data, found):
        """Flip a bit of pixel data, most often near its start or its end."""
        if found.strips:
            at, size = self.rng.choice(found.strips)
            where = at + self.rng.choice((0, 1, size - 1, size - 2, size - 3, self.rng.randrange(size or 1)))
            if 0 <= where < len(data):
                data[where] ^= 1 << self.rng.randrange(8)

    def flips(self, data, _):
        """Set some bytes anywhere."""
        for _ in range(self.rng.choice((1, 2, 8, 40))):
            data[self.rng.randrange(len(data))] = self.rng.choice((0, 255, self.rng.randrange(256)))

    def splice(self, data, _):
        """Go on with another file."""
        other = self.rng.choice(self.pool)
        at = self.rng.randrange(len(data))
        data[at:] = other[self.rng.choice((at, self.rng.randrange(len(other)))) :]

    def repeat(self, data, found):
        """Copy a part of the file over another part."""
        a, b = (self.rng.choice([*found.borders, self.rng.randrange(len(data))]) for _ in range(2))
        part = data[a : a + self.rng.choice((2, 4, 12, 64, 400))]
        data[b : b + len(part)] = part
