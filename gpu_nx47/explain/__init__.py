"""What a log says, in plain words: what it shows, what it does not, why, and what to do.

Every sentence is a rule: a condition on what the log tells, and the words in English and in French with the same slots.
A figure that the log does not carry is never said.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from gpu_nx47.explain._brief import BRIEF
from gpu_nx47.explain._found import ALERTS, MACHINE, NEURON, OUTPUT
from gpu_nx47.explain._lacks import LACKS
from gpu_nx47.explain._machine import GPU, SLICES
from gpu_nx47.explain._masks import COUNTS, MASKS
from gpu_nx47.explain._run import DATASET, FILES, LOG, RUN
from gpu_nx47.explain._steps import STEPS
from gpu_nx47.explain._why import WHY
from gpu_nx47.explain.numbers import LANGUAGES, Both, Language, Speaker
from gpu_nx47.explain.rule import Section
from gpu_nx47.explain.told import Told, tell

if TYPE_CHECKING:
    from gpu_nx47.explain.rule import Group

__all__ = ["LANGUAGES", "SECTIONS", "Language", "Told", "tell", "write"]

WIDTH: Final = 100
TITLE: Final = Both("Explanation of the log {name}", "Explication du journal {name}")
SHOWS: Final = Section(
    Both("What this log shows", "Ce que montre ce journal"),
    (LOG, RUN, DATASET, FILES, NEURON, MASKS, SLICES, COUNTS, MACHINE, GPU, OUTPUT, ALERTS),
)
SECTIONS: Final = (BRIEF, SHOWS, LACKS, WHY, STEPS)


def write(told: Told, language: Language) -> str:
    """Return the explanation of a log as text with Markdown's marks, lines of at most 100 characters where words allow.

    Parameters
    ----------
    told : Told
        From `tell`.
    language : {"en", "fr"}
    """
    speaker = Speaker(language)
    lines = [f"# {speaker.fill(TITLE, {'name': told.name})}"]
    for section in SECTIONS:
        said = [line for group in section.groups for line in _group(group, told, speaker)]
        if said:
            lines += ["", f"## {speaker.fill(section.title, {})}", "", *said]
    return "\n".join(lines) + "\n"


def _group(group: Group, told: Told, speaker: Speaker) -> list[str]:
    sentences = [speaker.fill(rule.words, slots) for rule in group.rules for slots in rule.said(told)]
    if group.title is None:
        return [line for sentence in sentences for line in _item(sentence, "")]
    if not sentences:
        return []
    return [f"- **{speaker.fill(group.title, {})}**", *(line for s in sentences for line in _item(s, "  "))]


def _item(sentence: str, pad: str) -> list[str]:
    return textwrap.wrap(
        sentence,
        WIDTH,
        initial_indent=f"{pad}- ",
        subsequent_indent=f"{pad}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
