"""A ViT of one block in ONNX text with seeded weights: what the tests of precision, build and X-ray work on."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

WIDTH, HEADS, TOKENS, CLASSES = 64, 2, 16, 10

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
vit (float[BATCH, 3, 32, 32] images) => (float[BATCH, 10] logits)
<int64[3] flat = {0, 64, 16}, int64[4] split = {0, 16, 2, 32}, int64[3] merged = {0, 16, 64}, float scale = {0.17677669},
 int64[1] tokens = {1}>
{
  [patch] patches = Conv<strides = [8, 8]>(images, patch_weight)
  [flat] rows = Reshape(patches, flat)
  [tokens_first] x0 = Transpose<perm = [0, 2, 1]>(rows)
  [norm1] n1 = LayerNormalization<axis = -1>(x0, gain, shift)
  [to_q] q0 = MatMul(n1, wq)
  [to_k] k0 = MatMul(n1, wk)
  [to_v] v0 = MatMul(n1, wv)
  [split_q] q1 = Reshape(q0, split)
  [split_k] k1 = Reshape(k0, split)
  [split_v] v1 = Reshape(v0, split)
  [heads_q] q = Transpose<perm = [0, 2, 1, 3]>(q1)
  [heads_k] k = Transpose<perm = [0, 2, 3, 1]>(k1)
  [heads_v] v = Transpose<perm = [0, 2, 1, 3]>(v1)
  [scores] s0 = MatMul(q, k)
  [scaled] s1 = Mul(s0, scale)
  [softmax] a = Softmax<axis = -1>(s1)
  [mix] m0 = MatMul(a, v)
  [heads_last] m1 = Transpose<perm = [0, 2, 1, 3]>(m0)
  [merge] m2 = Reshape(m1, merged)
  [project] m3 = MatMul(m2, wo)
  [residual] x1 = Add(x0, m3)
  [norm2] n2 = LayerNormalization<axis = -1>(x1, gain, shift)
  [up] h0 = MatMul(n2, w1)
  [gelu] h1 = Gelu(h0)
  [down] h2 = MatMul(h1, w2)
  [residual2] x2 = Add(x1, h2)
  [pool] p = ReduceMean<keepdims = 0>(x2, tokens)
  [head] logits = Gemm(p, wh, bh)
}
"""


def vit(batch: int | str = 1, seed: int = 0) -> ir.Model:
    """(batch, 3, 32, 32) -> (batch, 10); float32, opset 20."""
    proto = parser.parse_model(TEXT.replace("BATCH", str(batch)))
    rng = np.random.default_rng(seed)
    shapes = {
        "patch_weight": (WIDTH, 3, 8, 8), "wq": (WIDTH, WIDTH), "wk": (WIDTH, WIDTH), "wv": (WIDTH, WIDTH),
        "wo": (WIDTH, WIDTH), "w1": (WIDTH, 4 * WIDTH), "w2": (4 * WIDTH, WIDTH), "wh": (WIDTH, CLASSES), "bh": (CLASSES,),
    }  # fmt: skip
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) * 0.1 for name, shape in shapes.items()}
    arrays |= {"gain": np.ones(WIDTH, np.float32), "shift": np.full(WIDTH, 0.1, np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.checker.check_model(proto, full_check=True)
    return ir.from_proto(proto)


def run(model: ir.Model, images: np.ndarray) -> np.ndarray:
    """The first output of ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    proto = ir.to_proto(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {proto.graph.input[0].name: images})[0]


def images(batch: int = 1, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, 32, 32), dtype=np.float32)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
