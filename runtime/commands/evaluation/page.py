"""``edgesmith eval --report PAGE.html``: asked about before the work, written after it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserMistake
from ...ground.files import replacing
from ...ground.places import check_output
from ...report.evaluation.page import write_page
from ...tasks.task import Task

SUFFIXES = (".html", ".htm")


def check_page(place: str | os.PathLike[str] | None, overwrite: bool) -> Path | None:
    """Where the page goes; UserMistake for a name that no browser opens, a file in its place, nothing that can be written."""
    if place is None:
        return None
    page = Path(place)
    if page.suffix.lower() not in SUFFIXES:
        raise UserMistake(
            f"--report {page}: the page is one HTML file",
            found=page.suffix or "no suffix",
            expected="a name that ends in .html",
            attempt=f"--report {page.with_suffix('.html') if page.name else 'page.html'}",
        )
    check_output(page, "--report")
    if os.path.lexists(page) and not overwrite:
        raise UserMistake(
            f"--report {page}: that place is taken",
            found="a file",
            expected="a free one",
            attempt="another name, or --overwrite",
        )
    return page


def keep_page(page: Path, result: dict[str, Any], task: Task) -> None:
    """Write it and say so in the result; where that fails after all, the figures are worth showing all the same."""
    text = write_page(result, task.evaluation_page(result))
    try:
        with replacing(page, hidden=True) as file:
            file.write(text.encode())
    except OSError as error:
        result["not_saved"] = str(error)
        result["notes"].append(f"the page was NOT written: {error}")
    else:
        result["report"] = str(page)


def kept_lines(result: Mapping[str, Any]) -> str:
    """What was written, a line each, to stand below the table."""
    return "".join(f"\n{key}: {result[key]}" for key in ("report", "log") if key in result)
