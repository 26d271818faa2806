#!/usr/bin/env bash
# GUESS    a graph that torch.onnx.export returns without an error can be loaded, whatever its options
# SEEN     where one value is clamped in two places by bounds that are tensors (buffers), the simplification that is on by default joins the
#          first halves and leaves the second reading a constant that stands nowhere: ONNX Runtime refuses the file when it is loaded. With
#          optimize=False the same network exports rightly; one clamp alone does, too
# COST     networks whose q, k and v read one clamped value, such as gemma4_vit of timm, end in a file that no engine opens
# RUN      bash findings/torch_exporter_forgets_bounds_of_a_clamp.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON' 2>/dev/null
import numpy as np
import onnxruntime
import onnxscript
import torch

print("torch", torch.__version__, "onnxscript", onnxscript.__version__, "onnxruntime", onnxruntime.__version__)


class Clamped(torch.nn.Module):
    def __init__(self, times):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(times))
        self.register_buffer("low", torch.tensor(-1.0))
        self.register_buffer("high", torch.tensor(1.0))

    def forward(self, x):
        x = x * 2
        return sum(layer(torch.clamp(x, self.low, self.high)) for layer in self.layers)


found = {}
for times in (1, 2):
    for optimize in (True, False):
        network, x = Clamped(times).eval(), torch.randn(2, 4)
        graph = torch.onnx.export(network, (x,), dynamo=True, verbose=False, optimize=optimize).model_proto
        try:
            session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
            (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            told = "right" if np.allclose(y, network(x).detach(), atol=1e-5) else "other numbers"
        except Exception as error:
            told = "cannot be loaded: " + str(error).split("Invalid model. ")[-1]
        found[times, optimize] = told
        print(f"clamped {times} times, optimize={optimize}: {told}")
assert found[1, True] == found[1, False] == found[2, False] == "right"
assert "is not a graph input, initializer, or output of a previous node" in found[2, True]
PYTHON
