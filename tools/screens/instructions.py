"""What somebody would say to have one thing clicked, such that it is that thing and no other.

    instructions(rng, widgets, split) -> (sentence, index of the widget), ...

A sentence tells some facts of a thing: its word, its colour, its shape; where it names the kind ("button", "field"), that
counts too. It is used only if no other thing on the screen has all the facts told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from widgets import Widget
from words import PHRASES, POLITE

NOUNS = {
    "button": "button",
    "menu": "menu",
    "option": "box",
    "field": "field",
    "close": "close",
}  # an icon is on buttons, too


def described(widget: Widget) -> Iterator[tuple[str, ...]]:
    """The ways to tell a thing apart, each a few facts in the order in which they are said."""
    if widget.kind == "icon":
        yield (widget.icon,)
        if widget.colour:
            yield (widget.colour, widget.icon)
        return
    yield (widget.word,)
    if widget.colour:
        yield (widget.colour, widget.word)
        if widget.kind == "button":
            yield (widget.colour,)


def told(kind: str, facts: tuple[str, ...], phrase: str) -> frozenset[str]:
    """All that the sentence says, the kind included where it is named."""
    named = kind in NOUNS and NOUNS[kind] in phrase.split()
    return frozenset((*facts, kind) if named else facts)


def meant(said: frozenset[str], widgets: Sequence[Widget]) -> list[int]:
    """The things that the words can mean."""
    return [index for index, widget in enumerate(widgets) if said <= widget.facts]


def instructions(rng: np.random.Generator, widgets: Sequence[Widget], split: str) -> Iterator[tuple[str, int]]:
    """One sentence for each thing that can be told from all others, in random order."""
    for index in rng.permutation(len(widgets)):
        widget = widgets[index]
        ways = [
            (facts, phrase)
            for facts in described(widget)
            for phrase in PHRASES[widget.kind][split]
            if meant(told(widget.kind, facts, phrase), widgets) == [index]
            and (len(facts) > 1 or facts[0] != widget.colour or "button" in phrase.split())
        ]
        if not ways:
            continue
        most = {facts for facts, _ in ways}
        facts = sorted(most)[int(rng.integers(len(most)))]
        phrases = [phrase for some, phrase in ways if some == facts]
        sentence = phrases[int(rng.integers(len(phrases)))].format(what=" ".join(facts))
        if split == "train" and rng.random() < 0.2:
            sentence = POLITE[int(rng.integers(len(POLITE)))].format(sentence=sentence)
        yield sentence, int(index)
