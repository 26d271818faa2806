"""Channel-group attention as two ops: channels attend to channels, tokens are what is summed over.

Paper: Ding et al., DaViT: Dual Attention Vision Transformers, arXiv:2204.03645 (channel group attention). Version 1 is
what its code computes, version 2 what Florence-2 does (Xiao et al., arXiv:2311.06242), as in timm:

    1   softmax(scale k^T v) is applied to q         2   softmax(scale q^T k) is applied to v

A plugin is one launch, so there are two: ``ChannelGram`` sums shares of the tokens side by side (one program a group
would leave a GPU idle), ``ChannelApply`` adds the shares, takes the softmax and applies it. Both read the packed output
of the qkv layer; the permuted copies of q, k and v that the plain graph makes do not exist.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import Attribute, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, Variant, for_types
from ..softmax import softmax

SPLITS = 8
PROGRAMS = 32  # of ChannelGram: a few for each of the 8 to 20 multiprocessors of a Jetson
MIN_SHARE = 64  # tokens; below it the partial sums are more bytes than what they sum

QKV = Tensor("qkv", "T", ("B", "N", "3", "G", "D"))
VERSION = Attribute("version", "int", 1, "1: softmax(k^T v) applied to q; 2: softmax(q^T k) applied to v")
ROLES = {1: (1, 2, 0), 2: (0, 1, 2)}  # version > which of q, k, v are rows, columns, and what the result is applied to
DIMS = (32, 16, 64)  # channels a group; 32 in every published DaViT

GRAM_SCHEMA = OpSchema(
    "ChannelGram",
    inputs=(QKV,),
    outputs=(Tensor("partials", "float32", ("B", "G", "splits", "D", "D")),),
    attributes=(
        Attribute(
            "splits", "int", SPLITS, "shares of the tokens, cdiv(N, splits) neighbours each; the last ones may be empty"
        ),
        VERSION,
    ),
)
APPLY_SCHEMA = OpSchema(
    "ChannelApply",
    inputs=(QKV, Tensor("partials", "float32", ("B", "G", "S", "D", "D"))),
    outputs=(Tensor("y", "T", ("B", "N", "G * D")),),
    attributes=(Attribute("scale", "float", None, "factor before the softmax; 0 takes 1 / sqrt(N)"), VERSION),
)

# float32 inside: sums over thousands of tokens overflow in float16
GRAM_BODY = """
  one = Constant <value_ints = [1]> ()
  none = Constant <value_ints = [0]> ()
  batch = Shape <start = 0, end = 1> (qkv)
  tokens = Shape <start = 1, end = 2> (qkv)
  group_sizes = Shape <start = 3, end = 5> (qkv)
  splits_i = Constant <value_int: int = @splits> ()
  splits_1 = Reshape (splits_i, one)
  splits_less_1 = Sub (splits_1, one)
  rounded_up = Add (tokens, splits_less_1)
  share = Div (rounded_up, splits_1)
  padded = Mul (share, splits_1)
  missing = Sub (padded, tokens)
  pads = Concat <axis = 0> (none, none, none, none, none, none, missing, none, none, none)
  x = Cast <to = 1> (qkv)
  x_padded = Pad (x, pads)
  sizes_inside = Constant <value_ints = [3]> ()
  sizes = Concat <axis = 0> (batch, splits_1, share, sizes_inside, group_sizes)
  x_shares = Reshape (x_padded, sizes)
  version_i = Constant <value_int: int = @version> ()
  two = Constant <value_int = 2> ()
  three = Constant <value_int = 3> ()
  rows_role = Sub (two, version_i)
  columns_role = Sub (three, version_i)
  rows = Gather <axis = 3> (x_shares, rows_role)
  columns = Gather <axis = 3> (x_shares, columns_role)
  rows_t = Transpose <perm = [0, 3, 1, 4, 2]> (rows)
  columns_t = Transpose <perm = [0, 3, 1, 2, 4]> (columns)
  partials = MatMul (rows_t, columns_t)
"""

APPLY_BODY = """
  splits_axis = Constant <value_ints = [2]> ()
  total = ReduceSum <keepdims = 0> (partials, splits_axis)
  scale_f = Constant <value_float: float = @scale> ()
  tokens = Shape <start = 1, end = 2> (qkv)
  tokens_f = Cast <to = 1> (tokens)
  tokens_root = Sqrt (tokens_f)
  from_tokens = Reciprocal (tokens_root)
  zero = Constant <value_float = 0.0> ()
  is_zero = Equal (scale_f, zero)
  factor = Where (is_zero, from_tokens, scale_f)
  scaled = Mul (total, factor)
  attention = Softmax <axis = -1> (scaled)
  attention_t = Transpose <perm = [0, 1, 3, 2]> (attention)
  version_i = Constant <value_int: int = @version> ()
  two = Constant <value_int = 2> ()
  twice = Mul (version_i, two)
  role = Sub (twice, two)
  x = Gather <axis = 2> (qkv, role)
  xf = Cast <to = 1> (x)
  x_t = Transpose <perm = [0, 2, 1, 3]> (xf)
  y_t = MatMul (x_t, attention_t)
  y_heads = Transpose <perm = [0, 2, 1, 3]> (y_t)
  flat = Constant <value_ints = [0, 0, -1]> ()
  y_flat = Reshape (y_heads, flat)
  y = CastLike (y_flat, qkv)
"""


def gram_reference(qkv: np.ndarray, *, splits: int = SPLITS, version: int = 1) -> np.ndarray:
    """(B, N, 3, G, D) -> (B, G, splits, D, D) float32: rows times columns, summed over each share of the tokens."""
    x = qkv.astype(np.float64)
    batch, tokens, _, groups, width = x.shape
    share = -(-tokens // splits)
    rows, columns, _ = _roles(version)
    partials = np.zeros((batch, groups, splits, width, width), np.float32)
    for split in range(splits):
        here = x[:, split * share : (split + 1) * share]  # (B, <= share, 3, G, D)
        partials[:, :, split] = np.einsum("bngi,bngj->bgij", here[:, :, rows], here[:, :, columns])
    return partials


def apply_reference(qkv: np.ndarray, partials: np.ndarray, *, scale: float, version: int = 1) -> np.ndarray:
    """(B, N, 3, G, D), (B, G, S, D, D) float32 -> (B, N, G * D); float64 inside, so that it can judge all others."""
    batch, tokens = qkv.shape[:2]
    logits = partials.astype(np.float64).sum(axis=2) * (scale or tokens**-0.5)  # (B, G, D, D)
    applied = qkv[:, :, _roles(version)[2]].astype(np.float64)  # (B, N, G, D)
    return np.einsum("bgij,bngj->bngi", softmax(logits), applied).reshape(batch, tokens, -1).astype(qkv.dtype)


def splits_for(tokens: int, groups: int) -> int:
    """How many shares fill a small GPU at batch 1 without partial sums that outweigh the tokens."""
    return max(1, min(-(-PROGRAMS // groups), tokens // MIN_SHARE))


def _roles(version: int) -> tuple[int, int, int]:
    """Rows, columns and what the result is applied to; ValueError for a version that does not exist."""
    if version not in ROLES:
        raise ValueError(f"channel attention has the versions 1 and 2, found {version}")
    return ROLES[version]


def _variants(half: int, single: int, *, stages: int, warps_of_64: int) -> tuple[Variant, ...]:
    """Tiles of ``half`` tokens for 16-bit types and of ``single`` for float32; at 64 channels half as many."""
    made: tuple[Variant, ...] = ()
    for dim in DIMS:
        tokens = {"float16": half, "bfloat16": half, "float32": single}
        constants = {type_: {"D": dim, "BLOCK_N": min(count, count * 32 // dim)} for type_, count in tokens.items()}
        made += for_types(constants, when=f"D == {dim}", warps=warps_of_64 if dim == 64 else 4, stages=stages)
    return made


GRAM = FusedOp(
    GRAM_SCHEMA,
    summary="Products of channels summed over shares of the tokens: the first half of channel-group attention.",
    equation="partials[b, g, s] = sum over share s of the tokens n of k[b, n, g]^T v[b, n, g]; version 2: q^T k",
    source="arXiv:2204.03645, channel group attention; version 2: arXiv:2311.06242",
    body=GRAM_BODY,
    reference=gram_reference,
    kernel=Kernel(
        "channel_attention:channel_gram_kernel",
        grid=("splits", "G", "B"),
        scalars={"n": "N", "groups": "G", "splits": "splits", "share": "cdiv(N, splits)", "version": "version"},
        variants=_variants(64, 32, stages=3, warps_of_64=4),
    ),
    wins="the plain graph permutes q, k and v, which costs more bytes than the products",
)
APPLY = FusedOp(
    APPLY_SCHEMA,
    summary="Softmax of the summed products, applied to every token: the second half of channel-group attention.",
    equation="y[b, n, g] = softmax(scale sum_s partials[b, g, s]) q[b, n, g], over the last axis; version 2: v",
    source="arXiv:2204.03645, channel group attention; version 2: arXiv:2311.06242",
    body=APPLY_BODY,
    reference=apply_reference,
    kernel=Kernel(
        "channel_attention:channel_apply_kernel",
        grid=("cdiv(N, BLOCK_N)", "G", "B"),
        scalars={"n": "N", "groups": "G", "splits": "S", "scale_bits": "scale", "version": "version"},
        variants=_variants(128, 64, stages=1, warps_of_64=8),
    ),
    wins="the plain graph has a transpose in front of the output layer; here the result is written where that layer reads it",
    notes=("scale 0 is the dynamic scale of version 2 (1 / sqrt(N)) for graphs whose number of tokens is open",),
)
