"""What a rewrite is: a walk over the graph that finds its places by what is computed there, and refuses in words.

Exporters, batches and fine-tunes write the same computation in many node shapes, so no pass matches one fixed shape.
``run(model)`` changes the model in place and tells how often it applied and where it refused.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from ..run.nouns import PassRecord, Refusal

if TYPE_CHECKING:
    import onnx_ir as ir


Need = str | tuple[str, ...]  # a pass, or several of which one is enough


class Pattern:
    """What is looked for and replaced: ``apply`` walks the graph and calls ``decline`` to refuse.

    Its turn in an order is a pass, which has the name of the class.
    """

    runs_after: ClassVar[tuple[Need, ...]] = ()  # measured: without these it finds no place in any network
    better_after: ClassVar[tuple[str, ...]] = ()  # it works without them, but never before them

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def apply(self, model: ir.Model) -> int:
        """Change the model in place; the number of places changed."""
        raise NotImplementedError

    def decline(self, node: ir.Node, why: str) -> None:
        """Refuse at ``node``; ``why`` names what was found and what was expected, and stands in the report."""
        self.refusals.append(Refusal(node.name or node.op_type, why))

    def run(self, model: ir.Model) -> PassRecord:
        self.refusals = []
        start = time.perf_counter()
        count = self.apply(model)
        unique = tuple(dict.fromkeys(self.refusals))
        return PassRecord(type(self).__name__, count, unique, time.perf_counter() - start)
