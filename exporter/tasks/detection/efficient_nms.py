"""Suppression inside a TensorRT engine: the plugin EfficientNMS_TRT, for TensorRT 8.5 to 11.

    boxes (B, N, 4), scores (B, N, K) > EfficientNMS_TRT > the four outputs of nms_graph.py, in one launch

Why not the standard operator: TensorRT reads it from 8.5 on (as INMSLayer), but its answer is as long as there are
boxes, and everything after it is then sized at run time.  The plugin pads to ``max_output_boxes`` itself, and is in
libnvinfer_plugin of every version from 8.5 to 11: deprecated as of 10.12, and not among those that 11.0 removed.

Where it differs from ``runtime.detection.keep``, read in its source: it looks at the best 4,096 pairs of cell and class
of a picture, and of two boxes with an overlap of exactly the threshold it drops one, where the others drop neither.

Its attributes are plain numbers (the authors' export gives tuples); ``box_coding`` 0 is corners, 1 centre and size.
The engine needs ``init_libnvinfer_plugins`` before it is built or loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....runtime.ground.words import NOT_ON_HARDWARE

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....runtime.tasks.detection.detection import DetectionRule

DOMAIN = (
    "TRT"  # TensorRT looks a plugin up by the operator's name; ONNX wants a domain of its own for what it does not know
)
NOTE = (
    "suppression by TensorRT's plugin EfficientNMS_TRT (the best 4096 candidates of a picture are looked at); "
    f"{NOT_ON_HARDWARE}"
)


def efficient_nms(
    graph: ir.Graph, boxes: ir.Value, scores: ir.Value, rule: DetectionRule
) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
    """Number, boxes, scores and classes of each picture's best; float32, classes counted from 0, none is background."""
    import onnx_ir as ir

    node = ir.node(
        "EfficientNMS_TRT",
        [boxes, scores],
        {
            "plugin_version": "1",
            "score_threshold": float(rule.score),
            "iou_threshold": float(rule.iou),
            "max_output_boxes": int(rule.max_detections),
            "background_class": -1,
            "score_activation": 0,
            "class_agnostic": 0,
            "box_coding": 0,
        },
        domain=DOMAIN,
        num_outputs=4,
        name="EfficientNMS_TRT",
    )
    graph.append(node)
    graph.opset_imports[DOMAIN] = 1
    number, kept, values, classes = node.outputs
    return number, kept, values, classes
