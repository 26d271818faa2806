"""What the stages of one run made, left to right: what is verified, and packed when it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...calibration.budget.hold import Quantised
    from ...models.loading import Prepared
    from ..engine.build import Built
    from ..precision.casts import PrecisionResult
    from ..run.nouns import ExportedGraph, RewrittenGraph


@dataclass(frozen=True)
class Made:
    """One noun a stage."""

    source: Prepared
    exported: ExportedGraph
    rewritten: RewrittenGraph
    typed: PrecisionResult
    built: Built
    quantised: Quantised | None = None
