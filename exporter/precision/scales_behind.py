"""typed, quantised graph: the channel scales of a weight move behind the product, where 16 bits can hold them.

    x_q, w_q (K, N), scale (N,)     DequantizeLinear(w_q, scale) > MatMul > Sub
                                    DequantizeLinear(w_q, top) > MatMul > Mul(scale / top) > Sub        top: a power of two

Both say the same, but not to TensorRT-RTX (read in engines of 1.7; the generated kernels are in them as source):

- A MatMul of int8 with channel scales writes its *sum of codes* in fp16 and multiplies by the scales in the next kernel.
  That sum leaves fp16 at 65504: in all 48 layers of ConViT-tiny (benchmarks/int8_kernels).  One scale for the tensor is
  applied in float32 inside the product, so what is written is as large as the layer's output.
- A layer without bias, whose columns a view picks apart (ConViT's q, k and v), would have its codes permuted, and for that
  they are widened to fp16 at run time: the layer is int8 in name only.  The Mul keeps the views below it.
- A convolution writes the sum in float32, twice the bytes.  With one scale it writes fp16, and its bias is fused.
- Products of one input with equal scales become one kernel: q, k and v. Channel scales differ, ``top`` is made equal.

A convolution that feeds another one whose weights are constants in floating point (a depthwise one) hands its factors to
those weights, and no kernel stands between the two.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant, insert, sweep
from ...graph.read import attribute, constant, is_op

if TYPE_CHECKING:
    import onnx_ir as ir

SMALLEST = 2.0**-10  # a factor below it would leave fp16 when a bias or a neighbour's weight takes it over


def scales_behind(model: ir.Model, ops: Collection[str] = ("MatMul",), keep: Collection[str] = ()) -> int:
    """Change ``model`` (float32, Q/DQ) in place at the products ``ops`` not named in ``keep``; how many places."""
    found = {}
    for node in model.graph:
        scale = channel_scales(node) if is_op(node, ops) and node.name not in keep else None
        if scale is not None:
            found[node] = scale
    tops: dict[ir.Value | None, float] = {}
    for node, scale in found.items():
        tops[_source(node)] = max(tops.get(_source(node), 0.0), float(scale.max()))
    powers = {node: np.float32(2.0 ** np.ceil(np.log2(tops[_source(node)]))) for node in found}
    for node, scale in found.items():
        _move(model, node, scale, powers[node])
    if found:
        sweep(model)
    return len(found)


def _source(node: ir.Node) -> ir.Value | None:
    """What the codes of the activation were made from: products of one source share ``top`` and can become one kernel."""
    return node.inputs[0].producer().inputs[0].producer().inputs[0]  # type: ignore[union-attr]


def _move(model: ir.Model, node: ir.Node, scale: np.ndarray, top: np.float32) -> None:
    """Move the scales of one product."""
    ratio = (scale / top).astype(np.float32)  # exact: a power of two changes no digit
    weight = node.inputs[1].producer()  # type: ignore[union-attr]
    assert weight is not None
    scalar = add_constant(model, f"{node.name}_weight_top", top)
    widened = insert(
        node, "DequantizeLinear", [weight.inputs[0], scalar], output=f"{node.name}_weight_codes_real",
        name=str(weight.name), dtype=weight.outputs[0].dtype, shape=weight.outputs[0].shape,
    )  # fmt: skip
    node.replace_input_with(1, widened)
    if is_op(node, "Conv") and _into_the_next(model, node, ratio):
        return
    shape = (-1, 1, 1) if is_op(node, "Conv") else (-1,)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        node.resize_inputs(2)
    y, readers = node.outputs[0], list(node.outputs[0].uses())
    name, dtype = str(y.name), y.dtype
    y.name = f"{name}_unscaled"
    after = _after(node)
    factor = add_constant(model, f"{node.name}_weight_ratio", ratio.reshape(shape))
    final = name if bias is None else f"{name}_unbiased"
    result = insert(after, "Mul", [y, factor], output=final, name=f"{node.name}_scale", dtype=dtype, shape=y.shape)
    if bias is not None:
        array = constant(bias)
        assert array is not None
        vector = add_constant(model, f"{node.name}_bias_behind", array.reshape(shape))
        result = insert(
            after, "Add", [result, vector], output=name, name=f"{node.name}_bias", dtype=dtype, shape=y.shape
        )
    for use in readers:
        use.node.replace_input_with(use.idx, result)


def channel_scales(node: ir.Node) -> np.ndarray | None:
    """(N,) scales of the output channels of a product of two quantised operands, None where it is no such product."""
    x, weight = (_dequantised(value) for value in node.inputs[:2])
    if x is None or weight is None or constant(x.inputs[0]) is not None or node.outputs[0].is_graph_output():
        return None
    scale, axis = constant(weight.inputs[1]), attribute(weight, "axis", 1)
    codes = weight.inputs[0]
    if scale is None or scale.ndim != 1 or scale.size < 2 or attribute(weight, "block_size", 0) or codes is None:
        return None
    point = constant(weight.inputs[2]) if len(weight.inputs) > 2 else None
    if codes.shape is None or (point is not None and np.any(point.astype(np.float32))) or not (scale > 0).all():
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
        return None
    rank = len(codes.shape)
    return scale if axis % rank == (0 if is_op(node, "Conv") else rank - 1) else None


def _dequantised(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that makes ``value``; of an activation, only where it undoes a QuantizeLinear."""
    node = value.producer() if value is not None else None
    if not is_op(node, "DequantizeLinear"):
        return None
    codes = node.inputs[0]
    maker = codes.producer() if codes is not None else None
    return node if constant(codes) is not None or is_op(maker, "QuantizeLinear") else None


def _after(node: ir.Node) -> ir.Node:
    """The node that comes next in the graph: what is put before it stands behind ``node`` and before every reader."""
    graph = node.graph
    assert graph is not None
    found = False
    for other in graph:
        if found:
            return other
        found = other is node
    raise ValueError(f"{node.name} is the last node, and no graph output")  # channel_scales looked


def _into_the_next(model: ir.Model, node: ir.Node, ratio: np.ndarray) -> bool:
    """A convolution right behind takes the factors into its own weights; the bias before it is divided by them."""
    y, uses = node.outputs[0], list(node.outputs[0].uses())
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if len(uses) != 1 or y.is_graph_output() or ratio.min() < SMALLEST or uses[0].idx != 0:
        return False
    after = uses[0].node
    weight = constant(after.inputs[1]) if is_op(after, "Conv") else None
    if weight is None or not np.issubdtype(weight.dtype, np.floating):
        return False
    groups = attribute(after, "group", 1)
    spread = ratio.reshape(groups, 1, -1).repeat(len(weight) // groups, axis=1).reshape(len(weight), -1)
    folded = (weight * spread.reshape(*spread.shape, *(1,) * (weight.ndim - 2))).astype(weight.dtype)
    after.replace_input_with(1, add_constant(model, f"{after.name}_weight_rescaled", folded))
    if bias is not None:
        node.replace_input_with(2, add_constant(model, f"{node.name}_bias_unscaled", (bias / ratio).astype(bias.dtype)))
    y.name = f"{y.name}_unscaled"
    return True
