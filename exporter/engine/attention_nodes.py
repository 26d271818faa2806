"""Attention nodes of ONNX (opset 23) -> products and a softmax, where the engine's builder does not take the node.

    Q (B, H, L, E), K (B, H, S, E), V (B, H, S, F), mask > Attention > (B, H, L, F)
    Q * r > MatMul with (K * r)^T > Add mask > Softmax > [0 where masked] > MatMul with V        r: root of the scale

TensorRT's parser takes the node whatever its type.  The builder has it in 16 bits and for heads of at most 256 channels;
in float32, or with wider heads, it ends without an engine, and values of another width than the keys are not even parsed.
A row that is masked everywhere is 0, as in the node.  Heads packed in (B, L, H * E) are taken apart and put together again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant, insert, take_over
from ...graph.read import attribute, is_op, sizes
from ...runtime.errors import UserMistake

if TYPE_CHECKING:
    import onnx_ir as ir

    Shape = tuple[int | str | None, ...]

MOST_CHANNELS = 256  # of a head: fp16 of 256 builds, 264 does not (TensorRT-RTX 1.7)
OPERANDS = 3  # Q, K and V; the mask is the fourth input
HEADS = ("q_num_heads", "kv_num_heads")
PLAIN = {"scale", "is_causal", "softmax_precision", *HEADS}  # attributes that the written-out form has


def write_out_attention(model: ir.Model) -> int:
    """Write out, in place, the nodes that would not build; how many.

    Raises:
        UserMistake: one of them has more than the written-out form: a cache, grouped heads, a soft cap.
    """
    nodes = [node for node in model.graph if is_op(node, "Attention") and not _builds(node)]
    for node in nodes:
        if why := _more_than_written_out(node):
            raise UserMistake(
                f"TensorRT does not build the Attention node {node.name}, and it cannot be written out",
                found=why,
                expected="16-bit values and heads of at most 256 channels, or a node with as many heads of keys as of queries",
                because="the parser reads the node in any type, the builder does not have it",
                attempt="--opset 20: attention is then exported as products and a softmax",
            )
        _write_out(model, node)
    return len(nodes)


def _builds(node: ir.Node) -> bool:
    import onnx_ir as ir

    operands = node.inputs[:OPERANDS]
    kinds = {value.dtype for value in operands if value is not None}
    if kinds - {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}:
        return False
    widths = [shape[3] if shape is not None else None for shape in _shapes(node)]
    return widths[1] == widths[2] and all(not isinstance(width, int) or width <= MOST_CHANNELS for width in widths)


def _shapes(node: ir.Node) -> list[Shape | None]:
    """Of Q, K and V as (B, heads, tokens, channels), None where nothing is known."""
    found: list[Shape | None] = []
    for value, name in zip(node.inputs[:OPERANDS], (HEADS[0], HEADS[1], HEADS[1]), strict=True):
        shape = sizes(value)
        if shape is not None and len(shape) == 3 and (heads := attribute(node, name, 0)):
            width = shape[2]
            shape = (shape[0], heads, shape[1], width // heads if isinstance(width, int) else None)
        found.append(shape if shape is not None and len(shape) == 4 else None)
    return found


def _more_than_written_out(node: ir.Node) -> str:
    """What the node has beside the plain form, in words."""
    q, k, v = _shapes(node)
    if q is None or k is None or v is None:
        return "operands of unknown shapes"
    if not (q[1] == k[1] == v[1]):
        return f"{q[1]} heads of queries over {k[1]} of keys"
    if any(value is not None for value in node.inputs[OPERANDS + 1 :]):
        return "keys and values of earlier calls"
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "more than one output"
    if strange := [name for name in node.attributes if name not in PLAIN and attribute(node, name)]:
        return f"the attribute {strange[0]}"
    if not isinstance(q[3], int):
        return "heads of unknown width"
    if attribute(node, "is_causal", 0) and not (isinstance(q[2], int) and isinstance(k[2], int)):
        return "causal attention over an open number of tokens"
    return ""


def _write_out(model: ir.Model, node: ir.Node) -> None:
    import onnx_ir as ir

    packed = len(sizes(node.inputs[0]) or ()) == 3
    q, k, v = (_heads_apart(model, node, index, shape) for index, shape in enumerate(_shapes(node)))
    mask = node.inputs[OPERANDS] if len(node.inputs) > OPERANDS else None
    assert q.dtype is not None
    (batch, heads, rows, channels), columns = sizes(q) or (), (sizes(k) or ())[2]
    assert isinstance(channels, int)
    name, kind = str(node.name), q.dtype.numpy()
    scale = attribute(node, "scale", 1 / math.sqrt(channels))
    root = add_constant(model, f"{name}_root_of_scale", np.asarray(math.sqrt(scale), kind))
    turned = insert(
        node, "Transpose", [k], perm=[0, 1, 3, 2], name=f"{name}/keys", shape=(batch, heads, channels, columns)
    )
    queries = insert(node, "Mul", [q, root], name=f"{name}/scaled_queries", shape=sizes(q))
    keys = insert(node, "Mul", [turned, root], name=f"{name}/scaled_keys", shape=sizes(turned))
    square = (batch, heads, rows, columns)
    scores = insert(node, "MatMul", [queries, keys], name=f"{name}/scores", shape=square)
    masks = [mask] if mask is not None else []
    if attribute(node, "is_causal", 0):
        assert isinstance(rows, int) and isinstance(columns, int)
        masks.append(add_constant(model, f"{name}_causal", np.tri(rows, columns, dtype=bool)))
    kept = []
    for one in masks:
        if one.dtype == ir.DataType.BOOL:
            kept.append(one)
        else:  # minus infinity says "not this one", any other number is added
            never = add_constant(model, f"{name}_never", np.asarray(-np.inf, kind))
            lowest = add_constant(model, f"{name}_lowest", np.asarray(np.finfo(kind).min, kind))
            scores = insert(
                node, "Add", [scores, insert(node, "Max", [one, lowest], name=f"{name}/bias", shape=sizes(one))],
                name=f"{name}/biased", shape=square,
            )  # fmt: skip
            blocked = insert(
                node, "Equal", [one, never], name=f"{name}/blocked", dtype=ir.DataType.BOOL, shape=sizes(one)
            )
            kept.append(insert(node, "Not", [blocked], name=f"{name}/kept", shape=sizes(one)))
    for number, one in enumerate(kept):
        lowest = add_constant(model, f"{name}_lowest", np.asarray(np.finfo(kind).min, kind))
        scores = insert(
            node, "Where", [one, scores, lowest], name=f"{name}/masked_{number}", dtype=q.dtype, shape=square
        )
    share = insert(node, "Softmax", [scores], axis=-1, name=f"{name}/shares", shape=square)
    for number, one in enumerate(kept):
        nothing = add_constant(model, f"{name}_nothing", np.asarray(0, kind))
        share = insert(
            node, "Where", [one, share, nothing], name=f"{name}/shares_{number}", dtype=q.dtype, shape=square
        )
    made = insert(node, "MatMul", [share, v], name=f"{name}/mixed", shape=(batch, heads, rows, (sizes(v) or ())[3]))
    if packed:
        made = insert(node, "Transpose", [made], perm=[0, 2, 1, 3], name=f"{name}/heads_last")
        flat = add_constant(model, f"{name}_flat", np.array([0, 0, -1], np.int64))
        made = insert(node, "Reshape", [made, flat], name=f"{name}/heads_together", shape=sizes(node.outputs[0]))
    take_over(node, made)


def _heads_apart(model: ir.Model, node: ir.Node, index: int, shape: Shape | None) -> ir.Value:
    """An operand as (B, heads, tokens, channels)."""
    value = node.inputs[index]
    assert value is not None and shape is not None
    if len(sizes(value) or ()) == 4:
        return value
    split = add_constant(model, f"{node.name}_split_{index}", np.array([0, 0, shape[1], -1], np.int64))
    batch, heads, tokens, channels = shape
    apart = insert(
        node, "Reshape", [value, split], name=f"{node.name}/split_{index}", shape=(batch, tokens, heads, channels)
    )
    return insert(node, "Transpose", [apart], perm=[0, 2, 1, 3], name=f"{node.name}/heads_{index}", shape=shape)
