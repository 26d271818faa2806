"""NVIDIA's own client against our server. It has an environment of its own (make triton-client), since it holds a package back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from served import served
from small_bundle import write_small_bundle
from typed_bundle import TYPES, write_typed_bundle

ROOT = Path(__file__).parents[3]
CLIENT = Path(os.environ.get("EDGESMITH_TRITON_CLIENT", ROOT / ".venv-triton-client")) / "bin" / "python"
CODE = """
import sys
import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

client = http.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("small", "1")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert client.get_model_metadata("small")["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [1, 3, 8, 8]}]
images = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
for binary in (True, False):
    one = http.InferInput("images", list(images.shape), "FP32")
    one.set_data_from_numpy(images, binary_data=binary)
    for outputs in (None, [http.InferRequestedOutput("logits", binary_data=binary)]):
        found = client.infer("small", [one], outputs=outputs, request_id="seven")
        np.testing.assert_allclose(found.as_numpy("logits"), images.mean(axis=(2, 3)), rtol=1e-6)
        assert found.get_response()["id"] == "seven"
waiting = [client.async_infer("small", [one]) for _ in range(8)]
assert all(one.get_result().as_numpy("logits").shape == (1, 3) for one in waiting)
arrays = {name: np.arange(6).reshape(2, 3).astype(name) for name in sys.argv[2].split(",")}
inputs = []
for name, array in arrays.items():
    inputs.append(http.InferInput("in_" + name, [2, 3], np_to_triton_dtype(array.dtype)))
    inputs[-1].set_data_from_numpy(array)
found = client.infer("typed", inputs)
for name, array in arrays.items():
    assert found.as_numpy("out_" + name).tobytes() == array.tobytes(), name
for model, status, why in (("nobody", "404", "no model 'nobody'"), ("typed", "400", "there is no input 'images'")):
    try:
        client.infer(model, [one])
    except InferenceServerException as error:
        assert error.status() == status and why in error.message(), error
    else:
        raise AssertionError(model)
print("all held")
"""


@pytest.mark.skipif(not CLIENT.is_file(), reason="no environment with tritonclient: make triton-client")
def test_tritonclient_is_understood(tmp_path: Path):
    with served(write_small_bundle(tmp_path / "small.edge"), write_typed_bundle(tmp_path / "typed.edge")) as server:
        command = [str(CLIENT), "-c", CODE, f"127.0.0.1:{server.port}", ",".join(TYPES)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.stdout == "all held\n", done.stderr
