"""One peer of benchmarks/serve.py, in the environment of serve_peers.txt: the same ONNX Runtime session behind another server.

    python benchmarks/serve_peers.py litserve|pytriton MODEL.onnx PORT BATCH

litserve   POST /predict, the bytes of the array and nothing else in and out, its fast queue (ZeroMQ), one worker, one server of requests
pytriton   the Open Inference Protocol with binary tensors, as ours; Triton's dynamic batching, one instance

With BATCH above 1 both put waiting requests together, as many at most; their other settings are their own.
"""

import sys
import sysconfig
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime

WAIT_S = 0.002  # for more of a batch, as ours
# The python backend brings an interpreter of 3.11 that is older than what the newest 3.11's own library asks of it
OLD_STUB = (
    "import threading, multiprocessing.resource_tracker as t; hasattr(t._resource_tracker._lock, '_recursion_count') "
    "or setattr(t._resource_tracker, '_lock', threading._PyRLock())\n"
)


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
    from fastapi import Body, Response

    class Api(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.session = session(sys.argv[2])
            self.name, self.shape = self.session.get_inputs()[0].name, shape_of(self.session)

        def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> np.ndarray:
            return np.frombuffer(request, np.float32).reshape(self.shape)

        def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
            return np.concatenate(inputs)

        def predict(self, array: np.ndarray) -> np.ndarray:
            return self.session.run(None, {self.name: array})[0]

        def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
            return list(output)

        def encode_response(self, output: np.ndarray) -> Response:
            return Response(output.tobytes(), media_type="application/octet-stream")


def lit(path: str, port: int, batch: int) -> None:
    more = {"max_batch_size": batch, "batch_timeout": WAIT_S} if batch > 1 else {}
    server = litserve.LitServer(Api(**more), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="error")


def pytriton(path: str, port: int, most: int) -> None:
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    Path(sysconfig.get_path("purelib"), "old_stub.pth").write_text(OLD_STUB)
    opened = session(path)
    feed, result = opened.get_inputs()[0], opened.get_outputs()[0]

    @batch
    def run(**arrays: np.ndarray) -> dict[str, np.ndarray]:
        return {result.name: opened.run(None, arrays)[0]}

    config = TritonConfig(http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False)
    waits = DynamicBatcher(max_queue_delay_microseconds=round(WAIT_S * 1e6) if most > 1 else 0)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="model",
            infer_func=run,
            inputs=[Tensor(name=feed.name, dtype=np.float32, shape=tuple(shape_of(opened)[1:]))],
            outputs=[Tensor(name=result.name, dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=most, batcher=waits),
        )
        triton.serve()


if __name__ == "__main__":
    {"litserve": lit, "pytriton": pytriton}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
