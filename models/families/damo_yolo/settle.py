"""Random weights of DAMO-YOLO that answer a picture with detections, as those of a trained network do.

    fresh weights + noise that looks like pictures -> statistics of every BatchNorm, head scaled to what it is given

As initialised, a detector is dead: pixels up to 255 meet running statistics of 0 and 1, every score is 0.01 and every side
eight cells, so that parity would compare constants and the suppression would have nothing to do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from ...spec import ModelSpec
    from .head import Scale

SIDE, BATCH = 128, 16  # of the noise: the deepest maps have 256 cells of 16 pictures for their statistics
MOVED = 1.0  # standard deviations, see _with_statistics_of
CLASS_STD = 2.0  # of a class's logits over the cells: scores from 0 to 0.5
ABOVE = 3e-4  # share of all (cell, class) above the score threshold: 200 candidates of 672,000 at 640x640
SIDES_STD = 3.0  # of a side's logits: the distribution has one or two peaks instead of none


def settle(module: nn.Module, spec: ModelSpec, seed: int) -> None:
    """In place, the same for the same seed; leaves the global generator alone."""
    model: Any = module  # a DamoYolo, whose file imports this one
    with torch.no_grad():
        maps = _with_statistics_of(model, picture_like(torch.Generator().manual_seed(seed), spec.contract.channels))
        head = model.head
        for level, (features, factor) in enumerate(zip(maps, head.scales, strict=True)):
            cast("Scale", factor).scale.fill_(1.1 - 0.1 * level)  # not 1, or folding it would change nothing
            measure, classify = (cast("nn.Conv2d", layers[level]) for layers in (head.gfl_reg, head.gfl_cls))
            measure.weight *= SIDES_STD / factor(measure(features)).std()
            _spread_classes(classify, features, spec.score)


def picture_like(generator: torch.Generator, channels: int = 3) -> Tensor:
    """(B, C, H, W), whole numbers 0..255: patches of all sizes with and without edges, each picture in its own light.

    Wider than photographs are: a network of random weights enlarges what its statistics have not seen, layer by layer.
    """

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    total = torch.zeros(BATCH, channels, SIDE, SIDE)
    for cells in (2, 4, 8, 16, 32, 64, SIDE):
        patches = torch.randn(BATCH, channels, cells, cells, generator=generator)
        grey = patches.mean(dim=1, keepdim=True)
        patches = grey + draw(BATCH, 1, 1, 1) * (patches - grey) * 1.5
        edges = F.interpolate(patches, size=(SIDE, SIDE), mode="nearest")
        smooth = F.interpolate(patches, size=(SIDE, SIDE), mode="bilinear")
        total += (edges if cells in (4, 16, 64) else smooth) * draw(BATCH, 1, 1, 1) / cells**0.25
    total = total / total.std(dim=(1, 2, 3), keepdim=True)
    light = 50 + 150 * draw(BATCH, channels, 1, 1)
    return (light + (20 + 80 * draw(BATCH, 1, 1, 1)) * total).round().clamp(0, 255)


def _with_statistics_of(model: Any, image: Tensor) -> list[Tensor]:
    """What neck gives the head for ``image``; every BatchNorm takes over the statistics it sees on the way.

    Its bias is moved up, so that most values pass the activations. Otherwise a deep network of random weights is chaotic:
    photographs, which are not quite like the noise, come out as logits in the hundreds, and weights rounded to float16
    move the boxes of tiny by 2.4 px on average instead of 0.15.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    training = model.training
    for layer in layers:
        layer.bias.add_(MOVED)
        layer.momentum = 1.0  # the last batch alone
    maps = model.train().neck(model.backbone(image))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(training)
    return maps


def _spread_classes(layer: nn.Conv2d, features: Tensor, score: float) -> None:
    """Logits of one spread in every class, moved so that the wanted share lies above ``score``."""
    bias = cast("Tensor", layer.bias).zero_()
    logits = layer(features)  # (B, K, h, w)
    gain = CLASS_STD / logits.std(dim=(0, 2, 3))  # (K,)
    layer.weight *= gain[:, None, None, None]
    bias.sub_(gain * logits.mean(dim=(0, 2, 3)))
    values = layer(features).flatten()
    border = values.kthvalue(math.ceil(values.numel() * (1 - ABOVE))).values
    bias.add_(math.log(score / (1 - score)) - border)
