"""A decoder layer in the manner of Qwen2.5, whose keys and values are cached in a few bits: every way of reading them.

    x (B, N, C) prefix > CachePrefix > y (B, N, C), packed keys and values
    x (B, M, C) new tokens + packed > ReadUnpacked or ReadPacked > y (B, M, C)       the same numbers, another graph
    x (B, 1, C) one token + packed, length > DecodeStep > y (B, 1, C)

Keys have a bias of several times their own size in some channels, as k_proj of Qwen2.5 has. The fused ops are torch custom
ops that compute their numpy references.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.kv.attention import LOG2E
from edgesmith.exporter.plugins.torch_ops import torch_op

TOKENS = 64  # of a key group


@dataclass(frozen=True)
class Sizes:
    """Of one layer; head sizes without a kernel are fine, the ops have bodies."""

    hidden: int = 96
    heads: int = 6
    kv_heads: int = 2
    dim: int = 32
    mlp: int = 128


class RMSNorm(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6) * self.weight


class DecoderLayer(nn.Module):
    """(B, N, C) -> (B, N, C), causal, nothing quantised: what the cached ways are compared with."""

    def __init__(self, sizes: Sizes = Sizes(), seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.sizes = sizes
        wide, narrow = sizes.heads * sizes.dim, sizes.kv_heads * sizes.dim
        self.before = RMSNorm(sizes.hidden)
        self.q, self.k, self.v = (nn.Linear(sizes.hidden, width) for width in (wide, narrow, narrow))
        self.o = nn.Linear(wide, sizes.hidden, bias=False)
        self.between = RMSNorm(sizes.hidden)
        self.gate, self.up = (nn.Linear(sizes.hidden, sizes.mlp, bias=False) for _ in range(2))
        self.down = nn.Linear(sizes.mlp, sizes.hidden, bias=False)
        self.register_buffer("frequency", 1e4 ** (-torch.arange(0, sizes.dim, 2) / sizes.dim))  # (D / 2,)
        with torch.no_grad():
            self.q.weight *= 6  # scores of a few units: a softmax that prefers some tokens
            self.k.bias[:: sizes.dim // 2] += 8

    @property
    def scale(self) -> float:
        return float(self.sizes.dim**-0.5)

    def project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, M, C), positions (B or 1, M) -> q (B, Hq, M, D), k and v (B, Hk, M, D), q and k after RoPE."""
        x = self.before(x)
        q, k, v = (layer(x).unflatten(-1, (-1, self.sizes.dim)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        angle = positions[:, None, :, None] * self.frequency  # (B or 1, 1, M, D / 2)
        return turned(q, angle), turned(k, angle), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """(B, M, C), (B, Hq, M, D) -> (B, M, C): output projection and MLP, each with its residual."""
        x = x + self.o(attended.transpose(1, 2).flatten(2))
        h = self.between(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, Hq, M, D), (B, Hk, N, D) twice -> (B, Hq, M, D); the queries belong to the last M tokens."""
        new, all_ = q.shape[2], k.shape[2]
        k, v = (x.repeat_interleave(self.sizes.heads // self.sizes.kv_heads, dim=1) for x in (k, v))
        scores = self.scale * (q @ k.transpose(2, 3))
        last = torch.arange(new, device=q.device) + (all_ - new)
        hidden = torch.arange(all_, device=q.device) > last[:, None]
        return scores.masked_fill(hidden, torch.finfo(q.dtype).min).softmax(dim=-1) @ v

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(x, self.attend(*self.project(x, torch.arange(x.shape[1], device=x.device)[None])))


def turned(x: Tensor, angle: Tensor) -> Tensor:
    """RoPE: (B, H, M, D), angle (B or 1, 1, M, D / 2) -> (B, H, M, D), halves of a head turned against each other."""
    cos, sin = (f(angle).to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Cached(nn.Module):
    """What the parts share: the layer and the bits of its cache."""

    def __init__(self, layer: DecoderLayer, bits_k: int = 4, bits_v: int = 4) -> None:
        super().__init__()
        self.layer = layer
        self.bits_k, self.bits_v = bits_k, bits_v

    def after(self, x: Tensor, k_codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of tokens that follow the prefix."""
        positions = torch.arange(x.shape[1], device=x.device) + k_codes.shape[2]
        return self.layer.project(x, positions[None])

    @property
    def attributes(self) -> dict[str, float]:
        return {"scale": self.layer.scale, "bits_k": self.bits_k, "bits_v": self.bits_v, "tokens": TOKENS}


class CachePrefix(Cached):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = self.layer.project(x, torch.arange(x.shape[1], device=x.device)[None])
        keys = torch_op(OPS["QuantizeK"])(k, bits=self.bits_k, tokens=TOKENS)
        values = torch_op(OPS["QuantizeV"])(v, bits=self.bits_v)
        return self.layer.finish(x, self.layer.attend(q, k, v)), *keys, *values


class ReadUnpacked(Cached):
    def forward(self, x: Tensor, k_codes: Tensor, k_meta: Tensor, v_codes: Tensor, v_meta: Tensor) -> Tensor:
        q, k, v = self.after(x, k_codes)
        like = x[0, 0, :1]
        k_old = torch_op(OPS["DequantizeK"])(k_codes, k_meta, like, bits=self.bits_k, tokens=TOKENS)
        v_old = torch_op(OPS["DequantizeV"])(v_codes, v_meta, like, bits=self.bits_v)
        return self.layer.finish(x, self.layer.attend(q, torch.cat([k_old, k], 2), torch.cat([v_old, v], 2)))


class ReadPacked(Cached):
    def forward(self, x: Tensor, k_codes: Tensor, k_meta: Tensor, v_codes: Tensor, v_meta: Tensor) -> Tensor:
        q, k, v = self.after(x, k_codes)
        read = torch_op(OPS["PrefixAttention"])
        return self.layer.finish(x, read(q, k_codes, k_meta, v_codes, v_meta, k, v, **self.attributes))


class DecodeStep(Cached):
    """The cache holds ``length`` (B,) tokens of its capacity; the token itself is one more split, never quantised."""

    def forward(
        self, x: Tensor, k_codes: Tensor, k_meta: Tensor, v_codes: Tensor, v_meta: Tensor, length: Tensor
    ) -> Tensor:
        q, k, v = self.layer.project(x, length[:, None])  # (B, Hq, 1, D), (B, Hk, 1, D) twice
        parts = torch_op(OPS["KVAttentionPartial"])
        partial, stats = parts(q, k_codes, k_meta, v_codes, v_meta, length, **self.attributes, splits=3)
        grouped = q.unflatten(1, (self.layer.sizes.kv_heads, -1)).float()  # (B, Hk, Gq, 1, D)
        top = (grouped * k[:, :, None].float()).sum(-1, keepdim=True).transpose(2, 3) * (self.layer.scale * LOG2E)
        own = v[:, :, None].float().expand(-1, -1, -1, grouped.shape[2], -1)  # (B, Hk, 1, Gq, D)
        partial = torch.cat([partial, own], dim=2)
        stats = torch.cat([stats, torch.cat([top, torch.ones_like(top)], dim=-1)], dim=2)
        return self.layer.finish(x, torch_op(OPS["KVAttentionCombine"])(partial, stats, q))
