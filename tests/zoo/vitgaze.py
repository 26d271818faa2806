"""ViTGaze's head: where somebody looks, out of the attention maps of a plain ViT.

Paper: Song et al., ViTGaze: Gaze Following with Interaction Features in Vision Transformers, arXiv:2403.12778.

    maps (L h, N, N): the attention of all layers and heads;  w = the head's place, pooled to the tokens, as weights of sum 1
    heat = up(conv(sum over tokens i of w_i maps[:, i, :])) (H, W);  inside = MLP(sum over tokens of w_i x_i)

Where the head is would be a second input; here it is a buffer (one place for all pictures), and the answer is one row, the heat map
behind the number that says whether the gaze ends inside the picture.
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """(B, N, C) -> (B, N, C), (B, h, N, N)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x)), weights


class ViTGaze(nn.Module):
    """(B, 3, H, W) -> (B, 1 + heat^2)."""

    head_place: Tensor

    def __init__(self, dim: int, heads: int, depth: int, side: int, heat: int) -> None:
        super().__init__()
        self.side, self.heat = side, heat
        self.embed = nn.Conv2d(3, dim, 8, stride=8)
        self.place = nn.Parameter(torch.randn(1, side**2, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.conv = nn.Sequential(nn.Conv2d(depth * heads, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.last = nn.Conv2d(16, 1, 1)
        self.inside = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))
        face = torch.zeros(1, 1, 8 * side, 8 * side)
        face[:, :, 4:20, 8:28] = 1.0
        self.register_buffer("head_place", face)

    def forward(self, x: Tensor) -> Tensor:
        x, maps = self.embed(x).flatten(2).transpose(1, 2) + self.place, []
        for block in self.blocks:
            x, weights = block(x)
            maps.append(weights)
        guide = nn.functional.adaptive_avg_pool2d(self.head_place, self.side).flatten(1)  # (1, N)
        guide = guide / guide.sum(-1, keepdim=True)
        seen = guide[:, None, None] @ torch.cat(maps, dim=1)  # (B, L h, 1, N)
        heat = self.conv(seen.squeeze(-2).unflatten(-1, (self.side, self.side)))  # (B, 16, side, side)
        heat = nn.functional.interpolate(heat, size=(self.heat, self.heat), mode="bilinear", align_corners=False)
        inside = self.inside((guide.unsqueeze(1) @ x).squeeze(1))  # (B, 1)
        return torch.cat((inside, self.last(heat).flatten(1)), dim=1).sigmoid()


def make(image_size: int = 64) -> nn.Module:
    return ViTGaze(dim=32, heads=2, depth=3, side=image_size // 8, heat=20)
