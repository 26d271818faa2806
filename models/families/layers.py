"""What the model files written here share: the initial values of ``--weights random`` and of training."""

from __future__ import annotations

import math

from torch import nn


def init_weights(module: nn.Module) -> None:
    """Truncated normal for linear layers, normal by fan-out for convolutions, as both papers train."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
    if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)
