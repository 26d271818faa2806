#!/usr/bin/env bash
# GUESS    Mod, Div, ReduceSum, ReduceMax and comparisons of int32 and int64 are exact, as Add, Sub and Mul of them are
# SEEN     OpenVINO's CPU computes those five in float32 and casts back: beyond 2^24 the low digits are lost, without a word. Gather,
#          CumSum, Where, Neg and Concat keep them
# COST     codes that are packed into words (4-bit keys, bit masks, hashes), and sums of large indices, come out as other numbers
# RUN      bash findings/openvino_computes_whole_numbers_in_float32.sh
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

SAME = {
    "Add": "(int32[2,4] x) => (int32[2,4] y) <int32[1] a = {3}> { y = Add(x, a) }",
    "Sub": "(int32[2,4] x) => (int32[2,4] y) <int32[1] a = {3}> { y = Sub(x, a) }",
    "Mul": "(int32[2,4] x) => (int32[2,4] y) <int32[1] a = {3}> { y = Mul(x, a) }",
    "CumSum": "(int32[2,4] x) => (int32[2,4] y) <int64 a = {1}> { y = CumSum(x, a) }",
}
OTHER = {
    "Mod": "(int32[2,4] x) => (int32[2,4] y) <int32[1] a = {65536}> { y = Mod(x, a) }",
    "Div": "(int32[2,4] x) => (int32[2,4] y) <int32[1] a = {3}> { y = Div(x, a) }",
    "Greater": "(int32[2,4] x) => (bool[2,4] y) <int32[1] a = {16777216}> { y = Greater(x, a) }",
    "ReduceMax": "(int32[2,4] x) => (int32[2] y) <int64[1] a = {1}> { y = ReduceMax<keepdims = 0>(x, a) }",
    "ReduceSum": "(int32[2,4] x) => (int32[2] y) <int64[1] a = {1}> { y = ReduceSum<keepdims = 0>(x, a) }",
    "ReduceSum of int64": "(int64[2,4] x) => (int64[2] y) <int64[1] a = {1}> { y = ReduceSum<keepdims = 0>(x, a) }",
}
core = ov.Core()
print("openvino", ov.__version__, "onnxruntime", onnxruntime.__version__)
for name, text in (SAME | OTHER).items():
    file = parse_model(f'<ir_version: 10, opset_import: ["" : 20]> g {text}').SerializeToString()
    x = np.array([[16777217, 5, 33554437, 1], [536870911, 0, 1, 3]], np.int64 if "int64" in name else np.int32)
    right = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    found = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"x": x})[0]
    same = bool((right == found).all())
    print(f"{name}: {'the same' if same else f'{found.tolist()}, right is {right.tolist()}'}")
    assert same is (name in SAME)
PYTHON
