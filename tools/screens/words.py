"""The words of a synthetic screen: what buttons, fields and windows are called, and how people ask for them.

    COLOURS name -> RGB;  ACTIONS, OPTIONS, FIELDS, TITLES: the labels;  ICONS: shapes without a word
    PHRASES kind of thing -> split -> sentences with {what}

The sentences of the held-out split are made of words that training has seen, in an order that it has not.
"""

from __future__ import annotations

COLOURS = {
    "red": (212, 44, 48),
    "orange": (240, 132, 28),
    "yellow": (246, 212, 52),
    "green": (42, 158, 78),
    "blue": (44, 104, 220),
    "purple": (126, 64, 178),
    "pink": (238, 122, 180),
}
ACTIONS = (
    "save", "upload", "send", "delete", "edit", "copy", "print",
    "share", "help", "back", "next", "login", "search", "settings",
)  # fmt: skip
OPTIONS = ("sound", "wifi", "alarm", "dark", "backup", "updates")
FIELDS = ("name", "email", "city", "phone")
TITLES = ("notes", "chat", "music", "photos")
LABELS = ACTIONS + OPTIONS + FIELDS + TITLES
ICONS = {  # name -> outline of models/fixtures/shapes.py
    "circle": "circle",
    "ring": "ring",
    "square": "square",
    "triangle": "triangle",
    "star": "star",
    "plus": "cross",
    "arrow": "arrow",
    "heart": "heart",
}
KINDS = ("button", "icon", "menu", "option", "field", "close")

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "button": {
        "train": ("click the {what} button", "press {what}", "click on the {what} button", "push the {what} button"),
        "held_out": ("press the {what} button", "click {what}", "push {what}", "please press the {what} button"),
    },
    "icon": {
        "train": ("click the {what} icon", "press the {what}", "select the {what} icon", "tap on {what}"),
        "held_out": ("tap on the {what} icon", "select the {what}", "please click the {what}"),
    },
    "menu": {
        "train": ("open {what}", "open the {what} menu", "go to {what}", "select {what} in the menu"),
        "held_out": ("go to the {what} menu", "click {what} in the menu", "please open the {what} menu"),
    },
    "option": {
        "train": ("tick {what}", "turn on {what}", "check the {what} box", "turn {what} off"),
        "held_out": ("check {what}", "tick the {what} box", "turn {what} on", "please turn on {what}"),
    },
    "field": {
        "train": ("type in the {what} field", "fill in {what}", "click on the {what} field", "enter the {what}"),
        "held_out": ("fill in the {what} field", "enter {what}", "select the {what} field", "type the {what}"),
    },
    "close": {
        "train": ("close the {what} window", "close {what}", "please close the {what} window"),
        "held_out": ("click on close in the {what} window", "please close {what}"),
    },
}
POLITE = ("please {sentence}", "{sentence} please", "now {sentence}")  # of the training split, at times


def vocabulary() -> list[str]:
    """Every word that an instruction of either split can have, in alphabetical order."""
    sentences = [sentence for by_split in PHRASES.values() for some in by_split.values() for sentence in some]
    words = {word for sentence in (*sentences, *POLITE) for word in sentence.split() if "{" not in word}
    return sorted(words | set(COLOURS) | set(LABELS) | set(ICONS))
