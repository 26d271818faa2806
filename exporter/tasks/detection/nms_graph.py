"""typed graph -> the same graph with non-maximum suppression inside, for ``--nms graph``.

    boxes (B, N, 4) x1 y1 x2 y2, scores (B, N, K)          float32, N cells, K classes
      > num_detections (B, 1) int32, detection_boxes (B, D, 4), detection_scores (B, D), detection_classes (B, D) int32

D is ``max_detections``, of a picture and not of a class; rows past the number are 0.  Two boxes of different classes
never suppress each other.  Boxes are corners, in pixels of the network's input, as they come: read as centre and size
(what the authors' export does) [10, 20, 30, 60] would become [-5, -10, 25, 50].

ONNX Runtime and OpenVINO take the standard operator, whose answer is a list of any length:

    NonMaxSuppression > (S, 3) picture, class, cell > their scores in a row of zeros for each picture (B, N * K)
      > TopK D > boxes, scores and classes of the best

The answer is that of ``runtime.detection.keep`` bit by bit, order of equal scores included. OpenVINO drops a box whose
overlap is exactly the threshold, where the others keep it: it is told the next number above (``told_threshold``).
TensorRT takes its plugin instead (efficient_nms.py says why).  TensorRT-RTX 1.7 can do neither: its parser reads the
operator, its builder has no kernel for it, and it brings no plugin for suppression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.bundle.engines import ENGINES, NMS
from ....runtime.errors import EdgesmithError, UserMistake
from ....runtime.tasks.detection.task import NMS_OUTPUTS, DetectionTask
from .efficient_nms import NOTE, efficient_nms

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....runtime.tasks.detection.detection import DetectionRule


def with_nms(model: ir.Model, rule: DetectionRule, engine: str) -> tuple[ir.Model, list[str]]:
    """The graph that hands out candidates or detections, as the rule asks for it, and what has to be said about it."""
    from ...patterns.boxes.select_candidates import select_candidates

    model = select_candidates(model, rule, engine)
    if rule.nms != "graph":
        return model, []
    return append_nms(model, rule, engine), [NOTE] if ENGINES[engine].nms != NMS else []


def append_nms(model: ir.Model, rule: DetectionRule, engine: str) -> ir.Model:
    """A copy of ``model`` (outputs boxes and scores, float32) that suppresses by ``rule``, for ``engine``.

    Raises UserMistake: the engine cannot suppress.  EdgesmithError: the graph is no detector of two float32 outputs.
    """
    if why := refuses(engine):
        raise UserMistake(
            "Suppression cannot be part of this engine",
            found="--nms graph for TensorRT-RTX",
            expected="--nms runtime or none",
            because=why,
            attempt="--nms runtime: about half a millisecond on one core for the best 1000 cells",
        )
    import onnx_ir as ir
    from onnx_ir.passes.common import NameFixPass

    from ....graph.edit import clone

    model = clone(model)
    graph = model.graph
    boxes, scores = _outputs(model)
    batch, limit = boxes.shape[0] if boxes.shape is not None else None, rule.max_detections
    if ENGINES[engine].nms == NMS:
        made = standard_nms(graph, boxes, scores, rule, told_threshold(rule.iou, engine))
    else:
        made = efficient_nms(graph, boxes, scores, rule)
    shapes: tuple[list[Any], ...] = ([batch, 1], [batch, limit, 4], [batch, limit], [batch, limit])
    kinds = (ir.DataType.INT32, ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT32)
    for value, name, shape, kind in zip(made, NMS_OUTPUTS, shapes, kinds, strict=True):
        value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(kind)
    graph.outputs.clear()
    graph.outputs.extend(made)
    NameFixPass()(model)
    return model


def told_threshold(iou: float, engine: str) -> float:
    """The overlap that ``engine`` is told so that a box goes when it overlaps by more than ``iou`` in float32, and not at it.

    Above 0 that is the smallest normal number: an engine that flushes smaller ones to 0 would drop boxes that never touch.
    """
    if ENGINES[engine].keeps_at_threshold:
        return iou
    next_above = np.nextafter(np.float32(iou), np.float32(np.inf))
    return float(max(next_above, np.finfo(np.float32).tiny))


def refuses(engine: str) -> str:
    """Why this engine cannot have suppression inside, in words; empty when it can."""
    if ENGINES[engine].nms:
        return ""
    return "TensorRT-RTX 1.7 reads NonMaxSuppression, but its builder has no kernel for it"


def _outputs(model: ir.Model) -> tuple[ir.Value, ir.Value]:
    found = {value.name: value for value in model.graph.outputs}
    kinds = {value.dtype.name if value.dtype is not None else "?" for value in found.values()}
    if tuple(found) != DetectionTask.outputs or kinds != {"FLOAT"}:
        raise EdgesmithError(
            "Suppression cannot be put into this graph",
            found=f"outputs {', '.join(map(str, found))} of type {', '.join(sorted(kinds))}",
            expected="boxes (B, N, 4) and scores (B, N, K), float32",
        )
    return found["boxes"], found["scores"]


def standard_nms(
    graph: ir.Graph, boxes: ir.Value, scores: ir.Value, rule: DetectionRule, iou: float
) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
    """Number, boxes, scores and classes of each picture's best, from NonMaxSuppression (opset 13 and later).

    ``iou`` is the threshold as the engine is told it.
    """
    build = _Builder(graph)
    op, ints, floats, whole = build.op, build.ints, build.floats, build.whole
    limit, classes = rule.max_detections, _classes(build, scores)
    by_class = op("Transpose", scores, perm=[0, 2, 1])  # (B, K, N)
    rows = op("NonMaxSuppression", boxes, by_class, ints([limit]), floats(iou), floats(rule.score))  # (S, 3)
    places = op("Gather", rows, ints([0, 2, 1]), axis=1)  # (S, 3) picture, cell, class
    kept = op("ScatterND", op("ConstantOfShape", op("Shape", scores)), places, op("GatherND", scores, places))
    kept = op("Reshape", kept, ints([0, -1]))  # (B, N * K), 0 where nothing is kept
    if _may_be_short(scores, limit):
        kept = op("Pad", kept, ints([0, 0, 0, limit]))
    best, index = op("TopK", kept, ints([limit]), outputs=2, axis=1)  # (B, D)
    valid = op("Greater", best, floats(0.0))  # (B, D)
    index = op("Where", valid, index, ints(0))  # what fills up points at a cell, too
    cells = op("Unsqueeze", op("Div", index, classes), ints([2]))  # (B, D, 1)
    picked = op("GatherND", boxes, cells, batch_dims=1)  # (B, D, 4)
    return (
        op("ReduceSum", op("Cast", valid, to=whole), ints([1]), keepdims=1),
        op("Where", op("Unsqueeze", valid, ints([2])), picked, floats(0.0)),
        best,
        op("Cast", op("Mod", index, classes), to=whole),
    )


def _classes(build: _Builder, scores: ir.Value) -> ir.Value:
    """K, a constant where the graph knows it."""
    size = scores.shape[2] if scores.shape is not None else None
    if isinstance(size, int):
        return build.ints(size)
    return build.op("Squeeze", build.op("Shape", scores, start=2, end=3), build.ints([0]))


def _may_be_short(scores: ir.Value, limit: int) -> bool:
    """Whether a picture may have fewer pairs of cell and class than detections are asked for."""
    cells, classes = scores.shape[1:] if scores.shape is not None else (None, None)
    return not isinstance(cells, int) or not isinstance(classes, int) or cells * classes < limit


class _Builder:
    """Nodes at the end of a graph; equal constants are one initializer."""

    def __init__(self, graph: ir.Graph) -> None:
        import onnx_ir as ir
        from onnx_ir.tape import Tape

        self.ir, self.tape, self.whole = ir, Tape(graph), int(ir.DataType.INT32)
        self.constants: dict[tuple[str, str], ir.Value] = {}

    def op(self, op_type: str, *inputs: ir.Value, outputs: int = 1, **attributes: Any) -> Any:
        """The output of a new node; a sequence where there are several."""
        made = self.tape.op_multi_out(op_type, list(inputs), attributes, num_outputs=outputs)
        return made[0] if outputs == 1 else made

    def ints(self, numbers: Any) -> ir.Value:
        return self._constant(np.asarray(numbers, np.int64))

    def floats(self, numbers: Any) -> ir.Value:
        return self._constant(np.asarray(numbers, np.float32))

    def _constant(self, array: np.ndarray) -> ir.Value:
        key = (str(array.dtype), str(array.tolist()))
        if key not in self.constants:
            name = f"nms_constant_{len(self.constants)}"
            self.constants[key] = self.tape.initializer(self.ir.tensor(array, name=name), name)
        return self.constants[key]
