"""SMT: Scale-Aware Modulation Meet Transformer (Lin et al., ICCV 2023, arXiv:2307.08579).

Written from the architecture's description; the parameter names are those of the authors' checkpoints, so that these
load as they are. Maps travel channels last, (B, H, W, C); a convolution sees them as (B, C, H, W).

    image (B, 3, H, W) > stem > 4 stages at 1/4, 1/8, 1/16, 1/32 > mean over positions > logits (B, classes)

Stages 1 and 2 modulate (SAM), stage 3 alternates modulation and attention, stage 4 attends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import init_weights

KERNELS = (3, 5, 7, 9)  # one depthwise kernel a head of the modulation


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, H/4, W/4, C)."""

    def __init__(self, channels: int, dim: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, dim, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 2, stride=2),
        )
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """(B, H, W, C) -> (B, H/2, W/2, C')."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, out, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(out, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class DepthwiseConv(nn.Module):
    """3x3, on a channels-last map of any size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Mlp(nn.Module):
    """The depthwise convolution has a shortcut of its own, inside the activation."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(F.gelu(x + self.dwconv(x)))


class ScaleAwareModulation(nn.Module):
    """Four kernel sizes, one a group of channels, mixed per channel across the sizes, multiply the values."""

    def __init__(self, dim: int, expand: int = 2) -> None:
        super().__init__()
        self.group = dim // len(KERNELS)
        self.v = nn.Linear(dim, dim)
        self.s = nn.Linear(dim, dim)
        for i, kernel in enumerate(KERNELS, start=1):
            conv = nn.Conv2d(self.group, self.group, kernel, padding=kernel // 2, groups=self.group)
            setattr(self, f"local_conv_{i}", conv)
        self.proj0 = nn.Conv2d(dim, dim * expand, 1, groups=self.group)
        self.bn = nn.BatchNorm2d(dim * expand)
        self.proj1 = nn.Conv2d(dim * expand, dim, 1)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        scales = self.s(x).permute(0, 3, 1, 2).split(self.group, dim=1)  # 4 times (B, G, H, W)
        convs = [getattr(self, f"local_conv_{i}") for i in range(1, 1 + len(KERNELS))]
        heads = torch.stack([conv(scale) for conv, scale in zip(convs, scales, strict=True)], dim=2)  # (B, G, 4, H, W)
        modulator = self.proj0(heads.flatten(1, 2))  # (B, 2C, H, W); a group mixes the four sizes of one channel
        modulator = self.proj1(F.gelu(self.bn(modulator)))  # (B, C, H, W)
        return self.proj(modulator.permute(0, 2, 3, 1) * self.v(x))


class Attention(nn.Module):
    """Full attention over all H*W positions, plus a depthwise convolution of the values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.local_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.proj = nn.Linear(dim, dim)

    def _split(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, H*W, C/heads)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, dim = x.shape
        k, v = self.kv(x).chunk(2, dim=-1)  # (B, H, W, C) each
        scores = (self._split(self.q(x)) * self.scale) @ self._split(k).transpose(-2, -1)  # (B, heads, H*W, H*W)
        y = (scores.softmax(dim=-1) @ self._split(v)).transpose(1, 2)  # (B, H*W, heads, C/heads)
        local = self.local_conv(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, H, W, C)
        return self.proj(y.reshape(-1, height, width, dim) + local)


class Block(nn.Module):
    """Two pre-norm residual branches; ``heads=None`` modulates, a number attends."""

    def __init__(self, dim: int, heads: int | None, mlp_ratio: float, layer_scale: float | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = ScaleAwareModulation(dim) if heads is None else Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.scaled = layer_scale is not None
        if layer_scale is not None:
            self.gamma_1 = nn.Parameter(torch.full((dim,), layer_scale))
            self.gamma_2 = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        if self.scaled:
            x = x + self.gamma_1 * self.attn(self.norm1(x))
            return x + self.gamma_2 * self.mlp(self.norm2(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SMT(nn.Module):
    """``attention_heads`` are those of stages 3 and 4."""

    def __init__(
        self,
        dims: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 8, 1),
        mlp_ratios: Sequence[float] = (4, 4, 4, 2),
        attention_heads: Sequence[int] = (8, 16),
        stem_kernel: int = 3,
        layer_scale: float | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        kinds: tuple[tuple[int | None, ...], ...]  # by stage: heads of the even and of the odd blocks, None modulates
        kinds = ((None, None), (None, None), (None, attention_heads[0]), (attention_heads[1], attention_heads[1]))
        for s in range(4):
            embed = Stem(in_chans, dims[0], stem_kernel) if s == 0 else PatchMerging(dims[s - 1], dims[s])
            blocks = [Block(dims[s], kinds[s][i % 2], mlp_ratios[s], layer_scale) for i in range(depths[s])]
            setattr(self, f"patch_embed{s + 1}", embed)
            setattr(self, f"block{s + 1}", nn.Sequential(*blocks))
            setattr(self, f"norm{s + 1}", nn.LayerNorm(dims[s], eps=1e-6))
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(init_weights)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H/32, W/32, C)."""
        for stage in "1234":
            embed, blocks, norm = (getattr(self, part + stage) for part in ("patch_embed", "block", "norm"))
            x = norm(blocks(embed(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x).mean(dim=(1, 2)))


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names are ours."""
    return state


def changes_for(
    state: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """smt_small's configuration says two blocks in stage 4, its stated 20.5 M parameters say one: the file decides."""
    blocks = {name.split(".")[1] for name in state if name.startswith("block4.")}
    if config["depths"] != (3, 4, 18, 2) or blocks != {"0"}:
        return {}, ()
    note = "one block in stage 4, as the checkpoint has it; the authors' configuration file says two"
    return {"depths": (3, 4, 18, 1)}, (note,)


def build(num_classes: int, image_size: tuple[int, int], **config: Any) -> nn.Module:
    """One model serves every image size."""
    return SMT(num_classes=num_classes, **config)
