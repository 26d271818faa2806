"""What a rewrite is: a pattern as exported, a check that refuses in words, a rewrite that only builds.

``Pattern`` is for a fixed shape of nodes and uses the onnxscript matcher. ``Surgery`` is for a rewrite that walks the
graph from an anchor node (the exported form varies, or the site is found by a property). Both run the same way:
``run(model)`` changes the model in place and tells how often it applied and where it refused.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase, RewriteRuleSet

from ..artifacts import PassRecord, Refusal


def accept() -> MatchResult:
    """The check found nothing against the rewrite."""
    return MatchResult()


def refuse(why: str, *sources: ir.Value | ir.Node) -> MatchResult:
    """The check declines; ``why`` names what was found and what was expected, and stands in the report."""
    return MatchResult().fail(why, list(sources) or None)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind a value that is known when the graph is written, else None."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def sizes(value: ir.Value | None) -> tuple[int | str | None, ...] | None:
    """The shape of a value as plain numbers and names, None where nothing is known."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The plain value of an attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def only_consumer(value: ir.Value | None) -> ir.Node | None:
    """The one node that reads a value which is no graph output, else None."""
    if value is None or value.is_graph_output():
        return None
    users = [usage.node for usage in value.uses()]
    return users[0] if len(users) == 1 else None


class Pass:
    """One step of the pipeline; its name in the report is the class name."""

    runs_after: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def apply(self, model: ir.Model) -> int:
        """Change the model in place; the number of places changed."""
        raise NotImplementedError

    def run(self, model: ir.Model) -> PassRecord:
        self.refusals = []
        start = time.perf_counter()
        count = self.apply(model)
        unique = tuple(dict.fromkeys(self.refusals))
        return PassRecord(type(self).__name__, count, unique, time.perf_counter() - start)


class Surgery(Pass):
    """A rewrite that walks the graph itself; subclasses implement ``apply`` and call ``decline`` to refuse."""

    def decline(self, node: ir.Node, why: str) -> None:
        self.refusals.append(Refusal(node.name or node.op_type, why))


class Pattern(Pass, RewriteRuleClassBase):
    """A rewrite of a fixed shape of nodes: subclasses implement ``pattern``, ``check`` and ``rewrite``."""

    remove_nodes = True
    as_function = False
    commute: ClassVar[bool] = False

    def __init__(self) -> None:
        Pass.__init__(self)
        RewriteRuleClassBase.__init__(self, name=type(self).__name__)

    def rules(self) -> Sequence[RewriteRule]:
        return [RewriteRule(self.pattern, self.rewrite, self._recorded_check, name=self.name,
                            remove_nodes=self.remove_nodes)]  # fmt: skip

    def apply(self, model: ir.Model) -> int:
        return RewriteRuleSet(self.rules(), commute=self.commute).apply_to_model(model)

    def _recorded_check(self, context: Any, *args: Any, **kwargs: Any) -> MatchResult | bool:
        result = self.check(context, *args, **kwargs)
        if isinstance(result, MatchResult) and not result:
            root = context.root if hasattr(context, "root") else None
            self.refusals.append(Refusal(getattr(root, "name", None) or type(self).__name__, result.reason))
        return result
