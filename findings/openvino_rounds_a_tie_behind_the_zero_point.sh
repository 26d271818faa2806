#!/usr/bin/env bash
# GUESS    QuantizeLinear is integer work that every engine does alike: round(x / scale) to the nearest even, then add the zero point
# SEEN     OpenVINO adds first and rounds the sum to even. With an odd zero point every exact tie gets another code than in ONNX Runtime and
#          in ONNX's reference; with an even one none does, so that symmetric files agree to the bit and asymmetric ones do not
# COST     a self-test that compares codes between engines fails by one step here and there, and float noise is blamed
# RUN      bash findings/openvino_rounds_a_tie_behind_the_zero_point.sh
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

print("openvino", ov.__version__, "onnxruntime", onnxruntime.__version__)
x = {"x": np.arange(-100, 100, dtype=np.float32) + np.float32(0.5)}  # 200 ties at scale 1
for zero in (0, 2, 128, 3, 127, 131):
    model = parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[200] x) => (uint8[200] y) <float s = {{1.0}}, uint8 z = {{{zero}}}>'
        " { y = QuantizeLinear(x, s, z) }"
    )
    core = ov.Core()
    there = core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
    here = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, x)[0]
    (reference,) = ReferenceEvaluator(model).run(None, x)
    inside = (here > 0) & (here < 255) & (there > 0) & (there < 255)  # the ends of the codes hide a step
    differ = int((here != there)[inside].sum())
    print(f"zero point {zero}: {differ} of {int(inside.sum())} ties have another code in OpenVINO; the reference is with ONNX Runtime")
    assert np.array_equal(here, reference)
    assert differ == (int(inside.sum()) if zero % 2 else 0), "the behaviour has changed"
PYTHON
