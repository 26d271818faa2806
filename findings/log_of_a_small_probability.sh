#!/usr/bin/env bash
# GUESS    Sigmoid, Softplus and Log are right to float32's last digits in both CPU engines, so a log-probability can be computed on a device
# SEEN     ONNX Runtime's Sigmoid is 0 from about -18 on, where float32 holds 2e-9 and less: Log(Sigmoid(-20)) is -inf and not -20. OpenVINO
#          has that right, and there Softplus(-18), always positive, is negative: -1.9e-6 for 1.5e-8. Neither says a word
# COST     the score of a rare class is minus infinity, or the log of a width does not exist, on one engine only
# RUN      bash findings/log_of_a_small_probability.sh
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

print("openvino", ov.__version__, "onnxruntime", onnxruntime.__version__)
HEADER = '<ir_version: 10, opset_import: ["" : 20]> g (float[1] x) => (float[1] y) '
found = {}
for name, body, x, exact in (("Log(Sigmoid(-20))", "{ s = Sigmoid(x) y = Log(s) }", -20.0, -20.0 - np.exp(-20.0)),
                             ("Softplus(-18)", "{ y = Softplus(x) }", -18.0, np.log1p(np.exp(-18.0)))):
    model, fed, core = parse_model(HEADER + body).SerializeToString(), {"x": np.float32([x])}, ov.Core()
    here = float(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, fed)[0][0])
    there = float(core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(fed)[0][0])
    found[name] = here, there
    print(f"{name} = {exact:.6g}: ONNX Runtime {here:.6g}, OpenVINO {there:.6g}")
assert found["Log(Sigmoid(-20))"][0] == -np.inf and abs(found["Log(Sigmoid(-20))"][1] + 20) < 1e-3
assert found["Softplus(-18)"][0] > 0 > found["Softplus(-18)"][1]
PYTHON
