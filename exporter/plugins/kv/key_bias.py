"""The place of a key bias in the ops that attend over a packed cache: stored keys are R(n) W x, read are R(n) (W x + b).

RoPE is linear, so the bias that is left out of what is stored comes back exactly as R(n) b, from the bias of the layer and the
rotary tables of the cached tokens. An op with a bias is an op of its own and no option of the other: a TensorRT plugin has a
fixed number of inputs, and an ONNX function cannot ask whether one is there. The op without stays what it was, in graphs,
kernel packs and bundles.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import Tensor
from .rotate import rope

BIAS = (
    Tensor("key_bias", "float32", ("Hk", "D")),
    Tensor("cos", "float32", ("N", "D // 2")),
    Tensor("sin", "float32", ("N", "D // 2")),
)
EQUATION = (
    ";  k[n] stands for k[n] + R(n) b, so q . k[n] has sum_c u[c] cos[n, c] + w[c] sin[n, c] more, "
    "u = q1 b1 + q2 b2, w = q2 b1 - q1 b2, 1 and 2 the halves of a head"
)
NEW_KEYS = "new keys have their bias in them"
NOTES = (
    f"cos and sin are half as wide as a head, of the cached tokens alone, shared by batch, heads and layers; {NEW_KEYS}.",
    "The kernel turns the query against the bias once and adds a product with the tables, in two float16 halves each.",
)


def rotated_bias(key_bias: np.ndarray | None, cos: np.ndarray | None, sin: np.ndarray | None) -> np.ndarray | float:
    """(Hk, D), (N, D / 2) twice -> float64 (Hk, N, D) to add to the stored keys; 0 where there is no bias."""
    if key_bias is None or cos is None or sin is None:
        return 0.0
    return rope(key_bias.astype(np.float64)[:, None], cos.astype(np.float64), sin.astype(np.float64))


def biased_text(keys: str, out: str) -> str:
    """Body lines: ``keys`` float32 (B, Hk, N, D) and the three inputs -> ``out``, the same with R(n) b added."""
    return f"""
  {out}_axis = Constant <value_ints = [1]> ()
  {out}_row = Unsqueeze (key_bias, {out}_axis)
  {out}_b1, {out}_b2 = Split <axis = 2, num_outputs = 2> ({out}_row)
  {out}_b1_cos = Mul ({out}_b1, cos)
  {out}_b2_sin = Mul ({out}_b2, sin)
  {out}_first = Sub ({out}_b1_cos, {out}_b2_sin)
  {out}_b2_cos = Mul ({out}_b2, cos)
  {out}_b1_sin = Mul ({out}_b1, sin)
  {out}_second = Add ({out}_b2_cos, {out}_b1_sin)
  {out}_turned = Concat <axis = 2> ({out}_first, {out}_second)
  {out} = Add ({keys}, {out}_turned)
"""
