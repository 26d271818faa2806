"""One attention block of an exported graph: q, k, v by origin, the scale in one number, the tokens that come out.

    softmax(scale * q k^T) v  with  q, k, v (B, heads, N, width) or (B heads, N, width)  >  tokens (B, N, heads * width)

The scale may stand on q, on k, on both (dynamo writes its square root on each) or on the product. To the scaled product a
constant may be added (``bias``, of positions or a mask; one of zeros is none; perhaps a chain of constants, see sums), and between softmax and the product with v
another one (``added``): ConViT's position term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ....graph.read import attribute, constant, only_consumer, sizes
from .heads import Heads, find_heads, follow_out, unscaled
from .sums import known, within


@dataclass(frozen=True)
class AttentionBlock:
    """The parts of one block; ``out`` (..., heads * width) is what the rest of the network reads, or why there is none.

    ``turned_out`` says that the rows of ``out`` are (tokens, batch).
    """

    q: Heads
    k: Heads
    v: Heads
    scale: float
    scores: ir.Node
    softmax: ir.Node
    context: ir.Node
    added: ir.Node | None
    out: ir.Value | str
    turned_out: bool
    bias: ir.Value | None

    @property
    def values(self) -> ir.Value:
        """v as the context reads it."""
        value = self.context.inputs[1]
        assert value is not None
        return value

    @property
    def heads(self) -> tuple[Heads, Heads, Heads]:
        return self.q, self.k, self.v

    @property
    def turned(self) -> bool:
        """Whether a projection counts its tokens before its pictures."""
        return any(part.turned for part in self.heads)


def attention_blocks(
    graph: ir.Graph, decline: Callable[[ir.Node, str], None], *, turned: bool = False, biased: bool = False
) -> Iterator[AttentionBlock]:
    """Every block of the graph, plain or ``turned``, those with a bias where ``biased``.

    ``decline(softmax, why)`` hears of each softmax over a product that is in none of them.
    """
    for node in list(graph):
        if node.op_type != "Softmax" or node.domain:
            continue
        shape = sizes(node.inputs[0])
        if shape is None or attribute(node, "axis", -1) not in (-1, len(shape) - 1):
            continue
        found = _block(node)
        if isinstance(found, AttentionBlock) and found.turned != turned:
            found = "q, k or v comes from a projection that counts its tokens before its pictures"
        elif isinstance(found, AttentionBlock) and found.bias is not None and not biased:
            found = "scores with an added term (mask or bias) are not in this normal form"
        if isinstance(found, AttentionBlock):
            yield found
        elif found:
            decline(node, found)


def _block(softmax: ir.Node) -> AttentionBlock | str:
    """The block around a softmax, or why it is none; an empty reason where no product leads into the softmax."""
    found = _scores(softmax)
    if isinstance(found, str):
        return found
    scores, scale, bias = found
    if any(only_consumer(output) is None for output in (scores.outputs[0], softmax.outputs[0])):
        return "scores or probabilities have other uses"
    context, rows, added = only_consumer(softmax.outputs[0]), softmax.outputs[0], None
    if (
        context is not None
        and context.op_type == "Add"
        and any(constant(value) is not None for value in context.inputs)
    ):
        added, rows = context, context.outputs[0]
        context = only_consumer(rows)
    if context is None or context.op_type != "MatMul" or context.inputs[0] is not rows:
        return "the probabilities do not go straight into the product with v"
    parts = origins(scores, context)
    if isinstance(parts, str):
        return parts
    q, k, v = parts
    if (q.heads, q.width) != (k.heads, k.width) or (k.heads, k.tokens) != (v.heads, v.tokens):
        return f"q {q.heads} x {q.width}, k {k.heads} x {k.width} and v {v.heads} heads do not belong together"
    if not q.batch == k.batch == v.batch:
        return f"q, k and v are of {q.batch}, {k.batch} and {v.batch} pictures"
    if v.scale != 1:
        return "v is multiplied by a number of its own"
    scale *= q.scale * k.scale
    usual = q.width**-0.5
    if abs(scale / usual - 1) < 1e-6:  # a square root on q and on k: rounded twice in float32
        scale = usual
    tokens = follow_out(context.outputs[0], q)
    out, turned = (tokens, False) if isinstance(tokens, str) else tokens
    return AttentionBlock(q, k, v, scale, scores, softmax, context, added, out, turned, bias)


def _scores(softmax: ir.Node) -> tuple[ir.Node, float, ir.Value | None] | str:
    """The product q k^T, its scale, and what is added; or why the softmax reads no such thing, empty without a product."""
    value, scale = unscaled(softmax.inputs[0])
    node, bias = value.producer() if value is not None else None, None
    if node is not None and node.op_type == "Add" and not node.domain:
        masked = "scores with an added term (mask or bias) that is no constant of their size"
        index = next((i for i in (0, 1) if known(node.inputs[i]) is not None), None)
        if index is None or scale != 1:
            return masked
        value, scale = unscaled(node.inputs[1 - index])
        added, shape = node.inputs[index], sizes(value)
        array, bias = known(added), added
        node = value.producer() if value is not None else None
        if array is None or shape is None or not within(array.shape, shape):
            return masked
        if not array.any():
            bias = None
    if node is None or node.domain or node.op_type != "MatMul":
        return ""
    return node, scale, bias


def origins(scores: ir.Node, context: ir.Node) -> tuple[Heads, Heads, Heads] | str:
    """q, k and v of the two products of an attention, or why one of them is not known."""
    q = find_heads(scores.inputs[0])  # type: ignore[arg-type]
    k = find_heads(scores.inputs[1], transposed=True)  # type: ignore[arg-type]
    v = find_heads(context.inputs[1])  # type: ignore[arg-type]
    for name, part in (("q", q), ("k", k), ("v", v)):
        if isinstance(part, str):
            return f"{name}: {part}"
    assert isinstance(q, Heads) and isinstance(k, Heads) and isinstance(v, Heads)
    return q, k, v
