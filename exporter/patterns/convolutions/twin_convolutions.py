"""Two heads of a detector that read the same maps: one convolution a level, cut apart behind the join of the levels.

    per level   x (B, C, h, w) > Conv to K > Reshape (B, K, h*w);  x > Conv to S > Reshape (B, S, h*w)
    all levels  > Concat (B, K, N) > Transpose (B, N, K);          > Concat (B, S, N) > Transpose (B, N, S)

    per level   x (B, C, h, w) > Conv to K + S > Reshape (B, K + S, h*w)
    all levels  > Concat (B, K + S, N) > Transpose (B, N, K + S) > Split (B, N, K), (B, N, S)

DAMO-YOLO (arXiv:2211.15444) has K = 80 classes and S = 68 numbers of box sides on three levels. MergeLevels brings the
join into this form. Behind the transpose the cut is a view of what the next kernel reads; before it, or without one, the
pass works too, but TensorRT-RTX then copies the halves (tiny: 92 kernels without this pass, 90 and 88 with).

Other twins of the network, the pairs of 1x1 convolutions in front of each neck stage and CSP stage, stay apart: their halves
go different ways at once, so the cut is a copy (benchmarks/detector_rewrites.md: tiny 96 kernels, 99 with them merged).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import attribute, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import Convolution, convolution

GEOMETRY = ("strides", "dilations", "pads", "auto_pad", "kernel_shape")
CHANNELS, JOINED = 1, 2  # axes of (B, C, h*w)


@dataclass(frozen=True)
class Branch:
    """A convolution, its map with the cells in a row, and the Concat of the levels that alone reads it."""

    layer: Convolution
    flat: ir.Value  # (B, K, h*w)
    join: ir.Node


class MergeTwinConvolutions(Pattern):
    """Merge the branches of every level; refuses where not all inputs of the joins are twins, level by level."""

    runs_after = ("MergeLevels",)

    def apply(self, model: ir.Model) -> int:
        twins: dict[tuple[ir.Node, ...], dict[ir.Value, tuple[Branch, ...]]] = defaultdict(dict)
        for branches in _twins(model.graph):
            twins[tuple(branch.join for branch in branches)][branches[0].flat] = branches
        count = sum(self._merge(model, joins, levels) for joins, levels in twins.items())
        if count:
            sweep(model)
            model.graph.sort()  # what the first join gave may be read before the last join, where the cut stands
        return count

    def _merge(self, model: ir.Model, joins: Sequence[ir.Node], levels: dict[ir.Value, tuple[Branch, ...]]) -> bool:
        ordered = [levels.get(value) for value in joins[0].inputs]  # type: ignore[arg-type]
        if len(set(joins)) < len(joins) or any(branches is None for branches in ordered):
            self.decline(joins[0], "not every level that is joined here is one of two convolutions on the same map")
            return False
        branches = [level for level in ordered if level is not None]
        if any([level[number].flat for level in branches] != list(join.inputs) for number, join in enumerate(joins)):
            self.decline(joins[0], "the two joins have the levels in different orders")
            return False
        widths = [branch.layer.outputs for branch in branches[0]]
        order = {node: place for place, node in enumerate(model.graph)}
        last = max(joins, key=order.__getitem__)
        flats = [self._level(model, last, level) for level in branches]
        shape = [*(sizes(joins[0].outputs[0]) or (None, None, None))]
        shape[1] = sum(widths)
        whole = insert(last, "Concat", flats, axis=JOINED, shape=shape, name=joins[0].name or "")
        ends, perm = _transposes(joins)
        if ends:
            whole = insert(last, "Transpose", [whole], perm=perm, shape=[shape[axis] for axis in perm])
        split = [whole, shared_constant(model, "widths", np.array(widths, np.int64))]
        cut = insert_node(last, "Split", split, axis=perm.index(CHANNELS), outputs=len(widths))
        for end, part in zip(ends or joins, cut.outputs, strict=True):
            part.shape, part.type = end.outputs[0].shape, end.outputs[0].type
            replace_value(end.outputs[0], part)
        return True

    def _level(self, model: ir.Model, before: ir.Node, branches: Sequence[Branch]) -> ir.Value:
        """The convolution of all branches of one level, its cells in a row."""
        layers = [branch.layer for branch in branches]
        first = layers[0].node
        dtype = layers[0].stored.dtype
        name = first.inputs[1].name  # type: ignore[union-attr]
        weight = shared_constant(model, f"{name}_twins", np.concatenate([each.stored for each in layers]))
        bias = shared_constant(
            model, f"{name}_twins_bias", np.concatenate([each.bias for each in layers]).astype(dtype)
        )
        shape, flat = [*(sizes(layers[0].y) or (None,) * 4)], [*(sizes(branches[0].flat) or (None,) * 3)]
        shape[1] = flat[1] = sum(each.outputs for each in layers)
        kept = {key: attribute(first, key) for key in GEOMETRY if key in first.attributes}
        y = insert(before, "Conv", [layers[0].x, weight, bias], shape=shape, name=first.name or "", **kept)
        row = shared_constant(model, "cells_in_a_row", np.array([0, flat[1], -1], np.int64))
        return insert(before, "Reshape", [y, row], shape=flat)


def _transposes(joins: Sequence[ir.Node]) -> tuple[list[ir.Node], list[int]]:
    """The one Transpose behind each join and their common order of axes; none, and the axes in order, without such."""
    ends = [only_consumer(join.outputs[0]) for join in joins]
    found = [end for end in ends if end is not None and end.op_type == "Transpose" and not end.domain]
    perms = {tuple(attribute(end, "perm", ())) for end in found}
    if len(found) < len(joins) or len(perms) != 1 or perms == {()}:
        return [], [0, CHANNELS, JOINED]
    return found, list(perms.pop())


def _twins(graph: ir.Graph) -> list[tuple[Branch, ...]]:
    """Branches of equal geometry on one map, in the order of the graph."""
    found = defaultdict(list)
    for node in graph:
        branch = _branch(convolution(node))
        if branch is not None:
            geometry = tuple((key, attribute(node, key)) for key in GEOMETRY)
            found[branch.layer.x, branch.layer.stored.shape[1:], geometry].append(branch)
    return [tuple(branches) for branches in found.values() if len(branches) > 1]


def _branch(layer: Convolution | None) -> Branch | None:
    """A convolution of one group whose map goes only into a join of levels, cells in a row."""
    if layer is None or layer.groups != 1 or layer.axes != 2:
        return None
    reshape = only_consumer(layer.y)
    if reshape is None or reshape.op_type != "Reshape" or reshape.domain:
        return None
    before, flat = sizes(layer.y), reshape.outputs[0]
    after, join = sizes(flat), only_consumer(flat)
    if before is None or after is None or len(after) != 3 or after[:2] != before[:2] or None in after[:2]:
        return None
    if join is None or join.op_type != "Concat" or join.domain or attribute(join, "axis") not in (JOINED, JOINED - 3):
        return None
    return Branch(layer, flat, join)
