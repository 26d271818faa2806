"""Chains of our ops that stand in for a whole of a model, and the way that needs no fused attention: unpack, then SDPA.

``Launcher`` is what starts our kernels; a test puts the references in its place and so runs every contestant on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .kv_peers import attend, causal, decode_sdpa
from .peers import Attributes, Prepare, Tensors, channels_eager

Run = Callable[[], Tensor]


class Launcher(Protocol):
    """Prepares a launch of one of our ops on tensors: its outputs, and what computes them."""

    def tactics(self, op: str, tensors: Tensors, attributes: Attributes) -> int: ...

    def prepare(
        self, op: str, tensors: Tensors, attributes: Attributes, tactic: int = 0
    ) -> tuple[list[Tensor], Run]: ...


def channel_attention(launcher: Launcher, tensors: Tensors, attributes: Attributes, extra: Attributes) -> Run:
    partials, first = launcher.prepare("ChannelGram", tensors, attributes)
    _, second = launcher.prepare("ChannelApply", [tensors[0], partials[0]], extra)

    def run() -> Tensor:
        first()
        return second()

    return run


def decoding_step(launcher: Launcher, tensors: Tensors, attributes: Attributes, extra: Attributes) -> Run:
    partials, first = launcher.prepare("KVAttentionPartial", tensors, attributes)
    _, second = launcher.prepare("KVAttentionCombine", [*partials, tensors[0]], extra)

    def run() -> Tensor:
        first()
        return second()

    return run


def unpacked(launcher: Launcher, packed: Tensors, like: Tensor, attributes: Attributes) -> tuple[Tensor, Tensor, Run]:
    """Keys and values that ``run`` unpacks with our kernels."""
    one, shared = like.flatten()[:1].clone(), attributes["tokens"]
    (k,), run_k = launcher.prepare("DequantizeK", [*packed[:2], one], {"bits": attributes["bits_k"], "tokens": shared})
    (v,), run_v = launcher.prepare("DequantizeV", [*packed[2:], one], {"bits": attributes["bits_v"], "rotate": 0})

    def run() -> Tensor:
        run_k()
        return run_v()

    return k, v, run


def prefix_unpacked(launcher: Launcher, tensors: Tensors, attributes: Attributes) -> Run:
    q, *packed, k_new, v_new = tensors
    k, v, unpack = unpacked(launcher, packed, q, attributes)
    mask = causal(q.shape[2], q.shape[1] // k.shape[1], k.shape[2], q.device) if q.shape[2] > 1 else None

    def run() -> Tensor:
        unpack()
        return attend(q, torch.cat([k, k_new], 2), torch.cat([v, v_new], 2), mask, attributes["scale"])

    return run


def decode_unpacked(launcher: Launcher, tensors: Tensors, attributes: Attributes) -> Run:
    q, *packed, length = tensors
    k, v, unpack = unpacked(launcher, packed, q, attributes)
    count = int(length[0])

    def run() -> Tensor:
        unpack()
        return attend(q, k[:, :, :count], v[:, :, :count], None, attributes["scale"])

    return run


CHAINS = {"channel attention": channel_attention, "decoding step": decoding_step}
UNPACKED_FIRST = {"PrefixAttention": prefix_unpacked, "decoding step": decode_unpacked}
WHOLE_PEERS: dict[str, dict[str, Prepare]] = {
    "channel attention": {"eager": channels_eager},
    "decoding step": {"SDPA, never packed": decode_sdpa},
}
