"""Linears as exporters write them: on matrices, tokens and maps, with and without a bias, as MatMul and as Gemm."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
linears (float[B, 8, 8, 96] x) => (float[B, 40] y, float[B, 64, 64] side)
<int64[3] tokens = {0, 64, 96}, int64[1] mid = {1}>
{
  map_product = MatMul(x, w_map)
  map = Add(map_product, b_map)
  seen = Reshape(map, tokens)
  normal = LayerNormalization<axis = -1>(seen, one)
  q_product = MatMul(normal, w_q)
  q = Add(b_q, q_product)
  k = MatMul(normal, w_k)
  kt = Transpose<perm = [0, 2, 1]>(k)
  scores = MatMul(q, kt)
  side = Softmax<axis = -1>(scores)
  v_product = MatMul(normal, w_v)
  v = Add(v_product, b_v)
  mixed = MatMul(side, v)
  pooled = ReduceMean<keepdims = 0>(mixed, mid)
  hidden = Gemm<transB = 1, beta = 0.5>(pooled, w_hidden, b_hidden)
  gelu = Gelu(hidden)
  y = Gemm(gelu, w_head)
}
"""
SHAPES = {
    "w_map": (96, 96), "b_map": (96,), "one": (96,), "w_q": (96, 96), "b_q": (96,), "w_k": (96, 96), "w_v": (96, 96),
    "b_v": (96,), "w_hidden": (80, 96), "b_hidden": (80,), "w_head": (80, 40),
}  # fmt: skip
LINEARS = ("map_product", "q_product", "k", "v_product", "hidden", "y")


def linear_graph(batch: int | str = "B", seed: int = 0) -> ir.Model:
    """x (B, 8, 8, 96) -> y (B, 40) and side (B, 64, 64); the sites are the nodes named LINEARS."""
    proto, rng = onnx.parser.parse_model(TEXT.replace("[B,", f"[{batch},")), np.random.default_rng(seed)
    for name, shape in SHAPES.items():
        array = (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        if name == "w_q":
            array /= np.float32(np.sqrt(96))  # the scale of the scores; a sharp softmax would blow up every rounding
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array + (name == "one"), name))
    for node in proto.graph.node:
        node.name = node.output[0]
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def feeds(batch: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"x": rng.standard_normal((batch, 8, 8, 96)).astype(np.float32)}


class Noise:
    """Seeded noise for that graph, with what a report tells of an ImageSet."""

    source, kind, contract, labels = "noise", "arrays", None, None

    def __init__(self, count: int, seed: int) -> None:
        self.array = np.random.default_rng(seed).standard_normal((count, 8, 8, 96)).astype(np.float32)
        self.digest = f"{seed:064}"

    def __len__(self) -> int:
        return len(self.array)

    def batches(self, size: int, start: int = 0):
        for first in range(start, len(self.array), size):
            yield self.array[first : first + size]
