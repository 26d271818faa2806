"""One layer's output channels, followed through the graph to every weight that meets them.

If channel c of a layer is divided by s_c, everything that is linear in it divides too, until a weight takes the factor back:

    LayerNormalization > Transpose > Conv            gamma / s, beta / s;  weight[:, c] * s_c
    Conv > Relu > depthwise Conv                     weight[c] / s_c, bias[c] / s_c;  weight[c] * s_c
    qkv > Split > softmax(q k) v > Reshape > MatMul  only the columns of v;  weight[c] * s_c
    Conv > Mul with a gate > Conv                    weight[c] / s_c, bias[c] / s_c;  weight[:, c] * s_c

The trace carries one integer label for every element of a value (of one image): its channel, ``FROZEN`` where the factor
must stay 1, or ``ZERO`` where padding put a zero, which any factor leaves alone.  Views move labels as they move numbers,
so no view needs a rule about channels.  Where an operator is not linear, its channels are frozen and the trace starts
again with the others; what is frozen and why is told in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...graph.read import attribute, constant, is_op
from .labels import FROZEN, Edit, NotLinear, collapse, guess
from .rules import step

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, eq=False)
class Group:
    """The channels of one layer that may be scaled, and every constant that changes with them."""

    source: ir.Node
    size: int  # channels of the source
    edits: tuple[Edit, ...]
    labels: Mapping[str, np.ndarray]  # value name -> label of each of its channels, for the values asked for
    refused: tuple[str, ...] = ()  # why some channels must stay
    free: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # (size,) channels that may be scaled

    def apply(self, model: ir.Model, factors: np.ndarray) -> None:
        """Divide channel c by ``factors[c]`` at the source and multiply it back at every weight."""
        for edit in self.edits:
            edit.apply(model, factors)

    def sinks(self) -> dict[str, np.ndarray]:
        """Node name -> labels over the weight of each layer that takes the factors back."""
        return {str(edit.node.name): edit.labels for edit in self.edits if edit.times}


def follow(model: ir.Model, source: ir.Node, wanted: set[str]) -> Group:
    """Trace the output channels of ``source``: a LayerNormalization, Conv, Gemm or MatMul with a constant weight.

    ``wanted``: the values (names) whose channel labels are needed.  A group without edits is one that cannot be scaled.
    """
    size, first, own = _source(source)
    frozen = np.zeros(size, bool)
    refused: list[str] = []
    nodes = list(model.graph)
    start = nodes.index(source) + 1
    while size and not frozen.all():
        labels = np.where(frozen, FROZEN, np.arange(size))
        carried: dict[ir.Value, np.ndarray] = {source.outputs[0]: labels[first]}
        edits = [Edit(source, index, labels[where], times=False) for index, where in own]
        try:
            for node in nodes[start:]:
                if not any(value in carried for value in node.inputs):
                    continue
                found, more = step(node, carried)
                edits += more
                carried |= {value: one for value, one in found.items() if (one >= 0).any()}
            for value, one in carried.items():
                if value.is_graph_output():
                    raise NotLinear(one, f"{value.name} is an output of the graph")
                if any(use.node.graph is not model.graph for use in value.uses()):
                    raise NotLinear(one, f"{value.name} is read inside a branch or a loop")
            known = {str(value.name): _vector(one) for value, one in carried.items() if value.name in wanted}
            return Group(source, size, tuple(edits), known, tuple(refused), ~frozen)
        except NotLinear as reason:
            stuck = np.unique(reason.labels[reason.labels >= 0])
            assert len(stuck), "a refusal names the channels it is about"
            frozen[stuck] = True
            refused.append(str(reason))
    return Group(source, size, (), {}, tuple(dict.fromkeys(refused)), ~frozen)


def _source(node: ir.Node) -> tuple[int, np.ndarray, list[tuple[int, np.ndarray]]]:
    """Channels, index of the channel for every element of the output, and for the constants (input index, index array)."""
    shape = guess(node.outputs[0])
    if shape is None:
        return 0, np.zeros(0, int), []
    axis = 1 if is_op(node, "Conv") else len(shape) - 1
    size = shape[axis]
    order = np.arange(size)
    first = np.broadcast_to(order.reshape([-1 if at == axis else 1 for at in range(len(shape))]), shape)
    own: list[tuple[int, np.ndarray]] = []
    if is_op(node, "LayerNormalization"):
        if attribute(node, "axis", -1) not in (-1, len(shape) - 1):
            return 0, first, []
        own = [(index, order) for index in (1, 2) if index < len(node.inputs) and node.inputs[index] is not None]
    else:
        weight = constant(node.inputs[1])
        if weight is None:
            return 0, first, []
        out_first = is_op(node, "Conv") or (is_op(node, "Gemm") and attribute(node, "transB", 0))
        own = [(1, order.reshape([-1] + [1] * (weight.ndim - 1)) if out_first else order)]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            own.append((2, order))
    if any(constant(node.inputs[index]) is None for index, _ in own):
        return 0, first, []
    return size, first, own


def _vector(labels: np.ndarray) -> np.ndarray:
    """One label a channel (C,); NotLinear where labels change along more than one axis."""
    small = collapse(labels)
    if max(small.shape, default=1) != small.size:
        raise NotLinear(labels, "the channels lie on more than one axis of a value that is quantised")
    return small.ravel()
