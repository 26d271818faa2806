"""The expectation of a box side's distribution without a matrix product.

A side is a distribution over the distances 0, 1, ..., R cells (Generalized Focal Loss, arXiv:2006.04388), and what
counts is its mean:

    s (B, N, 4*(R+1)) > Reshape (B, N, 4, R+1) > Softmax > MatMul with (R+1,)  > (B, N, 4)
    s (B, N, 4*(R+1)) > Reshape (B, N, 4, R+1) > Softmax > Mul > ReduceSum     > (B, N, 4)         DistancesByReduction

    maps > Transpose a level, Concat (B, N, 4*(R+1)) > the same
    maps > Concat (B, 4*(R+1), N) > Reshape (B, 4, R+1, N) > Softmax > Mul > ReduceSum (B, 4, N) > Transpose (B, N, 4)
                                                                                                     DistancesOnMaps
The product has one column, which no library kernel is made for; as a sum it melts into the softmax.  On maps it is faster
on CPUs, by cells on TensorRT-RTX: what each pass brings alone and what its absence costs, in time, kernels and bytes, is
measured by ``python benchmarks/detector_rewrites.py``, and tests/exporter/test_detector_decoding.py holds the kernels.

A sum is no layer with weights either: nothing would quantise the distances 0..R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern

SIDES = 4
TO_CELLS = (0, 2, 1)  # (B, C, N) > (B, N, C)


@dataclass(frozen=True)
class Expectation:
    """Softmax over one axis, times a constant for each place on it, summed: as a product or written out."""

    softmax: ir.Node
    last: ir.Node  # MatMul or ReduceSum
    steps: np.ndarray  # (R+1,)
    axis: int  # of the bins
    keepdims: int

    @property
    def logits(self) -> ir.Value:
        assert self.softmax.inputs[0] is not None
        return self.softmax.inputs[0]


def expectation(node: ir.Node) -> Expectation | None:
    """The expectation that ends in this node, None when it is none."""
    if node.domain or node.op_type not in ("MatMul", "ReduceSum") or node.inputs[0] is None:
        return None
    if node.op_type == "MatMul":
        steps, share = constant(node.inputs[1]), node.inputs[0].producer()
        if steps is None or steps.ndim not in (1, 2) or (steps.ndim == 2 and steps.shape[1] != 1):
            return None
        summed, keepdims = -1, int(steps.ndim == 2)
    else:
        axes, product = constant(node.inputs[1]) if len(node.inputs) > 1 else None, node.inputs[0].producer()
        if axes is None or axes.size != 1 or product is None or product.op_type != "Mul":
            return None
        if product.domain:
            return None
        steps, share = constant(product.inputs[1]), product.inputs[0].producer() if product.inputs[0] else None
        summed, keepdims = int(axes.ravel()[0]), attribute(node, "keepdims", 1)
        if steps is None or steps.size != max(steps.shape, default=0):
            return None
    if share is None or share.op_type != "Softmax" or share.domain:
        return None
    shape = sizes(share.inputs[0])
    if shape is None or steps.ndim > len(shape):
        return None
    axis = summed % len(shape)
    along = axis if node.op_type == "MatMul" else len(shape) - 1 - list(reversed(steps.shape)).index(steps.size)
    if attribute(share, "axis", -1) % len(shape) != axis or along != axis or shape[axis] != steps.size:
        return None
    return Expectation(share, node, steps.ravel(), axis, keepdims)


class DistancesByReduction(Pattern):
    """Write the mean of each distribution as a sum; counts means."""

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            found = expectation(node) if node.op_type == "MatMul" else None
            if found is None:
                continue
            if only_consumer(found.softmax.outputs[0]) is not node:
                self.decline(node, "the distribution has other uses")
                continue
            weighted = _weighted(model, node, found.softmax.outputs[0], found.steps)
            axis = shared_constant(model, "bins", np.array([-1], np.int64))
            shape = sizes(node.outputs[0])
            mean = insert(
                node, "ReduceSum", [weighted, axis], keepdims=found.keepdims, shape=shape, name=node.name or ""
            )
            replace_value(node.outputs[0], mean)
            count += 1
        if count:
            sweep(model)
        return count


class DistancesOnMaps(Pattern):
    """Take the mean on the maps, before they become cells, so that four numbers a cell are transposed and not 4*(R+1)."""

    def apply(self, model: ir.Model) -> int:
        count = sum(
            [
                self._move(model, found)
                for node in list(model.graph)
                if node.op_type == "MatMul" and (found := expectation(node))
            ]
        )
        if count:
            sweep(model)
        return count

    def _move(self, model: ir.Model, found: Expectation) -> int:
        node, bins = found.last, len(found.steps)
        reshape = found.logits.producer()
        if reshape is None or reshape.op_type != "Reshape" or reshape.domain:
            return 0
        cells = reshape.inputs[0]
        shape = sizes(cells)
        if shape is None or len(shape) != 3 or shape[2] != SIDES * bins or found.keepdims:
            return 0
        if sizes(found.logits) != (*shape[:2], SIDES, bins):
            self.decline(node, f"the distributions lie as {sizes(found.logits)}, expected (B, N, {SIDES}, {bins})")
            return 0
        if any(only_consumer(value) is None for value in (cells, found.logits, found.softmax.outputs[0])):
            self.decline(node, "the distributions have other uses")
            return 0
        if not _from_maps(cells):
            self.decline(node, f"the cells come from {_maker(cells)}, expected the transposed maps of the levels")
            return 0
        maps = _on_maps(node, cells)
        batch, count = shape[0], shape[1]
        target = shared_constant(model, "sides", np.array([0, SIDES, bins, -1], np.int64))
        sides = insert(node, "Reshape", [maps, target], shape=(batch, SIDES, bins, count))
        share = insert(node, "Softmax", [sides], axis=2, shape=(batch, SIDES, bins, count))
        weighted = _weighted(model, node, share, found.steps[:, None])
        axis = shared_constant(model, "bins", np.array([2], np.int64))
        mean = insert(
            node, "ReduceSum", [weighted, axis], keepdims=0, shape=(batch, SIDES, count), name=node.name or ""
        )
        replace_value(
            node.outputs[0], insert(node, "Transpose", [mean], perm=list(TO_CELLS), shape=sizes(node.outputs[0]))
        )
        return 1


def _from_maps(cells: ir.Value | None) -> bool:
    """Whether ``cells`` (B, N, C) is the transpose of maps (B, C, N), or joins such transposes."""
    node = cells.producer() if cells is not None else None
    if node is None or node.domain:
        return False
    if node.op_type == "Transpose":
        return tuple(attribute(node, "perm", ())) == TO_CELLS
    joins = node.op_type == "Concat" and attribute(node, "axis") in (1, -2) and sizes(cells) is not None
    return joins and all(_from_maps(value) for value in node.inputs)


def _on_maps(before: ir.Node, cells: ir.Value | None) -> ir.Value | None:
    """(B, C, N) of what ``cells`` (B, N, C) holds, where it comes from maps."""
    node, shape = cells.producer(), sizes(cells)  # type: ignore[union-attr]
    assert node is not None
    if node.op_type == "Transpose":
        return node.inputs[0]
    assert shape is not None
    sources = [_on_maps(before, value) for value in node.inputs]
    return insert(before, "Concat", sources, axis=2, shape=(shape[0], shape[2], shape[1]), name=node.name or "")


def _weighted(model: ir.Model, before: ir.Node, share: ir.Value, steps: np.ndarray) -> ir.Value:
    return insert(before, "Mul", [share, shared_constant(model, "distances", steps)], shape=sizes(share))


def _maker(value: ir.Value | None) -> str:
    node = value.producer() if value is not None else None
    return node.op_type if node is not None else "an input"
