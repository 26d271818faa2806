"""The layers that backbone and neck of DAMO-YOLO share: convolutions with BatchNorm, RepConv, mobile block, pooling.

Maps are (B, C, H, W). Attribute names are those of the authors' checkpoints, so several modules that differ in nothing
else (:class:`ConvBN`, :class:`ConvBNAct`, :class:`RepBranch`) exist because their tensors are named differently.

Every BatchNorm has eps 1e-3, not PyTorch's 1e-5; the boxes are off by hundreds of pixels with the other value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPS = 1e-3
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "identity": nn.Identity}


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=0.03)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Without bias, (B, C, H, W) -> (B, C', H/stride, W/stride)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class ConvBN(nn.Module):
    """A convolution and its BatchNorm, as the backbones name them."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, kernel, stride)
        self.bn1 = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x))


class WrappedConvBNAct(nn.Module):
    """:class:`ConvBN` and an activation: the stem of the nano backbones and the wrapper of the CSP stages."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, act: str) -> None:
        super().__init__()
        self.conv = ConvBN(inputs, outputs, kernel, stride)
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class ConvBNAct(nn.Module):
    """A convolution, BatchNorm and an activation, as the neck names them."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, act: str = "silu") -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel, stride)
        self.bn = batch_norm(outputs)
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class RepBranch(nn.Module):
    """One branch of a :class:`RepConv`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel, stride)
        self.bn = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class RepConv(nn.Module):
    """3x3-BN + 1x1-BN in the training form, one 3x3 with a bias in the deploy form; there is no identity branch."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, act: str = "identity", deploy: bool = False) -> None:
        super().__init__()
        self.deploy = deploy
        self.act = ACTIVATIONS[act]()
        if deploy:
            self.rbr_reparam = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        else:
            self.rbr_dense = RepBranch(inputs, outputs, 3, stride)
            self.rbr_1x1 = RepBranch(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.rbr_reparam(x) if self.deploy else self.rbr_dense(x) + self.rbr_1x1(x))


class MobileBlock(nn.Module):
    """1x1 up, depthwise 5x5, 1x1 down, all with BatchNorm; the last has no activation. Shortcut where shapes allow it.

    The positions in ``conv`` are names of the checkpoint: the backbone's has an empty place for squeeze-and-excitation.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, stride: int, act: str, empty_place: bool) -> None:
        super().__init__()
        self.shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            conv(inputs, hidden, 1),
            batch_norm(hidden),
            ACTIVATIONS[act](),
            conv(hidden, hidden, 5, stride, groups=hidden),
            batch_norm(hidden),
            *([nn.Identity()] if empty_place else []),
            ACTIVATIONS[act](),
            conv(hidden, outputs, 1),
            batch_norm(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class SPP(nn.Module):
    """Spatial pyramid pooling, always with SiLU, also in the models that use ReLU everywhere else."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(channels, channels // 2, 1, act="silu")
        self.conv2 = ConvBNAct(channels * 2, channels, 1, act="silu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)  # (B, C/2, H, W)
        pools = [F.max_pool2d(x, size, stride=1, padding=size // 2) for size in (5, 9, 13)]
        return self.conv2(torch.cat([x, *pools], dim=1))  # (B, 2C, H, W) -> (B, C, H, W)


def multiple_of_8(value: float) -> int:
    """The smallest multiple of 8 that is not below ``value``: hidden channels of mobile blocks."""
    return -int(-value // 8) * 8
