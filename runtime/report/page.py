"""The pieces of a report page: escaped text, tables that scroll, bars as SVG, pictures of the bundle.

No scripts, nothing from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..errors import shown

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --line: #d9dee5; --page: #ffffff; --panel: #f5f7fa;
  --ours: #0f766e; --other: #94a3b8; --good: #15803d; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #303741; --page: #12161c;
  --panel: #1b2129; --ours: #2dd4bf; --other: #64748b; --good: #4ade80; --bad: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 0; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { background: var(--panel); border-radius: .6rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.25rem; line-height: 1.3; } .tile > span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .88rem; min-width: 100%; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .8rem; }
td.words { min-width: 11rem; white-space: normal; overflow-wrap: anywhere; }
pre { background: var(--panel); border-radius: .6rem; padding: .7rem .9rem; overflow-x: auto; font-size: .85rem; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--soft); }
img { display: block; max-width: 100%; height: auto; border-radius: .4rem; background: var(--panel); }
.good { color: var(--good); } .bad { color: var(--bad); } .good, .bad { font-weight: 600; }
svg { display: block; } svg text { fill: var(--ink); font-size: 14px; } svg text.soft { fill: var(--soft); }
"""


class Html(str):
    """Text that is markup already; every other string is escaped where it enters the page."""


def escaped(words: str) -> str:
    """Words of anybody as text of a page: neither markup, nor what turns the direction of text round."""
    return escape(shown(words))


def text(value: Any) -> Html:
    """Any value as safe markup; floats with four figures."""
    if isinstance(value, Html):
        return value
    if isinstance(value, bool):
        return mark(value, "yes" if value else "no")
    if value is None:
        return Html("")
    if isinstance(value, float):
        value = f"{value:.4g}"
    elif isinstance(value, (list, tuple)):
        value = (
            " x ".join(map(str, value)) if all(isinstance(item, int) for item in value) else ", ".join(map(str, value))
        )
    return Html(escaped(str(value)))


def join(parts: Iterable[Html]) -> Html:
    return Html("".join(parts))


def tag(name: str, content: Any, css: str = "") -> Html:
    """``<name class=css>content</name>``; name and css are ours, the content is escaped."""
    return Html(f"<{name}{f' class={chr(34)}{css}{chr(34)}' if css else ''}>{text(content)}</{name}>")


def mark(good: bool, words: str) -> Html:
    return tag("span", words, "good" if good else "bad")


def section(title: str, *content: Html) -> Html:
    """A headed part of the page; nothing at all when there is no content."""
    body = join(content)
    return Html(f"<section>{tag('h2', title)}{body}</section>") if body else Html("")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], css: Sequence[str] = ()) -> Html:
    """Rows under a heading, in a box of its own that scrolls sideways; ``css``: "number", "code", "words" or "" a column."""
    classes = [*css, *[""] * (len(columns) - len(css))]
    body = [join(tag("td", cell, kind) for cell, kind in zip(row, classes, strict=True)) for row in rows]
    if not body:
        return Html("")
    head = join(
        tag("th", name, "number" if kind == "number" else "") for name, kind in zip(columns, classes, strict=True)
    )
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return Html(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>')


def facts(pairs: Mapping[str, Any]) -> Html:
    """A two-column table of names and values; empty values are left out."""
    rows = [(name, value) for name, value in pairs.items() if value not in (None, "", [], {})]
    lines = "".join(f"<tr>{tag('th', name)}{tag('td', value, 'words')}</tr>" for name, value in rows)
    return Html(f'<div class="scroll"><table><tbody>{lines}</tbody></table></div>') if rows else Html("")


def fold(title: str, content: Html) -> Html:
    """Content that is closed until the reader opens it."""
    return Html(f"<details><summary>{text(title)}</summary>{content}</details>") if content else Html("")


def tiles(pairs: Iterable[tuple[Any, str]]) -> Html:
    """The few figures to see first: (value, what it is)."""
    boxes = join(Html(f'<div class="tile">{tag("b", value)}{tag("span", what)}</div>') for value, what in pairs)
    return Html(f'<div class="tiles">{boxes}</div>')


def image(file: str, words: str, size_px: Sequence[int] | None = None) -> Html:
    """A picture beside the page, as wide as the page at most; a click shows it in full. ``size_px``: (width, height)."""
    if ":" in file or file.startswith("/") or ".." in file.split("/"):  # a link may run scripts or lead elsewhere
        return text(words)
    place, sides = escaped(file), [side for side in size_px or () if isinstance(side, int)]
    room = f' width="{sides[0]}" height="{sides[1]}"' if len(sides) == 2 else ""  # so that nothing moves as it loads
    return Html(f'<a href="{place}"><img src="{place}" alt="{escaped(words)}"{room} loading="lazy"></a>')


def bars(rows: Sequence[tuple[str, float, float, str, bool]], caption: str) -> Html:
    """Horizontal bars from zero: (name, value, end of the thin line, label, ours). Text keeps its size on any screen."""
    longest = max((max(value, end) for _, value, end, _, _ in rows), default=0.0) or 1.0
    lines = []
    for index, (name, value, end, label, ours) in enumerate(rows):
        top, width, whisker = index * 48, 100 * value / longest, 100 * max(value, end) / longest
        colour = "var(--ours)" if ours else "var(--other)"
        lines.append(
            f'<text x="0" y="{top + 16}">{escaped(name)}</text>'
            f'<text x="100%" y="{top + 16}" text-anchor="end">{escaped(label)}</text>'
            f'<rect x="0" y="{top + 24}" width="{width:.2f}%" height="14" rx="3" fill="{colour}"/>'
            f'<line x1="{width:.2f}%" x2="{whisker:.2f}%" y1="{top + 31}" y2="{top + 31}" stroke="{colour}" stroke-width="2"/>'
        )
    drawing = (
        f'<svg width="100%" height="{len(rows) * 48}" role="img" aria-label="{escaped(caption)}">{"".join(lines)}</svg>'
    )
    return Html(drawing + tag("p", caption, "soft"))


def page(title: str, *content: Html) -> str:
    """The whole file: one HTML page that opens anywhere, a phone without network included."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head>\n<body>{join(content)}</body></html>\n"
    )


def size(count_bytes: Any) -> str:
    """``46.1 MB``; empty when there is none."""
    if not isinstance(count_bytes, (int, float)) or not count_bytes:
        return ""
    return f"{count_bytes / 1e6:.1f} MB" if count_bytes >= 1e5 else f"{count_bytes / 1e3:.1f} kB"


def figure(value: Any, style: str) -> str:
    """A number in the given format; words such as inf stay words."""
    return format(value, style) if isinstance(value, (int, float)) else str(value if value is not None else "")


def signed(change: int) -> str:
    """``+12``, ``-3``, ``0``."""
    return f"{change:+,}" if change else "0"
