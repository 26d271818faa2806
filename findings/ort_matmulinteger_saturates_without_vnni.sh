#!/bin/bash
# The standard ONNX operator MatMulInteger, uint8 times int8, gives wrong sums in ONNX Runtime on x86 processors without VNNI: sums of two
# products saturate at 16 bits. The operator's text promises the exact product in int32. The guess was: an operator with integers only is exact
# everywhere, and only Q/DQ files are a matter of kernels. int8 times int8 is exact on the same machine; with VNNI both are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PY'
import platform
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.parser import parse_model
from onnx.reference import ReferenceEvaluator

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
product ({kind}[M, K] a, int8[K, N] b) => (int32[M, N] y) {{ y = MatMulInteger(a, b) }}"""

if platform.machine() != "x86_64" or not Path("/proc/cpuinfo").is_file():
    sys.exit("this is about x86 on Linux")
vnni = any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_vnni", "avx_vnni"))
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "VNNI:", "yes" if vnni else "no")
found = {}
for kind, code in (("uint8", 255), ("int8", 127)):
    model = parse_model(TEXT.format(kind=kind))
    fed = {"a": np.full((4, 64), code, kind), "b": np.full((64, 16), 127, np.int8)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found[kind] = int(session.run(None, fed)[0][0, 0])
    exact = int(ReferenceEvaluator(model).run(None, fed)[0][0, 0])
    print(f"64 x {code} x 127, {kind}: ONNX Runtime {found[kind]}, ONNX's reference {exact}")
    assert exact == 64 * code * 127
assert found["int8"] == 64 * 127 * 127
assert found["uint8"] == (64 * 255 * 127 if vnni else 32 * 32767), "the behaviour has changed"
PY
