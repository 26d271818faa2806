"""Attention of new tokens over a packed, static prefix: one screenshot is cached once, many instructions read it.

Keys and values of the prefix are codes of 2, 4 or 8 bits (kv_packing.py, layout of KIVI, Liu et al., arXiv:2402.02750);
the new tokens are not quantised, see the whole prefix, and each other causally. The kernel multiplies codes: the scales of
K go into the query and those of V into the probabilities, so no element is dequantised.

``PrefixAttentionBiased`` has a place for the key bias that the prefix was stored without (key_bias.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ....runtime.plugins.schema import TYPES, Attribute, OpSchema, Tensor
from ..declaration import Constants, FusedOp, Kernel, Variant, for_types
from .key_bias import BIAS, EQUATION, NOTES, biased_text, rotated_bias
from .packing import TOKENS, dequantize_k, dequantize_k_text, dequantize_v, dequantize_v_text

WIDTHS = ((4, 4), (8, 8), (4, 2), (2, 2))  # bits of K and V that have kernels; keys need more than values
SIZES = tuple((128, *widths) for widths in WIDTHS) + ((64, 4, 4),)  # channels of a head, bits of K, bits of V
# query rows, prefix tokens and new tokens of a tile by the bits of V: what no chip spills; two bits make four accumulators
TILES = {8: (32, 32, 32), 4: (32, 64, 32), 2: (16, 64, 16)}
TILE_BIASED = (16, 32, 16)  # the tables take room too

PACKED = (
    Tensor("k_codes", "int32", ("B", "Hk", "N", "D * bits_k // 32")),
    Tensor("k_meta", "float16", ("B", "Hk", "cdiv(N, tokens)", "2", "D")),
    Tensor("v_codes", "int32", ("B", "Hk", "N", "D * bits_v // 32")),
    Tensor("v_meta", "float16", ("B", "Hk", "N", "8 // bits_v", "2")),
)
ATTRIBUTES = (
    Attribute("bits_k", "int", 4, "bits of a key's code: 8, 4 or 2"),
    Attribute("bits_v", "int", 4, "bits of a value's code: 8, 4 or 2"),
    Attribute("tokens", "int", TOKENS, "tokens that share the scale and minimum of a key's channel"),
    Attribute("scale", "float", None, "factor before the softmax"),
)
INPUTS = (
    Tensor("q", "T", ("B", "Hq", "M", "D")),
    *PACKED,
    Tensor("k_new", "T", ("B", "Hk", "M", "D")),
    Tensor("v_new", "T", ("B", "Hk", "M", "D")),
)

# the query heads of one kv head lie one after the other, so they become rows: (B, Hk, Hq / Hk * M, D)
BODY = """
  k_new_f = Cast <to = 1> (k_new)
  v_new_f = Cast <to = 1> (v_new)
  k = Concat <axis = 2> (k_old, k_new_f)
  v = Concat <axis = 2> (v_old, v_new_f)
  keep = Constant <value_ints = [0]> ()
  rest = Constant <value_ints = [-1]> ()
  kv_heads = Shape <start = 1, end = 2> (k_new)
  size = Shape <start = 3, end = 4> (k_new)
  by_kv_head = Concat <axis = 0> (keep, kv_heads, rest, size)
  qf = Cast <to = 1> (q)
  rows = Reshape (qf, by_kv_head)
  k_t = Transpose <perm = [0, 1, 3, 2]> (k)
  products = MatMul (rows, k_t)
  scale = Constant <value_float: float = @scale> ()
  scores = Mul (products, scale)
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  first = Constant <value_ints = [0]> ()
  second = Constant <value_ints = [1]> ()
  row_count1 = Shape <start = 2, end = 3> (rows)
  row_count = Squeeze (row_count1)
  row = Range (zero, row_count, one)
  new_count = Shape <start = 2, end = 3> (k_new)
  token = Mod (row, new_count)
  old_count = Shape <start = 2, end = 3> (k_codes)
  last = Add (token, old_count)
  last_column = Unsqueeze (last, second)
  count1 = Shape <start = 2, end = 3> (k)
  count = Squeeze (count1)
  key = Range (zero, count, one)
  key_row = Unsqueeze (key, first)
  seen = LessOrEqual (key_row, last_column)
  never = Constant <value_float = -3.4028235e38> ()
  masked = Where (seen, scores, never)
  p = Softmax <axis = -1> (masked)
  out_rows = MatMul (p, v)
  shape = Shape (q)
  out = Reshape (out_rows, shape)
  y = CastLike (out, q)
"""


def reference(
    q: np.ndarray,
    k_codes: np.ndarray,
    k_meta: np.ndarray,
    v_codes: np.ndarray,
    v_meta: np.ndarray,
    k_new: np.ndarray,
    v_new: np.ndarray,
    key_bias: np.ndarray | None = None,
    cos: np.ndarray | None = None,
    sin: np.ndarray | None = None,
    *,
    scale: float,
    bits_k: int = 4,
    bits_v: int = 4,
    tokens: int = TOKENS,
) -> np.ndarray:
    """(B, Hq, M, D) -> the same; float64 inside. With a bias, keys of the prefix are what is stored plus R(n) b.

    Raises:
        ValueError: the query heads are no multiple of the kv heads.
    """
    k_old = dequantize_k(k_codes, k_meta, bits_k, tokens) + rotated_bias(key_bias, cos, sin)
    k = np.concatenate([k_old, k_new.astype(np.float64)], axis=2)
    v = np.concatenate([dequantize_v(v_codes, v_meta, bits_v), v_new.astype(np.float64)], axis=2)
    grouped = by_kv_head(q, k.shape[1])  # (B, Hk, Hq / Hk, M, D)
    scores = scale * np.einsum("bhgmd,bhnd->bhgmn", grouped, k)
    new, old = q.shape[2], k_codes.shape[2]
    seen = np.arange(old + new) <= old + np.arange(new)[:, None]  # (M, N + M)
    powers = np.where(seen, np.exp(scores - np.where(seen, scores, -np.inf).max(axis=-1, keepdims=True)), 0)
    y = np.einsum("bhgmn,bhnd->bhgmd", powers / powers.sum(axis=-1, keepdims=True), v)
    return y.reshape(q.shape).astype(q.dtype)


def by_kv_head(q: np.ndarray, kv_heads: int) -> np.ndarray:
    """(B, Hq, M, D) -> float64 (B, Hk, Hq / Hk, M, D); ValueError when the heads do not divide."""
    batch, heads, rows, size = q.shape
    if heads % kv_heads:
        raise ValueError(f"{heads} query heads are not shared evenly by {kv_heads} kv heads")
    return q.astype(np.float64).reshape(batch, kv_heads, heads // kv_heads, rows, size)


def packed_variants(
    tiles: Callable[[str, int, int, int], Constants], wide_stages: Mapping[int, int] | None = None
) -> tuple[Variant, ...]:
    """Every width in every type; ``tiles(type, channels of a head, bits of K, of V)`` are the kernel's BLOCK_... sizes.

    ``wide_stages`` {BLOCK_N: stages} of float32 heads of 128 channels, 1 where it says nothing.
    """
    made: tuple[Variant, ...] = ()
    for dim, bits_k, bits_v in SIZES:
        for type_ in TYPES:
            constants = {"D": dim, "BITS_K": bits_k, "BITS_V": bits_v, **tiles(type_, dim, bits_k, bits_v)}
            # a block of tokens lies in one group of keys
            block = constants["BLOCK_N"]
            when = f"D == {dim} and bits_k == {bits_k} and bits_v == {bits_v} and tokens // {block} * {block} == tokens"
            wide = type_ == "float32" and dim == 128  # no tensor cores: more warps share the products
            stages = (wide_stages or {}).get(int(block), 1) if wide else 2
            made += for_types({type_: constants}, when=when, warps=8 if wide else 4, stages=stages)
    return made


def _tiles(type_: str, dim: int, bits_k: int, bits_v: int) -> Constants:
    rows, block, new = (16, 16, 16) if type_ == "float32" else TILES[bits_v]
    return {"BLOCK_R": rows, "BLOCK_N": block, "BLOCK_T": new}


def _tiles_biased(type_: str, dim: int, bits_k: int, bits_v: int) -> Constants:
    rows, block, new = (16, 16, 16) if type_ == "float32" else TILE_BIASED
    return {"BLOCK_R": rows, "BLOCK_N": block, "BLOCK_T": new}


def _declared(*, biased: bool) -> FusedOp:
    """The op without and with a place for the key bias."""
    stored = "k_stored" if biased else "k_old"
    unpacked = dequantize_k_text("k_codes", "k_meta", stored, "bits_k") + (
        biased_text(stored, "k_old") if biased else ""
    )
    unpacked += dequantize_v_text("v_codes", "v_meta", "v_old", "bits_v")
    return FusedOp(
        OpSchema(
            "PrefixAttentionBiased" if biased else "PrefixAttention",
            inputs=(*INPUTS, *BIAS) if biased else INPUTS,
            outputs=(Tensor("y", "T", ("B", "Hq", "M", "D")),),
            attributes=ATTRIBUTES,
        ),
        summary="PrefixAttention over keys that were stored without their bias, which is added back, rotated."
        if biased
        else "New tokens attend to a packed prefix and causally to each other, grouped-query heads, nothing dequantised.",
        equation="y[m] = sum_j softmax_j(scale q[m] . k[j]) v[j],  j the prefix, then the new tokens up to m;  "
        "q . k[n] = sum_c (q[c] s[g, c]) code[n, c] + q . z[g],  g = n // tokens;  "
        "sum_n p[n] v[n, c] = sum_n (p[n] s[n, i]) code[n, c] + sum_n p[n] z[n, i],  i the plane of c"
        + (EQUATION if biased else ""),
        source="layout: Liu et al., KIVI, arXiv:2402.02750; online softmax: Dao et al., FlashAttention, arXiv:2205.14135",
        body=unpacked + BODY,
        reference=reference,
        kernel=Kernel(
            f"kv.prefix_attention:prefix_attention_{'biased_' if biased else ''}kernel",
            grid=("cdiv(Hq // Hk * M, BLOCK_R)", "B * Hk", "1"),
            scalars={
                "n": "N", "m": "M", "heads": "Hq", "kv_heads": "Hk", "tokens": "tokens", "scale_bits": "scale",
            },
            variants=packed_variants(_tiles_biased if biased else _tiles),
        ),
        wins="the plain graph writes the prefix in full precision and reads it again",
        notes=(
            "The values of the prefix and the new ones are of one kind: rotated both (QuantizeV's rotate) or neither.",
            "Codes that were rotated give a rotated result; the layer after it takes the rotation into its weights.",
            *(NOTES if biased else ()),
        ),
    )  # fmt: skip


OP = _declared(biased=False)
BIASED = _declared(biased=True)
