"""RAM++: a tag is a weighted sum of its descriptions, the weights chosen by the picture, and asks the picture's tokens.

Paper: Huang et al., Open-Set Image Tagging with Multi-Grained Text Supervision, arXiv:2310.15200.

    tag_c = sum over descriptions j of softmax_j(t <g, d_cj>) d_cj;  logit_c = W decoder(tag_c, tokens)

g is the picture as a whole, d_cj a description of tag c as the text encoder wrote it: constants (tags, descriptions, C) of the network.
"""

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    """(B, tags, C), (B, N, C) -> (B, tags, C)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, tags: Tensor, tokens: Tensor) -> Tensor:
        tags = tags + self.cross(self.norm1(tags), tokens, tokens, need_weights=False)[0]
        return tags + self.mlp(self.norm2(tags))


class RAMPlus(nn.Module):
    """(B, 3, H, W) -> (B, tags)."""

    descriptions: Tensor

    def __init__(self, dim: int, heads: int, tags: int, descriptions: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, stride=8)
        self.cls = nn.Parameter(torch.randn(1, 1, dim))
        self.encoder = nn.TransformerEncoderLayer(dim, heads, 2 * dim, batch_first=True, norm_first=True)
        self.register_buffer("descriptions", nn.functional.normalize(torch.randn(tags, descriptions, dim), dim=-1))
        self.temperature = nn.Parameter(torch.tensor(4.0))
        self.decoder = nn.ModuleList(Decoder(dim, heads) for _ in range(2))
        self.head = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = self.encoder(torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1))  # (B, 1 + N, C)
        whole, tokens = nn.functional.normalize(x[:, 0], dim=-1), x[:, 1:]
        weights = (torch.einsum("bc,tdc->btd", whole, self.descriptions) * self.temperature.exp()).softmax(-1)
        tags = torch.einsum("btd,tdc->btc", weights, self.descriptions)  # (B, tags, C)
        for layer in self.decoder:
            tags = layer(tags, tokens)
        return self.head(tags).squeeze(-1)


def make(num_classes: int = 12) -> nn.Module:
    return RAMPlus(dim=32, heads=2, tags=num_classes, descriptions=5)
