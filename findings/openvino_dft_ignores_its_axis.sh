#!/usr/bin/env bash
# GUESS    DFT along the axis that its third input names (opset 20 on): a constant in the file, as torch.fft.rfft2 is exported
# SEEN     OpenVINO transforms axis 1 whatever the input says, without a word; where the axis is an attribute (opset 17) it is right
# COST     a network with a spectral layer loads, runs, and answers with other numbers on OpenVINO alone
# RUN      bash findings/openvino_dft_ignores_its_axis.sh
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

BY_INPUT = '<ir_version: 10, opset_import: ["" : 20]> g (float[1, 5, 4, 2] x) => (float[1, 5, 4, 2] y) <int64 a = {AXIS}> { y = DFT(x, , a) }'
BY_ATTRIBUTE = '<ir_version: 10, opset_import: ["" : 17]> g (float[1, 5, 4, 2] x) => (float[1, 5, 4, 2] y) { y = DFT<axis = AXIS>(x) }'
x = np.random.default_rng(0).standard_normal((1, 5, 4, 2)).astype(np.float32)
along = {axis: np.fft.fft(x[..., 0] + 1j * x[..., 1], axis=axis) for axis in (1, 2)}
core = ov.Core()


def transformed(answer):
    """The axis along which it was transformed."""
    (axis,) = (axis for axis, right in along.items() if np.abs(answer[..., 0] + 1j * answer[..., 1] - right).max() < 1e-4)
    return axis


print("openvino", ov.__version__, "onnxruntime", onnxruntime.__version__)
for name, text, axis, expected in (
    ("an attribute, axis 1", BY_ATTRIBUTE, 1, 1),
    ("an attribute, axis 2", BY_ATTRIBUTE, 2, 2),
    ("an input, axis 1", BY_INPUT, 1, 1),
    ("an input, axis 2", BY_INPUT, 2, 1),
):
    file = parse_model(text.replace("AXIS", str(axis))).SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = transformed(session.run(None, {"x": x})[0]), transformed(core.compile_model(core.read_model(file), "CPU")({"x": x})[0])
    print(f"{name}: ONNX Runtime transforms axis {found[0]}, OpenVINO axis {found[1]}")
    assert found == (axis, expected)
PYTHON
