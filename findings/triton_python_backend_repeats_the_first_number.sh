#!/usr/bin/env bash
# GUESS    a python backend that starts with the NumPy at hand hands out the numbers that a client sent, or says that it cannot
# SEEN     with NumPy 2 the python backend of Triton server 2.51 (wheel nvidia-pytriton 0.7.0, its stub for Python 3.11) gives each model an array of the
#          right shape and type whose every element is the first one, without an error or a line in the log; the model is ready. Only what it sends
#          back as an array of NumPy is refused, as "output tensor shape does not match size of output". NumPy 1.26 is right
# COST     a model works on a picture of one colour, and who looks for the fault looks at its outputs, where the error is told
# RUN      bash findings/triton_python_backend_repeats_the_first_number.sh       (Python 3.11; x86-64 Linux)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/models/echo/1"
cat > "$folder/models/echo/config.pbtxt" <<'CONFIG'
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
CONFIG
cat > "$folder/models/echo/1/model.py" <<'MODEL'
import json
import pathlib

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            told = json.dumps([np.__version__, x.tolist(), list(x.shape), str(x.dtype)])
            pathlib.Path(__file__).with_name("seen.json").write_text(told)
            answers.append(pb.InferenceResponse([pb.Tensor("y", x)]))
        return answers
MODEL
for numpy in 1.26.4 2.3.2; do
  python3 -m venv "$folder/$numpy"
  "$folder/$numpy/bin/pip" install --quiet --disable-pip-version-check numpy==$numpy
  "$folder/$numpy/bin/pip" install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
done
cat > "$folder/ask.py" <<'PYTHON'
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

work = pathlib.Path(sys.argv[1])
site = next(pathlib.Path(sys.prefix, "lib").glob("python3*/site-packages"))
server = site / "pytriton" / "tritonserver"
backends = work / f"backends-{pathlib.Path(sys.prefix).name}"
shutil.copytree(server / "backends" / "python", backends / "python")
version = f"{sys.version_info.major}.{sys.version_info.minor}"
stub = shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
program = shutil.copy(server / "bin" / "tritonserver", backends / "tritonserver")
for path in (stub, program):
    os.chmod(path, 0o755)
with socket.socket() as one, socket.socket() as other:
    one.bind(("127.0.0.1", 0))
    other.bind(("127.0.0.1", 0))
    http, grpc = one.getsockname()[1], other.getsockname()[1]
env = {**os.environ, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs")}
command = [
    program, f"--model-repository={work / 'models'}", f"--backend-directory={backends}", "--http-address=127.0.0.1", f"--http-port={http}",
    "--grpc-address=127.0.0.1", f"--grpc-port={grpc}", "--allow-metrics=false",
]
body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [4], "data": [1.0, 2.0, 3.0, 4.0]}]}).encode()
with open(backends / "log", "wb") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as running:
    try:
        until = time.monotonic() + 300
        while True:
            try:
                reply = urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/models/echo/infer", body, timeout=60)
                answer = json.loads(reply.read())["outputs"][0]["data"]
                break
            except urllib.error.HTTPError as error:
                answer = json.loads(error.read())["error"]
                break
            except (urllib.error.URLError, ConnectionError):
                assert running.poll() is None and time.monotonic() < until, (backends / "log").read_text()[-2000:]
                time.sleep(0.3)
        seen = (work / "models" / "echo" / "1" / "seen.json").read_text()
        print(json.dumps([*json.loads(seen), answer]))
    finally:
        running.terminate()
PYTHON
for numpy in 1.26.4 2.3.2; do
  "$folder/$numpy/bin/python" "$folder/ask.py" "$folder" | tee "$folder/told-$numpy"
done
python3 - "$folder" <<'PYTHON'
import json
import pathlib
import sys

old, new = (json.loads(pathlib.Path(sys.argv[1], f"told-{version}").read_text()) for version in ("1.26.4", "2.3.2"))
print("sent [1.0, 2.0, 3.0, 4.0]; nvidia-pytriton 0.7.0, server 2.51")
assert old == ["1.26.4", [1.0, 2.0, 3.0, 4.0], [4], "float32", [1.0, 2.0, 3.0, 4.0]], old
assert new == ["2.3.2", [1.0, 1.0, 1.0, 1.0], [4], "float32", "output tensor shape does not match size of output for 'y'"], new
PYTHON
