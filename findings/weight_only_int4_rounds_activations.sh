#!/usr/bin/env bash
# GUESS    a file with int4 weights behind DequantizeLinear and a float32 MatMul computes float32 products with those weights
# SEEN     ONNX Runtime and OpenVINO both turn it into a kernel that rounds the activations to 8 bits: half a percent off the exact product, by
#          their defaults and with OpenVINO's precision hint at f32. ONNX Runtime's session entry session.qdq_matmulnbits_accuracy_level=1
#          and OpenVINO's DYNAMIC_QUANTIZATION_GROUP_SIZE=0 compute what is written; fp4 codes OpenVINO never rounds
# COST     the error is looked for in the quantiser, whose codes are exact
# RUN      bash findings/weight_only_int4_rounds_activations.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 ml_dtypes==0.6.0 numpy==2.4.6
export CI=true  # no telemetry
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
codes, scale = rng.integers(-8, 8, (64, 32)), rng.uniform(0.5, 2, (2, 32)).astype(np.float32)
x = rng.standard_normal((1, 49, 64)).astype(np.float32)
exact = x.astype(np.float64) @ (codes * np.repeat(scale, 32, axis=0))
make = helper.make_tensor_value_info
weights = [helper.make_tensor("codes", TensorProto.INT4, codes.shape, codes.ravel()), numpy_helper.from_array(scale, "scale")]
nodes = [helper.make_node("DequantizeLinear", ["codes", "scale"], ["w"], axis=0, block_size=32), helper.make_node("MatMul", ["x", "w"], ["y"])]
graph = helper.make_graph(nodes, "g", [make("x", 1, x.shape)], [make("y", 1, exact.shape)], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def in_onnxruntime(**entries: str) -> float:
    options = onnxruntime.SessionOptions()
    for name, value in entries.items():
        options.add_session_config_entry(name.replace("__", "."), value)
    return off(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0])


def in_openvino(**config: object) -> float:
    core = ov.Core()
    return off(core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32", **config})({"x": x})[0])


def off(y: np.ndarray) -> float:
    return float(np.abs(y - exact).max() / np.abs(exact).max())


found = {
    "ONNX Runtime": in_onnxruntime(),
    "ONNX Runtime, accuracy level 1": in_onnxruntime(session__qdq_matmulnbits_accuracy_level="1"),
    "OpenVINO, hint f32": in_openvino(),
    "OpenVINO, group size 0": in_openvino(DYNAMIC_QUANTIZATION_GROUP_SIZE=0),
}
print("openvino", ov.__version__, "onnxruntime", onnxruntime.__version__)
for name, error in found.items():
    print(f"{name}: {error:.1e} of the largest product off")
assert all((error > 1e-3) != ("level" in name or "size" in name) for name, error in found.items()), "the behaviour has changed"
assert all(error < 1e-6 or error > 1e-3 for error in found.values())
PYTHON
