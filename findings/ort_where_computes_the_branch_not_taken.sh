#!/bin/bash
# Where with a constant condition: ONNX Runtime computes both branches at every run and throws one away, at its highest level of optimisation.
# The guess was that folding constants takes out the branch that can never be chosen, as a compiler does with `c ? a : b`, and as ONNX Runtime
# itself does with an If of the same condition. A switch in an ONNX function (an attribute, then Where) costs its unused half every time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import onnx
import onnxruntime
from onnx.parser import parse_model

HEAD = """<ir_version: 10, opset_import: ["" : 20]>
choose (float[64, 64] x) => (float[64, 64] y) <bool c = {0}> """
SWITCHES = {
    "Where": """{ unused = MatMul (x, x)  kept = Relu (x)  y = Where (c, unused, kept) }""",
    "If": """{ y = If (c) <then_branch = a () => (float[64, 64] p) { p = MatMul (x, x) },
                           else_branch = b () => (float[64, 64] q) { q = Relu (x) }> }""",
}


def what_is_run(name, model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath, options.log_severity_level = f"{name}.onnx", 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return sorted(node.op_type for node in onnx.load(f"{name}.onnx").graph.node)


print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
found = {}
for name, text in SWITCHES.items():
    model = parse_model(HEAD + text)
    onnx.checker.check_model(model, full_check=True)
    found[name] = what_is_run(name, model)
    print(f"{name:<6} what is run: {', '.join(found[name])}")
assert found["Where"] == ["MatMul", "Relu", "Where"], "the branch that is never taken is gone now"
assert found["If"] == ["Relu"], "If with a constant condition is no longer resolved"
PY
