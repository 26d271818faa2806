"""Whose the weights of a folder are: what its README says at the top, beside the licence of the base model.

README.md as model cards are written: lines ``key: value`` between two lines of three hyphens; of these license, license_name and
base_model. Nothing of it is checked: it is what the folder says of itself, and is told as that.
"""

from __future__ import annotations

from pathlib import Path

from ..families.gui_aima.facts import LICENCE_WEIGHTS
from ..families.gui_aima.shape import Shape

CARD, MOST_BYTES, MOST_CHARACTERS = "README.md", 65_536, 120
PUBLISHED = (
    2_048,
    3_584,
    5_120,
    8_192,
)  # hidden sizes of Qwen2.5-VL 3B, 7B, 32B and 72B: what has one of them may be made of it
RANDOM = "nobody's: random numbers"


def licence_of(folder: Path, shape: Shape) -> str:
    """That of the base, unless a network of sizes that the base does not have says another and names no base."""
    told = card(folder / CARD)
    said = " ".join(filter(None, (told.get("license"), told.get("license_name"))))
    if not said:
        return LICENCE_WEIGHTS
    if told.get("base_model") or shape.hidden in PUBLISHED:
        return f"{LICENCE_WEIGHTS}; {CARD} in {folder.name} says {said}"
    return f"{said}, as {CARD} in {folder.name} says; no Qwen2.5-VL has these sizes, and no base model is named"


def card(file: Path) -> dict[str, str]:
    """The lines ``key: value`` at the top of a model card, without quotes; empty where there is none."""
    if not file.is_file():
        return {}
    with file.open("rb") as stream:
        lines = stream.read(MOST_BYTES).decode("utf-8-sig", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    for at, line in enumerate(lines[1:], 1):
        if line.strip() == "---":
            return found
        key, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "-")):
            value = value.strip().strip("\"'") or _item(lines[at + 1 : at + 2])
            found[key.strip()] = "".join(one for one in value if one.isprintable())[:MOST_CHARACTERS]
    return {}  # it never ends: no card


def _item(following: list[str]) -> str:
    """The first entry of a list that stands on lines of its own."""
    return following[0].strip().removeprefix("-").strip() if following and following[0].lstrip().startswith("-") else ""
