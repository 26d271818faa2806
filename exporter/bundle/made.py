"""What the stages of one run made, left to right: what is verified, and packed when it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ...calibration.budget.hold import Quantised
    from ..engine.build import Built
    from ..precision.casts import PrecisionResult
    from ..run.nouns import ExportedGraph, RewrittenGraph


class Origin(Protocol):
    """What is told of where a graph comes from (trace/source.py)."""

    @property
    def source(self) -> str: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def averaged(self) -> bool: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def entries(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Made:
    """One noun a stage."""

    source: Origin
    exported: ExportedGraph
    rewritten: RewrittenGraph
    typed: PrecisionResult
    built: Built
    quantised: Quantised | None = None
