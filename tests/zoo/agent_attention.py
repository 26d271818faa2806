"""Agent Attention: a few pooled tokens ask for all others, and answer all others.

Paper: Han et al., Agent Attention: On the Integration of Softmax and Linear Attention, arXiv:2312.08874.

    A = pool(Q) (n, d);  gathered = softmax(A K^T / sqrt(d) + B1) V;  O = softmax(Q A^T / sqrt(d) + B2) gathered + DWC(V)

N tokens, n agents, d channels of a head; B1 (h, n, N) and B2 (h, N, n) are learned, DWC is a depthwise convolution.
"""

import torch
from torch import Tensor, nn


class AgentAttention(nn.Module):
    """(B, N, C) -> (B, N, C), N a square map."""

    def __init__(self, dim: int, heads: int, side: int, agents: int) -> None:
        super().__init__()
        self.heads, self.side, self.agents, self.scale = heads, side, agents, (dim // heads) ** -0.5
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.pool = nn.AdaptiveAvgPool2d(agents)
        self.dwc = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.bias_in = nn.Parameter(torch.randn(1, heads, agents**2, side**2))
        self.bias_out = nn.Parameter(torch.randn(1, heads, side**2, agents**2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, N, d)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)  # (B, N, C)
        k, v = self.kv(x).chunk(2, dim=-1)
        agents = self.pool(q.transpose(1, 2).unflatten(-1, (self.side, self.side))).flatten(2)  # (B, C, n)
        a, q, k, values = (self._heads(part) for part in (agents.transpose(1, 2), q, k, v))
        gathered = (self.scale * a @ k.transpose(-2, -1) + self.bias_in).softmax(-1) @ values  # (B, h, n, d)
        told = (self.scale * q @ a.transpose(-2, -1) + self.bias_out).softmax(-1) @ gathered  # (B, h, N, d)
        local = self.dwc(v.transpose(1, 2).unflatten(-1, (self.side, self.side))).flatten(2).transpose(1, 2)
        return self.proj(told.transpose(1, 2).flatten(2) + local)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, side: int, agents: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = AgentAttention(dim, heads, side, agents)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class AgentNet(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, side: int, agents: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.blocks = nn.Sequential(*(Block(dim, heads, side, agents) for _ in range(2)))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, C)
        return self.head(self.blocks(x).mean(1))


def make(image_size: int = 32, num_classes: int = 10) -> nn.Module:
    return AgentNet(dim=32, heads=2, side=image_size // 4, agents=4, num_classes=num_classes)
