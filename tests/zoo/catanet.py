"""CATANet: tokens are put beside those that are like them, and attend inside such groups.

Paper: Liu et al., CATANet: Efficient Content-Aware Token Aggregation for Lightweight Image Super-Resolution, arXiv:2503.06896.

    group(i) = argmax over centres m of cos(x_i, c_m);  the tokens sorted by group are cut into pieces of g
    inside a piece: attention to its own tokens and those of the next one;  across: attention to the centres;  then back in order

The centres (M, C) were learned as running means of what they attract, and are constants of the network. The paper's network enlarges
pictures; this one has a classifier behind the same layer.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention


class TokenAggregation(nn.Module):
    """(B, N, C) -> (B, N, C), N a multiple of the piece."""

    centres: Tensor

    def __init__(self, dim: int, heads: int, groups: int, piece: int, stable: bool) -> None:
        super().__init__()
        self.heads, self.piece, self.stable = heads, piece, stable
        self.register_buffer("centres", torch.randn(groups, dim))
        self.q, self.kv, self.kv_centres = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (..., h, tokens, d)

    def forward(self, x: Tensor) -> Tensor:
        alike = normalize(x, dim=-1) @ normalize(self.centres, dim=-1).T  # (B, N, M)
        group, tokens = alike.argmax(-1), x.shape[1]  # (B, N)
        if self.stable:
            order = group.argsort(dim=-1, stable=True)
        else:  # the same order: no two keys are equal
            order = (group * tokens + torch.arange(tokens)).argsort(dim=-1)
        back = order.argsort(dim=-1)
        x = torch.gather(x, 1, order.unsqueeze(-1).expand_as(x))
        pieces = x.unflatten(1, (-1, self.piece)).flatten(0, 1)  # (B pieces, g, C)
        count = x.shape[1] // self.piece
        own = self.kv(x).unflatten(1, (count, self.piece))  # (B, pieces, g, 2 C)
        both = torch.cat((own, own.roll(-1, 1)), dim=2).flatten(0, 1)  # (B pieces, 2 g, 2 C)
        k, v = (self._heads(part) for part in both.chunk(2, dim=-1))
        q = self._heads(self.q(pieces))  # (B pieces, h, g, d)
        inside = scaled_dot_product_attention(q, k, v)
        k, v = (self._heads(part).unsqueeze(0) for part in self.kv_centres(self.centres).chunk(2, dim=-1))
        across = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = (inside + across).transpose(1, 2).flatten(2).unflatten(0, (-1, count)).flatten(1, 2)  # (B, N, C)
        return self.proj(torch.gather(x, 1, back.unsqueeze(-1).expand_as(x)))


class CATANet(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, stable: bool, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.layer = TokenAggregation(dim, heads, groups=5, piece=16, stable=stable)
        self.local = nn.Conv2d(dim, dim, 3, padding=1)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.embed(x)
        x = maps.flatten(2).transpose(1, 2)  # (B, N, C)
        x = self.norm2(x + self.layer(self.norm1(x)))
        maps = self.local(x.transpose(1, 2).unflatten(-1, tuple(maps.shape[2:])))  # the order of the tokens counts here
        return self.head(nn.functional.gelu(maps).mean((2, 3)))


def make(stable: bool = False, num_classes: int = 10) -> nn.Module:
    """``stable``: sorted by torch's stable sort, which its exporter does not know."""
    return CATANet(dim=32, heads=2, stable=stable, num_classes=num_classes)
