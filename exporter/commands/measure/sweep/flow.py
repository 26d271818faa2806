"""``edgesmith sweep``: words -> cells, each run once, one table.

Mistakes are told before anything runs. What one cell cannot do is a row. Rows that are there from an earlier sweep are kept.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .....runtime.errors import EdgesmithError, UserMistake
from .....runtime.ground.files import replace_file
from .....runtime.ground.version import __version__
from ....run.several.cluster import Lost, connected
from .cell import Place, run_cell
from .cells import Cell, Line, matrix
from .limits import MEMORY_CODE, Limits
from .lines import at, read_lines
from .page import page
from .store import LOST, PAGE, TABLE, check_folder, keep_row, kept_row, make_folders

Rows = dict[str, dict[str, Any]]
OUT, LIMIT_S, LIMIT_MB, ROUNDS = "sweep", 1800.0, 6000.0, 10


@dataclass(frozen=True)
class Asked:
    """The settings of a sweep."""

    models: Sequence[str]  # names, lines, or files of lines
    target: str = "cpu"
    precision: str | None = None
    out: str = OUT
    limit_s: float = LIMIT_S
    limit_mb: float = LIMIT_MB
    rounds: int = ROUNDS
    threads: int = 1
    again: bool = False
    ray: str | None = None


class Progress:
    """Who wants to hear of the cells; this one does not."""

    def begin(self, cells: int, kept: int) -> None:
        """So many cells, of which so many rows are there already."""

    def cell(self, row: dict[str, Any], done: int, cells: int, left_s: float) -> None:
        """One more has ended; the others take about ``left_s``."""


def sweep(asked: Asked, progress: Progress | None = None) -> dict[str, Any]:
    """Run what has no row yet; what ``sweep.json`` holds.

    Raises UserMistake for a line, a name, a target or a folder that cannot be used; nothing has run then.
    """
    check_settings(asked)
    cells = matrix(read_lines(asked.models), asked.target, asked.precision)
    out = check_folder(Path(asked.out))
    limits = Limits(asked.limit_s, asked.limit_mb)
    rows: Rows = {}
    for cell in cells:
        if not asked.again and (row := kept_row(out, cell, limits, asked.rounds)):
            rows[cell.name] = row
    left = [cell for cell in cells if cell.name not in rows]
    check_lines(left, out)
    make_folders(out)
    progress = progress or Progress()
    progress.begin(len(cells), len(rows))
    started, kept = time.monotonic(), len(rows)
    place = Place(out, os.getcwd(), limits, asked.rounds, asked.threads)
    for cell, row in _on_ray(asked, left, place) if asked.ray and left else _here(left, place):
        rows[cell.name] = keep_row(out, cell, row, limits, asked.rounds)
        done = len(rows)
        left_s = (time.monotonic() - started) / (done - kept) * (len(cells) - done)
        progress.cell(row, done, len(cells), left_s)
        write(out, cells, rows)
    return write(out, cells, rows)


def write(out: Path, cells: Sequence[Cell], rows: Rows) -> dict[str, Any]:
    """The table of all rows there are, in the order of the cells, as JSON and as a page."""
    told = {
        "edgesmith": __version__,
        "cells": len(cells),
        "rows": [rows[cell.name] for cell in cells if cell.name in rows],
    }
    replace_file(out / TABLE, json.dumps(told, indent=1).encode())
    replace_file(out / PAGE, page(told).encode())
    return told


def _here(cells: Sequence[Cell], place: Place) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """One after another."""
    for cell in cells:
        yield cell, run_cell(cell, place)


def _on_ray(asked: Asked, cells: Sequence[Cell], place: Place) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Each as a task that takes its threads and its limit of memory; they end in any order."""
    assert asked.ray
    with connected(asked.ray) as crew:
        jobs = [(cell, place) for cell in cells]
        for number, row in crew.each(run_cell, jobs, cpus=asked.threads, memory_mb=asked.limit_mb):
            cell = cells[number]
            if isinstance(row, Lost):
                told = {"exit_code": MEMORY_CODE, "why": row.why, "limit": LOST}
                row = {**cell.to_json(), "name": cell.name, **told, "timing": {}}
            yield cell, row


def check_settings(asked: Asked) -> None:
    for flag, value, least in (
        ("--limit-s", asked.limit_s, 1), ("--limit-mb", asked.limit_mb, 1), ("--rounds", asked.rounds, 0),
        ("--threads", asked.threads, 1),
    ):  # fmt: skip
        if not least <= value < 1e9:
            raise UserMistake(f"{flag} is out of range", found=f"{flag} {value:g}", expected=f"{least} or more")
    if asked.rounds == 1:
        raise UserMistake("--rounds is out of range", found="--rounds 1", expected="2 or more, or 0 for no times")


def check_lines(cells: Sequence[Cell], out: Path) -> None:
    """UserMistake for a line of which nothing can come: not for its targets, and not by itself.

    A line that works for some target, or would by itself, is right: what it cannot do becomes rows.
    """
    by_line: dict[str, list[Cell]] = {}
    for cell in cells:
        by_line.setdefault(cell.line.asked, []).append(cell)
    for same in by_line.values():
        alone = _wrong(same[0].line, {}, out)
        if alone is not None and all(_wrong(one.line, one.choices, out) is not None for one in same):
            raise at(same[0].line.where, alone)


def _wrong(line: Line, choices: dict[str, Any], out: Path) -> EdgesmithError | None:
    """What is wrong with a plan of it."""
    from ....pipeline import export

    there = next(folder for folder in (out, *out.parents) if folder.is_dir())  # bundles come below it
    settings = {**line.settings, **choices, "out": there / "planned.edge", "dry_run": True}
    try:
        export(line.model, **settings)
    except EdgesmithError as error:
        return error
    return None


def exit_code(told: dict[str, Any]) -> int:
    """1 where a cell that can be is none: parity, a limit, a bug; what a target cannot do is no failure."""
    return int(any(row["exit_code"] not in (0, UserMistake.exit_code) for row in told["rows"]))
