#!/usr/bin/env bash
# An ONNX graph with its weights in model.onnx.data beside it (torch's default) is loaded, changed and given to ONNX Runtime as bytes.
#
# Guess: bytes have no folder, so weights outside them are an error.
# Seen: a file of that name in the working directory is taken, whosever it is, without a word: 600 where the graph's own weights
#       give 300. Two exports of one name, each run from bytes, get the same weights. Where there is no such file it is an error.
#       The session entry session.model_external_initializers_file_folder_path names the folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnx==1.19.1 onnxruntime==1.23.2
cat > "$work/see.py" <<'PY'
import os, sys
import numpy as np, onnx, onnxruntime
from onnx import helper as h, numpy_helper
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
os.chdir(sys.argv[1])
def file(folder, value):
    os.makedirs(folder)
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"])], "g", [h.make_tensor_value_info("x", 1, [1, 300])],
        [h.make_tensor_value_info("y", 1, [1, 300])], [numpy_helper.from_array(np.full((300, 300), value, np.float32), "w")])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, f"{folder}/model.onnx", save_as_external_data=True, location="model.onnx.data")
file("one", 1.0)
file("two", 2.0)
graph = onnx.load("one/model.onnx", load_external_data=False).SerializeToString()
def answer(**entries):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for key, value in entries.items():
        options.add_session_config_entry("session." + key, value)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": np.ones((1, 300), np.float32)})[0][0, 0])
try:
    nowhere = answer()
except Exception as error:
    nowhere = type(error).__name__
own = os.path.abspath("one")
os.chdir("two")
found = {"no such file here": nowhere, "standing in the other's folder": answer(),
         "told the folder": answer(model_external_initializers_file_folder_path=own)}
for name, value in found.items():
    print(f"{name:<32}{value}")
assert found["standing in the other's folder"] == 600 and found["told the folder"] == 300 and isinstance(nowhere, str)
PY
"$work/venv/bin/python" "$work/see.py" "$work"
