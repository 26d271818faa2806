"""SpectFormer: the first blocks mix tokens by a learned filter on their frequencies, the last ones by attention.

Paper: Patro et al., SpectFormer: Frequency and Attention is what you need in a Vision Transformer, arXiv:2304.06446; the gate is
that of Rao et al., Global Filter Networks, arXiv:2107.00645.

    x (H, W, C);  X = F(x);  y = F^-1(K * X)

F is the two-dimensional Fourier transform over height and width, K (H, W // 2 + 1, C) complex.
"""

import torch
from torch import Tensor, nn


class SpectralGate(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.randn(side, side // 2 + 1, dim, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.side, self.side))  # (B, H, W, C)
        frequencies = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")  # (B, H, W // 2 + 1, C)
        frequencies = frequencies * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(frequencies, s=(self.side, self.side), dim=(1, 2), norm="ortho").flatten(1, 2)


class Attention(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mixer = nn.LayerNorm(dim), nn.LayerNorm(dim), mixer
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SpectFormer(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, side: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.blocks = nn.Sequential(Block(dim, SpectralGate(dim, side)), Block(dim, Attention(dim, heads)))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, C)
        return self.head(self.blocks(x).mean(1))


def make(image_size: int = 40, num_classes: int = 10) -> nn.Module:
    return SpectFormer(dim=32, heads=2, side=image_size // 4, num_classes=num_classes)
