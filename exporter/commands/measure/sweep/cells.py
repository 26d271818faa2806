"""What a sweep is made of: lines (a model with its settings), and cells (a line for one target in one precision)."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .....runtime.errors import UserMistake
from ....plan.targets import find_target
from ....run import arguments

LONGEST = 60  # letters of a model that the name of its files shows; a hash tells the rest


@dataclass(frozen=True)
class Line:
    """A model with the settings that it alone has, as they were typed."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # as exporter.pipeline.export takes them
    words: tuple[str, ...] = ()  # the same as typed
    where: str = ""  # "models.txt, line 3"; empty on the command line

    @property
    def asked(self) -> str:
        """``timm:resnet18 --image-size 96``."""
        return shlex.join([self.model, *self.words])


@dataclass(frozen=True)
class Cell:
    """One export of a sweep."""

    line: Line
    target: str
    precision: str

    @property
    def choices(self) -> dict[str, Any]:
        """What the export is called with beside the model."""
        return {**self.line.settings, "target": self.target, "precision": self.precision}

    @property
    def name(self) -> str:
        """Of its files: the same cell has it in every sweep, and no two cells share it."""
        whole = json.dumps([self.line.model, self.line.settings, self.target, self.precision], sort_keys=True)
        shown = re.sub(r"[^\w.+-]+", "_", self.line.model).strip("_.")[-LONGEST:]
        return f"{shown}-{self.target}-{self.precision}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"

    def to_json(self) -> dict[str, Any]:
        """The beginning of its row."""
        return {
            "model": self.line.model,
            "settings": shlex.join(self.line.words),
            "target": self.target,
            "precision": self.precision,
        }


def matrix(lines: Iterable[Line], target: str, precision: str | None) -> tuple[Cell, ...]:
    """Every line for every target in every precision, each cell once; words with commas between.

    Without a precision each target's own. UserMistake for a word that names no target, or no precision.
    """
    targets = [find_target(word).name for word in _parts("--target", target)]
    kinds = None if precision is None else [arguments.precision(word) for word in _parts("--precision", precision)]
    cells = [Cell(line, goal, kind) for line in lines for goal, kind in _pairs(targets, kinds)]
    return tuple({cell.name: cell for cell in reversed(cells)}.values())[::-1]


def _pairs(targets: list[str], kinds: list[str] | None) -> Iterator[tuple[str, str]]:
    for goal in targets:
        for kind in kinds or [find_target(goal).default_precision]:
            yield goal, kind


def _parts(flag: str, words: str) -> list[str]:
    parts = [part.strip() for part in words.split(",")]
    if not all(parts):
        raise UserMistake(
            f"{flag} lacks a word",
            found=f"{flag} {words!r}",
            expected="names with commas between",
            attempt=f"{flag} {','.join(filter(None, parts)) or '...'}",
        )
    return parts
