"""What a sentence of an explanation is: a condition on what the log tells, and the words in both languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_nx47.explain.numbers import Both
from gpu_nx47.explain.told import Told

Slots = Mapping[str, Any]
Fires = Callable[[Told], Slots | list[dict[str, Any]] | None]
"""None or an empty list: the sentence is not said; a mapping: its slots; a list: once for each."""


@dataclass(frozen=True)
class Rule:
    """One sentence, and when it is said."""

    name: str
    fires: Fires
    words: Both

    def said(self, told: Told) -> list[Slots]:
        """Return the slots of each time it is said."""
        slots = self.fires(told)
        if slots is None:
            return []
        return list(slots) if isinstance(slots, list) else [slots]


@dataclass(frozen=True)
class Group:
    """Sentences under one word; without a word they stand by themselves."""

    title: Both | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Section:
    """A chapter of the explanation."""

    title: Both
    groups: tuple[Group, ...]

    def rules(self) -> Iterator[Rule]:
        """Yield every rule of the chapter."""
        for group in self.groups:
            yield from group.rules


def rule(name: str, fires: Fires, en: str, fr: str) -> Rule:
    """Return a rule of two sentences."""
    return Rule(name, fires, Both(en, fr))


def where(condition: bool, **slots: Any) -> Slots | None:
    """Return the slots where the condition holds and none of them is missing."""
    return slots if condition and None not in slots.values() else None
