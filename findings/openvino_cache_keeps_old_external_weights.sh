#!/usr/bin/env bash
# GUESS    with CACHE_DIR set, compile_model("model.onnx") compiles again when the model has changed, whichever of its files did
# SEEN     the key of the cache does not hold the weights beside the graph: after model.onnx.data alone was replaced, the answer is that of
#          the OLD weights, without a message. read_model and then compile_model, with the same cache, answers with the new ones
# COST     torch.onnx.export writes the weights beside the graph: a fine-tuned model of the same shape is deployed, and nothing changes
# RUN      bash findings/openvino_cache_keeps_old_external_weights.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
export CI=true  # no telemetry
cd "$folder"
env/bin/python - <<'PYTHON'
import os

import numpy as np
import onnx
import openvino as ov
from onnx import helper, numpy_helper


def write(folder: str, value: float) -> None:
    """x (1, 64) times a matrix of one value; the matrix lies beside the graph."""
    os.mkdir(folder)
    weight = numpy_helper.from_array(np.full((64, 64), value, np.float32), "w")
    make = helper.make_tensor_value_info
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [make("x", 1, [1, 64])], [make("y", 1, [1, 64])], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, f"{folder}/model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)


def answers() -> tuple[float, float]:
    core, x = ov.Core(), {"x": np.ones((1, 64), np.float32)}
    cache = {"CACHE_DIR": "cache"}
    by_path = core.compile_model("net/model.onnx", "CPU", cache)(x)[0]
    read = core.compile_model(core.read_model("net/model.onnx"), "CPU", cache)(x)[0]
    return float(by_path[0, 0]), float(read[0, 0])


write("net", 1.0)
write("fine_tuned", 2.0)
first = answers()
os.replace("fine_tuned/model.onnx.data", "net/model.onnx.data")
second = answers()
print("openvino", ov.__version__)
print(f"weights of 1: by path {first[0]:g}, read first {first[1]:g}; of 2: by path {second[0]:g}, read first {second[1]:g}")
assert first == (64, 64)
assert second == (64, 128), "the behaviour has changed"
PYTHON
