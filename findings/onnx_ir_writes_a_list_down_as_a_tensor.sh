#!/usr/bin/env bash
# GUESS    a graph that gets its shapes from onnx_ir's ShapeInferencePass is as valid as before, with more known of its values
# SEEN     a list of tensors (SplitToSequence) is written down as one tensor of its elements' type and shape; onnx's own inference, which the pass asks, says
#          that it is a sequence. ONNX Runtime loads the file as it was written and refuses the one behind the pass
# COST     networks in which torch.split or unbind is left as a list (Gemma's vision tower in timm, exported with optimize=False) end in a file that nothing opens
# RUN      bash findings/onnx_ir_writes_a_list_down_as_a_tensor.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnx-ir==1.1.0 onnxruntime==1.32.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import ShapeInferencePass

print("onnx", onnx.__version__, "onnx_ir", ir.__version__, "onnxruntime", onnxruntime.__version__)
written = onnx.parser.parse_model("""
<ir_version: 10, opset_import: ["" : 20]>
parts (float[4, 6] x) => (float[4, 2] y)
<int64 two = {2}, int64 at = {1}>
{
  list = SplitToSequence<axis = 1>(x, two)
  y = SequenceAt(list, at)
}
""")
model = ir.from_proto(written)
ShapeInferencePass()(model)
told = {"onnx": onnx.shape_inference.infer_shapes(written), "onnx_ir": ir.to_proto(model)}
kinds = {who: next(value.type.WhichOneof("value") for value in one.graph.value_info if value.name == "list") for who, one in told.items()}
loads = {}
for who, one in {"as written": written, **told}.items():
    try:
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        loads[who] = "loads"
    except Exception as error:
        loads[who] = str(error).split(" : ")[-1]
print("the list is a", kinds)
print(loads)
assert kinds == {"onnx": "sequence_type", "onnx_ir": "tensor_type"}
assert loads["as written"] == loads["onnx"] == "loads" and "does not match expected type (seq(tensor(float)))" in loads["onnx_ir"]
PYTHON
