"""Window attention: the cut into windows and the split into heads become one Reshape and one Transpose.

Paper: Ding et al., DaViT, arXiv:2204.03645 (as in Swin, without shift or position bias). S rows and columns a window, G x G'
windows an image, g = 3 heads (q, k and v side by side) before the attention, g = heads after it:

    x (B, GS, G'S, C) > Reshape, Transpose, Reshape (B G G', S S, C) > MatMul, Add > Reshape (.., g, d) > Transpose (.., g, SS, d)
    x (B, GS, G'S, C) > MatMul, Add > Reshape (B, G, S, G', S, g, d) > Transpose > Reshape (B G G', g, S S, d)

    (B G G', g, SS, d) > Transpose > Reshape (B G G', SS, C) > MatMul, Add > Reshape, Transpose, Reshape (B, GS, G'S, C)
    (B G G', g, SS, d) > Reshape (B, G, G', g, S, S, d) > Transpose > Reshape (B, GS, G'S, C) > MatMul, Add

A linear layer looks at one token, so it may stand on either side of the cut; padding stays before it and is not masked.
TensorRT then reads q, k and v of all windows from the product in one kernel, and writes the result once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import Linear, linear
from ..matchers.views import reshaped

EXCHANGE = (0, 1, 3, 2, 4, 5)  # (B, G, S, G', S, C) <> (B, G, G', S, S, C)
HEADS_SECOND = (0, 2, 1, 3)
CUT = (0, 1, 3, 5, 2, 4, 6)  # (B, G, S, G', S, g, d) > (B, G, G', g, S, S, d)
JOIN = (0, 1, 4, 2, 5, 3, 6)  # (B, G, G', g, S, S, d) > (B, G, S, G', S, g, d)


@dataclass(frozen=True)
class Step:
    """A Transpose between two Reshapes: ``source`` seen as ``inside``, turned, seen as ``result``."""

    source: ir.Value
    inside: tuple[int | str, ...]
    turned: tuple[int | str, ...]
    result: ir.Value


class MergeWindows(Pattern):
    """Move the linear layers of window attention out of the windows; counts cuts and joins."""

    better_after = ("FoldShapes", "PackedHeads", "DropZeroPads")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type == "MatMul" and not node.domain and node.graph is not None:
                reader = only_consumer(node.outputs[0])
                found = linear(reader.outputs[0]) if reader is not None and reader.op_type == "Add" else None
                found = found or linear(node.outputs[0])
                if found is not None:
                    count += self._cut(model, found) + self._join(model, found)
        if count:
            sweep(model)
        return count

    def _cut(self, model: ir.Model, found: Linear) -> int:
        """Windows > linear > heads."""
        windows = window_cut(found.x)
        if windows is None or windows.turned[0] != windows.inside[0]:
            return 0
        heads = _heads_after(found.y)
        if heads is None or not _closed(heads.inside) or not _closed(sizes(heads.result)):
            self.decline(found.matmul, "the product of a window is not split into heads by one Reshape and Transpose")
            return 0
        if only_consumer(found.x) is not found.matmul:
            self.decline(found.matmul, "the windows have other uses")
            return 0
        batch, high, side, wide, across, _ = windows.inside
        groups, width = heads.inside[2:]
        last = found.add or found.matmul
        source = sizes(windows.source) or ()
        product = layer_on(found, last, windows.source, source)
        view = reshaped(model, last, product, (batch, high, side, wide, across, groups, width))
        shape = (batch, high, wide, groups, side, across, width)
        view = insert(last, "Transpose", [view], perm=CUT, shape=shape)
        replace_value(heads.result, reshaped(model, last, view, sizes(heads.result) or ()))
        return 1

    def _join(self, model: ir.Model, found: Linear) -> int:
        """Heads > linear > image."""
        heads, image = _heads_before(found.x), window_join(found.y)
        if heads is None or image is None:
            return 0
        if only_consumer(found.x) is not found.matmul:
            self.decline(found.matmul, "the tokens of the windows have other uses")
            return 0
        batch, high, wide, side, across, _ = image.inside
        _, groups, tokens, width = heads.inside
        after = sizes(image.result) or ()
        if not _closed(heads.inside) or not _closed(after) or tokens != side * across:  # type: ignore[operator]
            return 0
        last = found.add or found.matmul
        view = reshaped(model, last, heads.source, (batch, high, wide, groups, side, across, width))
        view = insert(last, "Transpose", [view], perm=JOIN, shape=(batch, high, side, wide, across, groups, width))
        shape = (batch, high * side, wide * across, groups * width)  # type: ignore[operator]
        product = layer_on(found, last, reshaped(model, last, view, shape), shape)
        replace_value(
            image.result,
            product if after == (*shape[:3], found.outputs) else reshaped(model, last, product, after),
        )
        return 1


def layer_on(found: Linear, before: ir.Node, x: ir.Value, shape: tuple) -> ir.Value:
    """The linear layer on another value, with its own weights."""
    after = (*shape[:-1], found.outputs)
    value = insert(before, "MatMul", [x, found.matmul.inputs[1]], name=found.matmul.name or "", shape=after)
    if found.add is not None:
        bias = next(value for value in found.add.inputs if constant(value) is not None)
        value = insert(before, "Add", [value, bias], name=found.add.name or "", shape=after)
    return value


def _step(first: ir.Node | None, turn: ir.Node | None, last: ir.Node | None, perm: tuple[int, ...]) -> Step | None:
    """Reshape > Transpose > Reshape by their nodes, each read by the next alone, no open size but the first."""
    if first is None or turn is None or last is None:
        return None
    if (first.op_type, turn.op_type, last.op_type) != ("Reshape", "Transpose", "Reshape"):
        return None
    inside, turned = sizes(first.outputs[0]), sizes(turn.outputs[0])
    if inside is None or turned is None or len(inside) != len(perm) or tuple(attribute(turn, "perm", ())) != perm:
        return None
    if not all(isinstance(size, int) for size in inside[1:]) or None in (
        inside[0],
        *(sizes(last.outputs[0]) or (None,)),
    ):
        return None
    if only_consumer(first.outputs[0]) is not turn or only_consumer(turn.outputs[0]) is not last:
        return None
    source = first.inputs[0]
    assert source is not None
    return Step(source, inside, turned, last.outputs[0])  # type: ignore[arg-type]


def window_cut(tokens: ir.Value) -> Step | None:
    """The cut into windows that ends in ``tokens`` (B G G', S S, C), from an image (B, GS, G'S, C) or (B, GS G'S, C)."""
    last = tokens.producer()
    turn = _maker(last)
    step = _step(_maker(turn), turn, last, EXCHANGE)
    if step is None:
        return None
    batch, high, wide, side, across, channels = step.turned
    image, shape = sizes(step.source), sizes(tokens)
    if image is None or shape is None or len(shape) != 3 or shape[1:] != (side * across, channels):  # type: ignore[operator]
        return None
    if image[0] != batch or image[-1] != channels or not all(isinstance(size, int) for size in image[1:]):
        return None
    rows = math.prod(size for size in image[1:-1] if isinstance(size, int))
    return step if rows == math.prod((high, side, wide, across)) else None


def window_join(product: ir.Value) -> Step | None:
    """The join of windows that starts at ``product`` (B G G', S S, C), to an image (B, GS, G'S, C) or (B, GS G'S, C)."""
    first = only_consumer(product)
    turn = only_consumer(first.outputs[0]) if first is not None else None
    step = _step(first, turn, only_consumer(turn.outputs[0]) if turn is not None else None, EXCHANGE)
    if step is None:
        return None
    shape, after = sizes(product), sizes(step.result)
    if shape is None or len(shape) != 3 or after is None or after[0] != step.inside[0] or after[-1] != shape[2]:
        return None
    return step


def _heads_after(product: ir.Value) -> Step | None:
    """(W, N, C) > Reshape (W, N, g, d) > Transpose (W, g, N, d), whatever reads it then."""
    view = only_consumer(product)
    turn = only_consumer(view.outputs[0]) if view is not None else None
    if view is None or turn is None or view.op_type != "Reshape" or turn.op_type != "Transpose":
        return None
    inside, turned, tokens = sizes(view.outputs[0]), sizes(turn.outputs[0]), sizes(product)
    if inside is None or turned is None or tokens is None or len(inside) != 4 or inside[:2] != tokens[:2]:
        return None
    if tuple(attribute(turn, "perm", ())) != HEADS_SECOND:
        return None
    return Step(product, inside, turned, turn.outputs[0])  # type: ignore[arg-type]


def _heads_before(tokens: ir.Value) -> Step | None:
    """(W, g, N, d) > Transpose (W, N, g, d) > Reshape (W, N, C)."""
    view = tokens.producer()
    turn = _maker(view)
    if view is None or turn is None or view.op_type != "Reshape" or turn.op_type != "Transpose":
        return None
    inside, after = sizes(turn.inputs[0]), sizes(tokens)
    if inside is None or after is None or len(inside) != 4 or len(after) != 3 or inside[0] != after[0]:
        return None
    if tuple(attribute(turn, "perm", ())) != HEADS_SECOND or only_consumer(turn.outputs[0]) is not view:
        return None
    return Step(turn.inputs[0], inside, inside, tokens)  # type: ignore[arg-type]


def _closed(shape: tuple[int | str | None, ...] | None) -> bool:
    """Whether at most the first size is open, so that a Reshape can spell the shape."""
    return shape is not None and all(isinstance(size, int) for size in shape[1:])


def _maker(node: ir.Node | None) -> ir.Node | None:
    """The node that makes the first input of ``node``."""
    return node.inputs[0].producer() if node is not None and node.inputs[0] is not None else None
