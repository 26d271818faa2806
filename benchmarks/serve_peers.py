"""One peer of benchmarks/serve.py, in the environment of serve_peers.txt: the same ONNX Runtime session behind another server.

    python benchmarks/serve_peers.py litserve|pytriton MODEL.onnx PORT

litserve   POST /predict, JSON both ways: what comes in is handed to another process, and raw requests cannot be
pytriton   the Open Inference Protocol, as ours
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime


def session(path: str) -> Any:
    """As ours opens it: one thread, which does not wait in a loop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def shape_of(opened: Any) -> list[int]:
    """Of the input, open sizes as 1."""
    return [size if isinstance(size, int) else 1 for size in opened.get_inputs()[0].shape]


if sys.argv[1:2] == ["litserve"]:  # at the top: its workers are processes that import this file again
    import litserve

    class Api(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.session = session(sys.argv[2])
            self.name, self.shape = self.session.get_inputs()[0].name, shape_of(self.session)

        def decode_request(self, request: dict[str, Any]) -> np.ndarray:
            return np.array(request["data"], np.float32).reshape(self.shape)

        def predict(self, array: np.ndarray) -> np.ndarray:
            return self.session.run(None, {self.name: array})[0]

        def encode_response(self, output: np.ndarray) -> dict[str, Any]:
            return {"data": output.ravel().tolist()}


def lit(path: str, port: int) -> None:
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False)


def pytriton(path: str, port: int) -> None:
    from pytriton.decorators import batch
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    opened = session(path)
    feed, result = opened.get_inputs()[0], opened.get_outputs()[0]

    @batch
    def run(**arrays: np.ndarray) -> dict[str, np.ndarray]:
        return {result.name: opened.run(None, arrays)[0]}

    config = TritonConfig(http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="model",
            infer_func=run,
            inputs=[Tensor(name=feed.name, dtype=np.float32, shape=tuple(shape_of(opened)[1:]))],
            outputs=[Tensor(name=result.name, dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=1),
        )
        triton.serve()


if __name__ == "__main__":
    {"litserve": lit, "pytriton": pytriton}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
