#!/bin/bash
# torch.onnx.export(..., verify=True) says nothing when the ONNX file answers NaN where PyTorch answers a number.
#
# The guess: verify=True runs the file on ONNX Runtime beside PyTorch, so an output that is NaN on one side only is the first
# thing that it reports. Seen with torch 2.14.1: a difference is a line in the log at 5e-3 and nothing is raised; and as
# "NaN >= 5e-3" is false, a NaN is not even that line. With verbose=True it prints "Verify output accuracy..." with a tick.
#
# The model is a masked log-likelihood, as detector losses and beam scores have it: logsigmoid(x) * mask. torch exports
# logsigmoid as Log(Sigmoid(x)), which is -inf wherever the sigmoid is 0 in float32; -inf * 0 is NaN.
# What to do: compare the outputs oneself, and look for NaN and infinity on both sides before taking a difference.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
cat > shows.py <<'PROGRAM'
import contextlib
import io
import logging

import numpy as np
import onnx
import onnxruntime
import torch

print("torch", torch.__version__, "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)


class Masked(torch.nn.Module):
    def forward(self, x, mask):
        return torch.nn.functional.logsigmoid(x) * mask


class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())


lines = []
logging.getLogger("torch.onnx").addHandler(Lines(level=logging.WARNING))


def difference_lines(x, mask):
    """What verify=True logs about the outputs, what verbose=True prints of them, and both answers."""
    lines.clear()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        program = torch.onnx.export(Masked().eval(), (x, mask), dynamo=True, verify=True, verbose=True)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy(), "mask": mask.numpy()})
    about = [line for line in lines if "difference" in line]
    ticks = [line for line in said.getvalue().splitlines() if "Verify output accuracy..." in line]
    return about, ticks[-1], found, Masked()(x, mask).numpy()


ones = torch.ones(1, 3)
about, told, found, expected = difference_lines(torch.tensor([[-200.0, 1.0, 2.0]]), ones)
print("without a mask:", found, "PyTorch:", expected, "verify:", about, ascii(told))
assert np.isneginf(found[0, 0]) and expected[0, 0] == -200 and about, "infinity is reported in the log, and not raised"

about, told, found, expected = difference_lines(torch.tensor([[-200.0, 1.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.0]]))
print("with a mask:   ", found, "PyTorch:", expected, "verify:", about, ascii(told))
assert np.isnan(found[0, 0]) and np.isfinite(expected).all()
assert not about and "\u2705" in told, "the NaN is reported now"
print("seen: NaN in ONNX Runtime, numbers in PyTorch, and verify=True is content")
PROGRAM
"$folder/env/bin/python" shows.py
