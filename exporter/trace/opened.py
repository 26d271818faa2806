"""An opened model, whatever it was opened from: who judges, and how its graph is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ..run.nouns import ExportedGraph
    from ..run.runners import Runner


@dataclass(frozen=True)
class Source:
    """An opened model: its own answers are the judge of everything that is made of it."""

    runner: Runner  # pictures -> its answers in float32
    export: Callable[[Path], ExportedGraph]  # given the folder of the run, where weights of gigabytes go
    detail: str  # in words, for the stage
    how: str  # how ``export`` makes the graph
    source: str  # where the weights came from
    judge: str  # who answers: "PyTorch"
    judge_in_full: str  # "PyTorch eager fp32"
    sha256: str | None = None
    averaged: bool = False
    notes: tuple[str, ...] = ()
    module: Any = None  # of torch, where there is one
    entries: Mapping[str, Any] = field(default_factory=dict)  # of the manifest
