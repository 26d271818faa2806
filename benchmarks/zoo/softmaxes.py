"""Which Softmax of a graph is that of an attention: its scores are a product of two values, and it is multiplied with a third."""

from __future__ import annotations

import onnx_ir as ir

from edgesmith.graph.read import is_op

PRODUCTS = ("MatMul", "Einsum", "Gemm")
AROUND = ("Add", "Mul", "Div", "Sub", "Where", "Cast", "Reshape", "Transpose", "Slice", "Concat", "Conv", "Squeeze", "Unsqueeze", "Clip", "Identity", "Pad", "Expand", "BatchNormalization")  # fmt: skip
FAR = 12  # nodes between a product and its softmax, at most


def attentions(model: ir.Model) -> list[ir.Node]:
    """Softmax nodes between two products of values, and Attention nodes."""
    return [node for node in model.graph if is_op(node, "Attention") or (is_op(node, "Softmax") and _attends(node))]


def _attends(softmax: ir.Node) -> bool:
    return _reaches(softmax, ahead=False) and _reaches(softmax, ahead=True)


def _reaches(softmax: ir.Node, *, ahead: bool) -> bool:
    """Whether a product of two computed values lies in front of the softmax, or behind it, with small things between."""
    seen, nodes = set[ir.Node](), [softmax]
    for _ in range(FAR):
        nodes = [found for node in nodes for found in (_readers(node) if ahead else _makers(node)) if found not in seen]
        seen.update(nodes)
        if any(is_op(node, PRODUCTS) and _computed(node) for node in nodes):
            return True
        nodes = [node for node in nodes if is_op(node, AROUND) or is_op(node, PRODUCTS)]  # heads are mixed by products
    return False


def _makers(node: ir.Node) -> list[ir.Node]:
    return [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]


def _readers(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _computed(node: ir.Node) -> bool:
    """Both operands depend on the picture."""
    return all(value is not None and ir.convenience.get_const_tensor(value) is None for value in node.inputs[:2])
