"""What a rewrite is: a walk over the graph that finds its places by what is computed there, and refuses in words.

Exporters, batches and fine-tunes write the same computation in many node shapes, so no pass matches one fixed shape.
``run(model)`` changes the model in place and tells how often it applied and where it refused.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from ..run.nouns import PassRecord, Refusal


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


class Surgery:
    """One step of the pipeline: ``apply`` walks the graph and calls ``decline`` to refuse; its name is the class name."""

    runs_after: ClassVar[tuple[str, ...]] = ()

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
