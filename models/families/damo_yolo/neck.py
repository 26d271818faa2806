"""The neck of DAMO-YOLO: RepGFPN, a feature pyramid that also passes on what lies beside and below.

    c3 (B, C3, H/8, W/8), c4 (B, C4, H/16, W/16), c5 (B, C5, H/32, W/32) -> P3, P4, P5 at the same resolutions

    x5 = merge_3[c5, down c4]        x4 = merge_4[c4, down c3, up x5]      P3 = merge_5[c3, up x4]
    P4 = merge_7[x4, down P3]        P5 = merge_6[x5, down x4, down P4]

The numbers are the checkpoints' names, and the order inside the brackets is the order of the channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import ACTIVATIONS, ConvBNAct, MobileBlock, RepConv, batch_norm, conv, multiple_of_8

EXPANSION = 3  # of the nano's mobile blocks


class DepthwiseDown(nn.Module):
    """Depthwise 3x3 with stride 2, then 1x1, both with BatchNorm and activation: the nano's way to half the size."""

    def __init__(self, channels: int, act: str) -> None:
        super().__init__()
        self.depthwise = conv(channels, channels, 3, 2, groups=channels)
        self.dwnorm = batch_norm(channels)
        self.pointwise = conv(channels, channels, 1)
        self.pwnorm = batch_norm(channels)
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.dwnorm(self.depthwise(x)))
        return self.act(self.pwnorm(self.pointwise(x)))


class ReverseBlock(nn.Module):
    """x + conv1(conv2(x)): the second comes first. ``conv2`` is a RepConv to ``hidden`` channels, ``conv1`` leads back."""

    def __init__(self, channels: int, hidden: int, act: str, deploy: bool) -> None:
        super().__init__()
        self.conv2 = RepConv(channels, hidden, act=act, deploy=deploy)
        self.conv1 = ConvBNAct(hidden, channels, 3, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv1(self.conv2(x))


class NanoBlock(nn.Module):
    """A mobile block, with its own shortcut."""

    def __init__(self, channels: int, act: str) -> None:
        super().__init__()
        hidden = multiple_of_8(channels * EXPANSION)
        self.conv = MobileBlock(channels, channels, hidden, 1, act, empty_place=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Merge(nn.Module):
    """Concatenated maps (B, C, H, W) -> (B, C', H, W): one half passes, the other goes through a chain of blocks.

    Every step of the chain is kept, its input is not: 1x1 over [half, block 1, ..., block n].
    """

    def __init__(
        self, inputs: int, outputs: int, blocks: int, ratio: float, act: str, nano: bool, deploy: bool
    ) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = ConvBNAct(inputs, half, 1, act=act)
        self.conv2 = ConvBNAct(inputs, half, 1, act=act)
        self.convs = nn.ModuleList(
            NanoBlock(half, act) if nano else ReverseBlock(half, int(half * ratio), act, deploy) for _ in range(blocks)
        )
        self.conv3 = ConvBNAct(half * (blocks + 1), outputs, 1, act=act)

    def forward(self, *maps: Tensor) -> Tensor:
        x = torch.cat(maps, dim=1)
        kept, chain = [self.conv1(x)], self.conv2(x)
        for block in self.convs:
            chain = block(chain)
            kept.append(chain)
        return self.conv3(torch.cat(kept, dim=1))


class Neck(nn.Module):
    """``depth`` scales three blocks a merge, rounded half to even (1.5 * 3 = 4.5 -> 4); ``ratio`` is their width."""

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        depth: float,
        ratio: float,
        act: str,
        nano: bool,
        deploy: bool,
    ) -> None:
        super().__init__()
        c3, c4, c5 = inputs
        p3, p4, p5 = outputs
        blocks = round(3 * depth)

        def merge(inputs: int, outputs: int) -> Merge:
            return Merge(inputs, outputs, blocks, ratio, act, nano, deploy)

        def down(channels: int) -> nn.Module:
            return DepthwiseDown(channels, act) if nano else ConvBNAct(channels, channels, 3, 2, act)

        self.bu_conv13, self.merge_3 = down(c4), merge(c5 + c4, c5)
        self.bu_conv24, self.merge_4 = down(c3), merge(c4 + c3 + c5, c4)
        self.merge_5 = merge(c3 + c4, p3)
        self.bu_conv57, self.merge_7 = down(p3), merge(c4 + p3, p4)
        self.bu_conv46, self.bu_conv76, self.merge_6 = down(c4), down(p4), merge(c5 + c4 + p4, p5)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        c3, c4, c5 = maps
        x5 = self.merge_3(c5, self.bu_conv13(c4))
        x4 = self.merge_4(c4, self.bu_conv24(c3), _up(x5))
        p3 = self.merge_5(c3, _up(x4))
        p4 = self.merge_7(x4, self.bu_conv57(p3))
        return [p3, p4, self.merge_6(x5, self.bu_conv46(x4), self.bu_conv76(p4))]


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")  # (B, C, 2H, 2W)
