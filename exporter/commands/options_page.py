"""The tables of options in docs/export.md, written from the settings: ``python -m edgesmith.exporter.commands.options_page``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..plan.settings import DETECTORS, GROUNDING, PREPARING, QUANTISING
from ..plugins.pack.pack import replace_file
from .options import EXPORT, Setting

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
BEGIN, END = "<!-- options: made by exporter/commands/options_page.py -->\n", "<!-- end of options -->\n"
HEADS = {
    "": "",
    PREPARING: "more in [fine_tune.md](fine_tune.md)",
    QUANTISING: "more in [quantisation.md](quantisation.md)",
    DETECTORS: "more in [detection.md](detection.md)",
    GROUNDING: "of `gui_aima`",
}


def tables() -> str:
    """One table a group: flags, meaning, default."""
    return "\n".join("\n".join(_table(group, more)) + "\n" for group, more in HEADS.items())


def _table(group: str, more: str) -> Iterator[str]:
    if group:
        yield f"{group}, {more}:\n"
    yield from ("| flag | meaning | default |", "|---|---|---|")
    for name, one in EXPORT.items():
        if one.group == group:
            flags = ", ".join(f"`{flag}{' ' + one.metavar if one.metavar else ''}`" for flag in one.names(name))
            yield f"| {flags} | {one.page or _sentence(one.help)} | {_usual(one)} |"


def _sentence(text: str) -> str:
    """The help as a cell says it: no capital where a word begins with one, no full stop."""
    text = text.rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _usual(one: Setting) -> str:
    if one.default is ...:
        return "needed"
    return one.usual or (f"`{one.default}`" if isinstance(one.default, (str, int)) and one.kind is not bool else "")


def page(text: str) -> str:
    """docs/export.md with its tables as the settings say them now."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + tables() + rest[rest.index(END) :]


if __name__ == "__main__":
    replace_file(PAGE, page(PAGE.read_text(encoding="utf-8")).encode())
