"""Sparsifiner: a cheap guess of the attention says which keys each query may see.

Paper: Wei et al., Sparsifiner: Learning Sparse Instance-Dependent Attention for Efficient Vision Transformers, arXiv:2303.13755.

    A_low = softmax(Q_low (W_down K_low)^T), small values set to 0;  A' = A_low W_up;  M = the k largest of each row of A'
    y = softmax(Q K^T / sqrt(d) where M, -inf elsewhere) V

Q_low, K_low have few channels; W_down (n, N) and W_up (n, N) are learned, W_up is not negative.
"""

import torch
from torch import Tensor, nn


class SparseAttention(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, heads: int, tokens: int, low: int, kept: int) -> None:
        super().__init__()
        self.heads, self.kept, self.scale = heads, kept, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.q_low, self.k_low = nn.Linear(dim // heads, 4), nn.Linear(dim // heads, 4)
        self.down = nn.Parameter(torch.randn(low, tokens) * tokens**-0.5)
        self.up = nn.Parameter(torch.rand(low, tokens))

    def connected(self, q: Tensor, k: Tensor) -> Tensor:
        """(B, h, N, d) twice -> (B, h, N, N), which keys a query sees."""
        rough = (self.q_low(q) @ (self.down @ self.k_low(k)).transpose(-2, -1)).softmax(-1)  # (B, h, N, n)
        rough = torch.where(rough > 0.05, rough, 0.0) @ self.up  # (B, h, N, N)
        best = rough.topk(self.kept, dim=-1).indices
        return torch.zeros_like(rough, dtype=torch.bool).scatter(-1, best, True)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * self.scale
        scores = scores.masked_fill(~self.connected(q, k), float("-inf"))
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Sparsifiner(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, tokens: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, stride=8)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.layers = nn.ModuleList(SparseAttention(dim, heads, tokens, low=6, kept=5) for _ in range(2))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, C)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(x.mean(1))


def make(image_size: int = 32, num_classes: int = 10) -> nn.Module:
    return Sparsifiner(dim=32, heads=2, tokens=(image_size // 8) ** 2, num_classes=num_classes)
