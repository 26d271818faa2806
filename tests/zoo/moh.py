"""MoH: every token chooses which of the heads of attention speak to it.

Paper: Jin et al., MoH: Multi-Head Attention as Mixture-of-Head Attention, arXiv:2410.11842.

    y = sum over heads i of g_i H_i W_i;  g = a1 softmax(W_s x) for shared heads, a2 softmax(W_r x) for the K routed heads with the
    largest, 0 for the others;  (a1, a2) = softmax(W_h x)
"""

import torch
from torch import Tensor, nn


class MixtureOfHeads(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, heads: int, shared: int, chosen: int) -> None:
        super().__init__()
        self.heads, self.chosen = heads, chosen
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.shared, self.routed = nn.Linear(dim, shared, bias=False), nn.Linear(dim, heads - shared, bias=False)
        self.balance = nn.Linear(dim, 2, bias=False)

    def gates(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, h)."""
        balance = self.balance(x).softmax(-1)  # (B, N, 2)
        routed = self.routed(x).softmax(-1)
        best = routed.topk(self.chosen, dim=-1).indices  # (B, N, K)
        open_ = torch.zeros_like(routed).scatter(-1, best, 1.0)
        return torch.cat((self.shared(x).softmax(-1) * balance[..., :1], routed * open_ * balance[..., 1:]), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        heads = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # (B, N, h, d)
        return self.proj((heads * self.gates(x).unsqueeze(-1)).flatten(2))


class MoHNet(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, stride=8)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.layers = nn.ModuleList(MixtureOfHeads(dim, heads, shared=2, chosen=3) for _ in range(2))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, C)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(x.mean(1))


def make(num_classes: int = 10) -> nn.Module:
    return MoHNet(dim=48, heads=8, num_classes=num_classes)
