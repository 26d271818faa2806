"""Moment Probing: a classifier of the mean and of the second moments of the features.

Paper: Gao et al., Tuning Pre-trained Model via Moment Probing, arXiv:2307.11342.

    M1 = mean of X;  M2 (h, d, d) = the cross-covariance of two projections of X, head by head, made smaller by convolutions
    logits = W1 M1 + W2 flatten(M2)
"""

from torch import Tensor, nn


class CrossCovariance(nn.Module):
    """(B, N, C) -> (B, features)."""

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.left, self.right = nn.Linear(dim, heads * width), nn.Linear(dim, heads * width)
        self.small = nn.Sequential(
            nn.Conv2d(heads, 2 * heads, 3, 2, 1), nn.GELU(), nn.Conv2d(2 * heads, 2 * heads, 3, 2, 1)
        )

    def _centred(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # (B, h, d, N)
        x = x - x.mean(-1, keepdim=True)
        return nn.functional.normalize(x, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        moments = self._centred(self.left(x)) @ self._centred(self.right(x)).transpose(-2, -1)  # (B, h, d, d)
        return self.small(moments).flatten(1)


class MomentProbing(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, heads: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, dim, 4, stride=4), nn.GELU(), nn.Conv2d(dim, dim, 3, 2, 1))
        self.norm = nn.LayerNorm(dim)
        self.second = CrossCovariance(dim, heads, width)
        self.head1 = nn.Linear(dim, num_classes)
        self.head2 = nn.Linear(2 * heads * (width // 4) ** 2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.body(x).flatten(2).transpose(1, 2))  # (B, N, C)
        return self.head1(x.mean(1)) + self.head2(self.second(x))


def make(num_classes: int = 10) -> nn.Module:
    return MomentProbing(dim=32, heads=3, width=16, num_classes=num_classes)
