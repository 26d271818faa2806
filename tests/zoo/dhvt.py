"""DHVT: overlapping patches, attention with a token for every head, and a feed-forward layer of convolutions.

Paper: Lu et al., Bridging the Gap Between Vision Transformers and Convolutional Neural Networks on Small Datasets,
arXiv:2210.05958.

    SOPE: affine, then convolutions with stride 2 and BatchNorm;  HI-MHSA: each head's channels, averaged over the tokens and
    projected, are h more tokens of the sequence, and what comes of them is averaged and added to the class token;
    DAFF: patches through 1x1, depthwise 3x3 with its shortcut, 1x1;  class token scaled by an excitation of the patches' mean
"""

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """(B, 3, H, W) -> the same, a x + b by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.rand(1, channels, 1, 1) + start) for start in (0.5, -0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class HeadInteracted(nn.Module):
    """(B, 1 + N, C) -> (B, 1 + N, C)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.norm = nn.Linear(dim // heads, dim), nn.LayerNorm(dim // heads)
        self.place = nn.Parameter(torch.randn(1, heads, dim))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        heads = x.mean(1).unflatten(-1, (self.heads, -1))  # (B, h, d)
        heads = self.widen(nn.functional.gelu(self.norm(heads))) + self.place  # (B, h, C)
        x = torch.cat((x, heads), dim=1)  # (B, 1 + N + h, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        x = self.proj((weights @ v).transpose(1, 2).flatten(2))
        cls, patches, heads = x.split((1, tokens - 1, self.heads), dim=1)
        return torch.cat((cls + heads.mean(1, keepdim=True), patches), dim=1)


class DynamicFeedForward(nn.Module):
    """(B, 1 + N, C) -> (B, 1 + N, C)."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.wide, self.narrow = nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(2 * dim, dim, 1)
        self.depthwise = nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim)
        self.excite = nn.Sequential(nn.Linear(dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, dim))

    def forward(self, x: Tensor) -> Tensor:
        cls, patches = x[:, :1], x[:, 1:]
        maps = nn.functional.gelu(self.wide(patches.transpose(1, 2).unflatten(-1, (self.side, self.side))))
        maps = self.narrow(nn.functional.gelu(self.depthwise(maps) + maps))
        patches = maps.flatten(2).transpose(1, 2)  # (B, N, C)
        return torch.cat((cls * self.excite(patches.mean(1, keepdim=True)), patches), dim=1)


class DHVT(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, side: int, depth: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            Affine(3),
            nn.Conv2d(3, dim // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(dim // 2),
            nn.GELU(),
            nn.Conv2d(dim // 2, dim, 3, 2, 1, bias=False),
            nn.BatchNorm2d(dim),
            Affine(dim),
        )
        self.cls = nn.Parameter(torch.randn(1, 1, dim))
        self.attention = nn.ModuleList(HeadInteracted(dim, heads) for _ in range(depth))
        self.forwards = nn.ModuleList(DynamicFeedForward(dim, side) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1)  # (B, 1 + N, C)
        for index, (attention, forward) in enumerate(zip(self.attention, self.forwards, strict=True)):
            x = x + attention(self.norms[2 * index](x))
            x = x + forward(self.norms[2 * index + 1](x))
        return self.head(x[:, 0])


def make(image_size: int = 32, num_classes: int = 10) -> nn.Module:
    return DHVT(dim=32, heads=4, side=image_size // 4, depth=2, num_classes=num_classes)
