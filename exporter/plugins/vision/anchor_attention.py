"""Attention probabilities of a few query rows over all keys: what grounding reads from the attention of a language model.

Paper: Zhou et al., GUI-AIMA, arXiv:2511.00810: the attention of one anchor token, and of the tokens of the query, over the
patches of a screenshot tells where to click. Fused attention never shows its probabilities; these rows are computed apart.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import Attribute, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, Variant, for_types
from ..softmax import softmax

SCHEMA = OpSchema(
    "AnchorAttention",
    inputs=(Tensor("q_rows", "T", ("B", "Hq", "R", "D")), Tensor("k", "T", ("B", "Hk", "N", "D"))),
    outputs=(Tensor("probs", "T", ("B", "Hq", "R", "N")),),
    attributes=(Attribute("scale", "float", None, "of the scores, usually D^-0.5"),),
)

# the query heads of a key head are rows of one product, so that the keys are not repeated
BODY = """
  same = Constant <value_ints = [0]> ()
  rest = Constant <value_ints = [-1]> ()
  key_heads = Shape <start = 1, end = 2> (k)
  width = Shape <start = 3, end = 4> (k)
  grouped_shape = Concat <axis = 0> (same, key_heads, rest, width)
  grouped = Reshape (q_rows, grouped_shape)
  kt = Transpose <perm = [0, 1, 3, 2]> (k)
  products = MatMul (grouped, kt)
  scale_f = Constant <value_float: float = @scale> ()
  scale_t = CastLike (scale_f, q_rows)
  scores = Mul (products, scale_t)
  grouped_probs = Softmax <axis = -1> (scores)
  rows_shape = Shape <start = 0, end = 3> (q_rows)
  keys_shape = Shape <start = 2, end = 3> (k)
  probs_shape = Concat <axis = 0> (rows_shape, keys_shape)
  probs = Reshape (grouped_probs, probs_shape)
"""


def reference(q_rows: np.ndarray, k: np.ndarray, *, scale: float) -> np.ndarray:
    """(B, Hq, R, D), (B, Hk, N, D) -> (B, Hq, R, N), query head h reads key head h // (Hq / Hk); float64 inside.

    Raises:
        ValueError: Hq is no multiple of Hk.
    """
    heads, key_heads = q_rows.shape[1], k.shape[1]
    if heads % key_heads:
        raise ValueError(f"AnchorAttention: {heads} query heads do not share {key_heads} key heads evenly")
    keys = np.repeat(k.astype(np.float64), heads // key_heads, axis=1)  # (B, Hq, N, D)
    scores = q_rows.astype(np.float64) @ keys.swapaxes(2, 3) * scale
    return softmax(scores).astype(q_rows.dtype)


def _variants(d: int) -> tuple[Variant, ...]:
    # three stages: two blocks of keys on their way while a third is read, within 48 KiB of shared memory
    half = {"D": d, "BLOCK_R": 16, "BLOCK_N": 64, "CHUNK": 512}
    when = f"D == {d} and Hq // Hk * Hk == Hq"
    return (
        *for_types({"float16": half, "bfloat16": half}, when=when, stages=3),
        *for_types({"float32": {**half, "BLOCK_N": 32}}, when=when, stages=3),
    )


KERNEL = Kernel(
    "anchor_attention:anchor_attention_kernel",
    grid=("cdiv(N, CHUNK)", "cdiv(Hq // Hk * R, BLOCK_R)", "B * Hk"),
    scalars={"rows": "Hq // Hk * R", "n": "N", "scale_bits": "scale"},
    variants=(*_variants(128), *_variants(64), *_variants(32)),
)
OP = FusedOp(
    SCHEMA,
    summary="Attention probabilities of a few query rows over all keys, query heads grouped over key heads.",
    equation="probs[h, r, :] = softmax_n(q[h, r] . k[h // (Hq / Hk), n] scale)",
    source="arXiv:2511.00810; grouped-query heads: arXiv:2305.13245",
    body=BODY,
    reference=reference,
    kernel=KERNEL,
    wins="the plain graph is three standard ops (product, scale, softmax) and runs everywhere",
    notes=(
        "Every program reads all keys of its head and its own chunk of them twice: one launch for more reads of a cache.",
    ),
)
