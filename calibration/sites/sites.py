"""rewritten graph -> sites: every product with a constant weight, what it costs, and where it stands in the graph.

A site is a Conv, a Gemm or a MatMul whose weight is known when the graph is written.  The weight of a MatMul has rank 2:
a batched constant (the position term of ConViT) is an operand, not a layer.  MACs come from the shapes of one real run,
so open sizes need no shape inference; attention products count in the total, so that a share is a share of everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...graph.read import attribute, behind_views, constant, is_op
from ...graph.run import run_values
from ..nouns import Site

if TYPE_CHECKING:
    import onnx_ir as ir

    Shape = tuple[int, ...]

PRODUCTS = ("Conv", "Gemm", "MatMul")
MICROSOFT = "com.microsoft"
ATTENTION = ("MultiHeadAttention", "Attention")  # of that domain: products inside one node, as in ONNX's own Attention


def find_sites(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> tuple[Site, ...]:
    """The sites of ``model`` in graph order; ``feeds`` is one batch (B, 3, H, W), MACs are for one image of it."""
    products = [node for node in model.graph if _is_product(node)]
    shapes = _shapes(model, products, feeds)
    batch = len(next(iter(feeds.values())))
    macs = {node: _macs(node, shapes) // batch for node in products}
    total = max(sum(macs.values()), 1)
    first, last = _ends(model)
    ends = {**dict.fromkeys(last, "head"), **dict.fromkeys(first, "stem")}
    return tuple(_site(node, macs[node], macs[node] / total, ends.get(node)) for node in products if is_site(node))


def is_site(node: ir.Node) -> bool:
    """Whether the node multiplies an activation with a constant weight, in a way that Q/DQ can be put around."""
    if not is_op(node, PRODUCTS) or constant(node.inputs[0]) is not None:
        return False
    weight = node.inputs[1]
    if weight is None or weight.dtype is None or not weight.dtype.is_floating_point():
        return False
    array = constant(weight)
    if array is None or array.ndim < 2:
        return False
    if is_op(node, "Gemm"):
        return not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == 1.0
    return is_op(node, "Conv") or array.ndim == 2


def _is_product(node: ir.Node) -> bool:
    return is_op(node, (*PRODUCTS, "Attention")) or is_op(node, ATTENTION, MICROSOFT)


def _site(node: ir.Node, macs: int, share: float, end: str | None) -> Site:
    weight = node.inputs[1]
    array = constant(weight)
    assert array is not None and weight is not None and node.inputs[0] is not None
    conv = is_op(node, "Conv")
    out_first = conv or bool(attribute(node, "transB", 0))
    groups = int(attribute(node, "group", 1))
    made_by = behind_views(node.inputs[0])
    return Site(
        node=str(node.name),
        op=node.op_type,
        input=str(node.inputs[0].name),
        weight=str(weight.name),
        weight_shape=tuple(array.shape),
        in_axis=1 if conv else -1,
        weight_in_axis=1 if out_first else 0,
        weight_out_axis=0 if out_first else 1,
        groups=groups,
        macs=macs,
        share=share,
        kind=end or _kind(node, array.shape, groups),
        producer=made_by.op_type if made_by is not None else "",
    )


def _kind(node: ir.Node, weight: Shape, groups: int) -> str:
    if groups > 1 and weight[1] == 1:
        return "depthwise"
    return "conv" if is_op(node, "Conv") and max(weight[2:], default=1) > 1 else "linear"


def _ends(model: ir.Model) -> tuple[list[ir.Node], list[ir.Node]]:
    """The sites that read no other site's result, and those whose result no other reads: a detector has several of these."""
    nodes = list(model.graph)
    made: set[ir.Value] = set()  # values that depend on a site
    first = []
    for node in nodes:
        earlier, site = any(value in made for value in node.inputs), is_site(node)
        if site and not earlier:
            first.append(node)
        if site or earlier:
            made.update(node.outputs)
    read: set[ir.Value] = set()  # values that a site depends on
    last = []
    for node in reversed(nodes):
        later, site = any(value in read for value in node.outputs), is_site(node)
        if site and not later:
            last.append(node)
        if site or later:
            read.update(value for value in node.inputs if value is not None)
    return first, last


def _shapes(model: ir.Model, products: list[ir.Node], feeds: Mapping[str, np.ndarray]) -> dict[ir.Value, Shape]:
    """The shape of every value that a product reads or writes."""
    values = [value for node in products for value in (*node.inputs[:3], node.outputs[0]) if value is not None]
    asked = [value for value in dict.fromkeys(values) if constant(value) is None and not value.is_graph_input()]
    found = run_values(model, feeds, [str(value.name) for value in asked])
    shapes = {value: found[str(value.name)].shape for value in asked}
    for value in values:
        array = constant(value)
        if array is not None:
            shapes[value] = array.shape
        elif value.is_graph_input():
            shapes[value] = np.shape(feeds[str(value.name)])
    return shapes


def _macs(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int:
    """Multiply-accumulates of one run of ``node``."""
    ins = [shapes[value] for value in node.inputs[:3] if value is not None]
    out = shapes[node.outputs[0]]
    if is_op(node, "Conv"):
        return int(np.prod(out) * np.prod(ins[1][1:]))
    if is_op(node, "Gemm"):
        return int(np.prod(out) * ins[0][0 if attribute(node, "transA", 0) else 1])
    if is_op(node, "MatMul"):
        return int(np.prod(out) * ins[0][-1])
    if is_op(node, "Attention"):  # of opset 23: q and out (B, N, heads * width) or (B, heads, N, width), k with M keys
        return int((np.prod(ins[0]) + np.prod(out)) * ins[1][-2])
    batch, tokens, dim_v = out  # com.microsoft: (B, N, C) out
    if is_op(node, "Attention", MICROSOFT):  # x (B, N, K), weight (K, q + k + v)
        dim = (ins[1][1] - dim_v) // 2
        return batch * tokens * (ins[1][0] * ins[1][1] + tokens * (dim + dim_v))
    if len(ins[0]) == 5:  # q, k and v packed: (B, N, heads, 3, width)
        keys, dim = tokens, ins[0][2] * ins[0][4]
    else:  # query (B, N, C); key (B, M, C) or (B, heads, M, width)
        keys, dim = ins[1][-2], ins[0][-1]
    return batch * tokens * keys * (dim + dim_v)
