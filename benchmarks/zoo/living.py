"""A network of timm with seeded weights in which no path is dead, and its checkpoint.

Fresh weights leave a network half asleep: LayerScale is 1e-6, gates and biases are 0, norms 1, and BatchNorm has no statistics.
A wrong rewrite of such a path changes nothing that anybody can see. So whatever is constant is spread, and BatchNorm gets the
statistics of one batch, a little off: seeded noise, or pictures like those that the network will see. What its statistics have
not seen a network of random weights enlarges, layer by layer. What two pictures hardly move, as a pooled channel does, would be
divided by next to nothing: rounding blown up a hundredfold, of which no comparison can tell a right graph from a wrong one. So no
variance is far below the network's usual one. Bounds at infinity, which clip nothing, are closed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.errors import UserMistake

SEED = 0
LEAST_VARIANCE = 0.1  # of the median over all channels of the network
BOUND = 3.0  # in place of infinity: some of the values of a linear layer lie beyond it
SMALL = 0.1  # a constant at most this large is a scale that training would open: LayerScale of 1e-6 to 0.1
LARGEST_SIDE = 256  # networks for larger pictures see SIDE where they can
SIDE = 224


def size_of(spec: ModelSpec) -> tuple[int, int]:
    """The network's own size, or 224 x 224 where that is larger than 256 and it sees the other as well."""
    if max(spec.contract.size) > LARGEST_SIDE:
        try:
            return spec.check_size((SIDE, SIDE))
        except UserMistake:
            pass
    return spec.contract.size


def living(
    spec: ModelSpec, num_classes: int, size: tuple[int, int], seed: int = SEED, images: Tensor | None = None
) -> nn.Module:
    """The network in eval mode; the same for the same seed. ``images`` (n, channels, height, width) give BatchNorm its statistics."""
    torch.manual_seed(seed)
    module = spec.build(num_classes=num_classes, image_size=size).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        _spread(module, generator)
        noise = torch.randn((2, spec.contract.channels, *size), generator=generator)
        _give_statistics(module, noise if images is None else images, generator)
    return module


def save(module: nn.Module, path: Path) -> None:
    """Its tensors as a checkpoint; those that share memory are written apart."""
    save_file({name: value.clone().contiguous() for name, value in module.state_dict().items()}, path)


def _spread(module: nn.Module, generator: torch.Generator) -> None:
    """Constant tensors are constant no longer; running statistics are left to the batch."""
    for name, value in [*module.named_parameters(), *_kept_buffers(module)]:
        if "running_" in name or not value.is_floating_point() or not value.numel() or not _constant(value):
            continue
        noise, at = torch.randn(value.shape, generator=generator), float(value.flatten()[0])
        if math.isinf(at):
            value.fill_(math.copysign(BOUND, at))
            continue
        spread = 0.1 * noise if at == 0 else 0.5 + 0.3 * noise if abs(at) <= SMALL else at * (1 + 0.2 * noise)
        value.copy_(spread)


def _give_statistics(module: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """BatchNorm as one batch leaves it, then a little off: a norm folded wrongly is seen."""
    norms: list[Any] = [part for part in module.modules() if isinstance(getattr(part, "running_var", None), Tensor)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        module(images)
    usual = float(torch.cat([norm.running_var for norm in norms]).median()) if norms else 0.0
    least = max(LEAST_VARIANCE * usual, 1e-6)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
        shape = norm.running_var.shape
        norm.running_mean.add_(0.1 * norm.running_var.sqrt() * torch.randn(shape, generator=generator))
        norm.running_var.mul_(0.7 + 0.6 * torch.rand(shape, generator=generator)).clamp_(min=least)


def _kept_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Buffers that a checkpoint holds; tables that are made anew each time stay."""
    kept = module.state_dict().keys()
    return [(name, buffer) for name, buffer in module.named_buffers() if name in kept]


def _constant(value: Tensor) -> bool:
    return bool((value == value.flatten()[0]).all())
