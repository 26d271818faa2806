"""DaViT: dual attention vision transformers (Ding et al., ECCV 2022, arXiv:2204.03645).

The network is timm's, which agrees with the authors' and, unlike it, does not fix the batch when exported.

    image (B, 3, H, W) > 4 stages at 1/4, 1/8, 1/16, 1/32, each of spatial-window and channel-group attention blocks
    > mean over positions > LayerNorm > logits (B, classes)
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

_OFFICIAL_TO_TIMM = (
    (r"^patch_embeds\.0\.proj\.", "stem.conv."),
    (r"^patch_embeds\.0\.norm\.", "stem.norm."),
    (r"^patch_embeds\.(\d+)\.proj\.", r"stages.\1.downsample.conv."),
    (r"^patch_embeds\.(\d+)\.norm\.", r"stages.\1.downsample.norm."),
    (r"^main_blocks\.(\d+)\.", r"stages.\1.blocks."),
    (r"\.cpe\.0\.", ".cpe1."),
    (r"\.cpe\.1\.", ".cpe2."),
    (r"^norms\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)
_TIMM_TO_OFFICIAL = (
    (r"^head\.norm\.", "norms."),
    (r"^head\.fc\.", "head."),
    (r"\.cpe1\.", ".cpe.0."),
    (r"\.cpe2\.", ".cpe.1."),
    (r"^stages\.(\d+)\.blocks\.", r"main_blocks.\1."),
    (r"^stages\.(\d+)\.downsample\.conv\.", r"patch_embeds.\1.proj."),
    (r"^stages\.(\d+)\.downsample\.norm\.", r"patch_embeds.\1.norm."),
    (r"^stem\.conv\.", "patch_embeds.0.proj."),
    (r"^stem\.norm\.", "patch_embeds.0.norm."),
)


def _substitute(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official names become timm's; timm's stay."""
    if not any(name.startswith(("patch_embeds.", "main_blocks.")) for name in state):
        return state
    return {_substitute(name, _OFFICIAL_TO_TIMM): value for name, value in state.items()}


def to_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names become the authors'."""
    return {_substitute(name, _TIMM_TO_OFFICIAL): value for name, value in state.items()}


def build(num_classes: int, image_size: tuple[int, int], variant: str, **config: Any) -> nn.Module:
    """``variant`` is timm's name; ``config`` narrows or deepens it. One model serves every image size."""
    import timm

    return timm.create_model(variant, num_classes=num_classes, **config)
