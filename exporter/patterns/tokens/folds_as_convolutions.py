"""Patches summed back onto a map (torch's ``fold``) as a transposed convolution: TensorRT has no Col2Im.

    x (B, C k k, N) > Col2Im > y (B, C, H, W)
    x > Reshape (B C, k k, n, m) > ConvTranspose with one-hot kernels (k k, 1, k, k) > Reshape (B, C, H, W)
    x > Reshape (B, C, k, k, n, m) > Transpose > Reshape (B, C, H, W)          where patches lie side by side and fill the map

N = n m patches of k x k pixels each; every other number of axes alike. Kernel i is 1 at place i and 0 elsewhere, so each pixel is
the same sum as before. Strides and pads are those of the node; what they leave over at the far ends is output_padding, and
dilations are zeros in the kernels, since TensorRT-RTX has no transposed convolution that is strided and dilated.
VOLO's outlook attention (arXiv:2106.13112) writes its values back so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from ....graph.edit import add_constant, insert, replace_value, sweep
from ....graph.read import attribute, constant, is_op, sizes
from ..base import Pattern
from ..matchers.views import reshaped

MOST_AXES = 3  # of a map: what engines convolve
MOST_WEIGHTS = 1 << 22  # numbers in the one-hot kernels: patches of 45 x 45
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


class FoldsAsConvolutions(Pattern):
    """Write Col2Im as a transposed convolution, or as views where no patches overlap; refuses shapes that are not known."""

    better_after = ("FoldConstants", "FoldShapes")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if not is_op(node, "Col2Im"):
                continue
            found = _read(node)
            if isinstance(found, str):
                self.decline(node, found)
                continue
            value = node.inputs[0]
            assert value is not None
            made = found.side_by_side(model, node, value) if found.fills else found.convolved(model, node, value)
            replace_value(node.outputs[0], made)
            count += 1
        if count:
            sweep(model)
        return count


@dataclass(frozen=True)
class _Fold:
    """Sizes along each axis of the map."""

    batch: int | str | None
    channels: int
    image: tuple[int, ...]
    block: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]  # of all axes before, then of all axes behind
    dilations: tuple[int, ...]

    @property
    def room(self) -> tuple[int, ...]:
        """How far the first patch may be moved, in pixels."""
        axes = len(self.image)
        return tuple(size + self.pads[i] + self.pads[axes + i] - self.reach[i] for i, size in enumerate(self.image))

    @property
    def blocks(self) -> tuple[int, ...]:
        """How many patches there are."""
        return tuple(size // step + 1 for size, step in zip(self.room, self.strides, strict=True))

    @property
    def left_over(self) -> tuple[int, ...]:
        """Pixels at the far ends that no patch reaches."""
        return tuple(size % step for size, step in zip(self.room, self.strides, strict=True))

    @property
    def fills(self) -> bool:
        """Whether every pixel belongs to one patch and the pixels of a patch are neighbours."""
        whole = not any((*self.pads, *self.left_over)) and self.strides == self.block
        return whole and self.reach == self.block

    @property
    def reach(self) -> tuple[int, ...]:
        """Of a patch, pixels that dilations leave out included."""
        return tuple(step * (size - 1) + 1 for step, size in zip(self.dilations, self.block, strict=True))

    @property
    def weights(self) -> int:
        """Numbers in the kernels."""
        return prod(self.block) * prod(self.reach)

    def side_by_side(self, model: ir.Model, node: ir.Node, value: ir.Value) -> ir.Value:
        axes = len(self.image)
        apart = reshaped(model, node, value, [self.batch, self.channels, *self.block, *self.blocks])
        perm = [0, 1, *(at for axis in range(axes) for at in (2 + axes + axis, 2 + axis))]
        shape = [(sizes(apart) or ())[at] for at in perm]
        beside = insert(node, "Transpose", [apart], perm=perm, shape=shape)
        return reshaped(model, node, beside, [self.batch, self.channels, *self.image])

    def convolved(self, model: ir.Model, node: ir.Node, value: ir.Value) -> ir.Value:
        assert value.dtype is not None
        places = prod(self.block)
        kernels = np.zeros((places, 1, *self.reach), value.dtype.numpy())
        apart = tuple(slice(None, None, step) for step in self.dilations)
        kernels[(slice(None), slice(None), *apart)] = np.eye(places).reshape(places, 1, *self.block)
        maps = (
            self.batch * self.channels if isinstance(self.batch, int) else None
        )  # each channel is a picture of its own
        patches = reshaped(model, node, value, [maps, places, *self.blocks])
        folded = insert(
            node, "ConvTranspose", [patches, add_constant(model, "one_hot", kernels)], name=node.name or "",
            kernel_shape=list(self.reach), strides=list(self.strides), pads=list(self.pads), group=1,
            output_padding=list(self.left_over), shape=[maps, 1, *self.image],
        )  # fmt: skip
        return reshaped(model, node, folded, [self.batch, self.channels, *self.image])


def _read(node: ir.Node) -> _Fold | str:
    """What the node computes, or why it stays."""
    shape, value = sizes(node.inputs[0]), node.inputs[0]
    image, block = ([int(size) for size in found] if (found := constant(told)) is not None else None for told in node.inputs[1:3])  # fmt: skip
    if image is None or block is None:
        return "the size of its map or of its patches is computed in the graph, expected constants"
    if value is None or shape is None or len(shape) != 3 or not isinstance(shape[1], int):
        return f"its input is {shape}, expected three axes and a known number of channels"
    if value.dtype not in FLOATS:
        return f"its input is of type {value.dtype}, expected one that engines convolve"
    axes = len(image)
    if axes > MOST_AXES or len(block) != axes or shape[1] % prod(block):
        return f"a map of {axes} axes from {shape[1]} channels of patches {block}, expected at most {MOST_AXES} axes"
    strides = tuple(attribute(node, "strides", [1] * axes))
    dilations = tuple(attribute(node, "dilations", [1] * axes))
    pads = tuple(attribute(node, "pads", [0] * (2 * axes)))
    made = _Fold(shape[0], shape[1] // prod(block), tuple(image), tuple(block), strides, pads, dilations)
    if min(made.room) < 0 or (isinstance(shape[2], int) and shape[2] != prod(made.blocks)):
        return f"{shape[2]} patches, and {made.blocks} fit into its map"
    if not made.fills and made.weights > MOST_WEIGHTS:
        return f"kernels for overlapping patches of {block} would have {made.weights} numbers"
    return made
