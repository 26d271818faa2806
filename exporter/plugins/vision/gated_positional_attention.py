"""Gated positional self-attention of ConViT as one op: content and position attention, mixed by a learned gate.

Paper: d'Ascoli et al., ConViT, arXiv:2103.10697, equations 7 and 8. The position scores of a head are a quadratic in the
offset of two patches, so four numbers a head stand for the (H, N, N) table of the exported graph; a constant added to all
scores (the bias of ``pos_proj``) cancels in the softmax.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import Attribute, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, Variant, for_types
from ..softmax import softmax

QKV = ("B", "H", "N", "D")
SCHEMA = OpSchema(
    "GatedPositionalAttention",
    inputs=(Tensor("q", "T", QKV), Tensor("k", "T", QKV), Tensor("v", "T", QKV), Tensor("pos", "float32", ("H", "4"))),
    outputs=(Tensor("out", "T", QKV),),
    attributes=(
        Attribute("side", "int", None, "patches in a row of the grid: patch j stands at x = j % side, y = j // side"),
        Attribute("scale", "float", None, "of the content scores, D^-0.5 in ConViT"),
    ),
)

# The table of positions depends on N and pos alone: with both known it becomes a constant. The gate is put into it and not
# into the values, which leaves softmax(q k^T) v as runtimes know it. float32: w2 dx^2 loses the neighbours in float16.
BODY = """
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  n_1 = Shape <start = 2, end = 3> (q)
  n = Squeeze (n_1)
  token = Range (zero, n, one)
  side_i = Constant <value_int: int = @side> ()
  xi = Mod (token, side_i)
  yi = Div (token, side_i)
  x = Cast <to = 1> (xi)
  y = Cast <to = 1> (yi)
  as_keys = Constant <value_ints = [1, -1]> ()
  as_rows = Constant <value_ints = [-1, 1]> ()
  x_keys = Reshape (x, as_keys)
  x_rows = Reshape (x, as_rows)
  dx = Sub (x_keys, x_rows)
  y_keys = Reshape (y, as_keys)
  y_rows = Reshape (y, as_rows)
  dy = Sub (y_keys, y_rows)
  dx2 = Mul (dx, dx)
  dy2 = Mul (dy, dy)
  d2 = Add (dx2, dy2)
  w0_1, w1_1, w2_1, gate_1 = Split <axis = 1, num_outputs = 4> (pos)
  a_head = Constant <value_ints = [1, -1, 1, 1]> ()
  w0 = Reshape (w0_1, a_head)
  w1 = Reshape (w1_1, a_head)
  w2 = Reshape (w2_1, a_head)
  gate = Reshape (gate_1, a_head)
  s0 = Mul (w0, dx)
  s1 = Mul (w1, dy)
  s2 = Mul (w2, d2)
  s01 = Add (s0, s1)
  place_scores = Add (s01, s2)
  place_softmax = Softmax <axis = -1> (place_scores)
  place_gated = Mul (place_softmax, gate)
  place_p = CastLike (place_gated, q)
  place = MatMul (place_p, v)
  scale_f = Constant <value_float: float = @scale> ()
  scale_t = CastLike (scale_f, q)
  kt = Transpose <perm = [0, 1, 3, 2]> (k)
  products = MatMul (q, kt)
  scores = Mul (products, scale_t)
  p = Softmax <axis = -1> (scores)
  content = MatMul (p, v)
  one_f = Constant <value_float = 1.0> ()
  open_f = Sub (one_f, gate)
  open = CastLike (open_f, q)
  content_gated = Mul (content, open)
  out = Add (content_gated, place)
"""


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, pos: np.ndarray, *, side: int, scale: float) -> np.ndarray:
    """3 times (B, H, N, D), (H, 4) -> (B, H, N, D); float64 inside."""
    token = np.arange(q.shape[2])
    dx, dy = ((place[None, :] - place[:, None]).astype(np.float64) for place in (token % side, token // side))
    w0, w1, w2, gate = (number.astype(np.float64)[:, None, None] for number in pos.T)  # each (H, 1, 1)
    content = softmax(q.astype(np.float64) @ k.astype(np.float64).swapaxes(2, 3) * scale)  # (B, H, N, N)
    place = softmax(w0 * dx + w1 * dy + w2 * (dx**2 + dy**2))  # (H, N, N)
    return np.asarray(((1 - gate) * content + gate * place) @ v.astype(np.float64)).astype(q.dtype)


def _variants(d: int) -> tuple[Variant, ...]:
    """float16 and bfloat16 on the tensor cores; float32 in tiles that the registers hold without spilling."""
    sizes = {"D": d, "WIDTH": 1 << (d - 1).bit_length()}
    half = {**sizes, "BLOCK_M": 64, "BLOCK_N": 32}
    rows, warps = (64, 8) if d > 32 else (32, 4)
    return (
        *for_types({"float16": half, "bfloat16": half}, when=f"D == {d}"),
        *for_types({"float32": {**sizes, "BLOCK_M": rows, "BLOCK_N": 16}}, when=f"D == {d}", warps=warps),
    )


# 48 is the width of every published model. The second one for it has twice the programs, for a picture alone on a large chip
SMALL_BLOCKS = for_types({"float16": {"D": 48, "WIDTH": 64, "BLOCK_M": 32, "BLOCK_N": 32}}, when="D == 48")
KERNEL = Kernel(
    "gated_positional_attention:gated_positional_attention_kernel",
    grid=("cdiv(N, BLOCK_M)", "B * H", "1"),
    scalars={"n": "N", "heads": "H", "side": "side", "scale_bits": "scale"},
    variants=(*_variants(48), *SMALL_BLOCKS, *_variants(64), *_variants(32), *_variants(16)),
)
OP = FusedOp(
    SCHEMA,
    summary="Content and position attention of one head, mixed by its gate; positions from four numbers a head.",
    equation="out = ((1 - g) softmax(q k^T scale) + g softmax(w0 dx + w1 dy + w2 (dx^2 + dy^2))) v,  "
    "dx = x_j - x_i, dy = y_j - y_i",
    source="arXiv:2103.10697, equations 7 and 8",
    body=BODY,
    reference=reference,
    kernel=KERNEL,
    wins="the plain graph keeps an (H, N, N) table and reads the values twice",
)
