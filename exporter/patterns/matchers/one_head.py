"""Attention of one head, from whichever side the probabilities are multiplied.

    q (B, N, w), k^T (B, w, M) > scores (B, N, M) > Softmax p        p v > (B, N, d), or v^T p^T > (B, d, N)

Each may have a second axis of 1, the head. Three axes whose first is pictures times heads are no single head.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ....graph.edit import insert
from ....graph.read import attribute, constant, is_op, only_consumer, sizes
from .attention_block import origins


@dataclass(frozen=True)
class OneHead:
    """``v`` is (.., M, d), or (.., d, M) where it stands ``from_left`` in the product ``context``."""

    q: ir.Value
    k: ir.Value
    v: ir.Value
    context: ir.Node
    from_left: bool
    batch: int | str
    rows: int
    width: int
    keys: int
    values: int


def one_head(softmax: ir.Node, scores: ir.Node) -> OneHead | None:
    """The attention around a softmax over the last axis of (scaled, biased) ``scores``; None where it has not one head."""
    probabilities, (q, k) = softmax.outputs[0], scores.inputs
    reader = only_consumer(probabilities)
    turn = reader if is_op(reader, "Transpose") else None
    context = only_consumer(turn.outputs[0]) if turn is not None else reader
    if not is_op(context, "MatMul") or (turn is not None and not _swaps(turn)):
        return None
    side = 0 if turn is None else 1
    v = context.inputs[1 - side]
    if q is None or k is None or v is None or context.inputs[side] is not (turn or softmax).outputs[0]:
        return None
    parts = [_three(value) for value in (q, k, v, probabilities)]
    ranks = {len(sizes(value) or ()) for value in (q, k, v, probabilities)}
    if None in parts or len(ranks) != 1 or attribute(softmax, "axis", -1) not in (-1, max(ranks) - 1):
        return None
    (batch, rows, width), (also, wide, keys), (last, *inner), whole = parts  # type: ignore[misc]
    if not batch == also == last or wide != width or whole != (batch, rows, keys) or inner[side] != keys:
        return None
    found = origins(scores, context) if turn is None else ""
    if not isinstance(found, str) and found[0].heads != 1:
        return None
    return OneHead(q, k, v, context, turn is not None, batch, rows, width, keys, inner[1 - side])


def turned(before: ir.Node, value: ir.Value) -> ir.Value:
    """The last two axes exchanged."""
    shape = sizes(value) or ()
    rank = len(shape)
    perm = [*range(rank - 2), rank - 1, rank - 2]
    return insert(before, "Transpose", [value], perm=perm, shape=tuple(shape[axis] for axis in perm))


def _swaps(node: ir.Node) -> bool:
    rank = len(sizes(node.inputs[0]) or ())
    return tuple(attribute(node, "perm", ())) == (*range(rank - 2), rank - 1, rank - 2)


def _three(value: ir.Value) -> tuple[int | str, int, int] | None:
    """(batch, rows, columns) of three axes, or of four with one head; only the first may be open, and must have a name."""
    shape = sizes(value)
    if shape is None or len(shape) not in (3, 4) or shape[0] is None or constant(value) is not None:
        return None
    if len(shape) == 4 and shape[1] != 1:
        return None
    rows, columns = shape[-2:]
    if not isinstance(rows, int) or not isinstance(columns, int) or rows < 1 or columns < 1:
        return None
    return shape[0], rows, columns
