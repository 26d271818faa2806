"""The three backbones of DAMO-YOLO; their stages come from a search (MAE-NAS), so they are tables and no formula.

    image (B, 3, H, W) -> maps at 1/8, 1/16, 1/32: (B, C3, H/8, W/8), (B, C4, H/16, W/16), (B, C5, H/32, W/32)

"res" (tiny, small) and "mob" (nano) are chains of stages, "csp" (medium, large) sends half of the channels past them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import ACTIVATIONS, SPP, ConvBN, ConvBNAct, MobileBlock, RepConv, WrappedConvBNAct, multiple_of_8

EXPANSION = (3.5, 4.0, 4.5, 5.0, 5.5)  # of the mobile blocks, stage by stage
TAKEN = (1, 3, 4)  # the stages the neck reads: the last one at each of 1/8, 1/16, 1/32


@dataclass(frozen=True)
class Stage:
    """One row of a searched structure; ``bottleneck`` is the width inside a residual block, 0 where blocks are mobile."""

    channels: int
    blocks: int
    bottleneck: int
    stride: int


class Focus(nn.Module):
    """(B, P, H, W) -> (B, 4 P, H/2, W/2) -> (B, C, H/2, W/2): a pixel's 2x2 neighbours become channels.

    The four follow each other column by column, (row, column) = (0, 0), (1, 0), (0, 1), (1, 1), colours inside.
    """

    def __init__(self, inputs: int, channels: int, act: str) -> None:
        super().__init__()
        self.conv = ConvBNAct(4 * inputs, channels, 3, act=act)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(corners, dim=1))


class ResBlock(nn.Module):
    """conv-BN to ``bottleneck``, activation, RepConv to ``outputs``, shortcut unless the stride is 2, activation."""

    def __init__(
        self, inputs: int, outputs: int, bottleneck: int, kernel: int, stride: int, act: str, deploy: bool
    ) -> None:
        super().__init__()
        if stride == 1 and inputs != outputs:
            raise ValueError(f"{inputs} -> {outputs} channels beside a shortcut: no DAMO-YOLO has such a block")
        self.shortcut = stride == 1
        self.conv1 = ConvBN(inputs, bottleneck, kernel)
        self.conv2 = RepConv(bottleneck, outputs, stride, deploy=deploy)
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.act(self.conv1(x)))
        return self.act(x + y if self.shortcut else y)


class Chain(nn.Module):
    """The blocks of a stage one after the other; the last stage has its SPP behind the first block."""

    def __init__(self, blocks: Sequence[nn.Module], spp: int | None) -> None:
        super().__init__()
        first, *rest = blocks
        self.block_list = nn.Sequential(first, *([] if spp is None else [SPP(spp)]), *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_list(x)


class ChainBackbone(nn.Module):
    """Stem and five stages; "res" has a Focus stem and residual blocks, "mob" a 3x3 stem and mobile blocks."""

    def __init__(self, kind: str, channels: int, stem: int, stages: Sequence[Stage], act: str, deploy: bool) -> None:
        super().__init__()
        first = Focus(channels, stem, act) if kind == "res" else WrappedConvBNAct(channels, stem, 3, 2, act)
        self.block_list = nn.ModuleList([first])
        inputs = stem
        for i, stage in enumerate(stages):
            widths = [inputs] + [stage.channels] * stage.blocks
            hidden = multiple_of_8(math.ceil(stage.channels * EXPANSION[i]))
            blocks: list[nn.Module] = []
            for j, (before, after) in enumerate(pairwise(widths)):
                stride = stage.stride if j == 0 else 1
                if kind == "res":
                    blocks.append(ResBlock(before, after, stage.bottleneck, 1, stride, act, deploy))
                else:
                    blocks.append(MobileBlock(before, after, hidden, stride, act, empty_place=True))
            self.block_list.append(Chain(blocks, spp=stage.channels if i == len(stages) - 1 else None))
            inputs = stage.channels

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for block in self.block_list:
            x = block(x)
            maps.append(x)
        return [maps[1 + stage] for stage in TAKEN]


class CSPStage(nn.Module):
    """(B, C, H, W) -> (B, C', H/2, W/2): half of the channels through residual blocks, half past them.

    The convolutions around the blocks use ReLU although the blocks use SiLU: the authors' wrapper has its own default.
    """

    def __init__(self, inputs: int, rows: Sequence[Stage], act: str, spp: bool, deploy: bool) -> None:
        super().__init__()
        outputs = rows[-1].channels
        half = outputs // 2
        self.downsampler = WrappedConvBNAct(inputs, outputs, 3, 2, "relu")
        self.spp = SPP(outputs) if spp else nn.Identity()
        self.conv_start = WrappedConvBNAct(outputs, half, 1, 1, "relu")
        self.conv_shortcut = WrappedConvBNAct(outputs, half, 1, 1, "relu")
        self.convstem = nn.Sequential(
            *(
                ResBlock(half, half, row.bottleneck, 3, 1, act, deploy)
                for row in rows
                for _ in range(row.blocks - (row.stride == 2))  # the downsampling convolution counts as a block
            )
        )
        self.conv_fuse = WrappedConvBNAct(outputs, outputs, 1, 1, "relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.spp(self.downsampler(x))
        halves = [self.convstem(self.conv_start(x)), self.conv_shortcut(x)]
        return self.conv_fuse(torch.cat(halves, dim=1))


class CSPBackbone(nn.Module):
    """A Focus stem and four stages; the two rows at 1/16 share one."""

    def __init__(self, channels: int, stem: int, stages: Sequence[Stage], act: str, deploy: bool) -> None:
        super().__init__()
        self.csp_stage = nn.ModuleList([Focus(channels, stem, act)])
        inputs = stem
        for rows in (stages[0:1], stages[1:2], stages[2:4], stages[4:5]):
            last = rows[-1] is stages[-1]
            self.csp_stage.append(CSPStage(inputs, rows, act, last, deploy))
            inputs = rows[-1].channels

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.csp_stage:
            x = stage(x)
            maps.append(x)
        return maps[-3:]


def backbone(kind: str, channels: int, stem: int, stages: Sequence[Stage], act: str, deploy: bool) -> nn.Module:
    if kind == "csp":
        return CSPBackbone(channels, stem, stages, act, deploy)
    return ChainBackbone(kind, channels, stem, stages, act, deploy)
