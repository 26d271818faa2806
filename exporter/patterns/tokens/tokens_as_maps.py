"""Ways between tokens and maps in one form: a transpose of four axes at the convolution, a plain view beside the tokens.

DaViT (arXiv:2204.03645) leaves and enters the layout of convolutions around every block, flattened on the way:

    m (B, C, H, W) > Reshape (B, C, HW) > Transpose (B, HW, C)    becomes    m > Transpose (B, H, W, C) > Reshape (B, HW, C)
    t (B, HW, C) > Transpose (B, C, HW) > Reshape (B, C, H, W)    becomes    t > Reshape (B, H, W, C) > Transpose (B, C, H, W)

ONNX Runtime and OpenVINO do such a transpose as part of the reorder that the convolution needs anyway, TensorRT reads it as
the channels-last layout. Only sizes that return to a map are touched: the tokens of a plain ViT stay as they are. Four axes
whose last one a softmax runs over are no map but a distribution each, such as the distances of a detector's boxes.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import insert, replace_value
from ....graph.read import attribute, is_op, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import TO_MAP, TO_TOKENS
from ..matchers.views import merge_reshapes, merge_transposes, reshaped

SWAP = (0, 2, 1)
Map = tuple[int, int]


class TokensAsMaps(Pattern):
    """Write every way between tokens and map with one transpose of four axes; counts the ways rewritten."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count, maps, changed = 0, set[Map](), True
        while changed:  # views that were merged may be a way now
            found = [size for node in list(model.graph) if (size := self._to_map(model, node)) is not None]
            maps.update(found)
            tokens = sum([self._to_tokens(model, node, maps) for node in list(model.graph)])
            changed = bool(found or tokens)
            count += len(found) + tokens
            while changed and merge_reshapes(model) + merge_transposes(model):
                pass
        return count

    def _to_map(self, model: ir.Model, node: ir.Node) -> Map | None:
        """Transpose (B, C, HW) > Reshape (B, C, H, W); (H, W) where it was rewritten."""
        if node.op_type != "Reshape" or node.domain:
            return None
        source, shape = node.inputs[0], sizes(node.outputs[0])
        swap = source.producer() if source is not None else None
        if (
            not _is_swap(swap)
            or shape is None
            or len(shape) != 4
            or not all(isinstance(size, int) for size in shape[1:])
        ):
            return None
        tokens = swap.inputs[0]  # type: ignore[union-attr]
        before = sizes(tokens)
        batch, channels, height, width = shape
        if before != (batch, int(height) * int(width), channels):  # type: ignore[arg-type]
            return None  # heads of an attention block, no map
        if any(_over_the_last(usage.node) for usage in node.outputs[0].uses()):
            return None  # distributions, no map
        if only_consumer(source) is not node:
            self.decline(node, "the transposed tokens have other uses")
            return None
        view = reshaped(model, node, tokens, (batch, height, width, channels))  # type: ignore[arg-type]
        replace_value(node.outputs[0], insert(node, "Transpose", [view], perm=list(TO_MAP), shape=shape))
        model.graph.remove([node, swap], safe=True)  # type: ignore[list-item]
        return int(height), int(width)  # type: ignore[arg-type]

    def _to_tokens(self, model: ir.Model, node: ir.Node, maps: set[Map]) -> int:
        """Reshape (B, C, HW) > Transpose (B, HW, C), for the sizes that come back."""
        if not _is_swap(node):
            return 0
        flat = node.inputs[0].producer() if node.inputs[0] is not None else None
        if flat is None or flat.op_type != "Reshape" or flat.domain:
            return 0
        source, shape = flat.inputs[0], sizes(node.outputs[0])
        before = sizes(source)
        if before is None or len(before) != 4 or shape is None or before[2:] not in maps:
            return 0
        if shape[2] != before[1] or shape[1] != before[2] * before[3]:  # type: ignore[operator]
            return 0
        if only_consumer(flat.outputs[0]) is not node:
            self.decline(node, "the flattened map has other uses")
            return 0
        turned_shape = tuple(before[axis] for axis in TO_TOKENS)
        turned = insert(node, "Transpose", [source], perm=list(TO_TOKENS), shape=turned_shape)
        replace_value(node.outputs[0], reshaped(model, node, turned, shape))
        model.graph.remove([node, flat], safe=True)
        return 1


def _is_swap(node: ir.Node | None) -> bool:
    turn = node is not None and node.op_type == "Transpose" and not node.domain
    return turn and tuple(attribute(node, "perm", ())) == SWAP  # type: ignore[arg-type]


def _over_the_last(node: ir.Node) -> bool:
    """Whether a node is a softmax over the last of four axes, or a product: both read heads."""
    return is_op(node, "MatMul") or (is_op(node, "Softmax") and attribute(node, "axis", -1) in (-1, 3))
