"""The layers that the three graphs share, under the state names of transformers' Qwen2.5-VL.

A weight lies in a graph as the graph reads it, so that no Transpose stands before a product and a tensor can be quantised
as it is written: the ``layouts`` of a module say how it comes out of the checkpoint (weights.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rotary import turn
from .sizes import TextSizes

TRANSPOSED = "transposed"  # (out, in) in the checkpoint, (in, out) here
# (out, in, 2, h, w) -> (in * out, 1, h, w), the outputs of one colour side by side: a still picture is two equal frames
COLOURS = "frames summed, colours apart"


class Linear(nn.Module):
    """(..., inputs) -> (..., outputs)."""

    layouts: ClassVar[Mapping[str, str]] = {"weight": TRANSPOSED}

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def part_of(self, source: str, first: int) -> Linear:
        """Its outputs are those from ``first`` on of the layer ``source`` of the checkpoint."""
        self.source, self.rows = source, range(first, first + self.weight.shape[1])
        return self

    def forward(self, x: Tensor) -> Tensor:
        product = x @ self.weight
        return product if self.bias is None else product + self.bias


class RMSNorm(nn.Module):
    """(..., C) -> (..., C): over the root of the mean square; Zhang and Sennrich, arXiv:1910.07467."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class GatedMLP(nn.Module):
    """SwiGLU, arXiv:2002.05202: down(silu(gate(x)) * up(x))."""

    def __init__(self, channels: int, inner: int, bias: bool) -> None:
        super().__init__()
        self.gate_proj = Linear(channels, inner, bias)
        self.up_proj = Linear(channels, inner, bias)
        self.down_proj = Linear(inner, channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return projected


class Projections(nn.Module):
    """The products around an attention of grouped heads; q and k come out turned, k also without its bias."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.q_proj = Linear(sizes.hidden, sizes.heads * sizes.head_dim)
        self.k_proj = Linear(sizes.hidden, sizes.kv_heads * sizes.head_dim)
        self.v_proj = Linear(sizes.hidden, sizes.kv_heads * sizes.head_dim)
        self.o_proj = Linear(sizes.heads * sizes.head_dim, sizes.hidden, bias=False)
        self.head_dim = sizes.head_dim

    def query(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, Hq, d), after RoPE and times d ** -0.5."""
        heads = turn(self.q_proj(x).unflatten(-1, (-1, self.head_dim)), cos, sin)
        return heads * self.head_dim**-0.5

    def key(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, Hk, d), before RoPE and without the bias."""
        return (x @ self.k_proj.weight).unflatten(-1, (-1, self.head_dim))

    def key_bias(self) -> Tensor:
        """(Hk, d)."""
        assert self.k_proj.bias is not None
        return self.k_proj.bias.unflatten(0, (-1, self.head_dim))

    def value(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, Hk, N, d)."""
        return self.v_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class DecoderLayer(nn.Module):
    """What both graphs of the language model do alike before and behind their own attention."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(sizes.hidden, sizes.eps)
        self.self_attn = Projections(sizes)
        self.post_attention_layernorm = RMSNorm(sizes.hidden, sizes.eps)
        self.mlp = GatedMLP(sizes.hidden, sizes.mlp, bias=False)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """x (B, N, D), attended (B, N, Hq * d) -> (B, N, D)."""
        x = x + self.self_attn.o_proj(attended)
        finished: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return finished


class Language(nn.Module):
    """The decoder layers and the norm behind the last; the table of words where a graph looks words up."""

    def __init__(self, sizes: TextSizes, layers: Sequence[DecoderLayer], words: bool = False) -> None:
        super().__init__()
        if words:
            self.embed_tokens = nn.Embedding(sizes.words, sizes.hidden, _weight=torch.empty(sizes.words, sizes.hidden))
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(sizes.hidden, sizes.eps)

    def output(self, x: Tensor, number: int) -> Tensor:
        """h_l of the method: what layer ``number`` (0 based) gives; of the last one, behind the norm."""
        found: Tensor = self.norm(x) if number == len(self.layers) - 1 else x
        return found


def under(path: str, module: nn.Module) -> nn.Module:
    """``module`` as an attribute at ``path``: what makes ``model.visual`` of it in the names of the state."""
    for name in reversed(path.split(".")):
        holder = nn.Module()
        holder.add_module(name, module)
        module = holder
    return module


def unit_rows(x: Tensor) -> Tensor:
    """(..., C) -> 1 / |x|, (..., 1), as torch's normalize divides by it."""
    return 1.0 / x.pow(2).sum(-1, keepdim=True).sqrt().clamp(min=1e-12)


def turn_alone(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, N or 1, H, d) -> (B, H, N, d), turned."""
    return turn(x, cos, sin).transpose(1, 2)


def constant(module: nn.Module, name: str, array: Any) -> None:
    """A constant of the graph as a buffer of ``module``; its values are kept through a trace without values."""
    module.register_buffer(name, torch.from_numpy(array), persistent=False)
