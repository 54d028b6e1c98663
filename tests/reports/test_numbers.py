"""Figures are written as readers of each language write them."""

import pytest

from gpu_nx47.explain.numbers import Both, Speaker

CASES = [
    ("{x:n}", 1234567, "1,234,567", "1 234 567"),
    ("{x:n}", 0, "0", "0"),
    ("{x:share}", 0.03, "3 %", "3 %"),
    ("{x:share}", 0.20828, "20.8 %", "20,8 %"),
    ("{x:share}", 1e-5, "0.001 %", "0,001 %"),
    ("{x:share}", 1.0, "100 %", "100 %"),
    ("{x:f}", 0.171867, "0.1719", "0,1719"),
    ("{x:f}", 12345.6, "12,346", "12 346"),
    ("{x:f}", 1000.0, "1,000", "1 000"),
    ("{x:time}", 0.5234, "0.523 s", "0,523 s"),
    ("{x:time}", 65.2, "1 min 05 s", "1 min 05 s"),
    ("{x:time}", 7380, "2 h 03 min", "2 h 03 min"),
    ("{x:bytes}", 25_276_000_000, "25.3 GB", "25,3 Go"),
    ("{x:bytes}", 12, "12 bytes", "12 octets"),
    ("{x:rate}", 1_282_603_716, "1.28 billion", "1,28 milliard"),
    ("{x:rate}", 2_036_871_854, "2.04 billion", "2,04 milliards"),
    ("{x:rate}", 3.2e12, "3.2 trillion", "3,2 mille milliards"),
    ("{x:date}", 1_771_000_000_000_000_000, "2026-02-13 16:26:40", "2026-02-13 16:26:40"),
    ("{x:date}", 10**40, str(10**40), str(10**40)),
    ("{x}", ["a", 2, 0.5, None], "a, 2, 0.5, none", "a, 2, 0,5, none"),
    ("{x}", Both("yes", "oui"), "yes", "oui"),
    ("{x}", "a\x1b[31mb\nc", "a?[31mb?c", "a?[31mb?c"),
]


@pytest.mark.parametrize(("sentence", "value", "english", "french"), CASES)
def test_a_slot(sentence, value, english, french):
    for language, expected in (("en", english), ("fr", french)):
        shown = Speaker(language).fill(Both(sentence, sentence), {"x": value})
        assert shown.replace("\u00a0", " ") == expected


@pytest.mark.parametrize(
    ("count", "english", "french"), [(0, "files", "fichier"), (1, "file", "fichier"), (2, "files", "fichiers")]
)
def test_a_noun_goes_with_its_number(count, english, french):
    words = Both("{n:file|files}", "{n:fichier|fichiers}")
    assert Speaker("en").fill(words, {"n": count}) == english
    assert Speaker("fr").fill(words, {"n": count}) == french


def test_french_signs_stay_on_the_line_of_their_word():
    shown = Speaker("fr").fill(Both("", "Pourquoi ? « {x} » : rien ; {s:share} !"), {"x": "a", "s": 0.5})
    assert shown == "Pourquoi\u00a0? «\u00a0a\u00a0»\u00a0: rien\u00a0; 50\u00a0%\u00a0!"


def test_a_text_of_any_length_is_shown_in_part():
    assert len(Speaker("en").fill(Both("{x}", "{x}"), {"x": "a" * 10_000})) < 500
