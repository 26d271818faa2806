"""Questions to a graph: what a value is, who made it and who reads it, what a model holds. Nothing here changes one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

VIEWS = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Slice", "Split", "Pad", "Expand"}
)
MAKE_LISTS = frozenset(
    {
        "SplitToSequence",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceMap",
        "Optional",
    }
)
READ_LISTS = frozenset(
    {"SequenceAt", "SequenceLength", "ConcatFromSequence", "OptionalGetElement", "OptionalHasElement"}
)
LISTS = MAKE_LISTS | READ_LISTS  # of tensors, or one that may be missing


class Named(Protocol):
    """A node of onnx_ir, or of the protobuf."""

    @property
    def domain(self) -> str: ...

    @property
    def op_type(self) -> str: ...


AnyNode = TypeVar("AnyNode", bound=Named)
ONNX = "ai.onnx"  # the long name of the domain that is called ""


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of a value that is known when the graph is written, else None."""
    import onnx_ir as ir

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


def is_op(node: AnyNode | None, ops: str | Collection[str], domain: str = "") -> TypeGuard[AnyNode]:
    """Whether ``node`` is one of ``ops`` of ``domain``, by default ONNX's own.

    The name alone says nothing: Attention of com.microsoft and Attention of opset 23 take other inputs.
    """
    if node is None or (node.domain if node.domain != ONNX else "") != domain:
        return False
    return node.op_type == ops if isinstance(ops, str) else node.op_type in ops


def called(node: Named) -> str:
    """Its type with the domain where that is not ONNX's own: ``Conv``, ``com.microsoft.Attention``."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", ONNX) else node.op_type


def only_consumer(value: ir.Value | None) -> ir.Node | None:
    """The one node that reads a value which is no graph output, else None; None too where it stands in a branch or a loop."""
    if value is None or value.is_graph_output():
        return None
    users = [usage.node for usage in value.uses()]
    if len(users) != 1:
        return None
    return users[0] if value.graph is None or users[0].graph is value.graph else None


def is_read(node: ir.Node, first: int = 0) -> bool:
    """Whether another node or the outside reads anything that ``node`` makes, from its output ``first`` on."""
    return any(value.is_graph_output() or value.uses() for value in node.outputs[first:])


def behind_views(value: ir.Value | None, through: Collection[str] = VIEWS) -> ir.Node | None:
    """The node that computed ``value``, views (or the operators named) looked through; None for a graph input or a constant."""
    node = value.producer() if value is not None else None
    while is_op(node, through):
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return node


def nodes_by_name(model: ir.Model) -> dict[str, ir.Node]:
    """The nodes of the main graph; CleanUp gave each a name of its own."""
    return {str(node.name): node for node in model.graph}


def node_types(model: ir.Model) -> dict[str, int]:
    """How many nodes of each type the graph has, most frequent first."""
    return dict(Counter(called(node) for node in model.graph).most_common())
