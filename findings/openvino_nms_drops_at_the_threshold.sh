#!/usr/bin/env bash
# GUESS    NonMaxSuppression with iou_threshold 0.5 keeps a box that overlaps a better one by exactly 0.5, in every engine: the operator's
#          text says "greater than", and torchvision, ONNX's reference and ONNX Runtime do so
# SEEN     OpenVINO drops it: "greater than or equal". Told the next float32 above 0.5 it keeps exactly what the others keep; so with 0 it
#          keeps nothing of boxes that do not even touch
# COST     a detector with boxes on whole pixels loses a tenth to a fifth of those it finds; a comparison of engines looks like rounding
# RUN      bash findings/openvino_nms_drops_at_the_threshold.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
export CI=true  # no telemetry
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino as ov
from onnx.parser import parse_model
from onnx.reference import ReferenceEvaluator

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 2, 4] boxes, float[1, 1, 2] scores, float[1] iou) => (int64[n, 3] kept) <int64[1] most = {9}, float[1] low = {0.1}>
{ kept = NonMaxSuppression(boxes, scores, most, iou, low) }"""
model = parse_model(TEXT)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
core = ov.Core()
compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
reference = ReferenceEvaluator(model)
print("openvino", ov.__version__, "onnxruntime", onnxruntime.__version__)
half = {"boxes": np.float32([[[0, 0, 2, 1], [0, 0, 1, 1]]]), "scores": np.float32([[[0.9, 0.8]]])}
apart = {"boxes": np.float32([[[0, 0, 1, 1], [5, 5, 6, 6]]]), "scores": half["scores"]}
above = np.nextafter(np.float32(0.5), np.float32(1))
for name, feeds, iou, expected in (
    ("overlap 1/2, threshold 1/2", half, 0.5, (2, 2, 1)),
    ("overlap 1/2, the next number above 1/2", half, above, (2, 2, 2)),
    ("no overlap, threshold 0", apart, 0.0, (2, 2, 1)),
):
    fed = {**feeds, "iou": np.float32([iou])}
    found = len(session.run(None, fed)[0]), len(reference.run(None, fed)[0]), int((compiled(fed)[0][:, 0] >= 0).sum())
    print(f"{name}: kept by ONNX Runtime {found[0]}, by ONNX's reference {found[1]}, by OpenVINO {found[2]}")
    assert found == expected
PYTHON
