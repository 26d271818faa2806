"""One decoding step over a packed cache, split over its tokens (split-K): a kernel a split, and one that joins them.

A plugin launches one kernel and has no workspace, so the step is two ops. The split of a token depends on the length of
its sequence alone: share = cdiv(cdiv(length, splits), tokens) * tokens, split s has the tokens s * share up to the next
split or the end. Splits are whole groups of keys, and the last ones may be empty.

``KVAttentionPartialBiased`` has a place for the key bias that the cache was stored without (key_bias.py).

Flash-decoding: Dao et al., FlashAttention-2, arXiv:2307.08691, section 3.1 (rescaling of partial results).
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import TYPES, Attribute, OpSchema, Tensor
from ..declaration import Constants, FusedOp, Kernel, for_types
from .key_bias import BIAS, EQUATION, NOTES, biased_text, rotated_bias
from .packing import TOKENS, dequantize_k, dequantize_k_text, dequantize_v, dequantize_v_text
from .prefix_attention import ATTRIBUTES, PACKED, by_kv_head, packed_variants

LOG2E = 1.4426950408889634

INPUTS = (Tensor("q", "T", ("B", "Hq", "1", "D")), *PACKED, Tensor("length", "int32", ("B",)))
COMBINE_SCHEMA = OpSchema(
    "KVAttentionCombine",
    inputs=(
        Tensor("partial", "float32", ("B", "Hk", "S", "Gq", "D")),
        Tensor("stats", "float32", ("B", "Hk", "S", "Gq", "2")),
        Tensor("q", "T", ("B", "Hk * Gq", "1", "D")),  # for its type and shape
    ),
    outputs=(Tensor("y", "T", ("B", "Hk * Gq", "1", "D")),),
)

# tokens that are not valid may hold anything, so their values are taken out too: 0 * NaN is NaN
PARTIAL_BODY = f"""
  keep = Constant <value_ints = [0]> ()
  rest = Constant <value_ints = [-1]> ()
  axes_after = Constant <value_ints = [1, 2, 3, 4]> ()
  axis2 = Constant <value_ints = [2]> ()
  axis3 = Constant <value_ints = [3]> ()
  one_i = Constant <value = int32 {{1}}> ()
  zero_i = Constant <value = int32 {{0}}> ()
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  capacity1 = Shape <start = 2, end = 3> (k_codes)
  capacity = Squeeze (capacity1)
  capacity_i = Cast <to = 6> (capacity)
  length_some = Max (length, zero_i)
  length_known = Min (length_some, capacity_i)
  length5 = Unsqueeze (length_known, axes_after)
  splits = Constant <value_int: int = @splits> ()
  splits_i = Cast <to = 6> (splits)
  splits_less = Sub (splits_i, one_i)
  length_up = Add (length5, splits_less)
  even = Div (length_up, splits_i)
  tokens = Constant <value_int: int = @tokens> ()
  tokens_i = Cast <to = 6> (tokens)
  tokens_less = Sub (tokens_i, one_i)
  even_up = Add (even, tokens_less)
  groups = Div (even_up, tokens_i)
  share = Mul (groups, tokens_i)
  split_1 = Range (zero, splits, one)
  split_i = Cast <to = 6> (split_1)
  split_shape = Constant <value_ints = [1, 1, -1, 1, 1]> ()
  split = Reshape (split_i, split_shape)
  start = Mul (split, share)
  end = Add (start, share)
  stop = Min (end, length5)
  token_1 = Range (zero, capacity, one)
  token = Cast <to = 6> (token_1)
  begun = GreaterOrEqual (token, start)
  unfinished = Less (token, stop)
  inside = And (begun, unfinished)
  qf = Cast <to = 1> (q)
  kv_heads = Shape <start = 1, end = 2> (k_codes)
  size = Shape <start = 3, end = 4> (q)
  by_kv_head = Concat <axis = 0> (keep, kv_heads, rest, size)
  rows = Reshape (qf, by_kv_head)
  k_t = Transpose <perm = [0, 1, 3, 2]> (keys)
  products = MatMul (rows, k_t)
  scale = Constant <value_float: float = @scale> ()
  scores = Mul (products, scale)
  scores5 = Unsqueeze (scores, axis2)
  never = Constant <value_float = -3.4028235e38> ()
  masked = Where (inside, scores5, never)
  last = Constant <value_ints = [-1]> ()
  top = ReduceMax <keepdims = 1> (masked, last)
  below = Sub (masked, top)
  powers_all = Exp (below)
  zero_f = Constant <value_float = 0.0> ()
  powers = Where (inside, powers_all, zero_f)
  sum = ReduceSum <keepdims = 1> (powers, last)
  any = Greater (sum, zero_f)
  log2e = Constant <value_float = {LOG2E}> ()
  top2 = Mul (top, log2e)
  maximum = Where (any, top2, zero_f)
  stats = Concat <axis = -1> (maximum, sum)
  token_column = Unsqueeze (token, last)
  length4 = Squeeze (length5, axis3)
  valid = Less (token_column, length4)
  v_valid = Where (valid, values, zero_f)
  v5 = Unsqueeze (v_valid, axis2)
  partial = MatMul (powers, v5)
"""
COMBINE_BODY = f"""
  maximum, amount = Split <axis = -1, num_outputs = 2> (stats)
  zero_f = Constant <value_float = 0.0> ()
  one_f = Constant <value_float = 1.0> ()
  never = Constant <value_float = -3.4028235e38> ()
  ln2 = Constant <value_float = {1 / LOG2E}> ()
  axis2 = Constant <value_ints = [2]> ()
  full = Greater (amount, zero_f)
  heard = Where (full, maximum, never)
  top = ReduceMax <keepdims = 1> (heard, axis2)
  below = Sub (heard, top)
  below_e = Mul (below, ln2)
  powers = Exp (below_e)
  weight = Where (full, powers, zero_f)
  amounts = Mul (amount, weight)
  total = ReduceSum <keepdims = 0> (amounts, axis2)
  parts = Mul (partial, weight)
  sum = ReduceSum <keepdims = 0> (parts, axis2)
  any = Greater (total, zero_f)
  divisor = Where (any, total, one_f)
  rows = Div (sum, divisor)
  shape = Shape (q)
  out = Reshape (rows, shape)
  y = CastLike (out, q)
"""


def partial_reference(
    q: np.ndarray,
    k_codes: np.ndarray,
    k_meta: np.ndarray,
    v_codes: np.ndarray,
    v_meta: np.ndarray,
    length: np.ndarray,
    key_bias: np.ndarray | None = None,
    cos: np.ndarray | None = None,
    sin: np.ndarray | None = None,
    *,
    scale: float,
    bits_k: int = 4,
    bits_v: int = 4,
    tokens: int = TOKENS,
    splits: int = 16,
) -> tuple[np.ndarray, np.ndarray]:
    """(B, Hq, 1, D) -> float32 (B, Hk, splits, Hq / Hk, D), (B, Hk, splits, Hq / Hk, 2); float64 inside.

    The first is not normalised; the second is the maximum of scale q . k log2(e), so a base-2 exponent, and the sum of
    the powers against it. Both are 0 where a split has no tokens. With a bias, k is what is stored plus R(n) b.
    ValueError as in prefix_attention.py.
    """
    grouped = by_kv_head(q, k_codes.shape[1])[:, :, :, 0]  # (B, Hk, Gq, D)
    batch, kv_heads, rows, size = grouped.shape
    partial = np.zeros((batch, kv_heads, splits, rows, size), np.float32)
    stats = np.zeros((batch, kv_heads, splits, rows, 2), np.float32)
    for b in range(batch):
        valid = min(max(int(length[b]), 0), k_codes.shape[2])
        if valid == 0:
            continue
        share = _ceiling(_ceiling(valid, splits), tokens) * tokens
        tables = (table if table is None else table[:valid] for table in (cos, sin))
        k = dequantize_k(k_codes[b : b + 1, :, :valid], k_meta[b : b + 1], bits_k, tokens)[0]  # (Hk, valid, D)
        k += rotated_bias(key_bias, *tables)
        v = dequantize_v(v_codes[b : b + 1, :, :valid], v_meta[b : b + 1, :, :valid], bits_v)[0]
        scores = scale * LOG2E * np.einsum("hgd,hnd->hgn", grouped[b], k)
        for split in range(splits):
            here = slice(split * share, (split + 1) * share)
            if scores[..., here].size:
                top = scores[..., here].max(axis=-1, keepdims=True)
                powers = np.exp2(scores[..., here] - top)
                partial[b, :, split] = np.einsum("hgn,hnd->hgd", powers, v[:, here])
                stats[b, :, split] = np.concatenate([top, powers.sum(axis=-1, keepdims=True)], axis=-1)
    return partial, stats


def combine_reference(partial: np.ndarray, stats: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Partials, their stats and the query that they belong to -> (B, Hq, 1, D); 0 where no split has a token."""
    maximum, amount = np.moveaxis(stats.astype(np.float64), -1, 0)[..., None]  # (B, Hk, S, Gq, 1)
    heard = np.where(amount > 0, maximum, -np.inf)
    top = heard.max(axis=2, keepdims=True)
    weight = np.where(amount > 0, np.exp2(heard - np.where(np.isfinite(top), top, 0)), 0)
    total = (amount * weight).sum(axis=2)
    y = (partial.astype(np.float64) * weight).sum(axis=2) / np.where(total > 0, total, 1)
    return np.asarray(y).reshape(q.shape).astype(q.dtype)


def _ceiling(a: int, b: int) -> int:
    return -(-a // b)


def _tiles(type_: str, dim: int, bits_k: int, bits_v: int) -> Constants:
    block = 64 if type_ != "float32" else 32 if dim == 128 and bits_v < 8 else 16
    return {"BLOCK_R": 16, "BLOCK_N": block}


def _tiles_biased(type_: str, dim: int, bits_k: int, bits_v: int) -> Constants:
    return {"BLOCK_R": 16, "BLOCK_N": 32 if type_ != "float32" or (dim == 128 and bits_k == 2) else 16}


def _declared(*, biased: bool) -> FusedOp:
    """The op without and with a place for the key bias."""
    stored = "keys_stored" if biased else "keys"
    unpacked = dequantize_k_text("k_codes", "k_meta", stored, "bits_k") + (
        biased_text(stored, "keys") if biased else ""
    )
    unpacked += dequantize_v_text("v_codes", "v_meta", "values", "bits_v")
    return FusedOp(
        OpSchema(
            "KVAttentionPartialBiased" if biased else "KVAttentionPartial",
            inputs=(*INPUTS, *BIAS) if biased else INPUTS,
            outputs=(
                Tensor("partial", "float32", ("B", "Hk", "splits", "Hq // Hk", "D")),
                Tensor("stats", "float32", ("B", "Hk", "splits", "Hq // Hk", "2")),
            ),
            attributes=(*ATTRIBUTES, Attribute("splits", "int", 16, "parts of the tokens that are computed side by side")),
        ),
        summary="KVAttentionPartial over keys that were stored without their bias, which is added back, rotated."
        if biased
        else "One query token over a packed cache, each split of its tokens by itself; KVAttentionCombine joins them.",
        equation="x[n] = scale log2(e) q . k[n];  top = max_n x[n];  partial = sum_n 2^(x[n] - top) v[n];  "
        "stats = (top, sum_n 2^(x[n] - top)),  n the tokens of the split;  0 and (0, 0) if it has none"
        + (EQUATION if biased else ""),
        source="layout: Liu et al., KIVI, arXiv:2402.02750; partial results: Dao, FlashAttention-2, arXiv:2307.08691",
        body=unpacked + PARTIAL_BODY,
        reference=partial_reference,
        kernel=Kernel(
            f"kv.kv_attention:kv_attention_partial_{'biased_' if biased else ''}kernel",
            grid=("splits", "B * Hk", "cdiv(Hq // Hk, BLOCK_R)"),
            scalars={
                "n": "N", "heads": "Hq", "kv_heads": "Hk", "tokens": "tokens", "scale_bits": "scale", "splits": "splits",
            },
            variants=packed_variants(_tiles_biased, {16: 2}) if biased else packed_variants(_tiles),
        ),
        wins="the plain graph writes the cache in full precision and reads it again, every token",
        notes=(
            "Tokens from length on are not read into the result, whatever they hold.",
            *(NOTES if biased else ()),
        ),
    )  # fmt: skip


PARTIAL = _declared(biased=False)
PARTIAL_BIASED = _declared(biased=True)
COMBINE = FusedOp(
    COMBINE_SCHEMA,
    summary="Joins the splits of KVAttentionPartial; q gives type and shape of the result and is not read.",
    equation="y = sum_s 2^(top[s] - max top) partial[s] / sum_s 2^(top[s] - max top) sum[s],  s the splits with tokens",
    source="Dao, FlashAttention-2, arXiv:2307.08691",
    body=COMBINE_BODY,
    reference=combine_reference,
    kernel=Kernel(
        "kv.kv_attention:kv_attention_combine_kernel",
        grid=("B * Hk * Gq", "1", "1"),
        scalars={"splits": "S", "rows": "Gq"},
        variants=tuple(
            variant
            for dim in (128, 64)
            for variant in for_types({type_: {"D": dim, "BLOCK_S": 16} for type_ in TYPES}, when=f"D == {dim}")
        ),
    ),
    wins="the second half of KVAttentionPartial",
)
