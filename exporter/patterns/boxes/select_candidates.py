"""Only the best cells are decoded: chosen by their largest class logit, before any sigmoid, softmax or box.

    logits (B, N, K), sides (B, N, 4*(R+1)) > Sigmoid; Softmax, expectation, points and reach (N, 4)
      > boxes (B, N, 4), scores (B, N, K)
    logits > ReduceMax > TopK > M cells; logits, sides, points and reach of these cells > the same
      > boxes (B, M, 4), scores (B, M, K), the cell with the best score first

N cells (8400 at 640 x 640), K classes, M = min(N, 1000).  The sigmoid grows with its logit, so the best cells by logit
are the best by score.

Exact while at most M cells have a score above the threshold: the detections are those of all cells.  Where more do,
the detections above the best score of the last cell taken are still the same ones (suppression asks only better boxes),
and what is lost are weaker ones.  M is twice the 500 detections that the published protocol keeps, and a fourth of the
3840 that TensorRT's TopK can take.

It is no part of ORDER: its rows come in an order of their own, so two graphs could no longer be compared row by row,
which every check between export and bundle does.  ``select_candidates`` puts it in last, just before suppression.

Fewer cells to decode and to suppress make it faster on CPUs.  TensorRT-RTX launches up to two kernels more (the slow test
of tests/exporter/test_detector_decoding.py) and hands out the eighth of the bytes: worth it where the runtime suppresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import attribute, only_consumer, sizes
from ....runtime.bundle.engines import ENGINES
from ..base import Pattern
from .box_distances import SIDES, TO_CELLS, Expectation, expectation

if TYPE_CHECKING:
    from ....runtime.tasks.detection.detection import DetectionRule

CANDIDATES = 1000  # M


def select_candidates(model: ir.Model, rule: DetectionRule, engine: str) -> ir.Model:
    """A copy that decodes only the best cells, where ``rule`` allows it and ``engine`` gains by it; else ``model``."""
    gains = rule.nms == "runtime" or (rule.nms == "graph" and ENGINES[engine].on_cpu)
    if not gains:
        return model
    model = model.clone()
    SelectCandidates().run(model)
    return model


@dataclass(frozen=True)
class Decoding:
    """points + expectation(sides) * reach, the boxes of a detector, and the logits beside them."""

    logits: ir.Value  # (B, N, K)
    sides: ir.Value  # (B, N, 4*(R+1)), or (B, 4*(R+1), N) where the expectation is taken on maps
    mean: Expectation
    points: ir.Value  # (N, 4)
    reach: ir.Value  # (N, 4)
    boxes: ir.Node
    scores: ir.Node


class SelectCandidates(Pattern):
    """Choose the cells before they are decoded; changes how many the outputs have. Counts decodings."""

    def apply(self, model: ir.Model) -> int:
        found = decoding(model.graph)
        if found is None:
            return 0
        shape = sizes(found.logits) or ()
        if len(shape) != 3 or not isinstance(shape[2], int):
            self.decline(found.scores, f"the logits are {shape}, expected (B, N, classes)")
            return 0
        if isinstance(shape[1], int) and shape[1] <= CANDIDATES:
            self.decline(found.scores, f"{shape[1]} cells are no more than the {CANDIDATES} that would be chosen")
            return 0
        bins = len(found.mean.steps)
        laid = sizes(found.mean.logits) or ()
        if (laid[2:] if found.mean.axis == 3 else laid[1:3]) != (SIDES, bins):
            self.decline(found.scores, f"the distributions lie as {laid}, expected {SIDES} sides of {bins} bins")
            return 0
        if not all(_is_table(value, shape[1]) for value in (found.points, found.reach)):
            self.decline(found.scores, f"points or reach are no table of {shape[1]} cells and {SIDES} sides")
            return 0
        if only_consumer(found.scores.inputs[0]) is None or only_consumer(found.mean.logits) is None:
            self.decline(found.scores, "the logits or the distributions have other uses")
            return 0
        self._choose(model, found)
        sweep(model)
        return 1

    def _choose(self, model: ir.Model, found: Decoding) -> None:
        last = found.boxes
        batch, cells, classes = sizes(found.logits) or ()
        count: int | str = CANDIDATES if isinstance(cells, int) else "candidates"
        bins = len(found.mean.steps)
        before = [node for node in model.graph if node in (found.scores, found.boxes)][-1]  # all that is read is above

        axis = shared_constant(model, "classes_axis", np.array([-1], np.int64))
        if model.graph.opset_imports.get("", 0) >= 18:
            best = insert(before, "ReduceMax", [found.logits, axis], keepdims=0, shape=(batch, cells))
        else:  # of the parsers of TensorRT 8
            best = insert(before, "ReduceMax", [found.logits], axes=[-1], keepdims=0, shape=(batch, cells))
        if found.logits.dtype != ir.DataType.FLOAT:  # TopK knows no bfloat16
            best = insert(before, "Cast", [best], to=int(ir.DataType.FLOAT), shape=(batch, cells))
            best.type = ir.TensorType(ir.DataType.FLOAT)
        k = shared_constant(model, "candidates", np.array([CANDIDATES], np.int64))
        if not isinstance(cells, int):
            size = insert(before, "Shape", [found.logits], start=1, end=2, shape=(1,))
            size.type = ir.TensorType(ir.DataType.INT64)
            k = insert(before, "Min", [k, size], shape=(1,))
        best, chosen = insert_node(before, "TopK", [best, k], outputs=2, axis=1).outputs  # (B, M)
        best.shape = ir.Shape([batch, count])
        chosen.shape, chosen.type = ir.Shape([batch, count]), ir.TensorType(ir.DataType.INT64)
        place = insert(before, "Unsqueeze", [chosen, axis], shape=(batch, count, 1))  # (B, M, 1)

        def taken(value: ir.Value, width: int | str | None) -> ir.Value:
            return insert(before, "GatherND", [value, place], batch_dims=1, shape=(batch, count, width))

        logits = _cast_like(before, taken(found.logits, classes), found.scores.inputs[0])
        scores = insert(before, "Sigmoid", [logits], name=found.scores.name or "", shape=(batch, count, classes))

        sides = found.sides if found.mean.axis == 3 else cells_of(before, found.sides)
        target = shared_constant(model, "sides", np.array([0, -1, SIDES, bins], np.int64))
        sides = insert(before, "Reshape", [taken(sides, SIDES * bins), target], shape=(batch, count, SIDES, bins))
        sides = _cast_like(before, sides, found.mean.logits)
        share = insert(before, "Softmax", [sides], axis=-1, name=found.mean.softmax.name or "", shape=sizes(sides))
        steps = shared_constant(model, "distances", found.mean.steps)
        weighted = insert(before, "Mul", [share, steps], shape=sizes(sides))
        boxes = (batch, count, SIDES)
        mean = insert(before, "ReduceSum", [weighted, axis], keepdims=0, shape=boxes, name=found.mean.last.name or "")
        points, reach = (
            insert(before, "Gather", [value, chosen], axis=0, shape=boxes) for value in (found.points, found.reach)
        )
        moved = insert(before, "Mul", [mean, reach], shape=boxes)
        result = insert(before, "Add", [points, moved], name=last.name or "", shape=boxes)
        for old, new in ((found.scores.outputs[0], scores), (last.outputs[0], result)):
            shape = new.shape
            replace_value(old, new)
            new.shape = shape


def decoding(graph: ir.Graph) -> Decoding | None:
    """The decoding that ends in the graph's two outputs, boxes and scores."""
    makers = [value.producer() for value in graph.outputs]
    scores = next((node for node in makers if node is not None and node.op_type == "Sigmoid"), None)
    boxes = next((node for node in makers if node is not None and node.op_type == "Add"), None)
    if len(makers) != 2 or scores is None or boxes is None:
        return None
    logits = _uncast(scores.inputs[0])
    count = (sizes(logits) or (None, None))[1:2]
    for points, moved in (boxes.inputs, boxes.inputs[::-1]):
        product = _maker(moved, "Mul")
        for distance, reach in (product.inputs, product.inputs[::-1]) if product is not None else ():
            mean = _mean(distance)
            reshape = _maker(_uncast(mean.logits), "Reshape") if mean is not None else None
            sides = reshape.inputs[0] if reshape is not None else None
            rows = [sizes(value) for value in (points, reach)]
            if mean is None or sides is None or any(row is None or len(row) != 2 for row in rows):
                continue
            shape = sizes(sides) or ()
            cells = shape[1:2] if mean.axis == 3 else shape[2:]
            if len(shape) == 3 and cells == count and logits is not None and points is not None and reach is not None:
                return Decoding(logits, sides, mean, points, reach, boxes, scores)
    return None


def _is_table(value: ir.Value, cells: int | str | None) -> bool:
    """Whether ``value`` has a row for each cell, so that the rows of those chosen can be taken."""
    rows, *sides = sizes(value) or (None,)
    return sides == [SIDES] and (rows == cells or (not isinstance(cells, int) and rows != 1))


def cells_of(before: ir.Node, maps: ir.Value) -> ir.Value:
    """(B, C, N) > (B, N, C): level by level where the maps are a Concat of levels, which is faster on a CPU."""
    batch, channels, count = sizes(maps) or (None, None, None)
    node = _maker(maps, "Concat")
    if node is None or attribute(node, "axis") not in (2, -1):
        return insert(before, "Transpose", [maps], perm=list(TO_CELLS), shape=(batch, count, channels))
    parts = [(value, sizes(value) or (None, None, None)) for value in node.inputs]
    levels = [insert(before, "Transpose", [value], perm=list(TO_CELLS), shape=[shape[axis] for axis in TO_CELLS])
              for value, shape in parts]  # fmt: skip
    return insert(before, "Concat", levels, axis=1, shape=(batch, count, channels))


def _mean(distance: ir.Value | None) -> Expectation | None:
    """The expectation behind the four distances of each cell, past the transpose that follows it on maps."""
    node = distance.producer() if distance is not None else None
    turned = node is not None and node.op_type == "Transpose" and tuple(attribute(node, "perm", ())) == TO_CELLS
    if turned and node is not None and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    mean = expectation(node) if node is not None else None
    return mean if mean is not None and not mean.keepdims and mean.axis == (2 if turned else 3) else None


def _maker(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and not node.domain else None


def _uncast(value: ir.Value | None) -> ir.Value | None:
    """What a cast from a 16-bit type reads."""
    node = _maker(value, "Cast")
    return node.inputs[0] if node is not None else value


def _cast_like(before: ir.Node, value: ir.Value, like: ir.Value | None) -> ir.Value:
    """``value`` in the type that the decoding computed in."""
    node = _maker(like, "Cast")
    if node is None or like is None:
        return value
    cast = insert(before, "Cast", [value], to=attribute(node, "to"), shape=sizes(value))
    cast.type = like.type
    return cast
