"""Figures as a reader wants them, in English and in French: thousands apart, percent, seconds, bytes."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

Language = Literal["en", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "fr")
_NBSP: Final = "\u00a0"
"""Space that does not break a line; also French's mark between thousands, which every encoding with accents has."""
LONGEST_TEXT: Final = 400
"""Characters of a text from a log; what is longer was not written by a run."""
_LARGE: Final = ((1e12, ("trillion", "mille milliards")), (1e9, ("billion", "milliard")), (1e6, ("million", "million")))
_BYTES: Final = (("GB", "Go", 1e9), ("MB", "Mo", 1e6), ("kB", "ko", 1e3))


@dataclass(frozen=True)
class Both:
    """A word or a clause in both languages, for a slot."""

    en: str
    fr: str


class Speaker(string.Formatter):
    """Fills the slots of a sentence in one language.

    Notes
    -----
    What may stand behind the colon of a slot: `n` whole number, `f` figure of four digits, `share` percent of a ratio,
    `time` seconds, `bytes`, `rate` large figure in words, `date` nanoseconds since 1970, `one|many` the noun that goes
    with a number. Nothing: a text, or texts joined by commas.
    """

    def __init__(self, language: Language) -> None:
        self.language = language

    def fill(self, sentence: Both, slots: Mapping[str, Any]) -> str:
        """Return the sentence with its slots filled."""
        filled = self.vformat(getattr(sentence, self.language), (), slots)
        return _french_spaces(filled) if self.language == "fr" else filled

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return one slot as text."""
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if abs(value) < 2 and (self.language == "fr" or value == 1) else many
        match format_spec:
            case "n":
                return self.whole(value)
            case "f":
                return self.figure(value)
            case "share":
                return self.figure(100 * value, 3) + _NBSP + "%"
            case "time":
                return self.seconds(value)
            case "bytes":
                return self.bytes(value)
            case "rate":
                return self.large(value)
            case "date":
                return date(value)
        return self.words(value)

    def words(self, value: Any) -> str:
        """Return a text, or several joined by commas, free of control characters: a log may come from anywhere."""
        if isinstance(value, Both):
            return self.words(getattr(value, self.language))
        if isinstance(value, str):
            shown = value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + " ..."
            return "".join(c if c.isprintable() or c == _NBSP else "?" for c in shown)
        if isinstance(value, bool) or value is None:
            return str(value).lower()
        if isinstance(value, int | float):
            return self.figure(value, 6) if isinstance(value, float) else self.whole(value)
        if isinstance(value, Iterable):
            return ", ".join(map(self.words, value))
        return self.words(str(value))

    def whole(self, value: float) -> str:
        """Return a whole number with its thousands apart."""
        return self._local(f"{round(value):,}")

    def figure(self, value: float, digits: int = 4) -> str:
        """Return a figure of a few significant digits."""
        if not math.isfinite(value):
            return str(value)
        if abs(value) >= 10**digits:
            return self.whole(value)
        if value and abs(value) < 1e-6:
            return self._local(f"{value:.{digits - 1}e}")
        places = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
        text = f"{value:,.{max(0, places)}f}"
        return self._local(text.rstrip("0").rstrip(".") if "." in text else text)

    def large(self, value: float) -> str:
        """Return a large figure in words: 1.28 billion, 1,28 milliard."""
        for size, names in _LARGE:
            if abs(value) >= size:
                scaled = value / size
                name = names[self.language == "fr"]
                plural = self.language == "fr" and abs(scaled) >= 2 and not name.endswith("s")
                return f"{self.figure(scaled, 3)}{_NBSP}{name}{'s' if plural else ''}"
        return self.figure(value, 3)

    def seconds(self, value: float) -> str:
        """Return a time: 0.52 s, 1 min 05 s, 2 h 03 min."""
        if value < 60:
            return f"{self.figure(value, 3)}{_NBSP}s"
        minutes, seconds = divmod(round(value), 60)
        if minutes < 60:
            return f"{minutes}{_NBSP}min{_NBSP}{seconds:02d}{_NBSP}s"
        hours, minutes = divmod(minutes, 60)
        return f"{self.whole(hours)}{_NBSP}h{_NBSP}{minutes:02d}{_NBSP}min"

    def bytes(self, value: float) -> str:
        """Return a number of bytes in decimal units."""
        for english, french, size in _BYTES:
            if abs(value) >= size:
                return f"{self.figure(value / size, 3)}{_NBSP}{french if self.language == 'fr' else english}"
        return f"{self.whole(value)}{_NBSP}{'octets' if self.language == 'fr' else 'bytes'}"

    def _local(self, text: str) -> str:
        if self.language == "en":
            return text
        return text.replace(",", _NBSP).replace(".", ",")


def date(ts_ns: int) -> str:
    """Return nanoseconds since 1970 as a date and time, UTC; a stamp that is no date as it is."""
    try:
        return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(ts_ns)


def _french_spaces(text: str) -> str:
    """Keep French's double signs on the line of the word before them."""
    for sign in (":", ";", "?", "!", "%", "»"):
        text = text.replace(f" {sign}", f"{_NBSP}{sign}")
    return text.replace("« ", f"«{_NBSP}")
