"""Neighborhood Attention: every token attends to the k x k tokens nearest to it, without a kernel of its own.

Paper: Hassani et al., Neighborhood Attention Transformer, arXiv:2204.07143.

    A_i = softmax over j in near(i) of (Q_i K_j^T + B(i, j)) / sqrt(d);  NA_i = sum over j of A_ij V_j

The window of a token at the border is moved inside, so that every token has k x k neighbours; B is learned by offset.
"""

import torch
from torch import Tensor, nn


def neighbours(side: int, kernel: int) -> tuple[Tensor, Tensor]:
    """The tokens near each one (N, k^2), and the row of the bias table that their offset has (N, k^2)."""
    place = torch.arange(side)
    near = (place - kernel // 2).clamp(0, side - kernel)[:, None] + torch.arange(kernel)  # (side, k)
    offset = near - place[:, None] + kernel - 1  # from 0 to 2 k - 2
    tokens = near[:, None, :, None] * side + near[None, :, None, :]  # (side, side, k, k)
    rows = offset[:, None, :, None] * (2 * kernel - 1) + offset[None, :, None, :]
    return tokens.reshape(side**2, -1), rows.reshape(side**2, -1)


class NeighborhoodAttention(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    near: Tensor
    rows: Tensor

    def __init__(self, dim: int, heads: int, side: int, kernel: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.randn(heads, (2 * kernel - 1) ** 2))
        near, rows = neighbours(side, kernel)
        self.register_buffer("near", near)
        self.register_buffer("rows", rows)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        k, v = k[:, :, self.near], v[:, :, self.near]  # (B, h, N, k^2, d)
        scores = (q.unsqueeze(-2) @ k.transpose(-2, -1)).squeeze(-2) * self.scale  # (B, h, N, k^2)
        weights = (scores + self.bias[:, self.rows]).softmax(-1)
        x = (weights.unsqueeze(-2) @ v).squeeze(-2)  # (B, h, N, d)
        return self.proj(x.transpose(1, 2).flatten(2))


class NeighborhoodNet(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, side: int, kernel: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, dim // 2, 3, 2, 1), nn.Conv2d(dim // 2, dim, 3, 2, 1))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.layers = nn.ModuleList(NeighborhoodAttention(dim, heads, side, kernel) for _ in range(2))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, C)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(x.mean(1))


def make(image_size: int = 32, num_classes: int = 10) -> nn.Module:
    return NeighborhoodNet(dim=32, heads=2, side=image_size // 4, kernel=3, num_classes=num_classes)
