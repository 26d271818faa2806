"""A small detector as a bundle, whose answers are known by hand: 4x4 cells over a 32x32 picture, one class a colour.

    scores (B, 16, 3)   how red, green and blue a cell is on average, 0..1
    boxes (B, 16, 4)    the cell's 8x8 pixels and 4 more to each side, so side by side cells overlap by a third

The rule of the bundle is score 0.5, IoU 0.3: of one red patch, cells that touch by a side are one detection.

    write_detection_bundle(out)                          boxes and scores of all cells, suppression in the runtime
    write_detection_bundle(out, candidates=4)            of the four best cells of each picture
    write_detection_bundle(out, nms="graph")             NMS_OUTPUTS of the eight best cells; nothing overlaps by 0.7
    write_detection_bundle(out, batch="batch")           any batch up to 4
    write_detection_bundle(out, files={...}, name="x")   other files, other keys of the manifest
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ["red", "green", "blue"]
SIZE, STRIDE, GROWN, ROWS = 32, 8, 4, 8  # ROWS: detections of a graph with nms "graph"
CELLS = (SIZE // STRIDE) ** 2
RULES: dict[str, dict[str, Any]] = {
    "runtime": {"nms": "runtime", "score": 0.5, "iou": 0.3, "max_detections": 500},
    "none": {"nms": "none", "score": 0.5, "iou": 0.3, "max_detections": 500},
    "graph": {"nms": "graph", "score": 0.5, "iou": 0.7, "max_detections": ROWS},
}


def cell_boxes() -> np.ndarray:
    """(16, 4) float32, row by row; not clipped to the picture, as a real detector's."""
    y, x = np.divmod(np.arange(CELLS), SIZE // STRIDE)
    corner = np.stack([x, y], axis=1) * STRIDE
    return np.concatenate([corner - GROWN, corner + STRIDE + GROWN], axis=1).astype(np.float32)


def judge(images: np.ndarray) -> np.ndarray:
    """(n, 3, 32, 32) -> (n, 16, 7) boxes and scores of all cells: what the model computes, in numpy."""
    side = SIZE // STRIDE
    means = images.reshape(-1, 3, side, STRIDE, side, STRIDE).mean(axis=(3, 5)).reshape(-1, 3, CELLS)
    boxes = np.broadcast_to(cell_boxes(), (len(images), CELLS, 4))
    return np.concatenate([boxes, means.transpose(0, 2, 1)], axis=2).astype(np.float32)


def paint(*patches: tuple[int, int, int, int, str], size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """uint8 (height, width, 3) RGB, black, with patches (x1, y1, x2, y2, label)."""
    picture = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2, label in patches:
        picture[y1:y2, x1:x2, LABELS.index(label)] = 255
    return picture


def golden_images() -> np.ndarray:
    """(3, 3, 32, 32): two patches, nothing, one patch; no score near the threshold."""
    pictures = [paint((0, 0, 8, 8, "red"), (24, 16, 32, 24, "blue")), paint(), paint((8, 8, 16, 16, "green"))]
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255


def _graph(batch: int | str, nms: str, candidates: int | None) -> str:
    count = ROWS if nms == "graph" else candidates or CELLS
    cells = ", ".join(str(value) for value in cell_boxes().ravel().tolist())
    outputs, tail = f"float[{batch}, {count}, 4] boxes, float[{batch}, {count}, 3] scores", ""
    every = "scores = Identity(cell_scores) boxes = Identity(cell_boxes)"
    if nms == "graph" or candidates:
        every = """
          best = ReduceMax<keepdims = 0>(cell_scores, last)
          values, cell = TopK<axis = 1>(best, count)
          column = Unsqueeze(cell, last)
          four = Concat<axis = 0>(B, count, box_sides)
          three = Concat<axis = 0>(B, count, class_count)
          four_columns = Expand(column, four)
          three_columns = Expand(column, three)
          boxes = GatherElements<axis = 1>(cell_boxes, four_columns)
          scores = GatherElements<axis = 1>(cell_scores, three_columns)
        """
    if nms == "graph":
        outputs = (
            f"int32[{batch}, 1] num_detections, float[{batch}, {count}, 4] detection_boxes, "
            f"float[{batch}, {count}] detection_scores, int32[{batch}, {count}] detection_classes"
        )
        tail = """
          above = Greater(values, threshold)
          ones = Cast<to = 6>(above)
          num_detections = ReduceSum<keepdims = 1>(ones, axis_one)
          detection_boxes = Identity(boxes)
          detection_scores = Identity(values)
          classes = ArgMax<axis = -1, keepdims = 0>(scores)
          detection_classes = Cast<to = 6>(classes)
        """
    return f"""
    <ir_version: 10, opset_import: ["" : 20]>
    colours (float[{batch}, 3, {SIZE}, {SIZE}] images) => ({outputs})
    <float[1, {CELLS}, 4] cells = {{{cells}}}, int64[3] by_class = {{0, 3, {CELLS}}}, int64[1] count = {{{count}}},
     int64[1] cell_count = {{{CELLS}}}, int64[1] box_sides = {{4}}, int64[1] class_count = {{3}}, int64[1] last = {{-1}},
     int64[1] axis_one = {{1}}, float threshold = {{0.5}}>
    {{
      means = AveragePool<kernel_shape = [{STRIDE}, {STRIDE}], strides = [{STRIDE}, {STRIDE}]>(images)
      flat = Reshape(means, by_class)
      cell_scores = Transpose<perm = [0, 2, 1]>(flat)
      B = Shape<start = 0, end = 1>(images)
      box_shape = Concat<axis = 0>(B, cell_count, box_sides)
      cell_boxes = Expand(cells, box_shape)
      {every}
      {tail}
    }}
    """


def write_detection_bundle(
    out: Path,
    batch: int | str = 1,
    nms: str = "runtime",
    candidates: int | None = None,
    files: Mapping[str, bytes] | None = None,
    images: np.ndarray | None = None,
    **changes: object,
) -> Path:
    """Write it to ``out``; ``images`` replace the golden ones, ``changes`` replace keys of the manifest."""
    import onnx

    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes
    from edgesmith.runtime.pictures.preprocess import ImageContract

    model = onnx.parser.parse_model(_graph(batch, nms, candidates))
    onnx.checker.check_model(model, full_check=True)
    images = golden_images() if images is None else images
    answer = judge(images)
    content = {
        "model.onnx": model.SerializeToString(),
        "labels.json": json.dumps(LABELS).encode(),
        "golden.npz": golden_bytes({"images": images}, {"boxes": answer[..., :4], "scores": answer[..., 4:]}),
    }
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    contract = ImageContract((SIZE, SIZE), "bilinear", False, 1.0, "stretch", zeros, ones, "RGB", 1 / 255)
    manifest = {
        "name": "small_detector",
        "model": "small_detector",
        "family": "small_detector",
        "task": "detection",
        "target": "cpu",
        "precision": "fp32",
        "num_classes": 3,
        "detection": RULES[nms],
        "inputs": [_spec("images", "float32", [batch, 3, SIZE, SIZE])],
        "outputs": [
            _spec(value.name, "float32" if value.type.tensor_type.elem_type == 1 else "int32", _shape(value))
            for value in model.graph.output
        ],
        "input_contract": contract.to_json(),
        "labels": "labels.json",
        "weights": {"source": "none", "sha256": None},
        "rewrite": {"passes": [], "nodes_before": {}, "nodes_after": {}},
        "parity": [],
        "benchmark": None,
        "engines": [],
        "notes": [],
    }
    return write_bundle(out, {**content, **(files or {})}, {**manifest, **changes}, overwrite=True).path


def _shape(value: Any) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _spec(name: str, dtype: str, shape: Sequence[int | str]) -> dict[str, Any]:
    bounds: dict[str, Any] = {"min": None, "opt": None, "max": None}
    if isinstance(shape[0], str):
        bounds = {key: [size, *shape[1:]] for key, size in (("min", 1), ("opt", 1), ("max", 4))}
    return {"name": name, "dtype": dtype, "shape": list(shape), **bounds}
