"""TiC: self-attention inside the window of a convolution, after a shift of groups of channels to all sides.

Paper: Zhang et al., TiC: Exploring Vision Transformer in Convolution, arXiv:2310.04134 (MSA-Conv; multi-directional cyclic shift).

    y_i = sum over j in window(i) of softmax_j(q_i k_j^T / sqrt(d) + b_j) v_j

window(i) are the k x k places that a convolution with stride and padding sees, i its centre; b (h, k^2) is learned.
"""

import torch
from torch import Tensor, nn


class MSAConv(nn.Module):
    """(B, C, H, W) -> (B, C, H / stride, W / stride)."""

    def __init__(self, dim: int, heads: int, kernel: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.heads, self.kernel, self.stride, self.scale = heads, kernel, stride, (dim // heads) ** -0.5
        self.q, self.kv, self.proj = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(dim, dim, 1)
        self.window = nn.Unfold(kernel, dilation, dilation * (kernel // 2), stride)
        self.bias = nn.Parameter(torch.randn(heads, 1, 1, kernel**2))

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x[:, :, :: self.stride, :: self.stride])  # (B, C, h, w)
        height, width = q.shape[2:]
        k, v = self.window(self.kv(x)).unflatten(1, (2, self.heads, -1, self.kernel**2)).unbind(1)  # (B, h, d, k^2, L)
        q = q.flatten(2).unflatten(1, (self.heads, -1)).transpose(-2, -1).unsqueeze(-2)  # (B, h, L, 1, d)
        k, v = k.permute(0, 1, 4, 2, 3), v.permute(0, 1, 4, 3, 2)  # (B, h, L, d, k^2), (B, h, L, k^2, d)
        x = (q @ k * self.scale + self.bias).softmax(-1) @ v  # (B, h, L, 1, d)
        return self.proj(x.squeeze(-2).transpose(-2, -1).flatten(1, 2).unflatten(-1, (height, width)))


class CyclicShift(nn.Module):
    """(B, C, H, W) -> the same: four groups of channels move up, down, left and right, round the edge."""

    def forward(self, x: Tensor) -> Tensor:
        up, down, left, right = x.chunk(4, dim=1)
        return torch.cat((up.roll(-1, 2), down.roll(1, 2), left.roll(-1, 3), right.roll(1, 3)), dim=1)


class TiC(nn.Module):
    """(B, 3, H, W) -> (B, classes), any H and W."""

    def __init__(self, dim: int, heads: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.shift = CyclicShift()
        self.layers = nn.ModuleList((MSAConv(dim, heads, 3, 1), MSAConv(dim, heads, 3, 1, dilation=2)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in self.layers)
        self.down = MSAConv(dim, heads, 3, 2)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(self.shift(norm(x)))
        return self.head(self.down(x).mean((2, 3)))


def make(num_classes: int = 10) -> nn.Module:
    return TiC(dim=32, heads=2, num_classes=num_classes)
