"""What else computes a fused op on a GPU: torch's own operators, in the ways a model would use them.

``PEERS[op]`` is {name: prepare}; ``prepare(tensors, attributes)`` gets the op's inputs and gives a function and its arguments;
``function(*arguments)`` is what is timed and returns the op's first output. What a model computes once (a table of positions)
is among the arguments. The peers named in ``COMPILED`` are also timed through torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Tensors = Sequence[Tensor]
Attributes = Mapping[str, Any]
Contestant = tuple[Callable[..., Tensor], tuple[Any, ...]]
Prepare = Callable[[Tensors, Attributes], Contestant]


def ggem(tensors: Tensors, attributes: Attributes) -> Contestant:
    x, p = tensors
    width, eps = x.shape[2] // len(p), attributes["eps"]
    exponent = p.flatten().repeat(width) if attributes["interleaved"] else p.flatten().repeat_interleave(width)

    def run(x: Tensor, exponent: Tensor) -> Tensor:
        return x.float().clamp(min=eps).pow(exponent).mean(dim=1).pow(1 / exponent).to(x.dtype)

    return run, (x, exponent)


def positions(pos: Tensor, tokens: int, side: int) -> Tensor:
    """(H, 4) -> position attention (H, N, N) float32, a constant of the model."""
    j = torch.arange(tokens, device=pos.device)
    x, y = (j % side).float(), (j // side).float()
    dx, dy = x[None] - x[:, None], y[None] - y[:, None]
    w0, w1, w2, _ = pos[:, :, None, None].unbind(1)
    return (w0 * dx + w1 * dy + w2 * (dx * dx + dy * dy)).softmax(dim=-1)


def gated_eager(tensors: Tensors, attributes: Attributes) -> Contestant:
    """The formula of the paper and of timm: both maps, mixed, times v."""
    q, k, v, pos = tensors
    gate = pos[:, 3].view(1, -1, 1, 1).to(q.dtype)
    place = positions(pos, q.shape[2], attributes["side"]).to(q.dtype)
    scale = attributes["scale"]

    def run(q: Tensor, k: Tensor, v: Tensor, gate: Tensor, place: Tensor) -> Tensor:
        content = (q @ k.mT * scale).softmax(dim=-1)
        return ((1 - gate) * content + gate * place) @ v

    return run, (q, k, v, gate, place)


def gated_sdpa(tensors: Tensors, attributes: Attributes) -> Contestant:
    """The exact rewrite without a plugin: torch's attention, and the gated table times v."""
    q, k, v, pos = tensors
    gate = pos[:, 3].view(1, -1, 1, 1)
    place = (gate * positions(pos, q.shape[2], attributes["side"])).to(q.dtype)
    scale = attributes["scale"]

    def run(q: Tensor, k: Tensor, v: Tensor, rest: Tensor, place: Tensor) -> Tensor:
        return rest * functional.scaled_dot_product_attention(q, k, v, scale=scale) + place @ v

    return run, (q, k, v, (1 - gate).to(q.dtype), place)


def channels_eager(tensors: Tensors, attributes: Attributes) -> Contestant:
    """timm's formulation of both halves: (B, N, 3, G, D) -> (B, N, G * D), with the permuted copies that it makes."""
    scale, first = attributes["scale"], attributes["version"] == 1

    def run(qkv: Tensor) -> Tensor:
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, G, N, D)
        rows, columns, x = (k, v, q) if first else (q, k, v)
        attention = ((rows * scale).mT @ columns).softmax(dim=-1)
        return (attention @ x.mT).mT.transpose(1, 2).flatten(2)

    return run, (tensors[0],)


def gram(tensors: Tensors, attributes: Attributes) -> Contestant:
    """Partial sums over shares, as a batched product of padded shares."""
    (qkv,) = tensors
    splits, (rows, columns) = attributes["splits"], {1: (1, 2), 2: (0, 1)}[attributes["version"]]
    share = -(-qkv.shape[1] // splits)

    def run(qkv: Tensor) -> Tensor:
        padded = functional.pad(qkv, (0, 0, 0, 0, 0, 0, 0, share * splits - qkv.shape[1]))
        cut = padded.unflatten(1, (splits, share)).permute(3, 0, 4, 1, 2, 5)  # (3, B, G, S, share, D)
        return (cut[rows].mT @ cut[columns]).float()

    return run, (qkv,)


def apply_(tensors: Tensors, attributes: Attributes) -> Contestant:
    role = 0 if attributes["version"] == 1 else 2
    scale = attributes["scale"] or tensors[0].shape[1] ** -0.5

    def run(qkv: Tensor, partials: Tensor) -> Tensor:
        attention = (partials.sum(dim=2) * scale).softmax(dim=-1).to(qkv.dtype)  # (B, G, D, D)
        return (qkv[:, :, role].transpose(1, 2) @ attention.mT).transpose(1, 2).flatten(2)

    return run, tuple(tensors)


def into_windows(qkv: Tensor, window: int) -> Tensors:
    """(B, Hm, Wm, 3, Hd, D) -> q, k, v (B * windows, Hd, window^2, D)."""
    batch, height, width, _, heads, dim = qkv.shape
    cut = qkv.view(batch, height // window, window, width // window, window, 3, heads, dim)
    return cut.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, -1, heads, window * window, dim).unbind(0)


def out_of_windows(y: Tensor, qkv: Tensor, window: int) -> Tensor:
    batch, height, width, _, heads, dim = qkv.shape
    cut = y.view(batch, height // window, width // window, heads, window, window, dim)
    return cut.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, heads * dim)


def window_eager(tensors: Tensors, attributes: Attributes) -> Contestant:
    window, scale = attributes["window"], attributes["scale"]

    def run(qkv: Tensor) -> Tensor:
        q, k, v = into_windows(qkv, window)
        return out_of_windows((q @ k.mT * scale).softmax(dim=-1) @ v, qkv, window)

    return run, tuple(tensors)


def window_sdpa(tensors: Tensors, attributes: Attributes) -> Contestant:
    window, scale = attributes["window"], attributes["scale"]

    def run(qkv: Tensor) -> Tensor:
        q, k, v = into_windows(qkv, window)
        return out_of_windows(functional.scaled_dot_product_attention(q, k, v, scale=scale), qkv, window)

    return run, tuple(tensors)


def anchor(tensors: Tensors, attributes: Attributes) -> Contestant:
    """Product, scale, softmax: the plain graph; the query heads of a kv head are rows of one product."""
    scale = attributes["scale"]

    def run(q: Tensor, k: Tensor) -> Tensor:
        rows = q.reshape(q.shape[0], k.shape[1], -1, q.shape[3])
        return (rows @ k.mT * scale).softmax(dim=-1).view(*q.shape[:3], -1)

    return run, tuple(tensors)


def depthwise(tensors: Tensors, attributes: Attributes) -> Contestant:
    """torch's convolution: cudnn, or torch's own kernel, whichever it takes for these sizes."""
    dilation, groups = attributes["dilation"], attributes["channels"]
    padding = dilation * (tensors[1].shape[-1] // 2)

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return functional.conv2d(x, w, b, padding=padding, dilation=dilation, groups=groups)

    return run, tuple(tensors)


def depthwise_last(tensors: Tensors, attributes: Attributes) -> Contestant:
    """The same with the channels last in memory."""
    run, (x, w, b) = depthwise(tensors, attributes)
    return run, (x.to(memory_format=torch.channels_last), w.to(memory_format=torch.channels_last), b)


PEERS: dict[str, dict[str, Prepare]] = {
    "GGeMPool": {"eager": ggem},
    "GatedPositionalAttention": {"eager": gated_eager, "SDPA + table": gated_sdpa},
    "ChannelGram": {"eager": gram},
    "ChannelApply": {"eager": apply_},
    "WindowAttention": {"eager": window_eager, "SDPA": window_sdpa},
    "AnchorAttention": {"eager": anchor},
    "DilatedDepthwiseConv": {"conv2d": depthwise, "conv2d, channels last": depthwise_last},
}
COMPILED = ("eager",)
