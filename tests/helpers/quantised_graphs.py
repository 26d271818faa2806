"""One small network as float and as three tools would quantise it; every figure about it can be worked out with numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[B, 3, 8, 8] images) => (float[B, 4] logits)
"""
FLOAT = "{ flat = Flatten(images)  up = MatMul(flat, w1)  act = Relu(up)  logits = MatMul(act, w2) }"
QDQ = """{
  flat = Flatten(images)
  q1 = QuantizeLinear(flat, s1, z1)
  d1 = DequantizeLinear(q1, s1, z1)
  v1 = DequantizeLinear<axis = 1>(w1_quantized, w1_scale)
  up = MatMul(d1, v1)
  act = Relu(up)
  q2 = QuantizeLinear(act, s2, z2)
  d2 = DequantizeLinear(q2, s2, z2)
  v2 = DequantizeLinear<axis = 1>(w2_quantized, w2_scale)
  logits = MatMul(d2, v2)
}"""
FLOAT_WEIGHTS = """{
  flat = Flatten(images)
  q1 = QuantizeLinear(flat, s1, z1)
  d1 = DequantizeLinear(q1, s1, z1)
  k1 = QuantizeLinear<axis = 1>(w1, w1_scale, w1_zero)
  v1 = DequantizeLinear<axis = 1>(k1, w1_scale, w1_zero)
  up = MatMul(d1, v1)
  act = Relu(up)
  logits = MatMul(act, w2)
}"""
DYNAMIC = """{
  flat = Flatten(images)
  c1, t1, y1 = DynamicQuantizeLinear(flat)
  i1 = MatMulInteger(c1, w1_quantized, y1)
  f1 = Cast<to = 1>(i1)
  k1 = Mul(t1, w1_scale)
  up = Mul(f1, k1)
  act = Relu(up)
  logits = MatMul(act, w2)
}"""
OPERATORS = """{
  flat = Flatten(images)
  q1 = QuantizeLinear(flat, s1, z1)
  p1 = QLinearMatMul(q1, s1, z1, w1_quantized, w1_scale, w1_zero, s3, z1)
  up = DequantizeLinear(p1, s3, z1)
  act = Relu(up)
  logits = MatMul(act, w2)
}"""
RNG = np.random.default_rng(7)
W1 = (RNG.standard_normal((192, 16)) * np.linspace(0.1, 2, 16)).astype(np.float32)
W2 = RNG.standard_normal((16, 4)).astype(np.float32)
IMAGES = RNG.standard_normal((6, 3, 8, 8)).astype(np.float32)
S1, S2 = np.float32(2.5 / 127), np.float32(4.0)  # of the input: clips at 2.5 sigma; of the Relu: coarse


def codes(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes and scales of the columns, as every tool makes them from the largest value."""
    scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    return np.clip(np.round(weight / scale), -127, 127).astype(np.int8), scale


def rounded(values: np.ndarray, scale: np.float32) -> np.ndarray:
    """QuantizeLinear and DequantizeLinear with zero point 0."""
    return np.clip(np.round(values / scale), -128, 127) * scale


def network(body: str) -> onnx.ModelProto:
    """The graph with the constants that it reads; nodes are called after what they make."""
    model = onnx.parser.parse_model(HEAD + body)
    q1, scale1 = codes(W1)
    q2, scale2 = codes(W2)
    zero = np.int8(0)
    have = {
        "w1": W1, "w2": W2, "w1_quantized": q1, "w2_quantized": q2, "w1_scale": scale1, "w2_scale": scale2,
        "w1_zero": np.zeros(16, np.int8), "s1": S1, "s2": S2, "s3": np.float32(1.0), "z1": zero, "z2": zero,
    }  # fmt: skip
    read = {name for node in model.graph.node for name in node.input}
    for name in read & set(have):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(have[name]), name))
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    return model
