"""The head of DAMO-YOLO (ZeroHead: one convolution a task and level) and the decoding of its boxes.

    P3, P4, P5 -> per level class logits (B, K, h, w) and sides (B, 4*(R+1), h, w) -> boxes (B, N, 4), scores (B, N, K)

K classes; N = all cells of the levels 8, 16, 32, row by row (8400 at 640x640). A box side is not a number but a
distribution over the distances 0, 1, ..., R cells (Generalized Focal Loss, Li et al., arXiv:2006.04388).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)  # pixels a cell, level by level
PRIOR = 0.01  # what an untrained classifier says of every class, so that the first steps of a training do not explode


class Scale(nn.Module):
    """One learned factor a level."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Decode(nn.Module):
    """Six raw maps -> boxes (B, N, 4), x1 y1 x2 y2 in pixels of the network's input, not clipped; scores (B, N, K).

    The expectation of a side's distribution, times the stride, is its distance from the cell's point. That point is the
    cell's TOP-LEFT corner (x * stride, y * stride): the authors add no half cell.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("project", torch.arange(bins, dtype=torch.get_default_dtype()))  # (R+1,) cells
        self.project: Tensor

    def forward(self, levels: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        logits = torch.cat([_cells_first(logits) for logits, _ in levels], dim=1)  # (B, N, K)
        sides = torch.cat([_cells_first(sides) for _, sides in levels], dim=1)  # (B, N, 4*(R+1))
        points, reach = self.priors([(level.shape[-2], level.shape[-1]) for level, _ in levels])
        return points + self.distances(sides) * reach, logits.sigmoid()

    def distances(self, sides: Tensor) -> Tensor:
        """(B, N, 4*(R+1)), sides left, top, right, bottom outermost -> (B, N, 4) in cells."""
        return sides.unflatten(-1, (4, -1)).softmax(dim=-1) @ self.project

    def priors(self, grids: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """(N, 4) each: x, y, x, y of a cell's corner in pixels, and what a distance of one cell adds to a box there.

        They hold no batch, so that one graph serves every batch; where the image size is fixed they are constants.
        """
        like: dict[str, Any] = {"dtype": self.project.dtype, "device": self.project.device}
        signs = torch.tensor([-1.0, -1.0, 1.0, 1.0], **like)  # left and top lead to smaller coordinates
        points, reach = [], []
        for (height, width), stride in zip(grids, STRIDES, strict=True):
            x = (torch.arange(width, **like) * stride).expand(height, width)
            y = (torch.arange(height, **like) * stride)[:, None].expand(height, width)
            points.append(torch.stack([x, y, x, y], dim=-1).flatten(0, 1))  # (h*w, 4)
            reach.append((signs * stride).expand(height * width, 4))
        return torch.cat(points), torch.cat(reach)


def _cells_first(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, h*w, C), row by row


class ZeroHead(nn.Module):
    """``kernel`` is 3, and 1 in the nano models; ``reg_max`` is R."""

    def __init__(self, inputs: Sequence[int], classes: int, reg_max: int, kernel: int) -> None:
        super().__init__()
        self.integral = Decode(reg_max + 1)  # the checkpoints' name for its one tensor is head.integral.project
        self.gfl_cls = nn.ModuleList(nn.Conv2d(c, classes, kernel, padding=kernel // 2) for c in inputs)
        self.gfl_reg = nn.ModuleList(nn.Conv2d(c, 4 * (reg_max + 1), kernel, padding=kernel // 2) for c in inputs)
        self.scales = nn.ModuleList(Scale() for _ in inputs)
        for layers, bias in ((self.gfl_cls, math.log(PRIOR / (1 - PRIOR))), (self.gfl_reg, 0.0)):
            for name, value in layers.named_parameters():
                nn.init.normal_(value, std=0.01) if name.endswith("weight") else nn.init.constant_(value, bias)

    def levels(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Per level: class logits (B, K, h, w), and sides (B, 4*(R+1), h, w), scaled, before the softmax."""
        layers = zip(maps, self.gfl_cls, self.gfl_reg, self.scales, strict=True)
        return [(classify(x), scale(measure(x))) for x, classify, measure, scale in layers]

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.integral(self.levels(maps))
