"""Peers of the ops on packed keys and values, in torch: the same codes with torch's operators, and attention on what was
never quantised (float16 for a cache of 3.6 times the bytes), which is what a packed cache has to beat."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .peers import Attributes, Contestant, Prepare, Tensors


def unpack(packed: Tensor, bits: int) -> Tensor:
    """int32 (..., D * bits // 32) -> uint8 codes (..., D)."""
    row = packed.view(torch.uint8)
    return torch.cat([(row >> (bits * plane)) & (2**bits - 1) for plane in range(8 // bits)], dim=-1)


def pack(codes: Tensor, bits: int) -> Tensor:
    planes = codes.to(torch.uint8).unflatten(-1, (8 // bits, -1)).unbind(-2)
    row = planes[0]
    for index, plane in enumerate(planes[1:], 1):
        row = row | (plane << (bits * index))
    return row.contiguous().view(torch.int32)


def hadamard(size: int, device: torch.device) -> Tensor:
    matrix = torch.ones(1, 1, device=device)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


def keys_of(codes: Tensor, meta: Tensor, bits: int, tokens: int) -> Tensor:
    """Packed keys -> float32 (B, Hk, N, D)."""
    rows = meta.float().repeat_interleave(tokens, dim=2)[:, :, : codes.shape[2]]  # (B, Hk, N, 2, D)
    return unpack(codes, bits) * rows[..., 0, :] + rows[..., 1, :]


def values_of(codes: Tensor, meta: Tensor, bits: int) -> Tensor:
    """Packed values -> float32 (B, Hk, N, D)."""
    planes = unpack(codes, bits).unflatten(-1, (8 // bits, -1))
    return (planes * meta[..., :1].float() + meta[..., 1:].float()).flatten(-2)


def quantize(x: Tensor, dim: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and minimum of float32 groups along ``dim``."""
    low, high = x.amin(dim, keepdim=True), x.amax(dim, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp(1e-6, 65504).half()
    low = low.clamp(-65504, 65504).half()
    return ((x - low.float()) / scale.float() + 0.5).floor().clamp(0, 2**bits - 1), scale, low


def quantize_k(tensors: Tensors, attributes: Attributes) -> Contestant:
    bits, tokens = attributes["bits"], attributes["tokens"]

    def run(k: Tensor) -> Tensor:
        count = k.shape[2]
        missing = -count % tokens
        x = torch.cat([k, k[:, :, -1:].expand(-1, -1, missing, -1)], dim=2).float().unflatten(2, (-1, tokens))
        codes, _, _ = quantize(x, 3, bits)
        return pack(codes.flatten(2, 3)[:, :, :count], bits)

    return run, tuple(tensors)


def quantize_v(tensors: Tensors, attributes: Attributes) -> Contestant:
    bits, rotate = attributes["bits"], attributes["rotate"]
    (v,) = tensors
    turn = hadamard(v.shape[-1], v.device) if rotate else None

    def run(v: Tensor, turn: Tensor | None) -> Tensor:
        x = v.float() if turn is None else v.float() @ turn
        codes, _, _ = quantize(x.unflatten(-1, (8 // bits, -1)), -1, bits)
        return pack(codes.flatten(-2), bits)

    return run, (v, turn)


def dequantize_k(tensors: Tensors, attributes: Attributes) -> Contestant:
    bits, tokens = attributes["bits"], attributes["tokens"]

    def run(codes: Tensor, meta: Tensor, like: Tensor) -> Tensor:
        return keys_of(codes, meta, bits, tokens).to(like.dtype)

    return run, tuple(tensors)


def dequantize_v(tensors: Tensors, attributes: Attributes) -> Contestant:
    bits, rotate = attributes["bits"], attributes["rotate"]
    size = tensors[0].shape[-1] * 32 // bits
    turn = hadamard(size, tensors[0].device) if rotate else None

    def run(codes: Tensor, meta: Tensor, like: Tensor, turn: Tensor | None) -> Tensor:
        x = values_of(codes, meta, bits)
        return (x if turn is None else x @ turn).to(like.dtype)

    return run, (*tensors, turn)


def dequantize_rotated_k(tensors: Tensors, attributes: Attributes) -> Contestant:
    bits, heads = attributes["bits"], attributes["heads"]
    codes, meta, place, bias, cos, sin, slot, sinks = tensors
    kv_heads, dim = bias.shape
    turn = hadamard(heads * dim, bias.device)

    def run(codes: Tensor, meta: Tensor, place: Tensor, bias: Tensor, cos: Tensor, sin: Tensor, slot: Tensor,
            sinks: Tensor, turn: Tensor) -> Tensor:  # fmt: skip
        x = values_of(codes, meta, bits).transpose(1, 2).flatten(2)[:, :, place]  # (B, N, Hk * D)
        x = (x.unflatten(2, (kv_heads // heads, heads * dim)) @ turn).flatten(2).unflatten(2, (kv_heads, dim))
        first, second = (x.transpose(1, 2) + bias[:, None]).chunk(2, dim=-1)
        k = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        kept = sinks.gather(2, slot.clamp(min=0)[:, None, :, None].expand_as(k))
        return torch.where((slot >= 0)[:, None, :, None], kept, k.to(sinks.dtype))

    return run, (codes, meta, place.long(), bias, cos, sin, slot.long(), sinks, turn)


def causal(rows: int, groups: int, n: int, device: torch.device) -> Tensor:
    """(groups * rows, n + rows): every row sees the prefix and the new tokens up to itself."""
    seen = torch.ones(rows, n + rows, dtype=torch.bool, device=device).tril(n)
    return seen.repeat(groups, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """SDPA with the query heads of a kv head as rows, so that K and V are not repeated."""
    rows = q.reshape(q.shape[0], k.shape[1], -1, q.shape[3])
    return functional.scaled_dot_product_attention(rows, k, v, attn_mask=mask, scale=scale).view(q.shape)


def prefix_sdpa(tensors: Tensors, attributes: Attributes) -> Contestant:
    """Attention over a cache that was never packed: the prefix and the new tokens lie together, in the type of q."""
    q, k_codes, k_meta, v_codes, v_meta, k_new, v_new = tensors
    scale = attributes["scale"]
    k = torch.cat([keys_of(k_codes, k_meta, attributes["bits_k"], attributes["tokens"]).to(q.dtype), k_new], dim=2)
    v = torch.cat([values_of(v_codes, v_meta, attributes["bits_v"]).to(q.dtype), v_new], dim=2)
    mask = causal(q.shape[2], q.shape[1] // k.shape[1], k_codes.shape[2], q.device) if q.shape[2] > 1 else None

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return attend(q, k, v, mask, scale)

    return run, (q, k, v, mask)


def decode_sdpa(tensors: Tensors, attributes: Attributes) -> Contestant:
    """One step over a cache that was never packed; all sequences have the same length."""
    q, k_codes, k_meta, v_codes, v_meta, length = tensors
    scale, count = attributes["scale"], int(length[0])
    k = keys_of(k_codes, k_meta, attributes["bits_k"], attributes["tokens"])[:, :, :count].to(q.dtype).contiguous()
    v = values_of(v_codes, v_meta, attributes["bits_v"])[:, :, :count].to(q.dtype).contiguous()

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, None, scale)

    return run, (q, k, v)


def combine(tensors: Tensors, attributes: Attributes) -> Contestant:
    def run(partial: Tensor, stats: Tensor, q: Tensor) -> Tensor:
        total = stats[..., 1:]
        top = stats[..., :1].masked_fill(total == 0, -math.inf)
        weight = torch.where(total > 0, torch.exp2(top - top.amax(dim=2, keepdim=True)), 0)
        y = (weight * partial).sum(dim=2) / (weight * total).sum(dim=2)
        return y.reshape(q.shape).to(q.dtype)

    return run, tuple(tensors)


KV_PEERS: dict[str, dict[str, Prepare]] = {
    "QuantizeK": {"eager": quantize_k},
    "QuantizeV": {"eager": quantize_v},
    "DequantizeK": {"eager": dequantize_k},
    "DequantizeV": {"eager": dequantize_v},
    "DequantizeRotatedK": {"eager": dequantize_rotated_k},
    "PrefixAttention": {"SDPA, never packed": prefix_sdpa},
    "KVAttentionCombine": {"eager": combine},
}
