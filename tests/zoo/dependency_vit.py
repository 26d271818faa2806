"""DependencyViT: attention the other way round, a token sends to the parents that it chooses.

Paper: Ding et al., Visual Dependency Transformers: Dependency Tree Emerges from Reversed Attention, arXiv:2304.03282.

    P = softmax over parents j of Q_i K_j^T / sqrt(d);  y_j = sum over children i of P_ij m_i s_i V_i

m_i, the message controller, says how much a token has to say and is the product of those of the layers so far; s_i (h), the head
selector, by which heads.
"""

import torch
from torch import Tensor, nn


class ReversedAttention(nn.Module):
    """(B, N, C), (B, N, 1) -> (B, N, C), (B, N, 1)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.head_selector, self.message = nn.Linear(dim, heads), nn.Linear(dim, 1)

    def forward(self, x: Tensor, message: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        message = message * self.message(x).sigmoid()  # (B, N, 1)
        selected = self.head_selector(x).softmax(-1).transpose(1, 2).unsqueeze(-1)  # (B, h, N, 1)
        parents = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)  # (B, h, children, parents)
        x = parents.transpose(-2, -1) @ (v * selected * message.unsqueeze(1))
        return self.proj(x.transpose(1, 2).flatten(2)), message


class DependencyViT(nn.Module):
    """(B, 3, H, W) -> (B, classes); the picture's token gets what its children send."""

    def __init__(self, dim: int, heads: int, depth: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, stride=8)
        self.root = nn.Parameter(torch.randn(1, 1, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.layers = nn.ModuleList(ReversedAttention(dim, heads) for _ in range(depth))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.root.expand(x.shape[0], -1, -1), x), dim=1)  # (B, 1 + N, C)
        message = torch.ones_like(x[..., :1])
        for norm, layer in zip(self.norms, self.layers, strict=True):
            told, message = layer(norm(x), message)
            x = x + told
        return self.head(x[:, 0])


def make(num_classes: int = 10) -> nn.Module:
    return DependencyViT(dim=32, heads=4, depth=3, num_classes=num_classes)
