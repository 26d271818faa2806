"""Packed codes back to keys and values; the other half of quantize_kv.py, layout in kv_packing.py.

The way that works everywhere: unpack into T, then the runtime's own attention. The packed tensors do not say what T is, so
a third input ``like`` of one element does; its value is never read.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import TYPES, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, Variant
from .hadamard import fwht, product_text
from .packing import BITS, TOKENS, dequantize_k, dequantize_k_text, dequantize_v, dequantize_v_text
from .quantise import BITS_ATTRIBUTE, LARGEST_GROUP, ROTATE_ATTRIBUTE, TOKENS_ATTRIBUTE, WHOLE_WORDS

LIKE = Tensor("like", "T", ("1",))
K_SCHEMA = OpSchema(
    "DequantizeK",
    inputs=(
        Tensor("codes", "int32", ("B", "Hk", "N", "D * bits // 32")),
        Tensor("meta", "float16", ("B", "Hk", "cdiv(N, tokens)", "2", "D")),
        LIKE,
    ),
    outputs=(Tensor("k", "T", ("B", "Hk", "N", "D")),),
    attributes=(BITS_ATTRIBUTE, TOKENS_ATTRIBUTE),
)
V_SCHEMA = OpSchema(
    "DequantizeV",
    inputs=(
        Tensor("codes", "int32", ("B", "Hk", "N", "Words")),
        Tensor("meta", "float16", ("B", "Hk", "N", "8 // bits", "2")),
        LIKE,
    ),
    outputs=(Tensor("v", "T", ("B", "Hk", "N", "Words * 32 // bits")),),
    attributes=(BITS_ATTRIBUTE, ROTATE_ATTRIBUTE),
)

K_BODY = f"""{dequantize_k_text("codes", "meta", "exact")}
  k = CastLike (exact, like)
"""
V_BODY = f"""{dequantize_v_text("codes", "meta", "exact")}
{product_text("exact", "turned")}
  rotate_i = Constant <value_int: int = @rotate> ()
  rotate_b = Cast <to = 9> (rotate_i)
  wanted = Where (rotate_b, turned, exact)
  v = CastLike (wanted, like)
"""
V_BODY_NOT_ROTATED = f"""{dequantize_v_text("codes", "meta", "exact")}
  v = CastLike (exact, like)
"""


def reference_k(
    codes: np.ndarray, meta: np.ndarray, like: np.ndarray, *, bits: int = 4, tokens: int = TOKENS
) -> np.ndarray:
    """What QuantizeK gave -> (B, Hk, N, D) in the type of ``like``; float64 inside."""
    return dequantize_k(codes, meta, bits, tokens).astype(like.dtype)


def reference_v(codes: np.ndarray, meta: np.ndarray, like: np.ndarray, *, bits: int = 4, rotate: int = 0) -> np.ndarray:
    """What QuantizeV gave -> (B, Hk, N, D) in the type of ``like``, turned back if it was rotated; float64 inside."""
    rows = dequantize_v(codes, meta, bits)
    return (fwht(rows) if rotate else rows).astype(like.dtype)


K_KERNEL = Kernel(
    "kv.dequantize_kv:dequantize_k_kernel",
    grid=("cdiv(N, tokens)", "B * Hk", "cdiv(D * bits // 8, BLOCK_W)"),
    scalars={"n": "N", "words": "D * bits // 32", "tokens": "tokens", "groups": "cdiv(N, tokens)"},
    variants=tuple(
        Variant(type_, {"BITS": bits, "BLOCK_T": LARGEST_GROUP, "BLOCK_W": 32},
                f"bits == {bits} and tokens < {LARGEST_GROUP + 1} and {WHOLE_WORDS}")
        for type_ in TYPES for bits in BITS
    ),
)  # fmt: skip
V_KERNEL = Kernel(
    "kv.dequantize_kv:dequantize_v_kernel",
    grid=("cdiv(B * Hk * N, ROWS)", "1", "1"),
    scalars={"rows": "B * Hk * N", "rotate": "rotate"},
    variants=tuple(
        Variant(type_, {"BITS": bits, "D": size, "ROWS": 2048 // size},
                f"Words * 32 == {size * bits} and bits == {bits}")
        for type_ in TYPES for size in (128, 64) for bits in BITS
    ),
)  # fmt: skip
K_OP = FusedOp(
    K_SCHEMA,
    summary="Packed keys of QuantizeK back to T.",
    equation="k[n, c] = code[n, c] s[g, c] + z[g, c],  g = n // tokens",
    source="Liu et al., KIVI, arXiv:2402.02750, section 3",
    body=K_BODY,
    reference=reference_k,
    kernel=K_KERNEL,
    wins="the plain graph unpacks with Floor and Mod in float32, a dozen passes over the keys",
)
V_OP = FusedOp(
    V_SCHEMA,
    summary="Packed values of QuantizeV back to T.",
    equation="x[n, c] = code[n, c] s[n, i] + z[n, i],  i = c // W;  v = x or FWHT(x)",
    source="Liu et al., KIVI, arXiv:2402.02750, section 3; rotation: Ashkboos et al., QuaRot, arXiv:2404.00456",
    body=V_BODY,
    body_at={("rotate", 0): V_BODY_NOT_ROTATED},
    reference=reference_v,
    kernel=V_KERNEL,
    wins="as DequantizeK",
)
