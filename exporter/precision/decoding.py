"""Where a detector's decoding is in a graph, found by what is computed: it stays float32 in a 16-bit graph.

A coordinate of 640 has steps of 0.5 in fp16 and of 4 in bf16, a score near 1 steps of 0.0005 and 0.004; what the network
says before (logits, logits of distances) is of the size that these types are made for.  So float32 begins at the softmax
over the distances and at the sigmoid, whose inputs every engine widens as it reads them:

    softmax of the distances > expectation > times stride > plus points > boxes      and what makes points and strides
    sigmoid of the logits > scores

Measured on DAMO-YOLO-T (reference weights, 640 x 640): the decoding alone in fp16 moves boxes by up to 0.5 pixel and
scores by 0.00015, in bf16 by 3.9 pixels and 0.0014; in float32 it costs TensorRT-RTX no kernel (92 and 92).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...graph.read import is_op
from ..patterns.boxes.box_distances import Expectation, expectation

if TYPE_CHECKING:
    import onnx_ir as ir

WHY = "decoding of boxes: coordinates and scores need more steps than 16 bits have"
MOVES = frozenset({"Reshape", "Transpose", "Concat", "Squeeze", "Unsqueeze", "Split", "Slice", "Identity"})
PLAIN = MOVES | {"Mul", "Add", "Sub", "Div", "ReduceSum", "MatMul", "Min", "Max", "Clip"}


def expectations(graph: ir.Graph) -> list[Expectation]:
    """The means of distributions that reach an output through plain arithmetic; a network's own layers are none."""
    found = []
    for node in graph:
        mean = expectation(node)
        if mean is not None:
            below = _below(mean.last)
            ends = any(value.is_graph_output() for each in below for value in each.outputs)
            if ends and all(is_op(each, PLAIN) for each in below):
                found.append(mean)
    return found


def decode_tail(graph: ir.Graph) -> set[ir.Node]:
    """The nodes of the decoding; none where the graph decodes no boxes."""
    means = expectations(graph)
    if not means:
        return set()
    tail = {node for mean in means for node in _below(mean.softmax)}
    for value in graph.outputs:
        made = value.producer()
        while is_op(made, MOVES) and made.inputs[0] is not None:
            made = made.inputs[0].producer()
        if is_op(made, "Sigmoid"):
            tail.update(_below(made))
    return tail | _known(graph, tail)


def measured(graph: ir.Graph) -> list[str]:
    """What to compare of two graphs: the outputs, but distances in cells where an output is boxes.

    In a box of the picture the point of its cell, which is a constant, would hide what the network got wrong.
    """
    means = expectations(graph)
    boxes = {value for mean in means for node in _below(mean.last) for value in node.outputs}
    names = [str(mean.last.outputs[0].name) for mean in means]
    return [str(value.name) for value in graph.outputs if value not in boxes] + names


def _below(node: ir.Node) -> set[ir.Node]:
    """The node and all that depends on it."""
    found, todo = {node}, [node]
    while todo:
        for value in todo.pop().outputs:
            for use in value.uses():
                if use.node not in found:
                    found.add(use.node)
                    todo.append(use.node)
    return found


def _known(graph: ir.Graph, tail: Iterable[ir.Node]) -> set[ir.Node]:
    """What the tail reads that does not depend on the picture's values: points and strides of open image sizes."""
    depends = set(graph.inputs)
    for node in graph:
        if not is_op(node, ("Shape", "Size")) and any(value in depends for value in node.inputs):
            depends.update(node.outputs)
    found: set[ir.Node] = set()
    todo = [value for node in tail for value in node.inputs]
    while todo:
        value = todo.pop()
        made = value.producer() if value is not None and value not in depends else None
        if made is not None and made not in found:
            found.add(made)
            todo.extend(made.inputs)
    return found
