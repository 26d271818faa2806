"""One rewrite a file; ORDER, the one list, says which run for which target and in what order."""

from __future__ import annotations

from .base import Pass
from .cleanup import CleanUp
from .fold_constants import FoldConstants
from .fold_shapes import FoldShapes

ALL = frozenset({"cpu", "openvino", "rtx", "tensorrt"})

# (pass, targets it runs for): a target is left out where the rewrite was measured to lose (benchmarks/rewrites)
ORDER: tuple[tuple[type[Pass], frozenset[str]], ...] = (
    (CleanUp, ALL),
    (FoldConstants, ALL),
    (FoldShapes, ALL),
    (CleanUp, ALL),
)


def passes_for(target: str) -> list[type[Pass]]:
    """The passes of one target ("cpu", "openvino", "rtx", "tensorrt"), in order."""
    return [step for step, targets in ORDER if target in targets]
